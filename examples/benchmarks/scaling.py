"""Fits of skfusion against the number of peers on the same rows, the number of threads, and how often peers fuse."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from cases import Case
from engines import Fused, elapsed
from measure import in_turns, peak_memory, ratio
from results import BLUE, LINES, Goal, parser, print_goals, print_table, write
from threadpoolctl import threadpool_limits

from skfusion._training.network import Network

EPOCHS = {"digits": 10, "vowel": 100, "MNIST": 10}  # between the two fits whose difference counts
MANY = 1024
THREADS = [{"n_networks": 8, "n_jobs": n} for n in (1, 2)]


def plan():
    """Return what a full run compares: for each table, cases with a number of rows, and parameters."""
    steps = [v | {"fusion_unit": "step", "fusion_frequency": every} for v in THREADS for every in (100, 10, 2, 1)]
    # In random pairs, so that each peer fuses once a round however many there are.
    numbers = (1, 8, 64), (1, 8, 64, 256, MANY)
    some, many = [[{"n_networks": n, "topology": "random"} for n in counts] for counts in numbers]
    return {
        "peers": [(Case("vowel", 1), 990, some), *((Case("MNIST", size), 60000, many) for size in (1, 32))],
        "threads": [
            *((Case("vowel", size), 990, THREADS) for size in (1, 32)),
            *((Case("MNIST", size), 60000, THREADS) for size in (1, 32, 200)),
        ],
        "steps": [(Case("vowel", 1), 990, [THREADS[0], *steps]), (Case("MNIST", 1), 10000, [THREADS[0], *steps])],
    }


def quick_plan():
    """Return the same on digits, at its smallest."""
    steps = THREADS[1] | {"fusion_unit": "step", "fusion_frequency": 10}
    variants = {"peers": [{"n_networks": 1}, {"n_networks": 8}], "threads": THREADS, "steps": [THREADS[0], steps]}
    return {table: [(Case("digits", 32), 960, parameters)] for table, parameters in variants.items()}


def compare(case, n_rows, variants, seconds):
    """Time fits that differ in some parameters, beside the first of them."""
    X, y = case.load(n_rows)
    n_epochs = EPOCHS[case.network]
    fits = {k: partial(_fit_twice, Fused(X, y, case, **variant), n_epochs) for k, variant in enumerate(variants)}
    with threadpool_limits(1):
        times = in_turns(fits, seconds)
    epoch = [(times[k][:, 1] - times[k][:, 0]) / n_epochs for k in fits]
    fit = [times[k][:, 1] for k in fits]
    return [
        {
            "network": case.network,
            "batch size": case.batch_size,
            "rows": n_rows,
            "peers": variant["n_networks"],
            "n_jobs": variant.get("n_jobs", 1),
            "steps between rounds": variant.get("fusion_frequency"),  # None is an epoch
            "epoch (ms)": 1e3 * float(np.median(epoch[k])),
            "epoch / first": ratio(epoch[k], epoch[0]),
            "epochs": n_epochs + 1,
            "fit (ms)": 1e3 * float(np.median(fit[k])),
            "fit / first": ratio(fit[k], fit[0]),
        }
        for k, variant in enumerate(variants)
    ]


def _fit_twice(engine, n_epochs):
    return elapsed(engine.run, 1), elapsed(engine.run, 1 + n_epochs)


def memory(case, n_networks):
    """Peak memory of a fit with so many peers, beside one with a single peer and the weights alone."""
    one, many = (peak_memory(partial(Fused, n_networks=n), case) / 1e6 for n in (1, n_networks))
    weights = (n_networks - 1) * 4e-6 * Network(case.layer_sizes, "tanh", "softmax").n_parameters
    row = {"network": case.network, "batch size": case.batch_size, "peers": n_networks, "one peer (MB)": one}
    return row | {
        "peers (MB)": many,
        "further weights (MB)": weights,
        "further memory / weights": (many - one) / weights,
    }


def copies(case, n_networks, seconds):
    """Time to copy the weights of so many peers, to memory that is new to the process and to the same again."""
    n_parameters = Network(case.layer_sizes, "tanh", "softmax").n_parameters
    weights = np.ones((n_networks, n_parameters), np.float32)
    times = np.median(in_turns({"copy": partial(_copy_twice, weights)}, seconds)["copy"], axis=0)
    row = {"network": case.network, "peers": n_networks, "weights (MB)": weights.nbytes / 1e6}
    return row | {
        f"copy to {where} (ms)": 1e3 * time for where, time in zip(("new memory", "used memory"), times, strict=True)
    }


def _copy_twice(weights):
    new = np.empty_like(weights)
    return elapsed(np.copyto, new, weights), elapsed(np.copyto, new, weights)


def goals(tables):
    """Return the goals that apply."""
    goals = []
    for row in tables["peers"]:
        for limit in [limit for n, limit in ((8, 1.15), (MANY, 1.3)) if n == row["peers"]]:
            goals += _goals(row, f"{row['peers']} peers / one network", "at most", limit, 1)
    for row in tables["threads"]:
        if row["n_jobs"] == 2:
            goal = 1.85 if row["network"] == "MNIST" else 0.97
            goals += _goals(row, "one thread / two threads", "at least", goal, -1)
    what = "memory of further peers / their weights"
    return goals + [Goal(what, "at most", 1.05, row["further memory / weights"]) for row in tables["memory"]]


def _goals(row, what, sense, goal, power):
    name = f"{row['network']}, batch size {row['batch size']}"
    return [Goal(f"{name}, {of}: {what}", sense, goal, row[f"{of} / first"] ** power) for of in ("epoch", "fit")]


def figure(tables):
    """Draw time against peers, speed on two threads, and time against steps between rounds."""
    figure, (peers, threads, steps) = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    _draw(peers, tables["peers"], "peers", "{network}, batch size {batch size}")
    peers.set(xscale="log", xlabel="peers", ylabel="time / one network's", ylim=(0, None))
    peers.set_xticks([1, 8, 64, MANY], ["1", "8", "64", str(MANY)])
    two = [row for row in tables["threads"] if row["n_jobs"] == 2]
    names = ["{network}\n{batch size}".format_map(row) for row in two]
    threads.bar(names, [1 / row["epoch / first"] for row in two], color=BLUE)
    threads.tick_params(axis="x", labelsize="small")
    threads.set(xlabel="network and batch size", ylabel="speed of two threads / one's")
    each_step = [row for row in tables["steps"] if row["steps between rounds"]]
    _draw(steps, each_step, "steps between rounds", "{network}, n_jobs {n_jobs}")
    steps.set(xscale="log", xlabel="steps between rounds", ylabel="time / with a round an epoch", ylim=(0, None))
    steps.set_xticks([1, 2, 10, 100], ["1", "2", "10", "100"])
    return figure


def _draw(panel, rows, x, label):
    names = [label.format_map(row) for row in rows]
    for name, line in zip(dict.fromkeys(names), LINES, strict=False):
        here = [row for row, other in zip(rows, names, strict=True) if other == name]
        panel.plot([row[x] for row in here], [row["epoch / first"] for row in here], markersize=4, label=name, **line)
    panel.legend(fontsize="small")
    panel.grid(alpha=0.3)


def main():
    options = parser(__doc__).parse_args()
    groups, seconds, many = (quick_plan(), 0.2, 8) if options.quick else (plan(), 10, MANY)
    tables = {"memory": [memory(Case("digits" if options.quick else "MNIST rotated", 200), many)]}
    tables["copies"] = [copies(Case("digits" if options.quick else "MNIST", 1), many, seconds / 5)]
    for table, comparisons in groups.items():
        tables[table] = [row for comparison in comparisons for row in compare(*comparison, seconds)]
    for table, rows in tables.items():
        print_table(table.capitalize(), rows)
    print_goals(goals(tables))
    if options.out:
        write(options.out, "scaling", tables, goals(tables), figure(tables))


if __name__ == "__main__":
    main()
