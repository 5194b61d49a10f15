"""What scores are made of, as arrays that travel."""

import numpy as np

from skfusion._moments import Moments
from skfusion._scores import AccuracySums, R2Sums
from skfusion.sites.message import MessageError


def pack_sums(sums):
    """Return the sums of several peers as arrays by name."""
    if isinstance(sums[0], AccuracySums):
        arrays = {name: np.array([getattr(one, name) for one in sums]) for name in ("weight", "correct")}
        return arrays | {"finite": np.array([one.finite for one in sums], np.uint8)}
    return {
        "n_rows": np.array([one.n_rows for one in sums]),
        "weight": np.array([one.moments.weight for one in sums]),
        "mean": np.array([one.moments.mean for one in sums]),
        "squared_deviations": np.array([one.moments.squared_deviations for one in sums]),
        "squared_errors": np.array([one.squared_errors for one in sums]),
        "finite": np.array([one.finite for one in sums], np.uint8),
    }


def unpack_sums(message, network, n_peers):
    """Return the sums of several peers from the arrays of a message, or raise MessageError."""
    weight = message.array("weight", np.float64, (n_peers,))
    finite = message.array("finite", np.uint8, (n_peers,)).astype(bool)
    if network.output == "identity":
        return _r2_sums(message, weight, finite, (n_peers, network.layer_sizes[-1]))
    correct = message.array("correct", np.float64, (n_peers,))
    if not ((correct >= 0) & (correct <= weight)).all():
        raise MessageError("the number of correct rows must be from 0 to that of all rows")
    return [AccuracySums(*of_peer) for of_peer in zip(weight.tolist(), correct.tolist(), finite.tolist(), strict=True)]


def _r2_sums(message, weight, finite, shape):
    n_rows = message.array("n_rows", np.int64, shape[:1])
    mean, deviations = (message.array(name, np.float64, shape) for name in ("mean", "squared_deviations"))
    errors = message.array("squared_errors", np.float64, shape, finite=False)
    if min(n_rows.min(), weight.min(), deviations.min()) < 0 or not (errors[finite] >= 0).all():
        raise MessageError("sums of squares must not be negative")
    moments = [Moments(*of_peer) for of_peer in zip(weight.tolist(), mean, deviations, strict=True)]
    return [R2Sums(*of_peer) for of_peer in zip(n_rows.tolist(), moments, errors, finite.tolist(), strict=True)]


def no_sums(network):
    """Return the sums of a peer of which nothing is known."""
    zeros = np.zeros(network.layer_sizes[-1])
    return R2Sums(0, Moments(0.0, zeros, zeros), zeros) if network.output == "identity" else AccuracySums(0.0, 0.0)
