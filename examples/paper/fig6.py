"""Fig. 6: error after 1000 epochs against the interval between fusion rounds, eight networks, F = 0.55."""

from cells import output, parse_options
from protocol import EXPERIMENTS
from style import markdown
from sweep import experiment

NOT_PRINTED = (4, 8, 25, 40)  # intervals of the last table, which is too wide for a page


def after_round(cells):
    """Errors in per cent for the intervals that divide the number of epochs, so that fusing comes last."""
    last = cells[cells["epochs"] % cells["fusion_frequency"] == 0]
    last = last.assign(data=last["data"].map(lambda name: EXPERIMENTS[name].title))
    wide = last.pivot_table(index=["data", "topology"], columns="fusion_frequency", values="peers_mean", sort=False)
    return (100 * wide.sort_index(axis=1)).round(2).reset_index()


def main(argv=None):
    options = parse_options(__doc__, argv)
    frequencies = range(1, 101, 11 if options.quick else 1)
    cells = experiment(options, "fig6", "fusion_frequency", frequencies, "epochs between fusion rounds", 1)
    after = after_round(cells)
    after.to_csv(output(options, "fig6_after_round.csv"), index=False)
    print(markdown(after.drop(columns=after.columns.intersection(NOT_PRINTED))))


if __name__ == "__main__":
    main()
