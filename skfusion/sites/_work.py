"""What a site makes of its rows for a plan: data to train on, votes, counts, scores."""

from dataclasses import replace
from functools import cached_property

import numpy as np

from skfusion import _kernels
from skfusion._background import vote
from skfusion._training.blas import steady_blas
from skfusion._training.held_out import HeldOutRows
from skfusion._training.network import outputs_for
from skfusion._training.peers import Bundle, PeerState
from skfusion._training.problem import Data, Problem
from skfusion._training.sparsify import MAX_NONZEROS, deviations
from skfusion.sites.message import RefusalError


class Work:
    """A site's rows, ready for a plan.

    Parameters
    ----------
    rows : SiteRows
    plan : Plan

    Raises
    ------
    RefusalError
        If the plan is not one for these rows.
    """

    def __init__(self, rows, plan):
        _check_plan(rows, plan)
        self.plan = plan
        used = np.sort(np.concatenate([rows.parts[peer] for peer in plan.peers]))
        with np.errstate(over="ignore"):
            X = plan.scaling.transform(rows.X if len(used) == len(rows.y) else rows.X[used])
        if not np.isfinite(X if isinstance(X, np.ndarray) else X.data).all():
            raise RefusalError("X must stay finite when the scaler is applied")
        codes = None if plan.classes is None else rows.encoded(plan.classes)[used]
        target = rows.numbers()[used] if codes is None else codes
        _check_target(target, plan)
        weight = None
        if plan.weight_scale is not None:
            sample_weight = None if rows.sample_weight is None else rows.sample_weight[used]
            sums = codes if plan.by_class else np.zeros(len(used), np.intp)
            weight = _weights(plan.weight_scale, sample_weight, sums).astype(X.dtype)
        self._data = Data(X, target, weight, [np.searchsorted(used, rows.parts[peer]) for peer in plan.peers])
        for peer, part in zip(plan.peers, self._training_data.parts, strict=True):
            if not len(part):
                raise RefusalError(f"peer {peer!r} must have rows to train on besides those held out")

    @cached_property
    def _training_data(self):
        return self._with_parts(held_out=False)

    @cached_property
    def _held_out_data(self):
        return self._with_parts(held_out=True)

    def _with_parts(self, held_out):
        data, masks = self._data, self.plan.held_out
        if masks is None:
            masks = [np.zeros(len(part), bool) for part in data.parts]
        parts = [part[mask == held_out] for part, mask in zip(data.parts, masks, strict=True)]
        return replace(data, parts=parts)

    def votes(self):
        """Return for each peer what it takes for the background."""
        return [vote(self._training_data.X, part, self.plan.n_networks) for part in self._training_data.parts]

    def count_deviations(self, background):
        """Return how many of the values to train on are not the background's."""
        counts = _kernels.count_deviations(self._training_data.X, background)
        return int(counts[np.concatenate(self._training_data.parts)].sum())

    def held_out_weigh(self):
        """Whether any of the held-out rows has a weight."""
        return self._held_out_data.has_weight()

    def train(self, state, segment):
        """Train the peers from a state, for some steps of an epoch; returns the new state."""
        with steady_blas(self.plan.n_networks, self.plan.settings):
            state = self._bundle.train_from(state, *segment)
        state.losses[~_are_finite(state)] = np.nan  # the last step may have diverged after its loss was known
        return state

    @cached_property
    def _bundle(self):
        data, plan = self._training_data, self.plan
        if plan.background is not None:
            counts = _kernels.count_deviations(data.X, plan.background)
            if counts.sum() > MAX_NONZEROS:
                raise RefusalError("too many values differ from the background for sparse rows")
            X, offset = deviations(data.X, plan.background, counts)
            data = replace(data, X=X, offset=offset)
        lengths = np.array([len(part) for part in data.parts])
        problem = Problem(plan.network, plan.settings, None, lengths, plan.longest)
        return Bundle(problem, data, self.blank_state(), range(len(plan.peers)))

    def blank_state(self):
        """Return a state of the site's peers, with values that do not matter."""
        network, n_peers = self.plan.network, len(self.plan.peers)
        zeros = np.broadcast_to(np.zeros(1, self._data.X.dtype), (n_peers, network.n_parameters))
        return PeerState.start(zeros, np.random.SeedSequence(0).spawn(n_peers), self.plan.settings)

    def score_sums(self, networks):
        """Return for each peer what the score on its held-out rows is made of."""
        return self._scorer.sums(networks)

    @cached_property
    def _scorer(self):
        return HeldOutRows(self.plan.network, self._held_out_data)


def _are_finite(state):
    """Return for each peer whether its weights and moments are finite."""
    arrays = (state.weights, state.first_moments, state.second_moments)
    return np.all([np.isfinite(array).all(axis=1) for array in arrays if array is not None], axis=0)


def _check_plan(rows, plan):
    for peer, length in zip(plan.peers, plan.lengths, strict=True):
        has = len(rows.parts.get(peer, ()))
        if has != length:
            raise RefusalError(f"peer {peer!r} must have {length} rows, as it had when the run began; it has {has}")
    if rows.X.dtype != plan.dtype or rows.X.shape[1] != plan.network.layer_sizes[0]:
        raise RefusalError(
            f"X must be {plan.dtype} with {plan.network.layer_sizes[0]} features, as it was when the run began; it is "
            f"{rows.X.dtype} with {rows.X.shape[1]}"
        )
    if rows.checksum != plan.checksum:
        raise RefusalError(
            "its rows must have the values, the order and the columns that they had when the run began, but something "
            "has changed; undo that and start the site again, or begin another run"
        )
    if plan.background is not None and not isinstance(rows.X, np.ndarray):
        raise RefusalError("X must be dense, as it was when the run began")


def _weights(scale, sample_weight, codes):
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        weights = scale.relative(sample_weight, codes)
    if not (weights >= 0).all() or np.isinf(weights).any():
        raise RefusalError("the largest weights in the plan do not match those of the rows")
    return weights


def _check_target(target, plan):
    """Check that there are outputs for the targets, beyond which the compiled core does not look."""
    network = plan.network
    if plan.classes is None:
        n_outputs, outputs = target.shape[1], ["identity"]
    else:
        n_outputs, of_probabilities = outputs_for(plan.classes)
        outputs = ["tanh", of_probabilities]
    if network.output not in outputs or network.layer_sizes[-1] != n_outputs:
        raise RefusalError(f"a network with {network.layer_sizes[-1]} outputs ({network.output}) does not match y")
