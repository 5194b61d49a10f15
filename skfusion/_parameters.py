"""Checks of the parameters that the classifier and the regressor share."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number, Real

import numpy as np

from skfusion._checks import check_choice, check_flag, check_integer, check_real, check_seed, is_integer, shown
from skfusion._training.network import ACTIVATIONS, Network
from skfusion._training.problem import Settings
from skfusion._typing import RandomState
from skfusion.fusion import RULES
from skfusion.topology import BaseTopology, check_topology

_AUTO_BATCH_SIZE = 200  # MLPClassifier's


@dataclass(frozen=True)
class Parameters:
    """The parameters that the estimators share, checked; each as there, those of training in ``settings``."""

    settings: Settings
    hidden_layer_sizes: tuple
    activation: str
    n_networks: int | None
    partitioner: object  # as given, since what None stands for depends on the rows
    topology: BaseTopology
    warm_start: bool
    random_state: RandomState

    def network(self, n_features, n_outputs, output):
        """Return the network for rows and targets of these numbers, and with that output function."""
        return Network((n_features, *self.hidden_layer_sizes, n_outputs), self.activation, output)


def check_parameters(estimator):
    """Return all parameters as Parameters, or raise TypeError or ValueError."""
    return Parameters(
        settings=_settings(estimator),
        hidden_layer_sizes=_hidden_layer_sizes(estimator.hidden_layer_sizes),
        activation=check_choice("activation", estimator.activation, ACTIVATIONS),
        n_networks=None if estimator.n_networks is None else check_integer("n_networks", estimator.n_networks, 1),
        partitioner=estimator.partitioner,
        topology=check_topology(estimator.topology),
        warm_start=check_flag("warm_start", estimator.warm_start),
        random_state=check_seed(estimator.random_state),
    )


def _settings(estimator):
    alpha = check_real("alpha", estimator.alpha, open_maximum=True)
    l1_ratio = check_real("l1_ratio", estimator.l1_ratio, 0, 1)
    return Settings(
        init=check_choice("init", estimator.init, ("shared", "independent")),
        **check_solver(estimator),
        l1=alpha * l1_ratio,
        l2=alpha * (1 - l1_ratio),
        batch_size=_batch_size(estimator.batch_size),
        shuffle=check_flag("shuffle", estimator.shuffle),
        fusion_rate=check_real("fusion_rate", estimator.fusion_rate, 0, 1),
        fusion_frequency=check_integer("fusion_frequency", estimator.fusion_frequency, 1),
        fusion_unit=check_choice("fusion_unit", estimator.fusion_unit, ("epoch", "step")),
        fusion_rule=check_choice("fusion_rule", estimator.fusion_rule, RULES),
        **check_drift(estimator),
        **_stopping(estimator),
        prediction=check_prediction(estimator.prediction),
        n_jobs=_n_jobs(estimator.n_jobs),
        verbose=_verbose(estimator.verbose),
    )


def check_solver(estimator):
    """Return the parameters of the optimiser as a dict, or raise TypeError or ValueError."""
    return dict(
        solver=check_choice("solver", estimator.solver, ("sgd", "adam")),
        momentum=check_real("momentum", estimator.momentum, 0, 1),
        nesterovs_momentum=check_flag("nesterovs_momentum", estimator.nesterovs_momentum),
        beta_1=check_real("beta_1", estimator.beta_1, 0, 1, open_maximum=True),
        beta_2=check_real("beta_2", estimator.beta_2, 0, 1, open_maximum=True),
        epsilon=check_real("epsilon", estimator.epsilon, open_minimum=True, open_maximum=True),
        learning_rate=check_choice("learning_rate", estimator.learning_rate, ("constant", "invscaling", "adaptive")),
        learning_rate_init=check_real(
            "learning_rate_init", estimator.learning_rate_init, open_minimum=True, open_maximum=True
        ),
        power_t=check_real("power_t", estimator.power_t, open_maximum=True),
    )


def check_drift(estimator):
    """Return the parameters of drift correction as a dict, or raise TypeError or ValueError."""
    correction = estimator.drift_correction
    if correction is not None and not (isinstance(correction, str) and correction == "tracking"):
        raise ValueError(f"drift_correction must be 'tracking' or None, got {shown(correction)}")
    momentum = check_real("fusion_momentum", estimator.fusion_momentum, 0, 1, open_maximum=True)
    name = "drift_correction" if correction else "fusion_momentum" if momentum else None
    if name is not None:
        for other, value, right in (
            ("solver", estimator.solver, "sgd"),
            ("momentum", estimator.momentum, 0),
            ("l1_ratio", estimator.l1_ratio, 0),
        ):
            if value != right:
                raise ValueError(
                    f"{other} must be {right!r} with {name}={getattr(estimator, name)!r}, which corrects plain "
                    f"gradient steps; got {value!r}"
                )
    return dict(drift_correction=correction, fusion_momentum=momentum)


def _stopping(estimator):
    fraction, patience = estimator.validation_fraction, estimator.n_iter_no_change
    if not (isinstance(patience, Real) and patience == np.inf):
        patience = check_integer("n_iter_no_change", patience, 1)
    return dict(
        max_iter=check_integer("max_iter", estimator.max_iter, 1),
        tol=check_real("tol", estimator.tol, open_maximum=True),
        n_iter_no_change=patience,
        early_stopping=check_flag("early_stopping", estimator.early_stopping),
        validation_fraction=check_real("validation_fraction", fraction, 0, 1, open_minimum=True, open_maximum=True),
    )


def _n_jobs(n_jobs):
    if n_jobs is not None and check_integer("n_jobs", n_jobs, -np.inf) == 0:
        raise ValueError("n_jobs must be None or an integer other than 0, got 0")
    return n_jobs


def _verbose(verbose):
    return verbose if isinstance(verbose, bool | np.bool_) else check_integer("verbose", verbose, 0)


def _batch_size(batch_size):
    if not isinstance(batch_size, str):
        return check_integer("batch_size", batch_size, 1)
    if batch_size != "auto":
        raise TypeError(f"batch_size must be 'auto' or an integer of at least 1, got {shown(batch_size)}")
    return _AUTO_BATCH_SIZE


def _hidden_layer_sizes(hidden_layer_sizes):
    """Return the sizes as a tuple of int, or raise TypeError or ValueError."""
    one = isinstance(hidden_layer_sizes, Number)
    listed = isinstance(hidden_layer_sizes, Sequence) or hasattr(hidden_layer_sizes, "__array__")
    several = listed and not isinstance(hidden_layer_sizes, str | bytes)
    if not (one or several):
        raise TypeError(
            f"hidden_layer_sizes must be an integer or a sequence of integers, got {shown(hidden_layer_sizes)}"
        )
    try:
        sizes = [hidden_layer_sizes] if one else hidden_layer_sizes
        return tuple(check_integer("hidden_layer_sizes", size, 1) for size in sizes)
    except (TypeError, ValueError) as error:
        raise type(error)(f"hidden_layer_sizes must be positive integers, got {shown(hidden_layer_sizes)}") from error


def check_prediction(prediction, n_networks=None):
    """Return what to predict by, or raise ValueError; ``n_networks`` is None as long as it is not known."""
    if isinstance(prediction, str) and prediction in ("consensus", "vote"):
        return prediction
    if not is_integer(prediction):
        raise ValueError(f"prediction must be 'consensus', 'vote' or the index of a peer, got {shown(prediction)}")
    if prediction < 0 or (n_networks is not None and prediction >= n_networks):
        limit = "" if n_networks is None else f" to {n_networks - 1}"
        raise ValueError(
            f"prediction must be 'consensus', 'vote' or the index of a peer, from 0{limit}; got {shown(prediction)}"
        )
    return int(prediction)
