"""From what sites report to what each is to do: the plans of a run."""

from dataclasses import dataclass, replace

import numpy as np

from skfusion._background import MAX_SAMPLED, Votes, elect
from skfusion._checks import shown
from skfusion._training.held_out import hold_out
from skfusion._training.sparsify import MAX_NONZEROS, is_sparse, may_be_sparse
from skfusion.sites._agreement import agree
from skfusion.sites._description import Description
from skfusion.sites._federation import Federation
from skfusion.sites._plan import Plan
from skfusion.sites._scaling import Scaling
from skfusion.sites.message import MessageError

# Exchanges before training, but for the first; a run that is taken up again asks the same by the same numbers.
_VOTE, _COUNT, _FIRST_OF_TRAINING = range(1, 4)


def ask_for_agreement(exchange, number, sites, question):
    """Let sites describe their rows, and merge what they report.

    Parameters
    ----------
    exchange : Exchange
    number : int
        Of the exchange in the run.
    sites : list of str
    question : Question

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If the sites' rows are not alike.
    """
    questions = {site: (question.content(), {}) for site in sites}
    told = exchange.ask(number, "describe", questions, lambda site, answer: Description.read(answer, question))
    return agree(list(told.values()), question)


@dataclass(frozen=True)
class Division:
    """How many of each peer's rows it trains on, and which it holds out.

    Attributes
    ----------
    lengths : int64 ndarray of shape (n_networks,)
        Rows to train on.
    held_out : list of bool ndarray or None
        For each peer which of its rows are held out; None for none.
    """

    lengths: np.ndarray
    held_out: list | None

    @classmethod
    def draw(cls, agreement, settings, rng):
        """Draw what is held out, as ``fit`` does, although only the number of rows is known."""
        lengths = agreement.lengths
        if not settings.early_stopping:
            return cls(np.array(lengths), None)
        rows = [np.arange(length) for length in lengths]
        train, others = hold_out(rows, settings.validation_fraction, rng, agreement.peers)
        masks = [np.isin(np.arange(length), rows) for length, rows in zip(lengths, others, strict=True)]
        return cls(np.array([len(part) for part in train]), masks)

    @property
    def n_held_out(self):
        """How many rows are held out."""
        return sum(int(mask.sum()) for mask in self.held_out or ())


def plans_for(agreement, network, settings, class_weight, scaler, division):
    """Return what each site is to do, as far as it is known before they agree on the background of their rows.

    Returns
    -------
    dict of str to Plan
        By site.

    Raises
    ------
    ValueError
        If no row has a weight above 0, or class_weight names what is not a class.
    """
    scale = None
    if agreement.weighted or class_weight is not None:
        scale = agreement.totals.scale(class_weight, [0] if class_weight is None else agreement.classes)
        if not scale.relative_maxima.any():
            raise ValueError(f"class_weight must not be 0 for all classes that sites have, got {shown(class_weight)}")
    scaling = Scaling(None, None) if scaler is None else Scaling.of(scaler)
    return {
        site: Plan(
            peers=[agreement.peers[peer] for peer in peers],
            lengths=[agreement.lengths[peer] for peer in peers],
            n_networks=len(agreement.peers),
            longest=int(division.lengths.max()),
            dtype=agreement.dtype,
            network=network,
            settings=settings,
            classes=agreement.classes,
            by_class=class_weight is not None,
            weight_scale=scale,
            scaling=scaling,
            held_out=None if division.held_out is None else [division.held_out[peer] for peer in peers],
            checksum=agreement.checksums[site],
        )
        for site, peers in agreement.by_site.items()
    }


def form_federation(exchange, agreement, plans, division, skip):
    """Let sites agree on the background of their rows, and return the federation that is to train.

    Parameters
    ----------
    exchange : Exchange
    agreement : Agreement
    plans : dict of str to Plan
    division : Division
    skip : bool
        Whether training is to go on without sites that do not answer.

    Returns
    -------
    federation : Federation
    held_out_weigh : bool
        Whether any of the held-out rows has a weight.
    """
    federation = Federation(exchange, plans, agreement.by_site, _VOTE, skip=False)
    candidate = None if agreement.sparse else _candidate(federation)
    federation.number = _COUNT
    background, held_out_weigh = _count(federation, candidate, division, agreement.n_features)
    plans = {site: replace(plan, background=background) for site, plan in plans.items()}
    return Federation(exchange, plans, agreement.by_site, _FIRST_OF_TRAINING, skip), held_out_weigh


def _candidate(federation):
    """Return the background that peers vote for; None if their rows have none."""
    answers = federation.ask(
        "vote",
        federation.peers,
        lambda site: ({}, {}),
        lambda site, answer: _read_votes(answer, federation.plans[site]),
    )
    background, density = elect([vote for votes in answers.values() for vote in votes])
    return background if may_be_sparse(density) else None


def _count(federation, candidate, division, n_features):
    """Return the background if enough values are its, and whether any of the rows held out has a weight."""
    if candidate is None and division.held_out is None:
        return None, True
    arrays = {} if candidate is None else {"candidate": candidate}
    answers = federation.ask(
        "count",
        federation.peers,
        lambda site: ({}, arrays),
        lambda site, answer: _read_count(answer, federation.plans[site]),
    )
    counts = [count for count, _ in answers.values()]
    sparse = candidate is not None and is_sparse(sum(counts), int(division.lengths.sum()) * n_features)
    sparse = sparse and max(counts) <= MAX_NONZEROS
    return (candidate if sparse else None), any(weigh for _, weigh in answers.values())


def _read_votes(answer, plan):
    n_peers, n_features = len(plan.peers), plan.network.layer_sizes[0]
    n_rows = answer.array("n_rows", np.int64, (n_peers,))
    counts = answer.array("counts", np.int64, (n_peers, n_features))
    if n_rows.max() > MAX_SAMPLED or counts.min() < 0 or (counts > n_rows[:, None]).any():
        raise MessageError("votes must not count more rows than a site looks at")
    values = answer.array("values", plan.dtype, (n_peers, n_features))
    return [Votes(*of_peer) for of_peer in zip(values, counts, n_rows.tolist(), strict=True)]


def _read_count(answer, plan):
    n_deviations = answer.entry("n_deviations", int, type(None))
    if n_deviations is not None and not 0 <= n_deviations <= sum(plan.lengths) * plan.network.layer_sizes[0]:
        raise MessageError(
            f"the number of values that deviate must be from 0 to that of all values, got {n_deviations}"
        )
    return n_deviations or 0, answer.entry("held_out_weigh", bool)
