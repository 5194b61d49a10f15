"""When a cluster pays: a round's work against the weights that it moves, on two processes of this machine.

    python examples/benchmarks/cluster.py [--quick] [--out docs/benchmarks]

Eight peers train on synthetic rows, with one thread, and with two single-threaded workers of a dask cluster on the
loopback interface.  From both the time that a visit costs beside its work is measured, and a round projected to more
machines: it takes the work of the largest bundle of peers, and as much overhead for each bundle as was measured here.
"""

import time
import warnings

import joblib
import numpy as np
import results
from dask.distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from skfusion import FusedMLPClassifier

N_PEERS = 8
N_FEATURES = 100
MACHINES = (2, 8, 64)


def rows(n_rows):
    """Make rows of ten classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    return X, rng.integers(10, size=n_rows)


def train(X, y, n_rounds, hidden):
    """Return a round's median seconds, without the first, which sends the rows, and the weights it all comes to."""
    model = FusedMLPClassifier(
        hidden, n_networks=N_PEERS, max_iter=n_rounds + 1, n_iter_no_change=np.inf, random_state=0
    )
    model.fit(X, y)
    return float(np.median([record["seconds"] for record in model.history_[1:]])), model.weights_


def measure(n_rows, hidden, n_rounds):
    """Rounds of one size, here and on the cluster."""
    X, y = rows(n_rows)
    here, weights = train(X, y, n_rounds, hidden)
    with joblib.parallel_config(backend="dask"):
        there, remote_weights = train(X, y, n_rounds, hidden)
    np.testing.assert_array_equal(weights, remote_weights)
    row = {
        "rows": n_rows,
        "parameters": weights.shape[1],
        "rows MB": X.nbytes / 1e6,
        "moved in a round MB": 2 * weights.nbytes / 1e6,
        "one thread, ms": 1e3 * here,
        "two workers, ms": 1e3 * there,
        "speed-up": here / there,
    }
    overhead = max(there - here / 2, 0) / 2
    for n_machines in MACHINES:
        shares = min(n_machines, N_PEERS)
        row[f"projected on {n_machines}"] = here / (here / shares + overhead * shares)
    return row


def main():
    """Measure rounds of growing work."""
    args = results.parser(__doc__.splitlines()[0]).parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    sizes = [(2_000, (20,))] if args.quick else [(n, h) for h in ((50,), (500, 200)) for n in (4_000, 40_000, 400_000)]
    options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1")
    with LocalCluster(**options) as cluster, Client(cluster):
        began = time.perf_counter()
        table = [measure(*size, n_rounds=3 if args.quick else 5) for size in sizes]
    results.print_table(f"{N_PEERS} peers, one round an epoch ({time.perf_counter() - began:.0f} s)", table)
    if args.out:
        results.write(args.out, "cluster", table, [])


if __name__ == "__main__":
    main()
