"""Which fusion rule, topology and fusion rate to choose: 8, 10, 16 and 64 networks, on like and on one-class shares.

Networks with random shares fuse once an epoch; those with one class each (two where classes outnumber networks) fuse
every second step.  The shares and the first weights of a seed are the same for all settings.
"""

import matplotlib.pyplot as plt
import pandas as pd
from cells import output, parse_options, run_cells
from monitor import fit_and_score
from protocol import EXPERIMENTS, RULES, TOPOLOGIES, classifier
from splits import load_split
from style import LINES, markdown, save

from skfusion.partition import ClassPartitioner

N_NETWORKS = (8, 10, 16, 64)
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)
INTERVALS = {
    "random": {"fusion_unit": "epoch", "fusion_frequency": 1},
    "class": {"fusion_unit": "step", "fusion_frequency": 2},
}
SHARES = {"random": "random shares, fused every epoch", "class": "one class each, fused every 2 steps"}
MOST_ROWS = 10000
DEFAULT = ("random", "sequential", 0.55)
CANDIDATES = (
    DEFAULT,
    ("random", "simultaneous", 0.5),
    ("ring", "sequential", 0.55),
    ("ring", "simultaneous", 0.5),
    ("hypercube", "sequential", 0.55),
    ("hypercube, edges once", "simultaneous", 0.5),
)


def make_cells(options):
    """One run for each seed, partition, number of networks, topology, rule and rate; and one with all rows."""
    seeds = options.seed or ([0] if options.quick else range(3))
    epochs = options.epochs or (20 if options.quick else 100)
    rates = (0.3, 0.5, 0.55) if options.quick else RATES
    settings = [(name, rule, rate) for name in TOPOLOGIES for rule in RULES for rate in rates]
    shares = [(kind, n, *setting) for kind in INTERVALS for n in N_NETWORKS for setting in settings]
    return [
        dict(data=data, partition=kind, n_networks=n, topology=name, rule=rule, rate=rate, seed=seed, epochs=epochs)
        for data in options.data or ["segment"]
        for kind, n, name, rule, rate in [("all", 1, "-", "-", "-"), *shares]
        for seed in seeds
    ]


def run(data, partition, n_networks, topology, rule, rate, seed, epochs):
    """Time and errors of one run."""
    split = load_split(data, seed).first(MOST_ROWS)
    params = dict(n_networks=n_networks)
    if partition != "all":
        params |= dict(topology=TOPOLOGIES[topology], fusion_rule=rule, fusion_rate=rate) | INTERVALS[partition]
    if partition == "class":
        n_classes = split.y_train.max() + 1
        params["partitioner"] = ClassPartitioner(classes_per_network=-(-n_classes // n_networks))
    return fit_and_score(classifier(data, epochs, seed, **params), split)


def table(cells):
    """Mean over seeds of each setting's errors."""
    keys = ["data", "partition", "n_networks", "topology", "rule", "rate"]
    runs = cells.groupby(keys, sort=False)
    means = runs[["peers_mean", "peers_max", "consensus"]].mean()
    means["peers_mean_sd"] = runs["peers_mean"].std()
    return means.round(5).reset_index()


def ranking(frame):
    """Each setting's excess over the error with all rows, in points, averaged over the numbers of networks."""
    base = frame.loc[frame["partition"] == "all"].set_index("data")["peers_mean"]
    fused = frame[frame["partition"] != "all"].copy()
    for name in ("peers_mean", "consensus"):
        fused[name] = 100 * (fused[name] - fused["data"].map(base))
    keys = ["topology", "rule", "rate"]
    wide = fused.pivot_table(index=keys, columns="partition", values=["peers_mean", "consensus"])
    wide.columns = [f"{'peers' if name == 'peers_mean' else name}, {kind}" for name, kind in wide.columns]
    worst = fused.groupby(keys)["peers_mean"].max()
    wide = wide.assign(**{"peers, mean": wide.filter(like="peers").mean(axis=1), "peers, worst case": worst})
    return wide.sort_values("peers, mean").round(2).reset_index()


def candidates(frame):
    """Some settings' errors for each partition and number of networks, beside the lowest of all settings."""
    base = frame.loc[frame["partition"] == "all"].set_index("data")["peers_mean"]
    rows = []
    for (data, kind, n), here in frame[frame["partition"] != "all"].groupby(
        ["data", "partition", "n_networks"], sort=False
    ):
        errors = here.assign(rate=here["rate"].astype(float)).set_index(["topology", "rule", "rate"])["peers_mean"]
        row = {"data": data, "shares": kind, "networks": n, "all rows": _percent(base[data])}
        row |= {_title(*setting): _percent(errors.get(setting)) for setting in CANDIDATES}
        rows.append(row | {"lowest": f"{_percent(errors.min())}: {_title(*errors.idxmin())}"})
    return pd.DataFrame(rows)


def rule_effect(cells):
    """Error with sequential less that with simultaneous fusion, in points: mean and standard error over runs."""
    keys = ["data", "partition", "n_networks", "topology", "rate", "seed"]
    wide = cells[cells["partition"] != "all"].pivot(index=keys, columns="rule", values="peers_mean")
    difference = (100 * (wide["sequential"] - wide["simultaneous"])).groupby(["partition", "topology"], sort=False)
    columns = {"sequential - simultaneous": difference.mean(), "standard error": difference.sem()}
    return pd.DataFrame(columns).round(3).reset_index()


def _title(topology, rule, rate):
    return f"{topology}, {rule}, {rate:g}"


def _percent(error):
    return "" if error is None else f"{100 * error:.2f}"


def draw(frame, data):
    """Draw the peers' mean error against the rate: a panel for each partition and number of networks."""
    frame = frame[frame["data"] == data]
    base = 100 * frame.loc[frame["partition"] == "all", "peers_mean"].mean()
    size = dict(figsize=(11, 5.4), layout="constrained", sharex=True, sharey="row", squeeze=False)
    figure, panels = plt.subplots(len(INTERVALS), len(N_NETWORKS), **size)
    for row, kind in zip(panels, INTERVALS, strict=True):
        for panel, n_networks in zip(row, N_NETWORKS, strict=True):
            here = frame[(frame["partition"] == kind) & (frame["n_networks"] == n_networks)]
            for topology in TOPOLOGIES:
                for rule in RULES:
                    curve = here[(here["topology"] == topology) & (here["rule"] == rule)]
                    rates = curve["rate"].astype(float)
                    style = LINES[topology] | {"markersize": 4, "linewidth": 0.9}
                    style |= {"mfc": style["color"] if rule == "sequential" else "white", "mec": style["color"]}
                    error, sd = 100 * curve["peers_mean"], 100 * curve["peers_mean_sd"]
                    panel.errorbar(rates, error, yerr=sd, elinewidth=0.5, **style, label=f"{topology}, {rule}")
            panel.axhline(base, **LINES["all"] | {"label": "one network, all rows", "linewidth": 1})
            panel.axvline(DEFAULT[2], color="0.5", linestyle=(0, (1, 3)), label="the paper's F")
            panel.set_title(f"{n_networks} networks", size=10)
            panel.grid(alpha=0.3)
        row[0].set_ylabel(f"{SHARES[kind]}\ntest error (%)", size=8)
    for panel in panels[-1]:
        panel.set_xlabel("fusion rate F")
    figure.suptitle(EXPERIMENTS[data].title)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


def main(argv=None):
    options = parse_options(__doc__, argv)
    cells = run_cells(output(options, "verdict_cells.csv"), make_cells(options), run, options.n_jobs)
    frame = table(cells)
    frame.to_csv(output(options, "verdict.csv"), index=False)
    tables = {"ranking": ranking(frame), "candidates": candidates(frame), "rules": rule_effect(cells)}
    for name, rows in tables.items():
        rows.to_csv(output(options, f"verdict_{name}.csv"), index=False)
        print(markdown(rows.head(20)), end="\n\n")
    for data in frame["data"].unique():
        save(draw(frame, data), output(options, f"verdict_{data}.png"))


if __name__ == "__main__":
    main()
