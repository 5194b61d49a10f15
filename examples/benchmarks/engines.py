"""What trains: skfusion, scikit-learn, PyTorch, and the least that any of them must do."""

import math
import time
import warnings
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
from cases import ALPHA, SOLVERS
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skfusion import FusedMLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all train for a given number of epochs
MOST_BATCHES = 1000
HAS_TORCH = find_spec("torch") is not None


def elapsed(function, *args):
    """Seconds that a call takes."""
    began = time.perf_counter()
    function(*args)
    return time.perf_counter() - began


class Engine:
    """Something that trains; a subclass has ``run(epochs)``.

    Parameters
    ----------
    X : {ndarray, csr_array} of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,)
    case : Case
    """

    def __init__(self, X, y, case):
        self.X, self.y, self.case = X, y, case
        self.epochs = 1

    def calibrate(self, seconds):
        """Warm up, and choose how many epochs to time: the given time, and ten times as long as all else in a fit."""
        self.run(1)
        once, missing = elapsed(self.run, 1), 1
        while missing >= 1:
            self.epochs *= min(16, math.ceil(missing))
            epoch = self.seconds_per_row() * len(self.y)
            missing = max(seconds, 10 * (once - epoch)) / max(self.epochs * epoch, 1e-9)

    def seconds_per_row(self):
        """Time of training on a row once more: what ``epochs`` further epochs add to a run of one."""
        return (elapsed(self.run, 1 + self.epochs) - elapsed(self.run, 1)) / (self.epochs * len(self.y))


class Fused(Engine):
    """FusedMLPClassifier: one network, unless further parameters say otherwise."""

    name = "skfusion"

    def __init__(self, X, y, case, **parameters):
        super().__init__(X, y, case)
        self.parameters = {"n_networks": 1} | parameters

    def run(self, epochs):
        """Fit for so many epochs."""
        FusedMLPClassifier(**self.case.parameters(epochs), **self.parameters).fit(self.X, self.y)


class EightPeers(Fused):
    """FusedMLPClassifier: eight peers on the same rows, which fuse once an epoch."""

    name = "eight peers"

    def __init__(self, X, y, case):
        super().__init__(X, y, case, n_networks=8)


class PythonLoop(Engine):
    """An engine so slow on small batches that an epoch is at most MOST_BATCHES of them, the first of the rows."""

    def __init__(self, X, y, case):
        n_rows = MOST_BATCHES * case.batch_size
        super().__init__(X[:n_rows], y[:n_rows], case)


class ScikitLearn(PythonLoop):
    """MLPClassifier."""

    name = "MLPClassifier"

    def run(self, epochs):
        """Fit for so many epochs."""
        MLPClassifier(**self.case.parameters(epochs)).fit(self.X, self.y)


class PyTorch(PythonLoop):
    """A plain loop in PyTorch."""

    name = "PyTorch"

    def __init__(self, X, y, case):
        super().__init__(X, y, case)
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.inputs, self.targets = torch.from_numpy(self.X), torch.from_numpy(self.y)

    def run(self, epochs):
        """Train a new network for so many epochs."""
        model = self._model()
        optimizer = self._optimizer(model.parameters())
        loss_function = self.torch.nn.CrossEntropyLoss()
        for _ in range(epochs):
            for rows in self.torch.randperm(len(self.targets)).split(self.case.batch_size):
                optimizer.zero_grad()
                loss_function(model(self.inputs[rows]), self.targets[rows]).backward()
                optimizer.step()

    def _model(self):
        layers = []
        for fan_in, fan_out in pairwise(self.case.layer_sizes):
            layers += [self.torch.nn.Linear(fan_in, fan_out, dtype=self.inputs.dtype), self.torch.nn.Tanh()]
        return self.torch.nn.Sequential(*layers[:-1])

    def _optimizer(self, parameters):
        settings, decay = SOLVERS[self.case.solver], ALPHA / self.case.batch_size
        rate, momentum = settings["learning_rate_init"], settings.get("momentum", 0)
        if settings["solver"] == "adam":
            return self.torch.optim.Adam(parameters, rate, weight_decay=decay)
        return self.torch.optim.SGD(parameters, rate, momentum, weight_decay=decay, nesterov=momentum > 0)


class MatrixProducts(Engine):
    """The limit for batches: the matrix products of a training step in BLAS, and nothing else.

    ``numpy.matmul`` calls BLAS for one matrix of a stack after another without returning to Python in between;
    stacks are no higher than stays in cache.
    """

    name = "limit"

    def __init__(self, X, y, case):
        super().__init__(X, y, case)
        rng, size = np.random.default_rng(0), case.batch_size
        self.products = []
        for layer, (fan_in, fan_out) in enumerate(pairwise(case.layer_sizes)):
            shapes = [(fan_in, fan_out), (size, fan_in), (size, fan_out)]
            height = max(1, 2**15 // max(rows * columns for rows, columns in shapes))
            coefs, inputs, delta, gradient, next_delta, outputs = (
                rng.random((height, *shape), case.dtype) for shape in 2 * shapes
            )
            self.products += [(inputs, coefs, outputs), (inputs.swapaxes(1, 2), delta, gradient)]
            if layer > 0:
                self.products.append((delta, coefs.swapaxes(1, 2), next_delta))

    def run(self, epochs):
        """Multiply as often as so many epochs do."""
        n_steps = epochs * len(self.y) // self.case.batch_size
        for a, b, out in self.products:
            for start in range(0, n_steps, len(out)):
                n = min(len(out), n_steps - start)
                np.matmul(a[:n], b[:n], out=out[:n])


class WeightTraffic(Engine):
    """The limit at batch size 1: reading and writing once each weight that a row's step touches.

    The bandwidth is that of a pass over as many weights as the network has, in whichever cache these fit.
    """

    name = "limit"

    def __init__(self, X, y, case):
        super().__init__(X, y, case)
        shapes = list(pairwise(case.layer_sizes))
        n_weights = sum((fan_in + 1) * fan_out for fan_in, fan_out in shapes)
        n_zeros = X.shape[1] - (X.nnz if case.sparse else np.count_nonzero(X)) / X.shape[0]
        self.touched = 1 - n_zeros * shapes[0][1] / n_weights
        self.weights = np.ones(n_weights, case.dtype)

    def run(self, epochs):
        """Pass over all weights once for each row."""
        self._pass_over(self.weights, epochs)

    def seconds_per_row(self):
        """Time of a pass, without that of the call itself, times the share of the weights that is touched."""
        whole, call = (elapsed(self._pass_over, w, self.epochs) for w in (self.weights, self.weights[:0]))
        return float(self.touched) * (whole - call) / (self.epochs * len(self.y))

    def _pass_over(self, weights, epochs):
        for _ in range(epochs * len(self.y)):
            np.negative(weights, out=weights)


def trainers(case):
    """Return the classes of engines that can train a case."""
    return [Fused, ScikitLearn, PyTorch] if HAS_TORCH and not case.sparse else [Fused, ScikitLearn]


def limit(case):
    """Return the class of the engine that does the least a case needs."""
    return WeightTraffic if case.batch_size == 1 else MatrixProducts
