"""A grid search over 20 settings in two processes, and prediction: skfusion beside MLPClassifier."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from cases import Case
from engines import elapsed
from measure import in_turns, ratio
from results import LINES, Goal, parser, print_goals, print_table, write
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skfusion import FusedMLPClassifier

GRID = {"learning_rate_init": [0.001, 0.003, 0.01, 0.03, 0.1], "alpha": [1e-6, 1e-5, 1e-4, 1e-3]}
QUICK_GRID = {"learning_rate_init": [0.01, 0.03]}
PREDICTIONS = 1000  # rows that a measure predicts for, in one call or in many


def estimators(case, epochs):
    """Return estimators of the same networks."""
    parameters = case.parameters(epochs)
    return {
        "MLPClassifier": MLPClassifier(**parameters),
        "skfusion, one network": FusedMLPClassifier(**parameters, n_networks=1),
        "skfusion, eight peers": FusedMLPClassifier(**parameters, n_networks=8),
    }


def searches(case, epochs, grid):
    """Return a search over each."""
    return {name: GridSearchCV(est, grid, cv=3, n_jobs=2) for name, est in estimators(case, epochs).items()}


def search_rows(case, epochs, repetitions, grid):
    """Time the searches, once the processes that run them are up."""
    X, y = case.load()
    for search in searches(case, 1, grid).values():
        search.fit(X, y)
    measures = {name: partial(elapsed, search.fit, X, y) for name, search in searches(case, epochs, grid).items()}
    times = in_turns(measures, 0, repetitions)
    setting = {"network": case.network, "batch size": case.batch_size, "rows": len(y), "epochs": epochs}
    setting["settings"] = len(ParameterGrid(grid))
    return [setting | _compared(name, "search (s)", 1, times) for name in times]


def prediction_rows(case, sizes, *duration):
    """Time predict on some rows at once, on one thread."""
    X, y = case.load()
    models = {name: estimator.fit(X, y) for name, estimator in estimators(case, 1).items()}
    models["skfusion, eight peers voting"] = FusedMLPClassifier(**case.parameters(1), prediction="vote").fit(X, y)
    rows = []
    for size in sizes:
        some, calls = np.resize(X, (size, X.shape[1])), max(1, PREDICTIONS // size)
        with threadpool_limits(1):
            times = in_turns({name: partial(_predict, model, some, calls) for name, model in models.items()}, *duration)
        setting = {"network": case.network, "rows": size}
        rows += [setting | _compared(name, "predict (µs per row)", 1e6 / (calls * size), times) for name in times]
    return rows


def _predict(model, X, calls):
    return elapsed(lambda: [model.predict(X) for _ in range(calls)])


def _compared(name, column, unit, times):
    median = float(np.median(times[name])) * unit
    return {"estimator": name, column: median, "MLPClassifier / this": ratio(times["MLPClassifier"], times[name])}


def goals(rows):
    """Return the goal for the searches of skfusion."""
    return [
        Goal(f"{row['network']}, {row['estimator']}: MLPClassifier / this", "at least", 50, row["MLPClassifier / this"])
        for row in rows
        if row["estimator"] != "MLPClassifier"
    ]


def figure(tables):
    """Draw times of search and of prediction."""
    figure, (search, prediction) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    rows = tables["search"]
    colors = [line["color"] for line in LINES[: len(rows)]]
    bars = search.barh([row["estimator"] for row in rows], [row["search (s)"] for row in rows], color=colors)
    search.bar_label(bars, fmt="%.3g", padding=2)
    search.set(xscale="log", xlim=(0.1, 200), xlabel="time of the grid search (s)")
    names = dict.fromkeys(row["estimator"] for row in tables["prediction"])
    for name, line in zip(names, LINES, strict=False):
        here = [row for row in tables["prediction"] if row["estimator"] == name]
        sizes, times = [row["rows"] for row in here], [row["predict (µs per row)"] for row in here]
        prediction.plot(sizes, times, markersize=4, label=name, **line)
    prediction.set(xscale="log", yscale="log", xlabel="rows predicted at once", ylabel="time per row (µs)")
    prediction.legend(fontsize="small")
    prediction.grid(alpha=0.3)
    return figure


def main():
    options = parser(__doc__).parse_args()
    if options.quick:
        search = search_rows(Case("digits", 200), 2, 1, QUICK_GRID)
        prediction = prediction_rows(Case("digits", 200), (1, 100), 0, 1)
    else:
        search = search_rows(Case("vowel", 1), 20, 3, GRID)
        prediction = prediction_rows(Case("MNIST", 32), (1, 100, 10000), 3)
    tables = {"search": search, "prediction": prediction}
    print_table("Grid search, three folds, two processes", search)
    print_table("Prediction", prediction)
    print_goals(goals(search))
    if options.out:
        write(options.out, "search", tables, goals(search), figure(tables))


if __name__ == "__main__":
    main()
