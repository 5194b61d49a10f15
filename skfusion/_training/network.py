"""A network as one flat vector: its layout, views of its layers, initial weights, and the forward pass."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from skfusion import _kernels

ACTIVATIONS, OUTPUTS = tuple(_kernels.ACTIVATIONS), tuple(_kernels.OUTPUTS)
# Rows converted to C order at a time.
_ROWS_AT_ONCE = 8192
# Rows of numbers up to this must not make a network's sums overflow.
_LARGEST_INPUT = 1000
# Outputs of the paper's tanh network are targets, not probabilities; below this they are squeezed, not cut off.
_SMALLEST_SCORE = 1e-3


def outputs_for(classes):
    """Return how many outputs tell classes apart, and the kind of output that gives their probabilities."""
    n_outputs = len(classes) if len(classes) > 2 else 1
    return n_outputs, "softmax" if n_outputs > 1 else "logistic"


@dataclass(frozen=True)
class Network:
    """The shape that all peers share.

    Attributes
    ----------
    layer_sizes : tuple of int
        Numbers of units: inputs, each hidden layer, outputs.
    activation : {"identity", "tanh", "logistic", "relu"}
        Of the hidden layers.
    output : {"softmax", "logistic", "tanh", "identity"}
        Of the last layer; "identity" is for regression.
    """

    layer_sizes: tuple
    activation: str
    output: str

    @property
    def n_parameters(self):
        """Number of weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(self.layer_sizes))

    def layers(self, weights):
        """Return views of one network's coefficients and intercepts.

        Parameters
        ----------
        weights : ndarray of shape (n_parameters,)

        Returns
        -------
        coefs : list of ndarray of shape (fan_in, fan_out)
        intercepts : list of ndarray of shape (fan_out,)
        """
        coefs, intercepts, start = [], [], 0
        for fan_in, fan_out in pairwise(self.layer_sizes):
            middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            coefs.append(weights[start:middle].reshape(fan_in, fan_out))
            intercepts.append(weights[middle:stop])
            start = stop
        return coefs, intercepts

    def stays_finite(self, weights):
        """Whether no sum can overflow, for rows of numbers up to 1000 in size, and where the networks are averaged.

        Parameters
        ----------
        weights : ndarray of shape (n_networks, n_parameters)
            Finite.

        Returns
        -------
        bool
        """
        sizes = np.abs(weights)
        with np.errstate(over="ignore"):
            return bool(np.isfinite(sizes.sum(axis=0)).all()) and all(map(self._bounds_are_finite, sizes))

    def _bounds_are_finite(self, sizes):
        """Whether sums stay finite where all that is added has the same sign."""
        bounds = np.full(self.layer_sizes[0], _LARGEST_INPUT, sizes.dtype)
        for coefs, intercepts in zip(*self.layers(sizes), strict=True):
            bounds = bounds @ coefs + intercepts
            if not np.isfinite(bounds).all():
                return False
            if self.activation in ("tanh", "logistic"):
                bounds = np.minimum(bounds, 1)
        return True

    def initial_weights(self, rng, dtype):
        """Draw one network's weights.

        The paper's network (tanh outputs) starts normally distributed with standard deviation
        max(0.03, 1 / fan_in); the others as in scikit-learn's MLPClassifier and MLPRegressor, after Glorot
        and Bengio.

        Parameters
        ----------
        rng : numpy.random.Generator
        dtype : dtype

        Returns
        -------
        ndarray of shape (n_parameters,)
        """
        parts = []
        for fan_in, fan_out in pairwise(self.layer_sizes):
            size = (fan_in + 1) * fan_out
            if self.output == "tanh":
                parts.append(rng.normal(scale=max(0.03, 1 / fan_in), size=size))
            else:
                bound = np.sqrt((2 if self.activation == "logistic" else 6) / (fan_in + fan_out))
                parts.append(rng.uniform(-bound, bound, size=size))
        return np.concatenate(parts).astype(dtype)

    def outputs(self, weights, X):
        """Return the activations of one network's last layer.

        Parameters
        ----------
        weights : ndarray of shape (n_parameters,)
        X : {ndarray, CSR} of shape (n_samples, n_features), of the weights' dtype

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), of the weights' dtype
        """
        result = np.empty((X.shape[0], self.layer_sizes[-1]), weights.dtype)
        for start in range(0, X.shape[0], _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            chunk = np.ascontiguousarray(X[rows]) if isinstance(X, np.ndarray) else X[rows]
            result[rows] = _kernels.Forward(self, chunk).outputs(weights)
        return result

    def answers(self, networks, X):
        """Return class probabilities, or outputs in regression: the mean of several networks'.

        Parameters
        ----------
        networks : ndarray of shape (n_networks, n_parameters)
            Their weights.
        X : {ndarray, CSR} of shape (n_samples, n_features), of the weights' dtype

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_outputs), of the weights' dtype
        """
        answers = self.outputs if self.output == "identity" else self.probabilities
        return sum(answers(weights, X) for weights in networks) / len(networks)

    def probabilities(self, weights, X):
        """Return class probabilities by one network.

        Tanh outputs, trained to be 1 for the class and 0 elsewhere, count as probabilities once they are positive
        and sum to 1; what lies below 0.001 is mapped there so that the order of the classes is kept.

        Parameters
        ----------
        weights : ndarray of shape (n_parameters,)
        X : {ndarray, CSR} of shape (n_samples, n_features), of the weights' dtype

        Returns
        -------
        ndarray of shape (n_samples, n_classes), of the weights' dtype
        """
        outputs = self.outputs(weights, X)
        if outputs.shape[1] == 1:
            outputs = np.hstack([1 - outputs, outputs])
        if self.output == "tanh":
            squeezed = _SMALLEST_SCORE * np.exp(np.minimum(outputs - _SMALLEST_SCORE, 0))
            outputs = np.where(outputs > _SMALLEST_SCORE, outputs, squeezed)
            outputs /= outputs.sum(axis=1, keepdims=True)
        return outputs
