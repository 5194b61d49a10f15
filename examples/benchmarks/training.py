"""Time of training on a row, and peak memory: skfusion, MLPClassifier, PyTorch, and the limit, in turns on one thread.

The limit is the time of the bare matrix products of the same shapes in BLAS or, at batch size 1, of reading and
writing each touched weight once.  MLPClassifier and PyTorch train on 1000 batches of the rows at most.

All cases take about an hour.  Results are written after each.
"""

import matplotlib.pyplot as plt
import numpy as np
from cases import NETWORKS, Case
from engines import HAS_TORCH, limit, trainers
from measure import peak_memory, ratio, seconds_per_row
from results import STYLES, Goal, parser, print_goals, print_table, write

BATCH_SIZES = (1, 32, 200)
SGD_GOALS = {
    ("vowel", 1): {"MLPClassifier": 150, "PyTorch": 150},
    ("MNIST", 1): {"MLPClassifier": 90, "PyTorch": 50},
    ("MNIST", 32): {"MLPClassifier": 6, "PyTorch": 4},
    ("MNIST", 200): {"MLPClassifier": 2.2, "PyTorch": 1.8, "limit": 0.7},
    ("MNIST rotated", 200): {"limit": 0.7},
    ("CIFAR", 200): {"limit": 0.9},
}


def all_cases():
    """Return the cases of a full run."""
    cases = []
    for network in ("vowel", "MNIST", "MNIST standardised", "MNIST rotated", "CIFAR"):
        cases += [Case(network, size) for size in BATCH_SIZES]
    for network in ("vowel", "MNIST", "CIFAR"):
        cases += [Case(network, size, solver) for solver in ("momentum", "Adam") for size in BATCH_SIZES]
        cases += [Case(network, size, dtype="float64") for size in (1, 200)]
    return cases + [Case("MNIST", size, sparse=True) for size in BATCH_SIZES]


def quick_cases():
    """Return a few on digits."""
    return [Case("digits", 200), Case("digits", 32, "Adam"), Case("digits", 32, sparse=True)]


def describe(case):
    """Return the first columns of a case's row."""
    return {
        "network": case.network,
        "units": NETWORKS[case.network].title,
        "batch size": case.batch_size,
        "solver": case.solver,
        "dtype": case.dtype,
        "input": "CSR" if case.sparse else "dense",
    }


def time_row(case, *duration):
    """Measure a case's times."""
    X, y = case.load()
    times = seconds_per_row([make(X, y, case) for make in (*trainers(case), limit(case))], *duration)
    row = describe(case) | {"rows": len(y), "repetitions": len(times["skfusion"])}
    row |= {f"{name} (µs)": 1e6 * float(np.median(times[name])) if name in times else None for name in STYLES}
    for name in STYLES:
        if name != "skfusion":
            row[f"{name} / skfusion"] = ratio(times[name], times["skfusion"]) if name in times else None
    return row


def in_memory_table(case):
    """Whether to measure a case's memory too."""
    return case in [Case(case.network, 200), Case(case.network, 200, "Adam")]


def memory_row(case):
    """Measure a case's peak memory."""
    row = describe(case) | {"rows": NETWORKS[case.network].n_rows[case.batch_size]}
    return row | {f"{make.name} (MB)": peak_memory(make, case) / 1e6 for make in trainers(case)}


def goals(rows):
    """Return the goals that apply to the rows."""
    goals = []
    for row in rows:
        if (row["dtype"], row["input"]) != ("float32", "dense"):
            continue
        case = row["network"], row["batch size"]
        others = {"MLPClassifier": 20 if case == ("vowel", 1) else 2}
        for name, goal in (SGD_GOALS.get(case, {}) if row["solver"] == "SGD" else others).items():
            if f"{name} / skfusion" in row:
                what = f"{case[0]}, batch size {case[1]}, {row['solver']}: {name} / skfusion"
                goals.append(Goal(what, "at least", goal, row[f"{name} / skfusion"]))
    return goals


def figure(rows):
    """Draw time against batch size, a panel for each solver and each network that trained with all of them."""
    rows = [row for row in rows if (row["dtype"], row["input"]) == ("float32", "dense")]
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows if row["solver"] == solvers[-1]))
    size = (2.6 * len(networks) + 0.6, 2 * len(solvers) + 0.8)
    figure, axes = plt.subplots(*map(len, (solvers, networks)), figsize=size, squeeze=False, layout="constrained")
    for (i, j), panel in np.ndenumerate(axes):
        here = [row for row in rows if (row["solver"], row["network"]) == (solvers[i], networks[j])]
        for name, style in STYLES.items():
            times = [np.nan if row[f"{name} (µs)"] is None else row[f"{name} (µs)"] for row in here]
            panel.plot([str(row["batch size"]) for row in here], times, label=name, markersize=4, **style)
        panel.set(yscale="log", title=f"{networks[j]}, {solvers[i]}")
        panel.grid(alpha=0.3)
    figure.supxlabel("batch size")
    figure.supylabel("time per row (µs)")
    handles_labels, n_columns = axes[0, 0].get_legend_handles_labels(), min(4, 2 * len(networks))
    figure.legend(*handles_labels, loc="outside upper center", ncols=n_columns, frameon=False)
    return figure


def main():
    options = parser(__doc__).parse_args()
    if not HAS_TORCH:
        print("PyTorch is not installed and is left out.")
    cases, duration = (quick_cases(), (0.1, 1)) if options.quick else (all_cases(), (3, 5))
    memory = [memory_row(case) for case in cases if in_memory_table(case)]
    print_table("Peak memory of training, above data and imports", memory)
    times = []
    for case in cases:
        times.append(time_row(case, *duration))
        print(f"{len(times)} of {len(cases)}: {case}", flush=True)
        if options.out:
            write(options.out, "training", {"time": times, "memory": memory}, goals(times))
    print_table("Time of training on a row", times)
    print_goals(goals(times))
    if options.out:
        write(options.out, "training", {"time": times, "memory": memory}, goals(times), figure(times))


if __name__ == "__main__":
    main()
