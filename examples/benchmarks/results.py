"""How the benchmarks report: tables, goals, JSON with the machine's description, figures."""

import argparse
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from threadpoolctl import threadpool_info

PACKAGES = ("skfusion", "numpy", "scipy", "scikit-learn", "joblib", "torch", "flwr", "ray", "fluke-fl", "nvflare")
# Of Okabe and Ito, which the colour-blind tell apart; lines differ by marker and dashes as well, for prints in grey.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
LINES = [
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": VERMILION, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": "-."},
    {"color": ORANGE, "marker": "D", "linestyle": ":"},
]
STYLES = dict(zip(("skfusion", "MLPClassifier", "PyTorch"), LINES, strict=False))
STYLES["limit"] = {"color": "0.5", "marker": "x", "linestyle": ":"}


@dataclass
class Goal:
    """A number to reach: ``sense`` is "at least" or "at most"."""

    what: str
    sense: str
    goal: float
    measured: float

    @property
    def met(self):
        """Whether the measured number reaches it."""
        return self.measured >= self.goal if self.sense == "at least" else self.measured <= self.goal


def missing(modules):
    """Return the names of those modules that are not installed, with commas."""
    return ", ".join(module for module in modules if find_spec(module) is None)


def parser(description):
    """Return a parser of the options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="some seconds on digits, without a download")
    options.add_argument("--out", type=Path, metavar="FOLDER", help="write results there as JSON, and a figure")
    return options


def print_table(title, rows):
    """Print dicts with the same keys as a Markdown table; numbers get three digits."""
    print(f"\n{title}\n")
    texts = [[text(value) for value in row.values()] for row in rows]
    header = list(rows[0])
    widths = [max(len(text) for text in column) for column in zip(header, *texts, strict=True)]
    for line in (header, ["-" * width for width in widths], *texts):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |", flush=True)


def print_goals(goals):
    """Print goals beside what was measured."""
    rows = [
        {"goal": goal.what, "": f"{goal.sense} {goal.goal:g}", "measured": goal.measured, "met": goal.met}
        for goal in goals
    ]
    print_table("Goals", rows)


def text(value):
    """Write a value as tables do: numbers with three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def write(folder, name, rows, goals, figure=None):
    """Write a benchmark's results as name.json, and its figure as name.png."""
    folder.mkdir(parents=True, exist_ok=True)
    goals = [asdict(goal) | {"met": goal.met} for goal in goals]
    content = {"benchmark": name, "date": str(date.today()), "machine": machine(), "goals": goals, "results": rows}
    Path(folder, f"{name}.json").write_text(json.dumps(_rounded(content), indent=1) + "\n")
    if figure is not None:
        figure.savefig(Path(folder, f"{name}.png"), dpi=200)


def machine():
    """Describe this machine, how busy it was in the last five minutes, and the versions in use."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[1],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": sorted({f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')})" for pool in _blas()}),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _blas():
    return [pool for pool in threadpool_info() if pool["user_api"] == "blas"]


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
