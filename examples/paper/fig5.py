"""Fig. 5: error after 1000 epochs against the fusion rate, eight networks that fuse once an epoch."""

from cells import parse_options
from protocol import FUSION_RATE
from sweep import experiment


def main(argv=None):
    options = parse_options(__doc__, argv)
    rates = [round(0.01 * k, 2) for k in range(0, 100, 11 if options.quick else 1)]
    experiment(options, "fig5", "fusion_rate", rates, "fusion rate F", FUSION_RATE)


if __name__ == "__main__":
    main()
