"""Training in pieces, with something in between that ``fit`` knows nothing of."""

import numpy as np

from skfusion.partition import PredefinedPartitioner


def train_epoch(model, split):
    """Train for an epoch, as one of ``fit``: each network on the rows that the first epoch gave it."""
    if hasattr(model, "partition_"):
        peer_of_row = np.empty(len(split.y_train), int)
        for peer, part in enumerate(model.partition_):
            peer_of_row[part] = peer
        model.set_params(partitioner=PredefinedPartitioner(peer_of_row))
    model.partial_fit(split.X_train, split.y_train, classes=np.unique(split.y_train))


def train_on_a_class_each(model, split, epochs, n_rows, random_state):
    """Train networks with a class each for some epochs, and pause after each ``n_rows`` rows of each network.

    Classes have as many rows as the rarest, and a network as many in each epoch as ``n_rows`` divides.
    """
    classes, counts = np.unique(split.y_train, return_counts=True)
    rows = np.array([np.flatnonzero(split.y_train == code)[: counts.min()] for code in classes])
    model.set_params(partitioner=PredefinedPartitioner(np.repeat(classes, n_rows)))
    for _ in range(epochs):
        shuffled = random_state.permuted(rows, axis=1)
        for start in range(0, counts.min() - n_rows + 1, n_rows):
            piece = shuffled[:, start : start + n_rows].ravel()
            model.partial_fit(split.X_train[piece], split.y_train[piece], classes=classes)
            yield
