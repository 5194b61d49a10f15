"""Label skew with fewer messages: each peer is shown one digit, and its steps are corrected between fusion rounds.

Beside the paper's fusion at intervals of 1 to 500 rows: larger batches alone, fusion momentum alone, gradient tracking,
and both.  Errors are those right after a round: the 5000 rows of a digit make 80 steps of at most 63 rows, a multiple
of each interval between rounds.  Networks sent count weights and corrections, for a peer on average.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cells import output, parse_options, run_cells
from monitor import EachEpoch, errors, fit
from protocol import classifier
from splits import load_split
from style import markdown, save

from skfusion.partition import ClassPartitioner, DirichletPartitioner
from skfusion.topology import HypercubeTopology, RingTopology

ROWS = 5000
TOPOLOGIES = {
    "average": "average",
    "hypercube, edges once": HypercubeTopology(each_edge_once=True),
    "random": "random",
    "ring, metropolis": RingTopology(mixing="metropolis"),
}
CORRECTIONS = {
    "none": {},
    "momentum": {"fusion_momentum": 0.9},
    "tracking": {"drift_correction": "tracking"},
    "both": {"fusion_momentum": 0.9, "drift_correction": "tracking"},
}
PARTITIONS = {
    "one class": (ClassPartitioner(), None),
    "two classes": (ClassPartitioner(classes_per_network=2), 10),
    "Dirichlet(0.1)": (DirichletPartitioner(alpha=0.1), 10),
}


@dataclass(frozen=True)
class Schedule:
    """How many steps lie between rounds, at which learning rate, and how many rounds there are."""

    interval: int
    rate: float
    rounds: int


SCHEDULES = {
    "average": Schedule(16, 0.05, 400),
    "hypercube, edges once": Schedule(16, 0.05, 400),
    "random": Schedule(8, 0.05, 800),
    "ring, metropolis": Schedule(4, 0.05, 800),
}
BATCH_SIZE = 63
# Rounds at which errors are taken.
REPORTS = (10, 25, 50, 100, 200, 400, 800)
# The paper's fusion: batches of one row, and no correction.
INTERVALS = (1, 2, 10, 50, 500)
# Where the rows are few, batches are too; the rounds are those of MNIST.
SMALL = {"segment": 16, "vowel": 4, "splice": 16}
GOALS = {
    ("mnist_784", "one class", "average", 50): 7.5,
    ("mnist_784", "one class", "average", 100): 5.0,
    ("mnist_784", "one class", "average", 200): 3.7,
    ("mnist_784", "one class", "average", 400): 3.4,
    ("mnist_784", "one class", "hypercube, edges once", 200): 3.8,
    ("mnist_784", "one class", "hypercube, edges once", 400): 3.3,
    ("mnist_784", "one class", "random", 400): 4.2,
    ("mnist_784", "one class", "random", 800): 3.7,
    ("mnist_784", "one class", "ring, metropolis", 800): 4.0,
}
OF_TEN_DIGITS = ("mnist_784", "digits")


def make_cells(options):
    """One run for each seed and setting."""
    seeds = options.seed or ([0] if options.quick else range(3))
    cells = []
    for data in options.data or ["mnist_784", *SMALL]:
        settings = [*_corrected(data, "one class"), *(_paper(data) if data in OF_TEN_DIGITS else ())]
        for partition in list(PARTITIONS)[1:] if data in OF_TEN_DIGITS else ():
            settings += [s for s in _corrected(data, partition) if s["topology"] in ("average", "random")]
        for setting in settings[:: 4 if options.quick else 1]:
            rounds = setting["rounds"] // (40 if options.quick else 1)
            cells += [dict(data=data) | setting | dict(rounds=rounds, seed=seed) for seed in seeds]
    return cells


def _corrected(data, partition):
    for topology, schedule in SCHEDULES.items():
        for correction in CORRECTIONS:
            yield dict(
                partition=partition,
                topology=topology,
                correction=correction,
                interval=schedule.interval,
                batch_size=SMALL.get(data, BATCH_SIZE),
                rate=schedule.rate,
                rounds=schedule.rounds,
            )


def _paper(data):
    """The paper's fusion, at most ten epochs of it."""
    for interval in INTERVALS:
        yield dict(
            partition="one class",
            topology="hypercube, edges once",
            correction="none",
            interval=interval,
            batch_size=1,
            rate=0.05,
            rounds=10 * ROWS // interval,
        )


def run(data, partition, topology, correction, interval, batch_size, rate, rounds, seed):
    """Errors after some of the rounds, and what has been sent until then."""
    split = load_split(data, seed, background_zero=data in OF_TEN_DIGITS)
    if data in OF_TEN_DIGITS and partition == "one class":
        split = split.first_of_each_class(ROWS)
    partitioner, n_networks = PARTITIONS[partition]
    shape = dict(n_networks=n_networks, partitioner=partitioner, topology=TOPOLOGIES[topology])
    training = dict(loss="log_loss", batch_size=batch_size, learning_rate_init=rate, fusion_rule="simultaneous")
    fusion = dict(fusion_rate=0.5, fusion_unit="step", fusion_frequency=interval) | CORRECTIONS[correction]
    model = classifier(data, 10**6, seed, **shape | training | fusion)
    monitor = RoundMonitor(split, rounds)
    fit(model.set_callbacks(monitor), split)
    return monitor.rows


class RoundMonitor(EachEpoch):
    """Notes errors and networks sent at the ends of epochs, at some rounds; stops the fit after the last."""

    def __init__(self, split, rounds):
        # scikit-learn's cache of signatures keeps callbacks for long, and with them all that they hold.
        self.test, self.rounds = split.test_rows(), rounds
        self.rows, self.done, self.sent = [], 0, 0.0

    def look(self, fitted):
        """Score the peers where a report is due."""
        record, before = fitted.history_[-1], self.done
        self.done += record["fusion_rounds"]
        self.sent += np.mean(record["numbers_sent"]) / fitted.weights_.shape[1]
        due = [report for report in _reports(self.rounds) if before < report <= self.done]
        if due or self.done >= self.rounds:
            row = {"done": self.done, "networks_sent": round(self.sent, 3), "epoch": record["epoch"]}
            self.rows.append(row | errors(fitted, self.test))
        return self.done >= self.rounds


def _reports(rounds):
    """Rounds to report at: those of the table, or of a longer run shares of it."""
    return REPORTS if rounds <= REPORTS[-1] else np.geomspace(rounds / 100, rounds, 7).astype(int)


def table(curves, partition="one class"):
    """The worst peer's error by data set, topology and rounds, mean over seeds, a column for each correction.

    An error is that at the end of the epoch in which the rounds were reached.
    """
    here = curves[(curves["partition"] == partition) & (curves["batch_size"] > 1)]
    here = here.assign(rounds=[max(due for due in (0, *REPORTS) if due <= done) for done in here["done"]])
    groups = here.groupby(["data", "topology", "rounds", "correction"])

    def columns(numbers):
        return numbers.unstack().reindex(columns=list(CORRECTIONS))

    worst, sent = columns(100 * groups["peers_max"].mean()), columns(groups["networks_sent"].mean())
    worst.insert(0, "networks sent", sent["none"].round())
    worst.insert(1, "with tracking", sent["both"].round())
    worst["both, worst seed"] = columns(100 * groups["peers_max"].max())["both"]
    frame = worst.reset_index()
    frame["goal"] = [GOALS.get((row.data, partition, row.topology, row.rounds)) for row in frame.itertuples()]
    return frame.rename_axis(columns=None).round(2)


STYLES = {
    "none": ("#D55E00", "--", "s"),
    "momentum": ("#E69F00", ":", "v"),
    "tracking": ("#0072B2", "-.", "^"),
    "both": ("#009E73", "-", "o"),
}


def draw(curves):
    """Draw the worst peer's error against networks sent; a panel for each topology."""
    curves = curves[curves["partition"] == "one class"]
    large = curves[curves["batch_size"] > 1]
    names = list(large["topology"].unique())
    size = (2.4 * len(names) + 0.6, 3.8)
    figure, panels = plt.subplots(1, len(names), figsize=size, sharex=True, sharey=True, squeeze=False)
    figure.set_layout_engine("constrained")
    for axes, topology in zip(panels[0], names, strict=True):
        for correction, (color, line, marker) in STYLES.items():
            here = large[(large["topology"] == topology) & (large["correction"] == correction)]
            label = "larger batches alone (average: FedAvg)" if correction == "none" else correction
            _curve(axes, here, color=color, linestyle=line, marker=marker, label=label)
        for number, interval in enumerate(sorted(curves.loc[curves["batch_size"] == 1, "interval"].unique())):
            here = curves[(curves["batch_size"] == 1) & (curves["interval"] == interval)]
            label = "the paper's fusion, hypercube,\nevery 1 to 500 rows" if number == 0 else None
            _curve(axes, here, color="0.55", linestyle="-", marker="x", linewidth=0.8, label=label)
        axes.set(xscale="log", yscale="log", title=topology, xlabel="networks that a peer sends")
        axes.set_yticks([3, 5, 10, 20, 50, 100], labels=["3", "5", "10", "20", "50", "100"])
        axes.set_yticks([], minor=True)
        axes.grid(alpha=0.3, linewidth=0.4)
    panels[0, 0].set_ylabel("test error of the worst peer (%)")
    handles = dict(zip(*reversed(panels[0, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def _curve(axes, runs, **style):
    if runs.empty:
        return
    by_sent = 100 * runs.groupby("done")["peers_max"].mean()
    sent = runs.groupby("done")["networks_sent"].mean()
    axes.plot(sent.loc[by_sent.index], by_sent, markersize=4, **style)


def main(argv=None):
    options = parse_options(__doc__, argv)
    curves = run_cells(output(options, "label_skew_cells.csv"), make_cells(options), run, options.n_jobs)
    frames = {partition: table(curves, partition) for partition in curves["partition"].unique()}
    for partition, frame in frames.items():
        print(f"\n{partition}\n\n{markdown(frame)}")
    pd.concat(frames, names=["partition"]).to_csv(output(options, "label_skew.csv"))
    first = curves["data"].iloc[0]
    save(draw(curves[curves["data"] == first]), output(options, "label_skew.png"))


if __name__ == "__main__":
    main()
