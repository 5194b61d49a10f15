"""Fig. 3 and Fig. 4: the runs of Table I as curves, on MNIST and on vowel."""

import matplotlib.pyplot as plt
from cells import output, parse_options, run_cells
from protocol import EXPERIMENTS, PAPER_TOPOLOGIES, TABLE_1
from style import PAPER, WIDTH, band, save
from table1 import make_cells, run

FIGURES = {"mnist_784": "fig3.png", "vowel": "fig4.png"}
SETTINGS = [("all", "-"), ("eighth", "-"), *((topology, "sequential") for topology in PAPER_TOPOLOGIES)]


def draw(curves, data):
    """Draw error over epochs: means over seeds, and the paper's last values at the right."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    for setting, _ in SETTINGS:
        runs = curves[curves["setting"] == setting].pivot(index="seed", columns="epoch", values="peers_mean")
        band(axes, runs.columns, 100 * runs, setting)
    last = curves["epoch"].max()
    axes.axvspan(1.02 * last, 1.4 * last, color="0.95")
    for number, (setting, value) in enumerate(TABLE_1.get(data, {}).items()):
        x = (1.06 + 0.075 * number) * last
        axes.plot(x, 100 * value, **PAPER | {"label": "the paper, Table I" if number == 0 else None})
        axes.annotate(setting, (x, 100 * value), (0, 8), textcoords="offset points", ha="center", rotation=90, size=7)
    axes.set(xlabel="epoch", ylabel="test error (%)", yscale="log", title=EXPERIMENTS[data].title, xlim=(0, 1.4 * last))
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= last])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def main(argv=None):
    options = parse_options(__doc__, argv)
    cells = make_cells(options, data=FIGURES, settings=SETTINGS)
    curves = run_cells(output(options, "table1_cells.csv"), cells, run, options.n_jobs)
    for data, runs in curves.groupby("data", sort=False):
        save(draw(runs, data), output(options, FIGURES.get(data, "fig4.png")))


if __name__ == "__main__":
    main()
