"""Fig. 6: error after 1000 epochs against the interval between fusion rounds, eight networks, F = 0.55."""

from cells import parse_options
from sweep import experiment


def main(argv=None):
    options = parse_options(__doc__, argv)
    frequencies = range(1, 101, 11 if options.quick else 1)
    experiment(options, "fig6", "fusion_frequency", frequencies, "epochs between fusion rounds", 1)


if __name__ == "__main__":
    main()
