"""What the benchmarks train: networks, their data, and how they are trained."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.preprocessing import scale

sys.path.insert(0, str(Path(__file__).parents[1]))
import datasets

load_arrays = cache(datasets.load_arrays)
ALPHA = 1e-4
SOLVERS = {
    "SGD": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.01},
    "momentum": {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.01},
    "Adam": {"solver": "adam", "learning_rate_init": 0.001},
}


def digits(n_rows):
    """scikit-learn's digits, which need no download; for quick runs."""
    X, y = load_digits(return_X_y=True)
    return X[:n_rows] / 16, y[:n_rows]


def vowel(n_rows):
    """The ten measured features of vowel, standardised."""
    X, y = load_arrays("vowel", "float64", n_rows)
    return scale(X), y


def mnist(n_rows):
    """MNIST from 0 to 1; four values in five are 0."""
    X, y = load_arrays("mnist_784", "float32", n_rows)
    return X / np.float32(255), y


def mnist_standardised(n_rows):
    """MNIST with mean 0 and variance 1 over all pixels; no value is 0, but four in five are the same."""
    X, y = mnist(n_rows)
    return (X - X.mean()) / X.std(), y


def mnist_rotated(n_rows):
    """MNIST in the coordinates of a random rotation, as after a PCA; no value is 0, and none is frequent."""
    X, y = mnist(n_rows)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(X.shape[1], X.shape[1])))
    return X @ rotation.astype(X.dtype), y


def cifar(n_rows):
    """CIFAR-10 from -1 to 1."""
    X, y = load_arrays("CIFAR_10", "float32", n_rows)
    return X / np.float32(127.5) - 1, y


@dataclass(frozen=True)
class Network:
    """Units of each layer, the data, and for each batch size how many rows of them (whole batches) make an epoch."""

    layer_sizes: tuple
    load: object
    n_rows: dict

    @property
    def title(self):
        """The numbers of units, as 10-50-20-11."""
        return "-".join(map(str, self.layer_sizes))


NETWORKS = {
    "digits": Network((64, 30, 10), digits, {1: 200, 32: 960, 200: 1600}),
    "vowel": Network((10, 50, 20, 11), vowel, {1: 990, 32: 960, 200: 800}),
    "MNIST": Network((784, 80, 30, 10), mnist, {1: 20000, 32: 20000, 200: 20000}),
    "MNIST standardised": Network((784, 80, 30, 10), mnist_standardised, {1: 20000, 32: 20000, 200: 20000}),
    "MNIST rotated": Network((784, 80, 30, 10), mnist_rotated, {1: 20000, 32: 20000, 200: 20000}),
    "CIFAR": Network((3072, 3000, 1000, 10), cifar, {1: 32, 32: 512, 200: 2000}),
}


@dataclass(frozen=True)
class Case:
    """A network and how it is trained."""

    network: str
    batch_size: int
    solver: str = "SGD"
    dtype: str = "float32"
    sparse: bool = False

    @property
    def layer_sizes(self):
        """Units of each layer, inputs and outputs included."""
        return NETWORKS[self.network].layer_sizes

    def load(self, n_rows=None):
        """Return the rows to train on and their labels; without ``n_rows`` those of the network."""
        network = NETWORKS[self.network]
        X, y = network.load(n_rows or network.n_rows[self.batch_size])
        X = X.astype(self.dtype, copy=False)
        return (csr_array(X) if self.sparse else X), y

    def parameters(self, epochs):
        """Parameters that FusedMLPClassifier and MLPClassifier share, to train for so many epochs."""
        network = {"hidden_layer_sizes": self.layer_sizes[1:-1], "activation": "tanh", "alpha": ALPHA}
        length = {"max_iter": epochs, "n_iter_no_change": epochs, "tol": 0.0}
        return network | length | {"batch_size": self.batch_size, "random_state": 0} | SOLVERS[self.solver]
