"""fit_sites: an estimator is fitted on rows that stay at their sites."""

import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skfusion._base import BaseFusedMLP
from skfusion._checks import check_choice, check_flag, check_integer, check_real, shown
from skfusion._fitting import forget, train
from skfusion._inputs import check_all_classes, check_classes, check_same_classes
from skfusion._ownership import Ownership
from skfusion._parameters import check_prediction
from skfusion._training.ensemble import Ensemble
from skfusion._training.outcome import LossesAlone
from skfusion._training.problem import Problem
from skfusion._training.training import Training
from skfusion.partition import GroupPartitioner
from skfusion.sites._apart import ApartEngine, ApartTraining, check_in_pairs
from skfusion.sites._description import Question
from skfusion.sites._engine import HeldOutAtSites, SiteEngine, SiteTraining
from skfusion.sites._exchange import Exchange, gather
from skfusion.sites._journal import JournalledEngine
from skfusion.sites._labels import LABEL_KINDS, pack_labels
from skfusion.sites._preparation import Division, ask_for_agreement, form_federation, plans_for
from skfusion.sites._run import Run, identity_of
from skfusion.sites._scaling import fit_scaler, names_out
from skfusion.sites.message import check_name
from skfusion.sites.transport import BaseTransport
from skfusion.topology import check_round, with_edges_alone

_FAREWELL = 60.0  # seconds to wait for sites to hear that the run is over; Flower starts a process for that
_ROWS_ELSEWHERE = {"X": None, "y": None, "metadata": None}

_log = logging.getLogger("skfusion.sites")
_Estimator = TypeVar("_Estimator", bound=BaseEstimator)


def fit_sites(
    estimator: _Estimator,
    transport: BaseTransport,
    *,
    sites: Iterable[str] | int | None = None,
    classes: ArrayLike | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    patience: float = math.inf,
    absent: Literal["raise", "skip"] = "raise",
    fuse_at: Literal["coordinator", "sites"] = "coordinator",
    collect: bool = True,
) -> _Estimator:
    """Fit an estimator on rows that stay at their sites.

    Each site is a peer, or several if it has ``groups``.  The result is, bit for bit, that of
    ``estimator.fit(X, y, groups=site)`` on one machine, where ``site`` names each row's site, and each site's rows come
    in the order that they have there.  ``n_networks`` and ``partitioner`` do not matter.

    Parameters
    ----------
    estimator : FusedMLPClassifier, FusedMLPRegressor or Pipeline
        A pipeline must consist of a StandardScaler and one of these.  The scaler is fitted from each column's mean and
        sum of squared deviations at each site, and equals scikit-learn's up to rounding.
    transport : BaseTransport
        What carries messages to the sites.
    sites : int, iterable of str or None, default=None
        How many sites to wait for, or their names; None for those that the transport knows now.
    classes : array-like of shape (n_classes,) or None, default=None
        All class labels, so sites need not report theirs; None for those that sites report.
    checkpoint : str, path-like or None, default=None
        A file in which the run is saved before each round, and from which it goes on if the file is there.  Until the
        call ends, a file beside it, with ``.lock`` appended to its name, keeps other processes from using it.  Once the
        run is over, ``.over`` is appended to its name.  If the model is lost before you save it, give the file its old
        name and call again: only the last exchange is repeated.
    patience : float, default=inf
        Seconds to wait for an answer from a site.  The log names the sites that are waited for, after ten seconds and
        then every minute.
    absent : {"raise", "skip"}, default="raise"
        What to do about a site that does not answer: end the run with an error, or go on without it.  Its peers then
        keep their weights and fuse with none, and ``history_`` names it under "absent" for that epoch.  Its loss there
        is its last one, or the mean of the others' if it has none.  Once the site is heard from again, it trains from
        the next epoch on.
    fuse_at : {"coordinator", "sites"}, default="coordinator"
        Who fuses.  With "sites", the weights stay at the sites while these train: the two of a pair swap theirs, and
        the coordinator learns the losses.  This needs a transport by which sites reach one another, such as NVFlare's,
        a topology of pairs, and one peer at each site.  The disagreement is not known (NaN), and callbacks find no
        weights.
    collect : bool, default=True
        Whether sites send their peers when training is over.  With False, which needs ``fuse_at="sites"``, each writes
        its own to a file that ``load_weights`` reads, and the coordinator never has any.

    Returns
    -------
    estimator
        The estimator itself, fitted.  ``sites_`` names its peers.  With ``collect=False`` it has all other attributes
        but no weights, so it cannot predict.

    Raises
    ------
    TypeError, ValueError
        If an argument or a parameter is not as described, the sites' rows do not fit together, or an answer is refused.
    RuntimeError
        If a site refuses to take part, or another process uses the checkpoint.
    TimeoutError
        If a site does not answer, or with ``absent="skip"`` none does.
    OSError
        If the checkpoint cannot be read or written.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.sites import LocalTransport, Site, fit_sites
    >>> X, y = load_iris(return_X_y=True)
    >>> sites = [Site(X[k::3], y[k::3], name=name) for k, name in enumerate(["Bath", "Leeds", "York"])]
    >>> model = make_pipeline(StandardScaler(), FusedMLPClassifier(max_iter=50, tol=0, random_state=0))
    >>> with LocalTransport(sites) as transport:
    ...     fit_sites(model, transport).score(X, y) > 0.9
    True
    """
    scaler, model = _steps(estimator)
    _check_transport(transport)
    patience = check_real("patience", patience, open_minimum=True)
    if check_choice("absent", absent, ("raise", "skip")) == "skip" and patience == math.inf:
        raise ValueError("patience must be finite with absent='skip', or no site ever counts as absent; got inf")
    _check_fuse_at(fuse_at, transport, model, absent)
    if not check_flag("collect", collect) and fuse_at == "coordinator":
        raise ValueError("collect must be True with fuse_at='coordinator', which has all weights anyway; got False")
    wanted, known = _check_sites(sites), _check_classes_given(classes, model)
    parameters = model._check_parameters()
    with Run.begin(checkpoint) as run:
        run.check_max_iter(parameters.settings.max_iter)
        if wanted is not None:
            run.check_sites(wanted)
        names = gather(transport, run.sites or wanted, patience)
        exchange = Exchange(transport, run.name, patience)
        call = _Call(exchange, names, scaler, known, run, absent == "skip", fuse_at, collect)
        run.log_beginning(names)
        fitted = _fit_steps(estimator, model, parameters, call)
    if scaler is not None:
        estimator.steps = [(estimator.steps[0][0], fitted), *estimator.steps[1:]]  # the old list is the caller's
    return estimator


@dataclass(frozen=True)
class _Call:
    """A call of fit_sites."""

    exchange: Exchange
    sites: list[str]
    scaler: StandardScaler | None
    classes: np.ndarray | None
    run: Run
    skip: bool
    fuse_at: str
    collect: bool


@with_callbacks
def _fit_steps(estimator, model, parameters, call):
    """Fit an estimator, or a pipeline's steps with its callbacks; returns the fitted scaler if there is one."""
    if estimator is model:
        return _fit(model, parameters, call)
    task = estimator._init_callback_context(max_subtasks=1)
    task.call_on_fit_task_begin(estimator=estimator)
    step = task.subcontext(task_name="fit-final-estimator")
    with step.propagate_callback_context(model):
        step.call_on_fit_task_begin(estimator=estimator)
        fitted = _fit(model, parameters, call)
        step.call_on_fit_task_end(estimator=estimator)
    task.call_on_fit_task_end(estimator=estimator)
    return fitted


@with_callbacks
def _fit(model, parameters, call):
    """Fit an estimator; returns the fitted scaler if there is one."""
    old = model._known_peers() if parameters.warm_start else None
    if old is None:
        forget(model)
    elif call.classes is not None:
        check_same_classes(call.classes, old.classes, "since the peers' weights are kept")
    number, question = call.run.draw_first_number(), _question(model, call, old)
    agreement = ask_for_agreement(call.exchange, number, call.sites, question)
    _log_agreement(agreement)
    if old is not None:
        _check_as_before(model, agreement)
    scaler = None if call.scaler is None else _fitted_scaler(call.scaler, agreement)
    progress = call.run.progress(parameters.random_state)
    if old is not None:
        progress.go_on_from(old.progress)
    problem, federation = _plan(model, parameters, call, agreement, scaler, progress)
    if old is None:
        ensemble = Ensemble.start(problem, agreement.classes, progress, np.dtype(agreement.dtype))
    else:
        ensemble = old.restarted(problem, progress)
    yardstick = LossesAlone(ensemble, problem, agreement.targets)
    identity = identity_of(model, problem.topology, call.scaler, agreement, federation.plans)
    identity["fuse_at"] = call.fuse_at
    training = _training(call, ensemble, problem, federation, identity)
    names = agreement.feature_names if scaler is None else names_out(scaler)
    attributes = _attributes(agreement, problem.topology, names)
    outcome = train(model, training, yardstick, attributes, _ROWS_ELSEWHERE, stacklevel=7)
    if outcome != "interrupted":
        _say_goodbye(call.exchange, federation)
        call.run.end()
    return scaler


def _log_agreement(agreement):
    """Say what the sites have, so that someone sees it who knows what they should have."""
    labels = "" if agreement.classes is None else f", classes {shown(agreement.classes.tolist())}"
    rows = dict(zip(agreement.peers, agreement.lengths, strict=True))
    _log.info("%d features%s; rows of each peer: %s", agreement.n_features, labels, shown(rows))


def _question(model, call, old):
    """Return what to ask of sites before training."""
    classes = call.classes if old is None else old.classes
    return Question(
        labelled=is_classifier(model),
        classes=None if classes is None else pack_labels(classes),
        by_class=_class_weight(model) is not None,
        moments=call.scaler is not None,
        collect=call.collect,
    )


def _plan(model, parameters, call, agreement, scaler, progress):
    """Return the problem, and the federation of the sites that are to solve it."""
    settings, n_networks = parameters.settings, len(agreement.peers)
    if agreement.classes is not None:
        check_classes("y of all sites together", agreement.classes)
    check_prediction(settings.prediction, n_networks)
    if n_networks > 1:
        next_round = check_round(parameters.topology, n_networks, progress.fusion_round)
        if call.fuse_at == "sites":
            check_in_pairs(parameters.topology, next_round)
    output_layer = model._output_layer(agreement.classes, agreement.n_outputs)
    network = parameters.network(agreement.n_features, *output_layer)
    division = Division.draw(agreement, settings, progress.partition_rng)
    plans = plans_for(agreement, network, settings, _class_weight(model), scaler, division)
    federation, held_out_weigh = form_federation(call.exchange, agreement, plans, division, call.skip)
    if settings.early_stopping:
        model._check_held_out(division.n_held_out, held_out_weigh, settings.validation_fraction)
    topology = with_edges_alone(parameters.topology)
    return Problem(network, settings, topology, division.lengths, names=agreement.peers), federation


def _training(call, ensemble, problem, federation, identity):
    """Return the training of a run, restored to where it was saved."""
    run = call.run
    run.check_identity(identity)
    done = run.restore(ensemble)
    if run.saved is not None:
        federation.number = run.saved.number
    if call.fuse_at == "sites":
        engine = ApartEngine(problem, ensemble.state, federation, run.saved is not None, call.collect)
        kind = ApartTraining
    else:
        losses = np.array(ensemble.history[-1]["losses"]) if ensemble.history else None
        engine = SiteEngine(problem, ensemble.state, federation, losses)
        kind = SiteTraining if call.skip else Training
    journal = JournalledEngine(
        engine, ensemble, lambda *now: run.save(training, federation.number, identity, *now), done
    )
    held_out = HeldOutAtSites(problem.network, federation) if problem.settings.early_stopping else None
    training = kind(ensemble, problem, journal, held_out, run.n_epochs)
    run.restore_stopping(training)
    return training


def _attributes(agreement, topology, feature_names):
    """Return the fitted attributes that tell of the sites, as if their rows came one after another."""
    ends, n_networks = np.cumsum(agreement.lengths), len(agreement.peers)
    owners = np.array(agreement.peers), np.arange(n_networks), np.ones(n_networks)
    attributes = {
        "sites_": agreement.peers,
        "partition_": np.split(np.arange(ends[-1]), ends[:-1]),
        "ownership_": Ownership("groups", n_networks, *owners),
        "partitioner_": GroupPartitioner(),
        "topology_": topology,
    }
    if feature_names is not None:
        attributes["feature_names_in_"] = np.array(feature_names, object)
    return attributes


def _say_goodbye(exchange, federation):
    """Let sites know that the run is over; one that does not hear it just waits for the next message."""
    farewells = {site: ({}, {}) for site in federation.peers}
    try:
        patient = exchange.with_patience(_FAREWELL)
        patient.ask(federation.number, "end", farewells, lambda site, answer: None, needed=False)
    except (Exception, KeyboardInterrupt) as error:  # a transport may raise any; by now nothing but the model matters
        _log.warning("not all sites may have heard that the run is over: %s", str(error) or type(error).__name__)


# What is given


def _steps(estimator):
    """Return the scaler, or None, and the estimator that is to be fitted."""
    scaler, model = None, estimator
    if isinstance(estimator, Pipeline) and len(estimator.steps) == 2:
        scaler, model = (step for _, step in estimator.steps)
    if not isinstance(model, BaseFusedMLP) or not (scaler is None or type(scaler) is StandardScaler):
        raise TypeError(
            "estimator must be a FusedMLPClassifier or FusedMLPRegressor, or a pipeline of a StandardScaler and one of "
            f"these; got {shown(estimator)}"
        )
    return scaler, model


def _check_transport(transport):
    if not isinstance(transport, BaseTransport):
        raise TypeError(f"transport must be a transport, such as LocalTransport(sites), got {shown(transport)}")
    check_real("resend_after of the transport", transport.resend_after, open_minimum=True)


def _check_fuse_at(fuse_at, transport, model, absent):
    if check_choice("fuse_at", fuse_at, ("coordinator", "sites")) == "coordinator":
        return
    if not transport.sites_swap:
        raise ValueError(f"fuse_at='sites' needs a transport that lets sites reach one another, got {shown(transport)}")
    if model.early_stopping:
        raise ValueError("early_stopping must be False with fuse_at='sites': nobody has all weights to score; got True")
    if model.drift_correction is not None or model.fusion_momentum != 0:
        raise ValueError(
            "drift_correction must be None and fusion_momentum 0 with fuse_at='sites', which swaps only weights; "
            f"got {shown(model.drift_correction)} and {shown(model.fusion_momentum)}"
        )
    if absent == "skip":
        raise ValueError("absent must be 'raise' with fuse_at='sites', since a pair takes two; got 'skip'")


def _check_sites(sites):
    """Return how many sites to wait for, or their names as a list; None stays None."""
    if sites is None:
        return None
    if isinstance(sites, (str, bytes)):
        raise TypeError(f"sites must be a number or a list of names, got {shown(sites)}")
    if not isinstance(sites, Iterable):
        return check_integer("sites", sites, 1)
    names = sorted(check_name(name) for name in sites)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"sites must hold at least one name, and each only once; got {shown(names)}")
    return names


def _check_classes_given(classes, model):
    if classes is None:
        return None
    if not is_classifier(model):
        raise ValueError(f"classes must be None for a regressor, got {shown(classes)}")
    classes = check_all_classes(classes)
    if classes.dtype.kind not in LABEL_KINDS:
        raise ValueError(f"classes must be numbers or strings, which messages can carry, got dtype {classes.dtype}")
    return classes


def _class_weight(model):
    return getattr(model, "class_weight", None)


def _fitted_scaler(scaler, agreement):
    if scaler.with_mean and agreement.sparse:
        raise ValueError("sparse rows cannot be centred; the StandardScaler must have with_mean=False")
    if not np.isfinite(agreement.moments.squared_deviations).all():
        raise ValueError(
            "X of all sites together must hold numbers so small that the scaler can square them in float64"
        )
    return fit_scaler(scaler, agreement.moments, agreement.feature_names)


def _check_as_before(model, agreement):
    """Check that the sites of a warm start are those that peers know."""
    names = getattr(model, "feature_names_in_", None)
    both = names is not None and agreement.feature_names is not None
    for what, was, now in (
        ("peers", getattr(model, "sites_", agreement.peers), agreement.peers),
        ("number of features", model.n_features_in_, agreement.n_features),
        ("features", *((names.tolist(), agreement.feature_names) if both else ("", ""))),
        ("dtype of X", model.weights_.dtype.name, agreement.dtype),
    ):
        if was != now:
            raise ValueError(
                f"the sites' {what} must stay {shown(was)}, since the peers' weights are kept; got {shown(now)}"
            )
