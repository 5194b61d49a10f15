"""How much faster an epoch of skfusion is than MLPClassifier's, and what eight peers cost beside one network.

All train on the same rows (MLPClassifier on 1000 batches of them at most), on one thread, in turns; peers fuse once an
epoch.
"""

import numpy as np
from cases import NETWORKS, Case
from engines import EightPeers, Fused, ScikitLearn
from measure import ratio, seconds_per_row
from results import Goal, parser, print_goals, print_table, write

GOALS = {("vowel", 1): 80, ("MNIST", 1): 50, ("MNIST", 32): 4, ("MNIST", 200): 2}
FASTER, PEERS = "MLPClassifier / one network", "eight peers / one network"


def row(case, *duration):
    """Measure a case."""
    X, y = case.load()
    times = seconds_per_row([make(X, y, case) for make in (Fused, EightPeers, ScikitLearn)], *duration)
    one, eight, other = (times[make.name] for make in (Fused, EightPeers, ScikitLearn))
    return {
        "network": case.network,
        "units": NETWORKS[case.network].title,
        "batch size": case.batch_size,
        "rows": len(y),
        "one network (µs per row)": 1e6 * float(np.median(one)),
        "MLPClassifier (µs per row)": 1e6 * float(np.median(other)),
        FASTER: ratio(other, one),
        PEERS: ratio(eight, one),
    }


def goals(rows):
    """Return the goals that apply."""
    goals = []
    for row in rows:
        name = f"{row['network']}, batch size {row['batch size']}"
        if (row["network"], row["batch size"]) in GOALS:
            goals.append(Goal(f"{name}: {FASTER}", "at least", GOALS[row["network"], row["batch size"]], row[FASTER]))
        goals.append(Goal(f"{name}: {PEERS}", "at most", 1.15, row[PEERS]))
    return goals


def main():
    options = parser(__doc__).parse_args()
    cases, duration = (
        ([Case("digits", 32)], (0.2, 1)) if options.quick else ([Case(*setting) for setting in GOALS], (15, 5))
    )
    rows = [row(case, *duration) for case in cases]
    print_table("Training, float32, one thread", rows)
    print_goals(goals(rows))
    if options.out:
        write(options.out, "summary", rows, goals(rows))


if __name__ == "__main__":
    main()
