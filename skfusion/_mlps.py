"""The consensus and the peers as scikit-learn's own MLPClassifier and MLPRegressor."""

import copy
from functools import lru_cache

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor


def as_mlps(ensemble, predictions, params):
    """Return networks as fitted MLPClassifiers or MLPRegressors, each of which costs a copy of its weights.

    Parameters
    ----------
    ensemble : Ensemble
    predictions : iterable of {"consensus"} or int
        The consensus, or the peer of that index.
    params : dict
        Parameters of MLPClassifier and MLPRegressor, except for those that follow from the network.

    Returns
    -------
    list of MLPClassifier or MLPRegressor
    """
    blank = _blank_mlp(ensemble, params)
    return [_filled(blank, ensemble, prediction) for prediction in predictions]


def _blank_mlp(ensemble, params):
    """Return an MLP of the network's shape that has no weights yet."""
    network, classes = ensemble.network, ensemble.classes
    n_features, *hidden, n_outputs = network.layer_sizes
    labels = None if classes is None else (classes.dtype, tuple(classes.tolist()))
    mlp = copy.deepcopy(_trained_on_one_row(labels, n_outputs))
    mlp.set_params(hidden_layer_sizes=tuple(hidden), activation=network.activation, **params)
    mlp.n_features_in_, mlp.n_layers_, mlp.out_activation_ = n_features, len(network.layer_sizes), network.output
    return mlp


@lru_cache(maxsize=1)  # for whoever asks for one peer after another
def _trained_on_one_row(labels, n_outputs):
    """Return the smallest MLP that knows the classes and has set up what scikit-learn keeps to itself.

    Only training sets that up, and it takes milliseconds even on one row of one feature, through one hidden unit.

    Parameters
    ----------
    labels : tuple or None
        The dtype of the classes and a tuple of them; None in regression.
    n_outputs : int
    """
    tiny = dict(hidden_layer_sizes=(1,), alpha=0, random_state=0)
    row = np.zeros((1, 1))
    if labels is None:
        mlp = MLPRegressor(**tiny).partial_fit(row, np.zeros((1, n_outputs) if n_outputs > 1 else 1))
    else:
        dtype, names = labels
        classes = np.array(names, dtype)
        mlp = MLPClassifier(**tiny).partial_fit(row, classes[:1], classes=classes)
    # No public method drops it: the peer's own partial_fit would go on with its learning rate and its moments.
    del mlp._optimizer
    return mlp


def _filled(blank, ensemble, prediction):
    """Return a copy of a blank MLP with one network's weights, losses and number of rows seen."""
    mlp = copy.copy(blank)  # what both share, scikit-learn replaces and never changes
    if prediction == "consensus":
        weights, losses = ensemble.consensus, ensemble.curves["loss"].copy()
        n_rows_seen = ensemble.state.samples_seen.sum()
    else:
        weights, losses = ensemble.weights[prediction], [epoch["losses"][prediction] for epoch in ensemble.history]
        losses = [loss for loss in losses if not np.isnan(loss)]  # it sat out the others
        n_rows_seen = ensemble.state.samples_seen[prediction]
    mlp.coefs_, mlp.intercepts_ = ensemble.network.layers(weights.copy())
    mlp.t_, mlp.loss_curve_ = int(n_rows_seen), losses
    mlp.loss_, mlp.best_loss_ = losses[-1] if losses else np.inf, min(losses, default=np.inf)
    return mlp
