"""Train the peers of an estimator, tell its callbacks, and set its fitted attributes."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skfusion._training.outcome import exhausted

# What training, scikit-learn or sites set; a subclass may have set others before it calls fit.
_FITTED = (
    "_ensemble n_features_in_ feature_names_in_ classes_ n_iter_ n_layers_ n_outputs_ out_activation_ history_ loss_ "
    "best_loss_ loss_curve_ validation_scores_ best_validation_score_ partition_ ownership_ partitioner_ topology_ "
    "sites_"
)


def train(estimator, training, yardstick, attributes, given, stacklevel=4):
    """Train to the end, with callbacks, and set the fitted attributes.

    Parameters
    ----------
    estimator : BaseFusedMLP
    training : Training
    yardstick : Yardstick or LossesAlone
    attributes : dict
        Fitted attributes that describe the partition.
    given : dict
        What callbacks are told of the rows: "X", "y" and "metadata".
    stacklevel : int, default=4
        How many frames up the caller is that warnings name.

    Returns
    -------
    {"converged", "interrupted", "max_iter"}
        Why training ended.
    """
    settings = training.problem.settings
    task = estimator._init_callback_context(task_name="fit", max_subtasks=settings.max_iter)
    task.call_on_fit_task_begin(estimator=estimator, **given)
    epochs = _Epochs(estimator, training, attributes, task, given)
    outcome = training.run(epochs.begin, epochs.end)
    try:
        complaint = yardstick.judge(training.ensemble, training.n_epochs)
    except KeyboardInterrupt:
        outcome, complaint = "interrupted", None
    publish(estimator, training, attributes)
    if outcome == "interrupted":
        warnings.warn("Training interrupted by user; the peers keep what they have learned.", stacklevel=stacklevel)
    if outcome == "max_iter":
        warnings.warn(exhausted(settings, complaint), ConvergenceWarning, stacklevel=stacklevel)
    elif complaint is not None:
        warnings.warn(f"Training {complaint}", ConvergenceWarning, stacklevel=stacklevel)
    task.call_on_fit_task_end(estimator=estimator, reconstruction_attributes={}, **given)
    return outcome


def publish(estimator, training, attributes):
    """Set the fitted attributes."""
    training.ensemble.update_consensus()
    estimator.__dict__.update(_trained_attributes(training, training.ensemble) | attributes)


def forget(estimator):
    """Drop everything that an earlier fit has left behind."""
    for name in vars(estimator).keys() & set(_FITTED.split()):
        delattr(estimator, name)


class _Epochs:
    """Tells callbacks of each epoch, as if training had ended there."""

    def __init__(self, estimator, training, attributes, task, given):
        self._training, self._attributes, self._task = training, attributes, task
        self._given = given | {"estimator": estimator}

    def begin(self):
        self._epoch = self._task.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._told())

    def end(self):
        """Return whether a callback asks to stop."""
        return self._epoch.call_on_fit_task_end(**self._told())

    def _told(self):
        return self._given | {"reconstruction_attributes": self._snapshot}

    def _snapshot(self):
        return _trained_attributes(self._training, self._training.ended()) | self._attributes


def _trained_attributes(training, ensemble):
    """Return the fitted attributes of a training's ensemble, without weights where these are at sites."""
    attributes = fitted_attributes(ensemble, training.n_epochs)
    return attributes if training.has_weights else attributes | {"_ensemble": None}


def fitted_attributes(ensemble, n_iter):
    """Return the fitted attributes, except those that describe the partition."""
    network, losses, scores = ensemble.network, ensemble.curves["loss"], ensemble.curves["validation_score"]
    attributes = {
        "_ensemble": ensemble,
        "n_iter_": n_iter,
        "history_": ensemble.history,
        "loss_curve_": losses,
        "n_features_in_": network.layer_sizes[0],
        "n_layers_": len(network.layer_sizes),
        "n_outputs_": network.layer_sizes[-1],
        "out_activation_": network.output,
    }
    if ensemble.classes is not None:
        attributes["classes_"] = ensemble.classes
    if losses:
        attributes |= {"loss_": losses[-1], "best_loss_": min(losses)}
    if scores:
        attributes |= {"validation_scores_": scores, "best_validation_score_": float(np.fmax.reduce(scores))}
    return attributes
