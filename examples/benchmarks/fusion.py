"""Fusion rounds per second, against the number of networks and of their weights, beside a copy of the same weights.

A round touches the weights of each pair.  A copy of the same weights copies all networks for random pairs, and twice as
many for the ring; where all networks mix at once, it copies all networks.  A round of networks with a single weight
shows what the call costs, which makes pairs or shares in Python and checks them: no round takes less.
"""

import matplotlib.pyplot as plt
import numpy as np
from cases import NETWORKS
from engines import elapsed
from measure import in_turns, ratio
from results import LINES, Goal, parser, print_goals, print_table, write

from skfusion._training.network import Network
from skfusion.topology import AverageTopology, HypercubeTopology, RandomTopology, RingTopology

TOPOLOGIES = {
    "random": RandomTopology(),
    "ring": RingTopology(),
    "hypercube": HypercubeTopology(),
    "average": AverageTopology(),
    "ring, metropolis": RingTopology("metropolis"),
}
ONE_COPY = ("random", "average")  # whose rounds are to take little more than a copy of all networks
NUMBERS = {"vowel": (2, 8, 64, 1024), "MNIST": (2, 8, 64, 1024), "CIFAR": (2, 8)}
QUICK_NUMBERS = {"digits": (2, 8)}
FUSION_RATE = 0.55


class Round:
    """A fusion round of networks of one shape, and a copy of them, each repeated until it has moved ``n_bytes``."""

    def __init__(self, weights, topology, n_bytes):
        self.weights, self.topology, self.copy = weights, topology, np.empty_like(weights)
        self.times = min(1000, max(1, n_bytes // weights.nbytes))

    def fuse(self):
        """Seconds for a round, including the time to make pairs or shares."""
        return elapsed(self._repeat, self.topology.fuse, self.weights, FUSION_RATE) / self.times

    def copy_all(self):
        """Seconds for a copy of all networks."""
        return elapsed(self._repeat, np.copyto, self.copy, self.weights) / self.times

    def _repeat(self, function, *args):
        for _ in range(self.times):
            function(*args)


def touched(topology, n_networks):
    """How many networks a round reads and writes, each counted as often as it is fused."""
    at_once = topology.matrix(n_networks) is not None
    return n_networks if at_once else 2 * len(topology.pairs(n_networks))


def row(network, n_networks, topology, seconds, n_bytes):
    """Measure one topology, in repetitions that each move ``n_bytes`` of weights."""
    shape = NETWORKS[network]
    n_weights = Network(shape.layer_sizes, "tanh", "softmax").n_parameters
    weights = np.random.default_rng(0).random((n_networks, n_weights), np.float32)
    fusion, call = (Round(some, TOPOLOGIES[topology], n_bytes) for some in (weights, weights[:, :1].copy()))
    fusion.fuse(), fusion.copy_all()
    times = in_turns({"round": fusion.fuse, "copy": fusion.copy_all, "call": call.fuse}, seconds)
    n_touched = touched(fusion.topology, n_networks)
    copied = times["copy"] * n_touched / n_networks
    return {
        "network": network,
        "weights": n_weights,
        "networks": n_networks,
        "topology": topology,
        "touched": n_touched,
        "rounds a second": float(1 / np.median(times["round"])),
        "call / round": ratio(times["call"], times["round"]),
        "copies a second": float(1 / np.median(copied)),
        "round / copy": ratio(times["round"], copied),
    }


def goals(rows):
    """Return the goal for each round of random pairs and of an average."""
    return [
        Goal(
            f"{row['network']}, {row['networks']} networks, {row['topology']}: round / copy",
            "at most",
            1.5,
            row["round / copy"],
        )
        for row in rows
        if row["topology"] in ONE_COPY
    ]


def figure(rows):
    """Draw rounds a second against the number of networks, a panel for each topology."""
    figure, axes = plt.subplots(1, len(TOPOLOGIES), figsize=(12, 3.2), sharey=True, layout="constrained")
    for panel, topology in zip(axes, TOPOLOGIES, strict=True):
        for network, line in zip(dict.fromkeys(row["network"] for row in rows), LINES, strict=False):
            here = [row for row in rows if (row["topology"], row["network"]) == (topology, network)]
            n_networks, style = [row["networks"] for row in here], line | {"linestyle": "-", "markersize": 4}
            label = f"{network}, {here[0]['weights']:,} weights"
            panel.plot(n_networks, [row["rounds a second"] for row in here], label=label, **style)
            copies = [row["copies a second"] for row in here]
            panel.plot(n_networks, copies, label="copy of the same", **style | {"linestyle": ":", "mfc": "none"})
        panel.set(xscale="log", yscale="log", title=topology, xlabel="networks")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("rounds a second")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def main():
    options = parser(__doc__).parse_args()
    numbers, *size = (QUICK_NUMBERS, 0.05, 2_000) if options.quick else (NUMBERS, 3, 20_000_000)
    shapes = [(network, n) for network in numbers for n in numbers[network]]
    rows = [row(*shape, topology, *size) for shape in shapes for topology in TOPOLOGIES]
    print_table("Rounds of fusion, float32, one thread", rows)
    print_goals(goals(rows))
    if options.out:
        write(options.out, "fusion", rows, goals(rows), figure(rows))


if __name__ == "__main__":
    main()
