"""The network of a federation in scikit-learn."""

from functools import cache

import numpy as np
from sklearn.neural_network import MLPClassifier


def train(layers, X, y, schedule):
    """Return the weights and biases after a round of plain SGD on the given rows, by MLPClassifier.partial_fit."""
    model = classifier(schedule, len(layers[0]), len(layers[-1]))
    model.coefs_, model.intercepts_ = ([array.copy() for array in layers[first::2]] for first in (0, 1))
    model.partial_fit(X, y)
    return [array for layer in zip(model.coefs_, model.intercepts_, strict=True) for array in layer]


@cache
def classifier(schedule, n_inputs, n_classes):
    """Make a classifier that knows all classes, once in a process; what it learns here is forgotten."""
    plain = dict(solver="sgd", momentum=0.0, alpha=0.0, activation="tanh", shuffle=False)
    model = MLPClassifier(schedule.hidden, batch_size=schedule.batch_size, learning_rate_init=schedule.rate, **plain)
    y = np.arange(schedule.batch_size * n_classes) % n_classes
    return model.partial_fit(np.zeros((len(y), n_inputs), np.float32), y, classes=np.arange(n_classes))
