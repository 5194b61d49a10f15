"""Federated learning beside others' programs: the same rows, network, split and rounds for each.

    python examples/benchmarks/federated.py [--quick] [--out docs/benchmarks]

Ten clients have 5000 rows of MNIST each, at random or of one digit each, and train a network of 784-80-30-10 units for
200 rounds of 16 batches of 63 rows.  Each program runs in a process of its own; one that is not installed leaves its
line empty.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from cases import NETWORKS, digits, mnist
from federation import Federation, Schedule
from results import Goal, missing, parser, print_goals, print_table, write


@dataclass(frozen=True)
class System:
    """A program, by its script and what to tell it; ``needs`` are the modules that must be installed."""

    script: str
    argument: str
    needs: tuple = ()

    @property
    def missing(self):
        """What of it is not installed."""
        return missing(self.needs)


SYSTEMS = {
    "fused peers": System("fused", "peers"),
    "exact mean": System("fused", "mean"),
    "exact mean, corrected": System("fused", "corrected"),
    "Flower, MLPClassifier": System("flower", "MLPClassifier", ("flwr", "ray")),
    "Flower, PyTorch": System("flower", "PyTorch", ("flwr", "ray", "torch")),
    "fluke, FedAvg": System("fluke", "FedAVG", ("fluke",)),
    "fluke, SCAFFOLD": System("fluke", "SCAFFOLD", ("fluke",)),
}
SKFUSION = list(SYSTEMS)[:3]
SPLITS = {
    "random shares": lambda y: np.random.default_rng(0).permutation(np.arange(len(y)) % 10),
    "one digit each": lambda y: y,
}
SCHEDULE = Schedule(NETWORKS["MNIST"].layer_sizes[1:-1], batch_size=63, batches=16, rate=0.05, reports=(50, 100, 200))
QUICK = Schedule((20,), batch_size=10, batches=2, rate=0.05, reports=(5, 10, 20))
COSTS = ("s a round", "start-up s", "peak MB", "MB sent a round")
SAMPLING = 0.5  # seconds between looks at the memory
# One thread each for BLAS and PyTorch.  Ray's workers give way to nobody, as the others do not.
SETTINGS = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "FLWR_TELEMETRY_ENABLED": "0"}
DIGIT_GOAL = 3.7  # % of the corrected mean, after 200 rounds


def rows(quick):
    """Return the first rows of each digit to train on, and others to test on."""
    X, y = digits(None) if quick else mnist(None)
    n_rows, n_train = (97, 1200) if quick else (5000, 60000)
    train = np.sort(np.concatenate([np.flatnonzero(y[:n_train] == digit)[:n_rows] for digit in range(10)]))
    arrays = {"X": X[train], "y": y[train], "X_test": X[n_train:], "y_test": y[n_train:]}
    return {name: np.asarray(array, np.float32 if array.ndim == 2 else np.int64) for name, array in arrays.items()}


def run(system, folder):
    """Train in a process of its own; return when it was started, its peak memory in bytes, and its record."""
    script = Path(__file__).with_name(f"federation_{system.script}.py")
    with open(folder / "log", "w+") as log:
        began = time.time()
        command = [sys.executable, script, system.argument, folder]
        environment = os.environ | SETTINGS | {"FLWR_HOME": str(folder)}
        process = psutil.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        peak = watch(process)
        log.seek(0)
        if process.returncode:
            raise RuntimeError(f"{script.name} {system.argument} failed:\n{log.read()[-4000:]}")
    return began, peak, json.loads(Path(folder, "record.json").read_text())


def watch(process):
    """Wait for a process; return the peak of its memory and its children's.  If interrupted, end them all."""
    peak = 0
    try:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, sum(map(memory, family(process))))
            time.sleep(SAMPLING)
    finally:
        with suppress(psutil.NoSuchProcess):
            for member in family(process):
                member.kill()
    return peak


def family(process):
    """Return a process and all that it has started."""
    return [process, *process.children(recursive=True)]


def memory(process):
    """Bytes of a process: on Linux what it shares with others counts in part, elsewhere not at all."""
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return getattr(info, "pss", info.uss)


def measure(split, name, arrays, schedule):
    """Return a line of the table: costs, and test errors in % of the mean and the worst network."""
    line = {"split": split, "system": name, "missing": SYSTEMS[name].missing or None}
    with tempfile.TemporaryDirectory() as folder:
        Federation.save(folder, arrays, schedule)
        result = {} if line["missing"] else summary(*run(SYSTEMS[name], Path(folder)), schedule)
    errors = [f"{which} {done}" for done in schedule.reports for which in ("error", "worst")]
    return line | {column: result.get(column) for column in (*COSTS, *errors)}


def summary(began, peak, record, schedule):
    """Numbers of a run; the rounds' time is a median, which the time of testing does not move."""
    done, ends = np.transpose(record["ends"])
    seconds = float(np.median(np.diff(ends) / np.diff(done)))
    sent = record["sent"] / schedule.reports[-1]
    start_up = float(ends[0] - began - done[0] * seconds)
    result = dict(zip(COSTS, (seconds, start_up, peak / 1e6, sent / 1e6), strict=True))
    for report in schedule.reports:
        errors = record["errors"][str(report)]
        result |= {f"error {report}": 100 * float(np.mean(errors)), f"worst {report}": 100 * max(errors)}
    return result


def shown(schedule):
    """Return the columns that the tables show of each split; the file has all."""
    errors = [f"error {done}" for done in schedule.reports]
    return ["system", *COSTS, *errors, f"worst {schedule.reports[-1]}"]


def goals(table, schedule):
    """What was to be reached, as far as the programs that it compares are there."""
    values = {(line["split"], line["system"]): line for line in table}
    last = f"error {schedule.reports[-1]}"
    own = values["one digit each", "exact mean, corrected"][last]
    reached = [Goal("exact mean, corrected, one digit each, last error in %", "at most", DIGIT_GOAL, own)]
    scaffold = values["one digit each", "fluke, SCAFFOLD"][last]
    if scaffold is not None:
        reached.append(Goal("the same, times SCAFFOLD's", "at most", 1, own / scaffold))
    for split in dict.fromkeys(line["split"] for line in table):
        theirs = [values[split, name]["s a round"] for name in SYSTEMS if name not in SKFUSION]
        fastest = min((seconds for seconds in theirs if seconds is not None), default=None)
        if fastest is not None:
            slowest = max(values[split, name]["s a round"] for name in SKFUSION)
            reached.append(
                Goal(f"slowest round of skfusion, {split}, times the fastest other", "at most", 1, slowest / fastest)
            )
    return reached


def main():
    """Run all programs on both splits, one after another."""
    args = parser(__doc__.splitlines()[0]).parse_args()
    schedule, arrays = QUICK if args.quick else SCHEDULE, rows(args.quick)
    table = []
    for split in ["one digit each"] if args.quick else SPLITS:
        owners, lines = SPLITS[split](arrays["y"]), []
        for name in SYSTEMS:
            lines.append(measure(split, name, arrays | {"owners": owners}, schedule))
            if args.out:
                write(args.out, "federated", table + lines, [])
        print_table(split, [{column: line[column] for column in shown(schedule)} for line in lines])
        table += lines
    for name, system in SYSTEMS.items():
        if system.missing:
            print(f"\n{name} was not measured: {system.missing} not installed.")
    reached = goals(table, schedule)
    print_goals(reached)
    if args.out:
        write(args.out, "federated", table, reached)


if __name__ == "__main__":
    main()
