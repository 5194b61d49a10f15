"""Which fusion rule, topology and fusion rate to choose: 8, 10, 16 and 64 networks, on like and on one-class shares.

Networks with random shares fuse once an epoch; those with one class each (two where classes outnumber networks) fuse
every second step.  The shares and the first weights of a seed are the same for all settings.
"""

import matplotlib.pyplot as plt
import pandas as pd
from cells import output, parse_options, run_cells
from matplotlib.ticker import LogLocator
from monitor import fit_and_score
from protocol import EXPERIMENTS, RULES, TOPOLOGIES, classifier
from splits import load_split
from style import LINES, MARKS, NAMES, WIDTH, markdown, of_rule, save

from skfusion.partition import ClassPartitioner

DATA = ("segment", "vowel", "splice", "breast-w", "mnist_784")
# So many that one network with all rows has learned and 64 networks with random shares are on their way.
EPOCHS = {"segment": 100, "vowel": 300, "splice": 30, "breast-w": 100, "mnist_784": 10, "digits": 100}
MOST_ROWS = 10000
N_NETWORKS = (8, 10, 16, 64)
RATES = (0.1, 0.3, 0.5, 0.55, 0.7, 0.9)
FEW_RATES = (0.5, 0.55)
INTERVALS = {
    "random": {"fusion_unit": "epoch", "fusion_frequency": 1},
    "class": {"fusion_unit": "step", "fusion_frequency": 2},
}
SHARES = {"random": "random shares, fused every epoch", "class": "one class each, fused every 2 steps"}
# Random matching with the printed rule and the rate of the paper.
REFERENCE = ("random", "sequential", 0.55)
CANDIDATES = (
    ("random", "simultaneous", 0.5),
    ("ring", "sequential", 0.55),
    ("ring", "simultaneous", 0.5),
    ("hypercube", "sequential", 0.55),
    ("hypercube, edges once", "sequential", 0.55),
    ("hypercube, edges once", "simultaneous", 0.5),
)
SETTING = ["topology", "rule", "rate"]


def make_cells(options):
    """One run for each seed, partition, number of networks, topology, rule and rate; and one with all rows."""
    seeds = options.seed or ([0] if options.quick else range(3))
    cells = []
    for data in options.data or DATA:
        epochs = options.epochs or EPOCHS[data] // (5 if options.quick else 1)
        rates = FEW_RATES if options.quick or data == "mnist_784" else RATES
        settings = [(name, rule, rate) for name in TOPOLOGIES for rule in RULES for rate in rates]
        shares = [(kind, n, *setting) for kind in INTERVALS for n in N_NETWORKS for setting in settings]
        cells += [
            dict(data=data, partition=kind, n_networks=n, topology=name, rule=rule, rate=rate, seed=seed, epochs=epochs)
            for kind, n, name, rule, rate in [("all", 1, "-", "-", "-"), *shares]
            for seed in seeds
        ]
    return cells


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
    runs = cells.groupby(["data", "partition", "n_networks", *SETTING], sort=False)
    means = runs[["peers_mean", "peers_max", "consensus"]].mean()
    means["peers_mean_sd"] = runs["peers_mean"].std()
    return means.round(5).reset_index()


def lowest(frame):
    """The errors with all rows and of the reference, and the lowest, for each partition and number of networks."""
    rows = []
    base = frame[frame["partition"] == "all"].set_index("data")["peers_mean"]
    for (data, kind, n_networks), here in _fused(frame).groupby(["data", "partition", "n_networks"], sort=False):
        errors = here.set_index(SETTING)["peers_mean"]
        row = {"data": EXPERIMENTS[data].title, "shares": kind, "networks": n_networks}
        row |= {"all rows": _percent(base[data]), _title(REFERENCE): _percent(errors[REFERENCE])}
        rows.append(row | {"lowest": _percent(errors.min()), "with": _title(errors.idxmin())})
    return pd.DataFrame(rows)


def differences(cells):
    """Each candidate's error less that of the reference in the same run, in points; a row for each run."""
    wide = _fused(cells).pivot(index=["data", "partition", "n_networks", "seed"], columns=SETTING, values="peers_mean")
    wide = 100 * wide[list(CANDIDATES)].sub(wide[REFERENCE], axis=0)
    return wide.set_axis([_title(setting) for setting in CANDIDATES], axis=1)


def rule_differences(cells):
    """The sequential rule's error less the simultaneous one's with F of about a half, in points, for each topology."""
    fused = _fused(cells)
    keys = ["data", "partition", "n_networks", "rate", "seed"]
    wide = fused[fused["rate"].isin(FEW_RATES)].pivot(index=keys, columns=["rule", "topology"], values="peers_mean")
    return 100 * (wide["sequential"] - wide["simultaneous"])[list(TOPOLOGIES)]


def summarise(differences, keys, sample):
    """Mean and standard error of differences, over what ``sample`` names, as text."""
    groups = differences.groupby([*keys, sample], sort=False).mean().groupby(keys, sort=False)
    texts = groups.mean().map("{:+.2f}".format) + groups.sem().map(" ± {:.2f}".format).replace(" ± nan", "")
    return texts.reset_index().replace({"data": {name: EXPERIMENTS[name].title for name in EXPERIMENTS}})


def by_candidate(frame):
    """Return a summary as it is printed: a table for each partition, a row for each candidate."""
    for kind, here in frame.groupby("partition", sort=False):
        wide = here.drop(columns="partition").set_index(here.columns[1]).T
        yield wide.rename_axis(columns=None).reset_index(
            names=f"{kind} shares" if kind == "random" else "one class each"
        )


def rates(frame):
    """Points above the error with all rows for each rate, over data sets run at all rates and numbers of networks."""
    base = frame[frame["partition"] == "all"].set_index("data")["peers_mean"]
    fused = _fused(frame)
    fused["above"] = 100 * (fused["peers_mean"] - fused["data"].map(base))
    n_rates = fused.groupby("data")["rate"].transform("nunique")
    fused = fused[n_rates == n_rates.max()]
    wide = fused.pivot_table(index=["partition", "topology", "rule"], columns="rate", values="above", sort=False)
    return wide.round(2).reset_index()


def _fused(frame):
    """Leave out the single networks, so that all rates are numbers."""
    frame = frame[frame["partition"] != "all"]
    return frame.assign(rate=frame["rate"].astype(float))


def _title(setting):
    topology, rule, rate = setting
    return f"{topology}, {rule}, {rate:g}"


def _percent(error):
    return f"{100 * error:.2f}"


def draw_differences(differences):
    """Draw the candidates' differences: a panel for each number of networks and partition, a mark for each data set."""
    means = differences.groupby(["partition", "n_networks", "data"]).mean()
    size = dict(figsize=(WIDTH, 8.4), layout="constrained", sharex="col", sharey=True, squeeze=False)
    figure, panels = plt.subplots(len(N_NETWORKS), len(INTERVALS), **size)
    places = range(0, -len(CANDIDATES), -1)
    for row, n_networks in zip(panels, N_NETWORKS, strict=True):
        for panel, kind in zip(row, INTERVALS, strict=True):
            here = means.loc[kind, n_networks]
            for data, values in here.iterrows():
                look = MARKS.get(data, {"marker": "o"}) | {"linestyle": "none", "markersize": 5, "alpha": 0.85}
                panel.plot(values, places, **look, label=EXPERIMENTS[data].title)
            panel.plot(here.mean(), places, "|", color="black", markersize=13, mew=2, label="mean of data sets")
            panel.axvline(0, color="black", linewidth=0.8)
            panel.set_xscale("symlog", linthresh=1)
            panel.xaxis.set_major_formatter("{x:g}")
            panel.set_yticks(places, labels=differences.columns, size=8)
            panel.margins(y=0.12)
            panel.grid(alpha=0.3)
        row[0].set_ylabel(f"{n_networks} networks")
    for panel, kind in zip(panels[0], INTERVALS, strict=True):
        panel.set_title(SHARES[kind], size=10)
    for panel in panels[-1]:
        panel.set_xlabel("difference in test error (points)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def draw_rates(frame, data):
    """Draw the peers' mean error against the rate: a panel for each number of networks and partition."""
    frame = frame[frame["data"] == data]
    base = 100 * frame.loc[frame["partition"] == "all", "peers_mean"].mean()
    fused = _fused(frame)
    size = dict(figsize=(WIDTH, 9.2), layout="constrained", sharex=True, sharey="col", squeeze=False)
    figure, panels = plt.subplots(len(N_NETWORKS), len(INTERVALS), **size)
    for row, n_networks in zip(panels, N_NETWORKS, strict=True):
        for panel, kind in zip(row, INTERVALS, strict=True):
            draw_rates_of(panel, fused[(fused["partition"] == kind) & (fused["n_networks"] == n_networks)], base)
        row[0].set_ylabel(f"{n_networks} networks\ntest error (%)", size=9)
    for panel, kind in zip(panels[0], INTERVALS, strict=True):
        panel.set_title(SHARES[kind], size=10)
    for panel in panels[-1]:
        panel.set_xlabel("fusion rate F")
    figure.suptitle(EXPERIMENTS[data].title)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_rates_of(panel, fused, base):
    """Draw the error against the rate, a line for each topology and rule, and the error with all rows."""
    for (topology, rule), curve in fused.groupby(["topology", "rule"], sort=False):
        changes = {"markersize": 4, "linewidth": 1, "label": f"{topology}, {rule}"}
        error, sd = 100 * curve["peers_mean"], 100 * curve["peers_mean_sd"]
        panel.errorbar(curve["rate"], error, yerr=sd, elinewidth=0.5, **of_rule(LINES[topology], rule) | changes)
    panel.axhline(base, **LINES["all"] | {"label": NAMES["all"], "linewidth": 1})
    panel.axvline(REFERENCE[2], color="0.5", linestyle=(0, (1, 3)), label="the paper's F")
    panel.set(yscale="log")
    panel.margins(x=0.1)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter("")
    panel.grid(alpha=0.3)


def main(argv=None):
    options = parse_options(__doc__, argv)
    cells = run_cells(output(options, "verdict_cells.csv"), make_cells(options), run, options.n_jobs)
    frame = table(cells)
    frame.to_csv(output(options, "verdict.csv"), index=False)
    gains, rules = differences(cells), rule_differences(cells)
    tables = {
        "by_number": summarise(gains, ["partition", "n_networks"], "data"),
        "by_data": summarise(gains, ["partition", "data"], "seed"),
        "rules": summarise(rules, ["partition", "data"], "seed"),
        "rates": rates(frame),
        "lowest": lowest(frame),
    }
    for name, rows in tables.items():
        rows.to_csv(output(options, f"verdict_{name}.csv"), index=False)
        for part in by_candidate(rows) if name.startswith("by_") else [rows.rename(columns={"partition": "shares"})]:
            print(markdown(part), end="\n\n")
    save(draw_differences(gains), output(options, "verdict.png"))
    for data in frame["data"].unique():
        save(draw_rates(frame, data), output(options, f"verdict_{data}.png"))


if __name__ == "__main__":
    main()
