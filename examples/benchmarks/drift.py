"""What drift correction and fusion momentum cost: a step that adds a drift to its gradient, beside a plain step.

Both are steps of the same network on the same rows, in turns on one thread: on MNIST, whose rows are sparse, and on its
rotated rows, which are dense.
"""

from types import SimpleNamespace

import numpy as np
from cases import ALPHA, NETWORKS, Case
from engines import elapsed
from measure import in_turns, ratio
from results import Goal, parser, print_goals, print_table, write
from threadpoolctl import threadpool_limits

from skfusion import _kernels
from skfusion._training.network import Network
from skfusion._training.peers import aligned
from skfusion._training.sparsify import sparsified

CASES = [Case(network, size) for network in ("MNIST", "MNIST rotated") for size in (1, 32, 64)]
QUICK_CASES = [Case("digits", 1), Case("digits", 32)]
N_ROWS = 5000
DRIFT, CORRECTED = 1e-3, "with a drift / plain"


def trainer(case, X, y, offset, drift):
    """Return a trainer of one network on all rows by plain SGD."""
    network = Network(case.layer_sizes, "tanh", "softmax")
    rng, n_rows = np.random.default_rng(0), len(y)
    optimizer = SimpleNamespace(solver="sgd", momentum=0.0, nesterovs_momentum=False, l1=0.0, l2=ALPHA)
    optimizer.beta_1, optimizer.beta_2, optimizer.epsilon = 0.9, 0.999, 1e-8
    state = SimpleNamespace(weights=aligned(network.initial_weights(rng, X.dtype)[None]), first_moments=None)
    state.second_moments, state.n_steps, state.losses = None, np.zeros(1, np.int64), np.zeros(1)
    state.learning_rates = np.full(1, 0.01)
    plan = SimpleNamespace(peers=np.zeros(1, np.int64), ends=np.array([0, n_rows]))
    plan.rows, plan.batch_sizes = rng.permutation(n_rows).astype(np.int32), np.array([case.batch_size])
    options = {"offset": offset, "buffer_rows": case.batch_size}
    if drift:
        options["drift"] = aligned(rng.normal(scale=drift, size=state.weights.shape).astype(X.dtype))
    return _kernels.Trainer(network, X, y.astype(np.int32), None, optimizer, state, plan, **options)


def row(case, seconds):
    """Measure a case."""
    X, y = case.load(N_ROWS)
    X, offset = sparsified(X, [np.arange(len(y))])
    trainers = {"plain": trainer(case, X, y, offset, None), "drift": trainer(case, X, y, offset, DRIFT)}
    measures = {name: lambda one=one: elapsed(one.train, 0, len(y)) / len(y) for name, one in trainers.items()}
    with threadpool_limits(1):
        times = in_turns(measures, seconds)
    return {
        "network": case.network,
        "units": NETWORKS[case.network].title,
        "rows": "dense" if isinstance(X, np.ndarray) else "sparse",
        "batch size": case.batch_size,
        "plain (µs per row)": 1e6 * float(np.median(times["plain"])),
        "with a drift (µs per row)": 1e6 * float(np.median(times["drift"])),
        CORRECTED: ratio(times["drift"], times["plain"]),
    }


def goals(rows):
    """Return the goal for each case."""
    return [
        Goal(f"{row['network']}, batch size {row['batch size']}: {CORRECTED}", "at most", 1.6, row[CORRECTED])
        for row in rows
    ]


def main():
    options = parser(__doc__).parse_args()
    cases, seconds = (QUICK_CASES, 0.1) if options.quick else (CASES, 5)
    rows = [row(case, seconds) for case in cases]
    print_table("Optimiser steps, float32, one thread", rows)
    print_goals(goals(rows))
    if options.out:
        write(options.out, "drift", rows, goals(rows))


if __name__ == "__main__":
    main()
