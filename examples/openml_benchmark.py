"""Compare FusedMLPClassifier with one MLPClassifier, with bagging and with boosting on OpenML tasks.

    python openml_benchmark.py --tasks 3022 146822
    python openml_benchmark.py --suite 99 --tune

Each model runs on the tasks' own splits.  The folder given by --out gets each run as the openml client stores it,
results.csv with a row for each run, written as soon as it ends, and results.md and results.png.  Called again, the
script goes on where it stopped.  The exit status is 1 if a task or a run failed, and 130 after Ctrl-C.
"""

import argparse
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import openml
import pandas as pd
import requests
from matplotlib.ticker import LogLocator, NullLocator
from openml.exceptions import OpenMLHashException, OpenMLServerException, PyOpenMLError
from openml.extensions.sklearn import cat, cont
from openml.tasks import TaskType
from openml.tasks.split import Split
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfusion import FusedMLPClassifier
from skfusion.openml import run_on_task

N_NETWORKS = 8
NETWORK = dict(
    hidden_layer_sizes=(100,),
    activation="relu",
    solver="adam",
    learning_rate_init=0.01,
    batch_size=32,
    max_iter=100,
    random_state=0,
)
GRID = {
    "classifier__topology": ["ring", "random", "hypercube"],
    "classifier__fusion_rate": [0.1, 0.25, 0.4, 0.55, 0.7, 0.85],
    "classifier__fusion_frequency": [1, 2, 5, 10],
}
KEY = ["task", "model", "max_rows"]
COLUMNS = [*KEY, "data", "accuracy", "std", "seconds", "run_id"]


# %%
# Models


def classifiers():
    """All classifiers by name; the networks differ only in which rows they see and whether they fuse."""
    mlp = MLPClassifier(**NETWORK)
    # In a pipeline, which takes no weights of rows, bagging hands on the drawn rows alone.
    bagged = make_pipeline(mlp)
    part = dict(n_estimators=1, max_samples=1 / N_NETWORKS, bootstrap=False, random_state=0)
    fused = {
        f"fused, {topology}": FusedMLPClassifier(n_networks=N_NETWORKS, topology=topology, **NETWORK)
        for topology in ("ring", "random", "hypercube")
    }
    return fused | {
        "MLP, all rows": mlp,
        "MLP, one partition": BaggingClassifier(bagged, **part),
        "bagged MLPs": BaggingClassifier(bagged, n_estimators=N_NETWORKS, random_state=0),
        "boosting": HistGradientBoostingClassifier(max_bins=63, random_state=0),
    }


def pipeline(classifier):
    """Impute and scale numeric columns, encode nominal ones (missing values are a level of their own), classify."""
    numeric = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    nominal = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numeric", numeric, cont), ("nominal", nominal, cat)])
    return Pipeline([("columns", columns), ("classifier", classifier)])


def models(tune):
    """All models by name, with ``tune`` one more."""
    found = {name: pipeline(classifier) for name, classifier in classifiers().items()}
    if tune:
        fused = pipeline(FusedMLPClassifier(n_networks=N_NETWORKS, **NETWORK))
        found["fused, tuned"] = RandomizedSearchCV(fused, GRID, n_iter=10, cv=3, random_state=0)
    return found


# %%
# Tasks


class TaskError(Exception):
    """Why a task cannot be run, in one line."""


def load_task(task_id, max_rows):
    """Load a task with its data and splits, or raise TaskError."""
    try:
        task = openml.tasks.get_task(task_id)
        if task.task_type_id == TaskType.SUPERVISED_CLASSIFICATION:
            if task.get_dataset().format.lower() == "sparse_arff":
                raise TaskError("has sparse data, which the pipeline here would make dense")
            X, y = task.get_X_and_y(dataset_format="dataframe")
            task.split = task.download_split()
    except TaskError:
        raise
    except NotImplementedError as error:
        raise TaskError(f"is not a classification task: {one_line(error)}") from None
    except Exception as error:
        raise TaskError(explain(error) if isinstance(error, REMOTE) else broken(one_line(error))) from None
    if task.task_type_id != TaskType.SUPERVISED_CLASSIFICATION:
        raise TaskError(f"is not a classification task, but {task.task_type}")
    if not task.class_labels:
        raise TaskError("is not a classification task: its target has no declared labels")
    if not is_complete(task, len(y)):
        raise TaskError(broken("rows or folds are missing"))
    check_table(X, y)
    if max_rows is not None and max_rows < len(y):
        subsample(task.split, len(y), max_rows)
    return task


def check_table(X, y):
    """Raise TaskError unless the pipeline here can take the rows."""
    if y.isna().any():
        raise TaskError(f"has {y.isna().sum()} rows without a label")
    others = list(X.dropna(axis=1, how="all").select_dtypes(exclude=["number", "bool", "category"]))
    if others:
        raise TaskError(f"has columns that are neither numeric nor nominal, such as {others[0]!r}")


def folds(split):
    """Yield the training and test rows of each fold."""
    for repeat in split.split.values():
        for fold in repeat.values():
            yield from fold.values()


def is_complete(task, n_rows):
    """Whether splits are as many as declared, cover the same number of rows each, and only rows that there are."""
    declared = task.estimation_procedure["parameters"].get("number_folds")
    n_covered = {len(train) + len(test) for train, test in folds(task.split)}
    largest = max(rows.max(initial=-1) for fold in folds(task.split) for rows in fold)
    return len(n_covered) == 1 and largest < n_rows and (not declared or int(declared) == task.split.folds)


def subsample(split, n_rows, max_rows):
    """Keep the same random rows in each fold of a split."""
    kept = np.random.RandomState(0).permutation(n_rows)[:max_rows]
    for repeat in split.split.values():
        for fold in repeat.values():
            for sample, rows in fold.items():
                fold[sample] = Split(*(np.intersect1d(part, kept) for part in rows))


# %%
# Errors

REMOTE = (PyOpenMLError, requests.exceptions.RequestException)


def one_line(error):
    """An error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def broken(reason):
    """Say that what the client keeps of a task is broken."""
    cache = openml.config.get_cache_directory()
    return f"its copy is broken ({reason}); delete it and its data set's in {cache} to download them again"


def explain(error):
    """Say in one line what went wrong while the client talked to the server."""
    if isinstance(error, OpenMLServerException):
        return f"the server answers: {' '.join(error.message.split())} (code {error.code})"
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, OpenMLHashException)):
        return "the download was interrupted; run again to repeat it"
    if isinstance(error, requests.exceptions.RequestException):
        return f"the server {openml.config.server} cannot be reached"
    return one_line(error)


# %%
# Results


class Results:
    """The table of results, a row for each run, kept in a CSV file."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "results.csv"
        self.table = pd.read_csv(self._path) if self._path.exists() else pd.DataFrame(columns=COLUMNS)
        if list(self.table) != COLUMNS:
            raise ValueError(f"{self._path} is not a table of this script's results")

    def rows(self, **key):
        """The rows with certain values."""
        return self.table[np.logical_and.reduce([self.table[name] == value for name, value in key.items()])]

    def add(self, **row):
        """Add a row and save."""
        table = pd.DataFrame([row], columns=COLUMNS)
        self.table = table if self.table.empty else pd.concat([self.table, table], ignore_index=True)
        self._save()

    def set_run_id(self, index, run_id):
        """Note that a run was uploaded, and save."""
        self.table.loc[index, "run_id"] = run_id
        self._save()

    def _save(self):
        path = self._path.resolve()  # a link stays one
        partial = path.with_suffix(".partial")
        self.table.astype({"run_id": "Int64"}).to_csv(partial, index=False, float_format="%.6g")
        os.replace(partial, path)


def store(run, folder):
    """Write a run to a folder, all of it or nothing."""
    partial = folder.with_name(folder.name + ".partial")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    run.to_filesystem(partial)
    partial.rename(folder)


def run_folder(out, row):
    """The folder of a run."""
    rows = f"-{row['max_rows']}-rows" if row["max_rows"] else ""
    return out / "runs" / f"{row['task']}{rows}" / row["model"].replace(", ", "-").replace(" ", "-")


def summary(run):
    """Mean and standard deviation of a run's accuracy over folds, and the mean CPU seconds of training."""
    values = {
        name: [value for repeat in run.fold_evaluations[name].values() for value in repeat.values()]
        for name in ("predictive_accuracy", "usercpu_time_millis_training")
    }
    accuracy, millis = values.values()
    return dict(accuracy=np.mean(accuracy), std=np.std(accuracy), seconds=np.mean(millis) / 1000)


# %%
# Report


def markdown(table):
    """A table of texts as Markdown, with its index."""
    lines = [["task", *table.columns], ["---"] * (1 + len(table.columns))]
    lines += [[index, *row] for index, row in zip(table.index, table.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def percent(values):
    """Shares as texts in percent."""
    return (100 * values).map("{:.2f}".format)


def report(table, out):
    """Write results.md and results.png; ranks count tasks that all models have run on."""
    rows = table.max_rows.map(lambda n: f", at most {n} rows" if n else "")
    table = table.assign(name=table.data + " (" + table.task.astype(str) + rows + ")")
    accuracy, std, seconds = (
        table.pivot(index="name", columns="model", values=value)[list(table.model.unique())]
        for value in ("accuracy", "std", "seconds")
    )
    rank = accuracy.dropna().round(6).rank(axis=1, ascending=False)
    ranks = rank.map(" ({:g})".format).reindex(accuracy.index, fill_value="")
    texts = (percent(accuracy) + " ± " + percent(std) + ranks).where(accuracy.notna(), "")
    texts.loc["mean rank"] = rank.mean().map("{:.2f}".format).where(rank.notna().any(), "")
    text = f"Accuracy in %: mean ± standard deviation over folds (rank)\n\n{markdown(texts)}"
    times = seconds.map("{:.3g}".format, na_action="ignore").fillna("")
    text += f"\nCPU seconds of training per fold\n\n{markdown(times)}"
    (out / "results.md").write_text(text)
    draw(100 * accuracy, rank, seconds).savefig(out / "results.png", dpi=150)
    plt.close()


def draw(accuracy, rank, seconds):
    """Draw error, rank and time: a band for each task, a lane in it with a marker for each model."""
    error = (100 - accuracy).clip(lower=0.01)  # 0 has no place on a logarithmic axis
    panels = {"error (%)": error, "rank": rank.reindex(accuracy.index), "CPU seconds per fold": seconds}
    bands, lanes = np.arange(len(accuracy)), np.linspace(-0.3, 0.3, accuracy.shape[1])
    size = (12, 2 + 0.7 * len(accuracy))
    figure, all_axes = plt.subplots(1, 3, sharey=True, figsize=size, layout="constrained")
    for axes, (label, values) in zip(all_axes, panels.items(), strict=True):
        for model, marker, lane in zip(values, "o^sDvP*XdphH", lanes, strict=False):
            name = f"{model} (mean rank {rank[model].mean():.2f})" if len(rank) else model
            axes.plot(values[model], bands + lane, marker, label=name)
        for band in bands[::2]:
            axes.axhspan(band - 0.5, band + 0.5, color="0.95", zorder=0)
        axes.set(xlabel=label, ylim=(len(accuracy) - 0.5, -0.5))
        axes.grid(axis="x", alpha=0.3)
    all_axes[0].set_yticks(bands, labels=accuracy.index)
    for axes, ticks in ((all_axes[0], (1, 2, 5)), (all_axes[2], (1,))):  # of each power of ten; times span many
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=ticks))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# %%
# The benchmark


def run_task(task_id, options, results):
    """Run on a task all models that it has no results of; returns how many failed."""
    key = {"task": task_id, "max_rows": options.max_rows or 0}
    missing = {name: m for name, m in models(options.tune).items() if not len(results.rows(model=name, **key))}
    if not missing:
        return 0
    task = load_task(task_id, options.max_rows)
    data, n_failed = task.get_dataset().name, 0
    for name, model in missing.items():
        row = {**key, "model": name}
        try:
            run = run_on_task(model, task, avoid_duplicate_runs=False)
            store(run, run_folder(options.out, row))
        except Exception as error:
            print(f"task {task_id}, {name}: {one_line(error)}", file=sys.stderr)
            n_failed += 1
            continue
        results.add(**row, data=data, **summary(run))
        print(f"task {task_id}, {data}, {name}: {summary(run)['accuracy']:.4f}", flush=True)
    return n_failed


def publish_task(task_id, out, results):
    """Upload a task's stored runs that were not uploaded yet; returns how many failed."""
    n_failed = 0
    for index, row in results.rows(task=task_id, max_rows=0).iterrows():
        if not pd.isna(row["run_id"]):
            continue
        try:
            run = openml.runs.OpenMLRun.from_filesystem(run_folder(out, row)).publish()
        except Exception as error:
            print(f"task {task_id}, {row['model']}, not uploaded: {explain(error)}", file=sys.stderr)
            n_failed += 1
            continue
        results.set_run_id(index, run.run_id)
        print(f"task {task_id}, {row['model']}: uploaded as {run.openml_url}", flush=True)
    return n_failed


def confirmed():
    """Ask whether to upload."""
    try:
        answer = input(f"Upload all runs to {openml.config.server}, for everyone to see? [y/N] ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--suite", metavar="ID", help="all tasks of an OpenML benchmark suite, such as 99")
    which.add_argument("--tasks", metavar="ID", type=int, nargs="+", help="some tasks, such as 3022 146822")
    parser.add_argument("--tune", action="store_true", help="also tune rate, frequency and topology")
    parser.add_argument("--max-rows", metavar="N", type=int, help="use at most N rows of each task, at random")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("openml_benchmark"), help="for the results")
    parser.add_argument("--publish", action="store_true", help="upload the runs to OpenML; asks first")
    options = parser.parse_args(arguments)
    if options.max_rows is not None and options.max_rows < 1:
        parser.error(f"--max-rows must be at least 1, got {options.max_rows}")
    if options.publish and options.max_rows:
        parser.error("--publish needs whole tasks, without --max-rows")
    if options.publish and not openml.config.apikey:
        parser.error("--publish needs an API key: openml configure apikey YOUR_KEY")
    return options


def task_ids(options):
    """The ids of the tasks, each once."""
    tasks = options.tasks or openml.study.get_suite(options.suite).tasks
    if not tasks:
        raise ValueError("it has no tasks")
    return list(dict.fromkeys(tasks))


def benchmark(tasks, options, results):
    """Run all models on all tasks; returns how many tasks and runs failed."""
    publish = options.publish and confirmed()
    n_failed = 0
    for task_id in tasks:
        try:
            n_failed += run_task(task_id, options, results)
        except TaskError as error:
            print(f"task {task_id}: {error}", file=sys.stderr)
            n_failed += 1
            continue
        if publish:
            n_failed += publish_task(task_id, options.out, results)
        if len(results.table):
            report(results.table, options.out)
    return n_failed


def main(arguments=None):
    """Run the benchmark; returns the exit status."""
    options = parse(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)  # all networks have the same number of epochs
    warnings.filterwarnings("ignore", "Got `batch_size` less than 1 or larger")  # one partition of a small data set
    warnings.filterwarnings("ignore", "Estimator only predicted for")  # a class without rows in a fold
    logging.disable(logging.WARNING)  # the client's remarks on docstrings
    try:
        results = Results(options.out)
    except (OSError, ValueError) as error:
        print(f"--out {options.out}: {one_line(error)}", file=sys.stderr)
        return 1
    try:
        tasks = task_ids(options)
    except Exception as error:
        print(f"suite {options.suite}: {explain(error)}", file=sys.stderr)
        return 1
    try:
        return 1 if benchmark(tasks, options, results) else 0
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
