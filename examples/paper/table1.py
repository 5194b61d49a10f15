"""Table I: eight networks on random eighths that fuse once an epoch, against one network with all rows.

CIFAR-10, which takes hours, is a command of its own: python table1.py --data CIFAR_10 --seed 0 1 2 3.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cells import output, parse_options, run_cells
from monitor import fit_and_monitor
from protocol import BASELINES, EXPERIMENTS, PAPER_TOPOLOGIES, RULES, TABLE_1, classifier
from splits import load_split
from style import PAPER, WHOSE, WIDTH, markdown, save

DATA = ("vowel", "segment", "breast-w", "mnist_784")
SETTINGS = [
    ("all", "-"),
    ("eighth", "-"),
    *((topology, rule) for topology in PAPER_TOPOLOGIES for rule in RULES),
]
# The test error is noted this often, or once an epoch.
N_POINTS = 50


def make_cells(options, data=DATA, settings=SETTINGS):
    """One run for each data set, seed and setting."""
    seeds = options.seed or ([0] if options.quick else range(5))
    cells = []
    for name in options.data or data:
        epochs = options.epochs or EXPERIMENTS[name].epochs // (10 if options.quick else 1)
        for setting, rule in settings:
            cells += [dict(data=name, setting=setting, rule=rule, seed=seed, epochs=epochs) for seed in seeds]
    return cells


def run(data, setting, rule, seed, epochs):
    """Errors over the epochs of one run."""
    params = BASELINES.get(setting) or {"topology": setting, "fusion_rule": rule}
    every = 5 if data == "mnist_784" else epochs if data == "CIFAR_10" else max(1, epochs // N_POINTS)
    return fit_and_monitor(classifier(data, epochs, seed, **params), load_split(data, seed), every)


def table(curves):
    """Mean and standard deviation over seeds, of the last epoch and of the best."""
    keys = ["data", "setting", "rule"]
    runs = curves.groupby([*keys, "seed"], sort=False)
    measured = {
        "peers, last epoch": runs["peers_mean"].last(),
        "consensus, last epoch": runs["consensus"].last(),
        "peers, best epoch": runs["peers_mean"].min(),
        "consensus, best epoch": runs["consensus"].min(),
    }
    runs = pd.DataFrame(measured).reset_index()
    everything = runs[runs["setting"] == "all"].set_index(["data", "seed"])["peers, last epoch"]
    everything = everything.loc[list(zip(runs["data"], runs["seed"], strict=True))].to_numpy()
    for name in ("peers", "consensus"):
        runs[f"{name} above all rows"] = runs[f"{name}, last epoch"] - everything
    groups = runs.drop(columns="seed").groupby(keys, sort=False)
    frame = groups.mean().join(groups.std().add_suffix(", sd")).reset_index()
    papers = [TABLE_1.get(row.data, {}).get(row.setting) for row in frame.itertuples()]
    return frame.assign(paper=papers).round(5)


def in_percent(frame):
    """The table as it is printed."""
    printed = pd.DataFrame({"data": [EXPERIMENTS[name].title for name in frame["data"]]})
    printed["setting"] = _titles(frame).to_numpy()
    printed["paper"] = [_percent(value) for value in frame["paper"]]
    for name in ("peers, last epoch", "consensus, last epoch", "peers, best epoch", "consensus, best epoch"):
        values = zip(frame[name], frame[f"{name}, sd"], strict=True)
        printed[name] = [f"{100 * mean:.2f}{_spread(sd)}" for mean, sd in values]
    return printed


def in_points(frame, who):
    """Points above all rows after the last epoch, of the peers or of the consensus: a column for each data set."""
    fused = frame[frame["setting"] != "all"]
    values = zip(fused[f"{who} above all rows"], fused[f"{who} above all rows, sd"], strict=True)
    fused = fused.assign(text=[f"{100 * mean:+.2f}{_spread(sd)}" for mean, sd in values], title=_titles(fused))
    wide = fused.set_index(["title", "data"])["text"].unstack().loc[_titles(fused).unique(), fused["data"].unique()]
    names = [EXPERIMENTS[name].title for name in wide.columns]
    return wide.set_axis(names, axis=1).rename_axis(who).reset_index()


def _titles(frame):
    return frame["setting"] + (", " + frame["rule"]).where(frame["rule"] != "-", "")


def _percent(value):
    return "" if pd.isna(value) else f"{100 * value:.2f}"


def _spread(sd):
    """Return nothing for a single seed."""
    return "" if pd.isna(sd) else f" ± {100 * sd:.2f}"


def draw(frame):
    """Draw each data set's errors, a row for each setting."""
    names = list(frame["data"].unique())
    n_columns = min(2, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, panels = plt.subplots(n_rows, n_columns, figsize=(WIDTH, 2.7 * n_rows + 0.7), squeeze=False, sharey=True)
    figure.set_layout_engine("constrained")
    for panel, name in zip(panels.flat, names, strict=False):
        here = frame[frame["data"] == name]
        rows = -np.arange(len(here))
        for offset, what in ((0.15, "peers"), (-0.15, "consensus")):
            mean, sd = 100 * here[f"{what}, last epoch"], 100 * here[f"{what}, last epoch, sd"]
            panel.errorbar(mean, rows + offset, xerr=sd, linestyle="none", markersize=5, **WHOSE[what])
        panel.plot(100 * here["paper"], rows, **PAPER)
        limit = 100 * here["peers, last epoch"].iloc[0] + 1
        panel.axvline(limit, color="0.6", linestyle=":", label="all rows + 1 point")
        panel.set(title=EXPERIMENTS[name].title, xlabel="test error (%)")
        panel.set_yticks(rows, labels=_titles(here))
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def main(argv=None):
    options = parse_options(__doc__, argv)
    curves = run_cells(output(options, "table1_cells.csv"), make_cells(options), run, options.n_jobs)
    frame = table(curves)
    frame.to_csv(output(options, "table1.csv"), index=False)
    print(markdown(in_percent(frame)), *(markdown(in_points(frame, who)) for who in WHOSE), sep="\n\n")
    save(draw(frame), output(options, "table1.png"))


if __name__ == "__main__":
    main()
