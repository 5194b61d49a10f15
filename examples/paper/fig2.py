"""Fig. 2: ten networks that are shown one digit each, against one network that is shown all.

Also how the error depends on the interval between fusion rounds and on the topology.  Cross-entropy, all from the same
weights, at rate 0.05: averaged steps allow such a rate, while a single network needs MNIST's 0.01.  Pixels are divided
by 255, so that the background is 0.  Fusion is simultaneous with F = 0.5; to fuse a hypercube's edges once or twice
then comes to the same.

Each network has 5000 rows, the first of its digit.  In one setting each has all rows of its digit; networks with fewer
go round them again, until the one with most has seen all of its own.
"""

import matplotlib.pyplot as plt
import pandas as pd
from cells import output, parse_options, run_cells
from monitor import fit_and_monitor
from protocol import EXPERIMENTS, TOPOLOGIES, classifier
from splits import load_split
from style import LINES, NAMES, WIDTH, band, markdown, save

INTERVALS = (1, 2, 10, 50, 500, "epoch")  # steps
FUSED = ("ring", "random", "hypercube, edges once")
EPOCHS = 10
RATE = 0.05
ROWS = 5000
BEST = ("hypercube, edges once", "2")
PAPER = {"alone": 88, "all": 3}  # per cent, as the paper states them


def make_cells(options):
    """One run for each seed, topology and interval, and the networks that do not fuse."""
    seeds = options.seed or ([0] if options.quick else range(3))
    epochs = options.epochs or (2 if options.quick else EPOCHS)
    intervals = INTERVALS[1::2] if options.quick else INTERVALS
    settings = [("all", "-", "equal"), ("alone", "-", "equal"), (*BEST, "all")]
    settings += [(name, interval, "equal") for interval in intervals for name in FUSED]
    return [
        dict(data=data, setting=setting, interval=interval, rows=rows, seed=seed, epochs=epochs)
        for data in options.data or ["mnist_784"]
        for setting, interval, rows in settings
        for seed in seeds
    ]


def run(data, setting, interval, rows, seed, epochs):
    """Errors over the epochs of one run."""
    shape = dict(n_networks=None, partitioner="class", fusion_rate=0.5, fusion_rule="simultaneous")
    shape["learning_rate_init"] = RATE
    if setting == "all":
        shape = dict(n_networks=1, learning_rate_init=EXPERIMENTS[data].learning_rate)
    elif setting == "alone":
        shape["fusion_rate"] = 0.0
    else:
        shape["topology"] = TOPOLOGIES[setting]
        if interval != "epoch":
            shape |= dict(fusion_unit="step", fusion_frequency=int(interval))
    split = load_split(data, seed, background_zero=True)
    if rows == "equal":
        split = split.first_of_each_class(ROWS)
    return fit_and_monitor(classifier(data, epochs, seed, loss="log_loss", **shape), split)


def table(curves):
    """The last epoch of each setting and interval, mean over seeds; of the worst peer also the worst seed."""
    last = curves[curves["epoch"] == curves["epoch"].max()].groupby(["setting", "interval", "rows"], sort=False)
    columns = {
        "peers' mean": last["peers_mean"].mean(),
        "sd": last["peers_mean"].std(),
        "worst peer": last["peers_max"].mean(),
        "worst peer, worst seed": last["peers_max"].max(),
        "consensus": last["consensus"].mean(),
    }
    return (100 * pd.DataFrame(columns)).round(2).reset_index()


def draw(curves):
    """Draw error over time, and error against the interval; of runs with equal rows."""
    curves = curves[curves["rows"] == "equal"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained", sharey=True)
    intervals = list(curves.loc[curves["interval"] != "-", "interval"].unique())
    draw_epochs(left, curves, BEST if BEST[1] in intervals else (BEST[0], intervals[0]))
    draw_intervals(right, curves[curves["epoch"] == curves["epoch"].max()], intervals)
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    return figure


def draw_epochs(axes, curves, best):
    """Draw the peers' mean error after each epoch: alone, with all rows, and with the best setting and interval."""
    for setting, interval in (("alone", "-"), ("all", "-"), best):
        here = curves[(curves["setting"] == setting) & (curves["interval"] == interval)]
        runs = 100 * here.pivot(index="seed", columns="epoch", values="peers_mean")
        fused = f"one digit each, fused every {_steps(interval)}"
        band(axes, runs.columns, runs, setting, label=NAMES.get(setting, fused))
        if setting == best[0]:
            worst = 100 * here.groupby("epoch")["peers_max"].max()
            axes.plot(worst.index, worst, color="black", linestyle=":", label="its worst peer, worst seed")
    for value in PAPER.values():
        axes.axhline(value, color="0.5", linestyle=(0, (1, 3)), zorder=0)
        axes.annotate(f"the paper: {value} %", (curves["epoch"].min(), value * 0.93), size=8, va="top")
    axes.set(xlabel="epoch", ylabel="test error (%)", yscale="log", title="Mean over peers, epoch by epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8, loc="center right")


def draw_intervals(axes, last, intervals):
    """Draw the worst peer's error after the last epoch against the interval."""
    for setting in FUSED:
        runs = last[last["setting"] == setting].pivot(index="seed", columns="interval", values="peers_max")
        band(axes, range(len(intervals)), 100 * runs[intervals], setting, markevery=1)
    everyone = 100 * last.loc[last["setting"] == "all", "peers_mean"].mean()
    axes.axhline(everyone, **LINES["all"] | {"label": NAMES["all"]})
    axes.set_xticks(range(len(intervals)), labels=intervals)
    axes.set(xlabel="steps between fusion rounds", title="Worst peer after the last epoch")
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.1))


def _steps(interval):
    return {"epoch": "epoch", "1": "1 step"}.get(interval, f"{interval} steps")


def main(argv=None):
    options = parse_options(__doc__, argv)
    curves = run_cells(output(options, "fig2_cells.csv"), make_cells(options), run, options.n_jobs)
    frame = table(curves)
    frame.to_csv(output(options, "fig2.csv"), index=False)
    print(markdown(frame))
    save(draw(curves), output(options, "fig2.png"))


if __name__ == "__main__":
    main()
