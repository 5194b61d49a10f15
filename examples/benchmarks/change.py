"""How fast this tree trains beside another commit of it: `python change.py main`.

The other commit is built in a temporary folder. Both train the same rows, each in a process of its own on one thread,
in turns, and so in one run; the ratio of what the turns took is printed. Needs what `pip install --no-build-isolation`
needs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from cases import Case
from engines import Fused
from measure import in_turns, ratio
from results import print_table
from summary import GOALS
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).parents[2]
QUICK = (("digits", 1), ("digits", 32))


class Trainer:
    """A process that imports skfusion from a folder and trains when it is told to."""

    def __init__(self, folder, settings, seconds):
        command = [sys.executable, __file__, "--serve", str(seconds), *(f"{name}:{size}" for name, size in settings)]
        environment = os.environ | {"PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()

    def seconds_per_row(self, number):
        """Time of training on a row in the case of that number, once more."""
        print(number, file=self.process.stdin, flush=True)
        if not (answer := self.process.stdout.readline()):
            raise SystemExit(f"{' '.join(self.process.args)} ended")
        return float(answer)


def serve(cases, seconds):
    """Train in the cases whose numbers are read, and print how long a row takes."""
    engines = [Fused(*case.load(), case) for case in cases]
    with threadpool_limits(1):
        for engine in engines:
            engine.calibrate(seconds / 50)
        for line in sys.stdin:
            print(engines[int(line)].seconds_per_row(), flush=True)


def build(commit, folder):
    """Write that commit's files to a folder, and compile the core there."""
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    setup = [
        sys.executable,
        "-c",
        "import setuptools; setuptools.setup()",
        "--quiet",
        "egg_info",
        "build_ext",
        "--inplace",
    ]
    built = subprocess.run(setup, cwd=folder, capture_output=True, text=True, check=False)
    if built.returncode:
        raise SystemExit(f"{commit} does not build:\n{built.stderr}")


def compare(commit, settings, seconds):
    """Return a row of the table for each setting."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        build(commit, folder)
        with Trainer(ROOT, settings, seconds) as change, Trainer(folder, settings, seconds) as base:
            for number, (network, batch_size) in enumerate(settings):
                trainers = {"change": change, "base": base}
                measures = {name: partial(trainer.seconds_per_row, number) for name, trainer in trainers.items()}
                times = in_turns(measures, seconds)
                medians = {f"{name} (µs per row)": 1e6 * float(np.median(took)) for name, took in times.items()}
                both = {"change / base": ratio(times["change"], times["base"])}
                rows.append({"network": network, "batch size": batch_size} | medians | both)
    return rows


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("base", nargs="?", default="main", help="the other commit, main by default")
    options.add_argument("--quick", action="store_true", help="some seconds on digits, without a download")
    options.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.serve:
        seconds, *names = options.serve
        serve([Case(network, int(size)) for network, size in (name.split(":") for name in names)], float(seconds))
        return
    settings, seconds = (QUICK, 3) if options.quick else (tuple(GOALS), 15)
    rows = compare(options.base, settings, seconds)
    print_table(f"Training by this tree and by {options.base}, float32, one thread", rows)


if __name__ == "__main__":
    main()
