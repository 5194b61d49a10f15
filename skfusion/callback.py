"""Callbacks that watch the peers while they train."""

import copy
from typing import Any

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackContext
from sklearn.utils import check_consistent_length

from skfusion._checks import check_whole
from skfusion._typing import MatrixLike, Records

__all__ = ["PeerScores"]


class PeerScores:
    """Callback that scores each peer and the consensus after each epoch.

    Set it with ``estimator.set_callbacks(PeerScores(X, y))``.  It holds the scores of the latest call of ``fit``.  The
    peers are scored as if training ended there: with ``early_stopping``, by their weights in the best epoch so far.

    Parameters
    ----------
    X : {array-like, sparse} of shape (n_samples, n_features)
        Rows to score on, as they reach the estimator.  In a pipeline, transform them by its earlier steps first.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their class labels, or numbers in regression.

    Attributes
    ----------
    history : list of dict
        For each epoch: "epoch", as in the estimator's ``history_``; "peers", each peer's score; "consensus", the score
        of the network with the mean of their weights.

    Raises
    ------
    TypeError, ValueError
        If X or y is None, or they differ in length.  If the estimator cannot score them, ``fit`` raises an error before
        its first epoch.

    See Also
    --------
    sklearn.callback.ScoringMonitor : Any score of the estimator's predictions, on the training rows.
    skfusion.display.FusionCurveDisplay : Draws the scores.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skfusion import FusedMLPClassifier
    >>> from skfusion.callback import PeerScores
    >>> X, y = load_iris(return_X_y=True)
    >>> scores = PeerScores(X, y)
    >>> model = FusedMLPClassifier(n_networks=3, max_iter=2, random_state=0).set_callbacks(scores).fit(X, y)
    >>> [record["epoch"] for record in scores.history]
    [1, 2]
    >>> scores.history[-1]["consensus"] == model.score(X, y)
    True
    """

    history: Records

    def __init__(self, X: MatrixLike, y: ArrayLike):
        for name, value in (("X", X), ("y", y)):
            if value is None:
                raise TypeError(f"{name} must be an array with a row for each sample to score on, got None")
            check_whole(name, value)
        check_consistent_length(X, y)
        self.X, self.y = X, y
        self.history = []

    def setup(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Forget the scores of an earlier fit."""
        self.history = []

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Nothing to release."""

    def on_fit_task_begin(
        self, estimator: BaseEstimator, context: CallbackContext, *, fitted_estimator: Any = None
    ) -> None:
        """Score the peers as they start, only to raise an error before any training if that fails."""
        if context.task_name == "epoch" and not self.history:
            self._score(fitted_estimator)

    def on_fit_task_end(
        self, estimator: BaseEstimator, context: CallbackContext, *, fitted_estimator: Any = None
    ) -> None:
        """Score the peers as they are now."""
        if context.task_name != "epoch":
            return
        self.history.append({"epoch": fitted_estimator.history_[-1]["epoch"]} | self._score(fitted_estimator))

    def _score(self, fitted_estimator):
        consensus = copy.copy(fitted_estimator)
        consensus.prediction = "consensus"  # which is no parameter of a subclass that sets its own
        return {
            "peers": fitted_estimator.peer_scores(self.X, self.y).tolist(),
            "consensus": float(consensus.score(self.X, self.y)),
        }
