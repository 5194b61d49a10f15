"""CIFAR-10 of Table I, trained for longer: the errors after each third epoch, of each network and of the consensus.

A run takes hours.  After each epoch its state is on disk, and its errors so far are in cifar.csv, so that a run that
was killed goes on from there, bit for bit.  One whose state is gone starts again.  A state needs the code and the
versions that wrote it.  Started several times, processes share the runs.

The last tenth of the training rows is held out, so that an epoch can be chosen without the test rows.
cifar_judge.py makes tables and figures of cifar.csv.
"""

import math
import os
import time
from pathlib import Path

import joblib
import numpy as np
from cells import output, parse_options
from pieces import train_epoch
from protocol import BASELINES, classifier
from resume import State, locked, record, recorded
from splits import Split, load_split
from threadpoolctl import threadpool_limits

EPOCHS = 30
MEASURED_EVERY = 3  # epochs, since to measure nine networks takes as long as to train eight for an epoch
# What tells most comes first, since a run takes hours.
SETTINGS = [
    ("all", "-"),
    ("hypercube", "simultaneous"),
    ("ring", "simultaneous"),
    ("random", "simultaneous"),
    ("eighth", "-"),
    ("hypercube", "sequential"),
    ("ring", "sequential"),
    ("random", "sequential"),
]
STATES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skfusion" / "cifar"


def add_options(parser):
    """Add the option that is this script's own."""
    parser.add_argument(
        "--states",
        type=Path,
        default=STATES,
        metavar="FOLDER",
        help="where runs keep their states, 0.4 GB each with CIFAR-10 (default: %(default)s)",
    )


def make_runs(options):
    """One run for each seed and setting, seed after seed."""
    return [
        dict(data=data, setting=setting, rule=rule, seed=seed)
        for data in options.data or ["CIFAR_10"]
        for seed in options.seed or range(1 if options.quick else 2)
        for setting, rule in SETTINGS
    ]


def load_rows(data, seed):
    """Return a split into rows that train and test, and one into all training rows and their last tenth, held out."""
    split = load_split(data, seed)
    n_train = len(split.y_train) * 9 // 10
    held_out = Split(split.X_train, split.y_train, split.X_train[n_train:], split.y_train[n_train:])
    return split.first(n_train), held_out


def new_model(data, setting, rule, seed):
    """Return the classifier of Table I."""
    params = BASELINES.get(setting) or {"topology": setting, "fusion_rule": rule}
    return classifier(data, EPOCHS, seed, **params)


def measure(model, split, held_out):
    """Return what is known after an epoch: a row for each network and one for the consensus, as text."""
    epoch = model.history_[-1]
    longest = max(len(part) for part in model.partition_)
    shared = {
        "epoch": str(epoch["epoch"]),
        "steps": str(epoch["epoch"] * math.ceil(longest / model.batch_size)),
        "disagreement": f"{epoch['disagreement_after_fusion']:.6g}",
    }
    columns = zip([*epoch["losses"], epoch["loss"]], _errors(model, held_out), _errors(model, split), strict=True)
    rows = [
        {"network": str(peer), "loss": f"{loss:.6g}", "held_out_error": f"{held:.6f}", "test_error": f"{test:.6f}"}
        for peer, (loss, held, test) in enumerate(columns)
    ]
    rows[-1]["network"] = "consensus"
    return [shared | row for row in rows]


def _errors(model, split):
    """Test error of each network and of the consensus."""
    return 1 - np.append(model.peer_scores(split.X_test, split.y_test), model.score(split.X_test, split.y_test))


def n_trained(model):
    """Return for how many epochs a model has trained."""
    return len(getattr(model, "history_", ()))


def n_measured(rows):
    """Return after how many epochs the last of a run's rows was measured."""
    return int(rows[-1]["epoch"]) if rows else 0


def train(run, epochs, path, states):
    """Train a run up to an epoch from where it stands, unless another process does."""
    title, known = " ".join(map(str, run.values())), n_measured(recorded(path, run).to_dict("records"))
    if known >= epochs:
        print(f"{title}: done", flush=True)
        return
    state = State(states, run)
    with locked(state.folder, wait=False) as ours, threadpool_limits(1):
        if not ours:
            print(f"{title}: another process trains it", flush=True)
            return
        model, rows = state.load(start=lambda: (new_model(**run), []))
        print(f"{title}: from epoch {n_trained(model) + 1} to {epochs}; {path.name} has {known}", flush=True)
        _train_on(model, rows, state, run, epochs, path)


def _train_on(model, rows, state, run, epochs, path):
    split, held_out = load_rows(run["data"], run["seed"])
    if rows:
        record(path, run, rows)
    for epoch in range(n_trained(model) + 1, epochs + 1):
        began = time.perf_counter()
        train_epoch(model, split)
        trained = time.perf_counter()
        if epoch % MEASURED_EVERY == 0 or epoch == epochs:
            rows = rows + measure(model, split, held_out)
        measured = time.perf_counter()
        state.save((model, rows))
        record(path, run, rows)
        seconds = f"{trained - began:.0f} s to train, {measured - trained:.0f} s to measure"
        print(f"{' '.join(map(str, run.values()))}: epoch {epoch} of {epochs}, {seconds}", flush=True)


def main(argv=None):
    options = parse_options(__doc__, argv, add_options)
    path, epochs = output(options, "cifar.csv"), options.epochs or (2 if options.quick else EPOCHS)
    parallel = joblib.Parallel(n_jobs=options.n_jobs)
    parallel(joblib.delayed(train)(run, epochs, path, options.states) for run in make_runs(options))


if __name__ == "__main__":
    main()
