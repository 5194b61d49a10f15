"""Weights that travel between sites: an .npz file of plain arrays, checked as a stranger's when it is read."""

from dataclasses import dataclass

import numpy as np

from skfusion._checks import check_choice, check_path, shown
from skfusion._npz import open_entries
from skfusion._replacing import replacing
from skfusion._training.network import ACTIVATIONS, OUTPUTS, Network

_VERSION = 1


@dataclass(frozen=True)
class Contents:
    """What a file of weights says.

    Attributes
    ----------
    network : Network
    weights : ndarray of shape (n_networks, n_parameters)
    classes : ndarray of shape (n_classes,) or None
        None in regression.
    feature_names : ndarray of shape (n_features,) or None
    """

    network: Network
    weights: np.ndarray
    classes: np.ndarray | None
    feature_names: np.ndarray | None = None

    def layout(self):
        """Return the arrays that two sites must agree on, by their names in the file; None for one that is missing."""
        network, names = self.network, self.feature_names
        return {
            "layer_sizes": np.array(network.layer_sizes),
            "activation": np.array(network.activation),
            "output": np.array(network.output),
            "classes": None if self.classes is None else _plain(self.classes),
            "feature_names": None if names is None else _plain(names),
        }


def write(path, contents):
    """Write a file of weights; whoever waits for ``path`` finds all of it or none.

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    OSError
        If the file cannot be written.
    ValueError
        If the classes are neither numbers nor strings.
    """
    entries = {name: value for name, value in contents.layout().items() if value is not None}
    if contents.classes is not None and entries["classes"].dtype.kind not in "biufU":
        raise ValueError(f"classes_ must be numbers or strings to be saved, got {shown(contents.classes.tolist())}")
    with replacing(check_path("path", path)) as file:
        np.savez(file, format_version=_VERSION, weights=contents.weights, **entries)


def _plain(labels):
    """Return labels as an array that needs no pickle, if they are numbers or strings."""
    return np.array(labels.tolist()) if labels.dtype.hasobject else labels


def read(path):
    """Read a file of weights without executing anything in it.

    Returns
    -------
    Contents

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    OSError
        If there is no such file.
    ValueError
        If it is not a complete .npz file, an entry is missing, or an entry is not what it should be.
    """
    with open_entries(path) as entries:
        version = entries.scalar("format_version", "iu")
        entries.check("format_version", version, version == _VERSION, _VERSION)
        network = _network(entries)
        return Contents(network, _weights(entries, network), _classes(entries, network), _names(entries, network))


def check_agreement(path, theirs, ours):
    """Check that a file's weights are of the network that an estimator has, or raise ValueError.

    Parameters
    ----------
    path : str or path-like
    theirs, ours : Contents
        What the file says, and what the estimator has.
    """
    layout = ours.layout()
    for name, value in theirs.layout().items():
        right = layout[name]
        if name == "feature_names" and (value is None or right is None):
            continue
        if not (value is right or np.array_equal(value, right)):
            raise ValueError(
                f"entry {name!r} of {path} must be {_listed(right)}, as in this estimator, or weights mean different "
                f"things; got {_listed(value)}"
            )
    if theirs.weights.shape != ours.weights.shape:
        raise ValueError(
            f"entry 'weights' of {path} must hold {len(ours.weights)} networks, as many as this estimator has "
            f"(n_networks); got {len(theirs.weights)}, which one that is not fitted takes with n_networks=None"
        )
    if theirs.weights.dtype != ours.weights.dtype:
        raise ValueError(
            f"entry 'weights' of {path} must be {ours.weights.dtype}, the dtype of the rows that this estimator was "
            f"fitted on; got {theirs.weights.dtype}"
        )


def _listed(array):
    """Return what a message shows of an array, or of None."""
    return shown(None if array is None else array.tolist())


def _network(entries):
    entries.header("layer_sizes", "iu", 1)
    sizes = tuple(entries.array("layer_sizes").tolist())
    entries.check("layer_sizes", sizes, len(sizes) >= 2 and min(sizes) >= 1, "two or more integers of at least 1")
    names = {
        name: check_choice(f"entry {name!r} of {entries.path}", entries.scalar(name, "U"), choices)
        for name, choices in (("activation", ACTIVATIONS), ("output", OUTPUTS))
    }
    return Network(sizes, **names)


def _classes(entries, network):
    if network.output == "identity":
        return None
    n_outputs = network.layer_sizes[-1]
    right = "2 classes, since there is one output" if n_outputs == 1 else f"{n_outputs} classes, one for each output"
    (n_classes,), _ = entries.header("classes", "biufU", 1)
    entries.check("classes", n_classes, n_classes == max(n_outputs, 2), right)
    classes = entries.array("classes")
    distinct = np.array_equal(classes, np.unique(classes))
    entries.check("classes", classes, distinct, "two or more classes, sorted and distinct")
    return classes


def _names(entries, network):
    if "feature_names" not in entries:
        return None
    n_features = network.layer_sizes[0]
    (n_names,), _ = entries.header("feature_names", "U", 1)
    entries.check("feature_names", n_names, n_names == n_features, f"{n_features} names, one for each input")
    return entries.array("feature_names")


def _weights(entries, network):
    shape, dtype = entries.header("weights", "f", 2)
    entries.check("weights", dtype.name, dtype.name in ("float32", "float64"), "float32 or float64")
    right = f"of shape (n_networks, {network.n_parameters}), as layer_sizes says"
    entries.check("weights", shape, shape[1] == network.n_parameters and shape[0] > 0, right)
    weights = np.ascontiguousarray(entries.array("weights"), dtype=dtype.newbyteorder("="))
    for peer, index in np.argwhere(~np.isfinite(weights))[:1]:
        entries.check(f"weights[{peer}, {index}]", float(weights[peer, index]), holds=False, right="finite")
    largest = float(np.abs(weights).max())
    entries.check("weights", largest, network.stays_finite(weights), "so small that no sum of them overflows")
    return weights
