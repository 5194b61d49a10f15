"""Weights that travel between sites: an .npz file of plain arrays, checked as a stranger's when it is read."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from skfusion._checks import check_choice, cut, shown
from skfusion._training.network import ACTIVATIONS, OUTPUTS, Network

FORMAT_VERSION = 1


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
        """Return what two sites must agree on, as plain data by the file's names."""
        return {
            "layer_sizes": list(self.network.layer_sizes),
            "activation": self.network.activation,
            "output": self.network.output,
            "classes": None if self.classes is None else self.classes.tolist(),
            "feature_names": None if self.feature_names is None else self.feature_names.tolist(),
        }


def write(path, contents):
    """Write a file of weights; whoever waits for ``path`` finds all of it or none.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the classes are neither numbers nor strings.
    """
    path = Path(path)
    entries = {name: np.array(value) for name, value in contents.layout().items() if value is not None}
    if contents.classes is not None and entries["classes"].dtype.kind not in "biufU":
        raise ValueError(f"classes_ must be numbers or strings to be saved, got {shown(contents.classes.tolist())}")
    temporary = path.with_name(f".{uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, format_version=FORMAT_VERSION, weights=contents.weights, **entries)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None  # which the caller knows, unlike the temporary
    finally:
        with suppress(OSError):  # it has been moved, or could not be made
            temporary.unlink()


def read(path):
    """Read a file of weights without executing anything in it.

    Returns
    -------
    Contents

    Raises
    ------
    TypeError
        If ``path`` is no path.
    OSError
        If there is no such file.
    ValueError
        If it is no whole .npz file, an entry is missing, or an entry is not what it should be.
    """
    with open(os.fspath(path), "rb") as file:  # as open takes integers too, for descriptors of open files
        entries = _Entries(path, _open_archive(path, file))
        version = entries.read("format_version", "iu", 0).item()
        entries.check("format_version", version, version == FORMAT_VERSION, FORMAT_VERSION)
        network = _network(entries)
        return Contents(network, _weights(entries, network), _classes(entries, network), _names(entries, network))


def check_agreement(path, theirs, ours):
    """Check that a file's weights are of the network that an estimator has, or raise ValueError."""
    layout = ours.layout()
    for name, value in theirs.layout().items():
        if value != layout[name] and not (name == "feature_names" and None in (value, layout[name])):
            raise ValueError(
                f"entry {name!r} of {path} must be {shown(layout[name])}, as in this estimator, so that their weights "
                f"mean the same; got {shown(value)}"
            )
    if theirs.weights.shape != ours.weights.shape:
        raise ValueError(
            f"entry 'weights' of {path} must be of {len(ours.weights)} networks, as many as this estimator has "
            f"(n_networks); got {len(theirs.weights)}"
        )
    if theirs.weights.dtype != ours.weights.dtype:
        raise ValueError(
            f"entry 'weights' of {path} must be {ours.weights.dtype}, the dtype of the rows that this estimator was "
            f"fitted on; got {theirs.weights.dtype}"
        )


def _open_archive(path, file):
    try:
        archive = np.load(file, allow_pickle=False)
    except Exception:  # whatever numpy and zipfile make of bytes that may be anything
        archive = None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} must be a whole .npz file, as save_weights writes; it is none, or was cut short")
    return archive


class _Entries:
    """The entries of an open .npz file, none of them trusted."""

    def __init__(self, path, file):
        self.path, self.file = path, file

    def read(self, name, kinds, n_dimensions):
        """Return an entry of one of some kinds of dtype, or raise ValueError."""
        if name not in self.file:
            raise ValueError(f"{self.path} must have an entry {name!r}, got the entries {shown(sorted(self.file))}")
        try:
            array = self.file[name]
        except Exception as error:  # as above
            raise ValueError(
                f"entry {name!r} of {self.path} must be a whole array of numbers or strings, without pickled objects; "
                f"reading it fails: {cut(str(error))}"
            ) from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds or array.ndim != n_dimensions:
            got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else "no array"
            right = " or ".join({"i": "integers", "f": "floats", "U": "strings"}[k] for k in kinds if k in "ifU")
            raise ValueError(
                f"entry {name!r} of {self.path} must be {n_dimensions}-dimensional and hold {right}, got {got}"
            )
        return array

    def check(self, name, value, holds, right):
        """Raise ValueError unless an entry's value is right."""
        if not holds:
            raise ValueError(f"entry {name!r} of {self.path} must be {right}, got {shown(value)}")


def _network(entries):
    sizes = tuple(entries.read("layer_sizes", "iu", 1).tolist())
    entries.check("layer_sizes", sizes, len(sizes) >= 2 and min(sizes) >= 1, "two or more integers of at least 1")
    names = {
        name: check_choice(f"entry {name!r} of {entries.path}", entries.read(name, "U", 0).item(), choices)
        for name, choices in (("activation", ACTIVATIONS), ("output", OUTPUTS))
    }
    return Network(sizes, **names)


def _classes(entries, network):
    if network.output == "identity":
        return None
    classes, n_outputs = entries.read("classes", "biufU", 1), network.layer_sizes[-1]
    distinct = len(classes) >= 2 and np.array_equal(classes, np.unique(classes))
    entries.check("classes", classes.tolist(), distinct, "two or more classes, sorted and distinct")
    right = "2 classes, since there is one output" if n_outputs == 1 else f"{n_outputs} classes, one for each output"
    entries.check("classes", classes.tolist(), len(classes) == max(n_outputs, 2), right)
    return classes


def _names(entries, network):
    if "feature_names" not in entries.file:
        return None
    names, n_features = entries.read("feature_names", "U", 1), network.layer_sizes[0]
    entries.check("feature_names", names.tolist(), len(names) == n_features, f"{n_features} names, one for each input")
    return names


def _weights(entries, network):
    weights = entries.read("weights", "f", 2)
    entries.check("weights", weights.dtype.name, weights.dtype.name in ("float32", "float64"), "float32 or float64")
    right = f"of shape (n_networks, {network.n_parameters}), as layer_sizes tells"
    entries.check("weights", weights.shape, weights.shape[1] == network.n_parameters and len(weights) > 0, right)
    for peer, index in np.argwhere(~np.isfinite(weights))[:1]:
        entries.check(f"weights[{peer}, {index}]", float(weights[peer, index]), holds=False, right="finite")
    return np.ascontiguousarray(weights, dtype=weights.dtype.newbyteorder("="))
