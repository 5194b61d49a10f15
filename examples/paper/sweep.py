"""What Fig. 5 and Fig. 6 share: the error after many epochs as one parameter changes, and the time that took."""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cells import output, run_cells
from monitor import fit_and_score
from protocol import BASELINES, EXPERIMENTS, PAPER_TOPOLOGIES, TABLE_1, classifier
from sklearn.neural_network import MLPClassifier
from splits import load_split
from style import LINES, NAMES, PAPER, WIDTH, markdown, save
from threadpoolctl import threadpool_limits

DATA = ("vowel", "breast-w", "segment", "splice")


def make_cells(options, parameter, values):
    """One run for each value, data set and topology, a coarse grid first; one seed unless told otherwise."""
    coarse_first = sorted(range(len(values)), key=lambda place: (place % 10 != 0, place % 5 != 0, place))
    return [
        {"data": data, "topology": topology, parameter: values[place], "seed": seed, "epochs": _epochs(options, data)}
        for place in coarse_first
        for data in options.data or DATA
        for topology in PAPER_TOPOLOGIES
        for seed in options.seed or [0]
    ]


def _epochs(options, data):
    return options.epochs or (100 if options.quick else EXPERIMENTS[data].epochs)


def run(data, topology, seed, epochs, **changed):
    """Time and errors of one run."""
    return fit_and_score(classifier(data, epochs, seed, topology=topology, **changed), load_split(data, seed))


def run_without(data, setting, seed, epochs):
    """The same for one network with all rows, or eight that do not fuse."""
    return fit_and_score(classifier(data, epochs, seed, **BASELINES[setting]), load_split(data, seed))


def time_mlp(data):
    """Seconds that scikit-learn's MLPClassifier takes for a row, at the same batch size, on one thread."""
    split, experiment = load_split(data), EXPERIMENTS[data]
    mlp = MLPClassifier(
        experiment.hidden, activation="tanh", solver="sgd", batch_size=1, momentum=0, alpha=0, random_state=0
    )
    n_rows = min(1000, len(split.y_train))
    X, y, classes = split.X_train[:n_rows], split.y_train[:n_rows], sorted(set(split.y_train))
    seconds = []
    with threadpool_limits(1):
        for _ in range(4):
            began = time.process_time()
            mlp.partial_fit(X, y, classes=classes)
            seconds.append(time.process_time() - began)
    return [{"rows": len(split.y_train), "mlp_seconds_per_row": min(seconds[1:]) / n_rows}]


def time_table(cells, times):
    """What all runs took, beside what MLPClassifier would have needed for the same rows."""
    rows = []
    for timed in times.itertuples():
        here = cells[cells["data"] == timed.data]
        trained = timed.rows * here["epochs"].sum()
        spent = [here["seconds"].sum(), trained * timed.mlp_seconds_per_row / 3600]
        rows.append([EXPERIMENTS[timed.data].title, len(here), trained, *spent])
    frame = pd.DataFrame(rows, columns=["data", "runs", "rows trained on", "core seconds", "MLPClassifier, core hours"])
    frame.loc[len(frame)] = ["all", *frame.iloc[:, 1:].sum()]
    per_row = 1e6 * frame["core seconds"] / frame["rows trained on"]
    mlp_per_row = 3600e6 * frame["MLPClassifier, core hours"] / frame["rows trained on"]
    frame = frame.assign(**{"µs per row": per_row, "MLPClassifier, µs per row": mlp_per_row})
    return frame.astype({"runs": int, "rows trained on": int}).round(2)


def summary(cells, without, parameter, paper):
    """Errors in per cent: at the paper's value, and the mean over each fifth of the values; how many do well."""
    rows = []
    for (data, topology), here in cells[cells[parameter] > 0].groupby(["data", "topology"], sort=False):
        base = without[without["data"] == data].groupby("setting")["peers_mean"].mean()
        means = here.groupby(parameter)["peers_mean"].mean()
        row = {"data": EXPERIMENTS[data].title, "topology": topology}
        row |= {"all rows": _percent(base["all"]), "never fused": _percent(base["eighth"])}
        row[f"at {paper}"] = _percent(means[paper]) if paper in means.index else ""
        for values in np.array_split(means.index, 5):
            row[f"{values[0]} to {values[-1]}"] = _percent(means[values].mean())
        row["within a point of all rows"] = f"{(means <= base['all'] + 0.01).sum()} of {len(means)}"
        rows.append(row)
    return pd.DataFrame(rows)


def _percent(error):
    return f"{100 * error:.1f}"


def draw(cells, without, parameter, xlabel, paper):
    """Draw the peers' mean error against the parameter, a panel for each data set."""
    names = list(cells["data"].unique())
    n_columns = min(2, len(names))
    n_rows = -(-len(names) // n_columns)
    figure, panels = plt.subplots(n_rows, n_columns, figsize=(WIDTH, 2.9 * n_rows + 0.8), squeeze=False)
    figure.set_layout_engine("constrained")
    for panel, name in zip(panels.flat, names, strict=False):
        for topology in PAPER_TOPOLOGIES:
            here = cells[(cells["data"] == name) & (cells["topology"] == topology)].groupby(parameter)
            style = LINES[topology] | {"markersize": 4, "markevery": 10, "linewidth": 1.4, "label": topology}
            panel.plot(100 * here["peers_mean"].mean(), **style)
        for setting in BASELINES:
            error = without.loc[(without["data"] == name) & (without["setting"] == setting), "peers_mean"].mean()
            panel.axhline(100 * error, **LINES[setting] | {"label": NAMES[setting]})
        panel.axvline(paper, color="0.5", linestyle=(0, (1, 3)), label="the paper's choice")
        values = [100 * TABLE_1[name][topology] for topology in PAPER_TOPOLOGIES if name in TABLE_1]
        panel.plot([paper] * len(values), values, **PAPER | {"label": "the paper, Table I", "markersize": 5})
        panel.set(title=EXPERIMENTS[name].title, xlabel=xlabel, ylabel="test error (%)")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def experiment(options, name, parameter, values, xlabel, paper):
    """Run all, write the results, the time that they took, and the figure, and return the runs."""
    began = time.perf_counter()
    names = list(options.data or DATA)
    cells = make_cells(options, parameter, values)
    times = run_cells(output(options, f"{name}_mlp.csv"), [{"data": data} for data in names], time_mlp, 1)
    cells = run_cells(output(options, f"{name}.csv"), cells, run, options.n_jobs)
    without = [
        dict(data=data, setting=setting, seed=seed, epochs=_epochs(options, data))
        for data in names
        for setting in BASELINES
        for seed in options.seed or [0]
    ]
    without = run_cells(output(options, "sweep_without.csv"), without, run_without, options.n_jobs)
    print(f"{name}: {time.perf_counter() - began:.0f} s by the clock")
    for title, frame in (
        ("time", time_table(cells, times)),
        ("summary", summary(cells, without, parameter, paper)),
    ):
        frame.to_csv(output(options, f"{name}_{title}.csv"), index=False)
        print(markdown(frame))
    save(draw(cells, without, parameter, xlabel, paper), output(options, f"{name}.png"))
    return cells
