"""The paper's settings and values: networks, how they train, and Table I."""

from dataclasses import dataclass

from skfusion import FusedMLPClassifier
from skfusion.topology import HypercubeTopology, RandomTopology, RingTopology

N_NETWORKS = 8
FUSION_RATE = 0.55
TOPOLOGIES = {
    "ring": RingTopology(),
    "random": RandomTopology(),
    "hypercube": HypercubeTopology(),
    "hypercube, edges once": HypercubeTopology(each_edge_once=True),
}
PAPER_TOPOLOGIES = ("ring", "random", "hypercube")
# One network with all rows, and eight that never fuse: the paper's "min" and "max".
BASELINES = {"all": {"n_networks": 1}, "eighth": {"fusion_rate": 0.0}}
RULES = ("sequential", "simultaneous")


@dataclass(frozen=True)
class Experiment:
    """A data set's network and how long it trains."""

    title: str
    hidden: tuple
    learning_rate: float
    epochs: int
    batch_size: int = 1


# The paper gives the networks, the rates of MNIST and vowel, and 1000 epochs for the sweeps; the rest is chosen here.
EXPERIMENTS = {
    "mnist_784": Experiment("MNIST", (80, 30), 0.01, 60),
    "CIFAR_10": Experiment("CIFAR-10", (3000, 1000), 0.1, 3, batch_size=50),
    "vowel": Experiment("vowel", (50, 20), 0.04, 1000),
    "segment": Experiment("segment", (50, 20), 0.04, 1000),
    "breast-w": Experiment("breast-w", (8,), 0.04, 1000),
    "splice": Experiment("splice", (20,), 0.04, 1000),
    "digits": Experiment("digits", (20,), 0.04, 100),
}

# Error of one network with all data, of one with an eighth, and of eight fused networks with an eighth each.
TABLE_1 = {
    "mnist_784": {"all": 0.0294, "eighth": 0.0666, "ring": 0.0292, "random": 0.0334, "hypercube": 0.0299},
    "CIFAR_10": {"all": 0.691131, "eighth": 0.80082, "ring": 0.718728, "random": 0.706829, "hypercube": 0.69753},
    "vowel": {"all": 0.3752, "eighth": 0.5011, "ring": 0.3557, "random": 0.3687, "hypercube": 0.3752},
    "segment": {"all": 0.0317, "eighth": 0.0981, "ring": 0.0418, "random": 0.0505, "hypercube": 0.0389},
    "breast-w": {"all": 0.00971, "eighth": 0.0291, "ring": 0.00971, "random": 0.00971, "hypercube": 0.0145},
}


def classifier(data, epochs, seed, **params):
    """Return a classifier with the paper's settings, except for ``params``."""
    experiment = EXPERIMENTS[data]
    settings = dict(
        hidden_layer_sizes=experiment.hidden,
        n_networks=N_NETWORKS,
        fusion_rate=FUSION_RATE,
        fusion_rule="sequential",
        activation="tanh",
        loss="squared_error",
        learning_rate_init=experiment.learning_rate,
        batch_size=experiment.batch_size,
        init="shared",
        alpha=0.0,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs,  # so that training never stops early
        random_state=seed,
    )
    return FusedMLPClassifier(**settings | params)
