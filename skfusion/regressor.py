"""FusedMLPRegressor: numbers as targets, one or several per row."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.utils import column_or_1d

from skfusion._base import BaseFusedMLP
from skfusion._inputs import FOR_LABELS, Targets, check_dense, check_numbers, check_plain_numbers, check_targets
from skfusion._row_weights import relative_weight
from skfusion._typing import MatrixLike


class FusedMLPRegressor(MultiOutputMixin, RegressorMixin, BaseFusedMLP):
    """Predict numbers by several neural networks that train apart and learn from one another.

    Each of the networks, the *peers*, trains on rows of its own.  At intervals, pairs of peers average their weights
    along a topology.  So a peer learns what only others have seen.  The peers minimise half the squared error of one or
    several outputs.

    The parameters come in groups:

    - **Network**: ``hidden_layer_sizes``, ``activation``, ``init``
    - **Peers and fusion**: ``n_networks``, ``partitioner``, ``topology``, ``fusion_rate``, ``fusion_frequency``,
      ``fusion_unit``, ``fusion_rule``, ``drift_correction``, ``fusion_momentum``, ``prediction``
    - **Optimiser**: ``solver``, ``learning_rate``, ``learning_rate_init``, ``power_t``, ``momentum``,
      ``nesterovs_momentum``, ``beta_1``, ``beta_2``, ``epsilon``, ``alpha``, ``l1_ratio``, ``batch_size``,
      ``shuffle``
    - **Stopping**: ``max_iter``, ``tol``, ``n_iter_no_change``, ``early_stopping``, ``validation_fraction``
    - **Running**: ``warm_start``, ``random_state``, ``n_jobs``, ``verbose``

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    init : {"shared", "independent"}, default="shared"
        Whether all peers start from the same weights.  They are drawn as in MLPRegressor.
    n_networks : int or None, default=8
        Number of peers.  None means the partitioner's natural number: one per group or fold.
    partitioner : {"random", "group"}, partitioner, splitter or None, default=None
        Which rows each peer sees: a name, an instance of a class of :mod:`skfusion.partition`, or a scikit-learn
        splitter, whose test folds are the partition.  None means "group" if ``fit`` gets groups, else "random".
        Partitioners that go by class labels raise an error.
    topology : str or topology, default="hypercube"
        Which peers fuse in a round: "ring", "random", "hypercube", "line", "star", "complete", "torus", "exponential",
        "average", or an instance of a class of :mod:`skfusion.topology`.
    fusion_rate : float, default=0.5
        Weight, from 0 to 1, that a peer gives to the other when they fuse; 0 means no fusion.
    fusion_frequency : int, default=1
        Interval between fusion rounds, in the unit of ``fusion_unit``.
    fusion_unit : {"epoch", "step"}, default="epoch"
        Whether ``fusion_frequency`` counts epochs or each peer's optimiser steps.  With "step" all peers take the same
        number of steps: an epoch ends when the peer with the most rows is through, and the others go round their rows
        again.
    fusion_rule : {"sequential", "simultaneous"}, default="simultaneous"
        Whether the second network of a pair reads the new weights of the first, or both read the old ones; see
        :func:`skfusion.fuse`.  Ignored if all peers mix at once, as with ``topology="average"``.
    drift_correction : {"tracking"} or None, default=None
        Whether to correct each peer's steps by gradient tracking, for peers that see different classes or otherwise
        different rows.  Each step adds an estimate of how the mean gradient of all peers differs from the peer's own.
        The estimate travels with the weights and doubles what is sent.  Needs ``solver="sgd"`` without momentum and
        without an L1 penalty.  Under the sequential rule it diverges where pairs change from round to round.
    fusion_momentum : float, default=0.0
        Quasi-global momentum, in [0, 1): each step also continues the peer's movement from round to round.  Needs plain
        SGD, like ``drift_correction``, but sends nothing more.
    prediction : {"consensus", "vote"} or int, default="consensus"
        What predicts: one network with the mean of the peers' weights, the mean of the peers' predictions, or the
        peer with that index.
    solver : {"sgd", "adam"}, default="sgd"
        Each peer's optimiser.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the learning rate as in MLPRegressor, only with ``solver="sgd"``.  "adaptive" divides it by 5 when
        training would otherwise stop.
    learning_rate_init : float, default=0.01
        Initial learning rate.
    power_t : float, default=0.5
        Exponent for "invscaling".
    momentum : float, default=0.0
        Momentum for ``solver="sgd"``, from 0 to 1.
    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum if ``momentum > 0``.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of Adam's moments, in [0, 1).
    epsilon : float, default=1e-8
        Adam's value for numerical stability.
    alpha : float, default=0.0001
        Strength of the penalty: a batch of b rows adds ``alpha / b`` times the coefficients to its mean gradient.  On
        dense float32 rows, a plain SGD step shrinks a coefficient by the share ``learning_rate * alpha / b``, rounded
        to a multiple of 6e-8; a share below half of that does nothing.
    l1_ratio : float, default=0.0
        Share of ``alpha`` that penalises absolute values instead of squares, by a soft threshold after each step, of
        ``learning_rate * alpha * l1_ratio / b``.  Momentum and Adam enlarge steps, but not this threshold, so with them
        the same ``alpha`` gives fewer zeros: with momentum, as few as ``1 - momentum`` times as much without.
    batch_size : int or "auto", default=1
        Number of rows per optimiser step; a peer with fewer takes all of them.  "auto" means 200.
    shuffle : bool, default=True
        Whether each peer shuffles its rows in each epoch.
    max_iter : int, default=200
        Maximum number of epochs.
    tol : float, default=1e-4
        Training stops when ``loss_``, or with ``early_stopping`` the validation score, has failed to improve by ``tol``
        for more than ``n_iter_no_change`` epochs in a row.
    n_iter_no_change : int or inf, default=10
        See ``tol``.  With inf, all ``max_iter`` epochs run; ``tol=0`` alone does not ensure that.
    early_stopping : bool, default=False
        Whether to stop training by R² on rows that each peer holds out of its own.  Keeps the weights of the best
        epoch.
    validation_fraction : float, default=0.1
        Share of its rows that each peer holds out for ``early_stopping``.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the previous call.
    random_state : int, RandomState instance or None, default=None
        Source of randomness for the partition, the initial weights, the order of rows and the topology.
    n_jobs : int or None, default=None
        Number of joblib workers that train peers: threads, and one for None, unless ``joblib.parallel_config`` says
        otherwise.  Results do not depend on it.  Work too small to gain from threads runs in one thread.
    verbose : bool or int, default=False
        Whether to print the loss of each epoch.

    Attributes
    ----------
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if all are strings.
    weights_ : ndarray of shape (n_networks, n_parameters)
        Each peer's weights, layer after layer: coefficients in C order, then intercepts.  Assign an array to replace
        them.  Do not change them in place: the consensus would not notice.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Coefficients of the consensus, the network with the mean of the peers' weights.
    intercepts_ : list of ndarray of shape (fan_out,)
        Intercepts of the consensus.
    peers_ : list of MLPRegressor
        Each peer as a fitted MLPRegressor.  Each access makes new copies.
    consensus_ : MLPRegressor
        The consensus as a fitted MLPRegressor, whose losses are ``loss_curve_``.
    partition_ : list of int ndarray
        For each peer, the indices of its rows in the X of the last call, including held-out rows.  Empty if the peer
        sat the call out.
    sites_ : list of str
        Names of the peers, if :func:`skfusion.sites.fit_sites` fitted them; ``fit`` does not set it.
    ownership_ : Ownership or None
        Which groups each peer has, or which classes if the partitioner goes by classes; ``ownership_.by_peer`` lists
        them (:class:`skfusion.partition.Ownership`).  They stay with their peer in further calls of ``partial_fit`` and
        in a warm start.  A new one goes to a peer that has none yet, or else joins the peer that has trained on the
        fewest rows so far, or in a warm start the one with the fewest rows in it.  None as long as the partitioner goes
        by neither.
    partitioner_, topology_ : object
        The partitioner and the topology in use.
    history_ : list of dict
        For each epoch: "epoch", counted from 1; "losses", each peer's mean training loss with penalty, NaN if the peer
        sat the call out; "loss", their mean, weighted by the peers' numbers of rows; "fusion_rounds", the number of
        rounds in the epoch; "disagreement_before_fusion" and "disagreement_after_fusion", the root mean square distance
        of the peers' weights from the consensus before and after the epoch's last round; "numbers_sent", by each peer;
        "seconds".  With ``early_stopping`` also "validation_scores", each peer's R² on its held-out rows, NaN if it has
        fewer than two; and "validation_score", R² on all held-out rows.
    loss_, best_loss_ : float
        Mean of the peers' losses in the last epoch, weighted by their numbers of rows, and the lowest such mean.  A
        loss is half the mean over rows and outputs of the squared error, plus the penalty.
    loss_curve_ : list of float
        The same mean for each epoch.
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping``, R² on all held-out rows for each epoch, and its highest value.
    n_iter_ : int
        Number of epochs of the last call.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        As in MLPRegressor.

    See Also
    --------
    FusedMLPClassifier : The same for class labels.
    sklearn.neural_network.MLPRegressor : One network that sees all rows.

    Notes
    -----
    The defaults of ``topology``, ``fusion_rule`` and ``fusion_rate`` preserve the mean of all weights.  If the number
    of peers is a power of two, one round makes them all equal.  These defaults come from measurements with
    :class:`skfusion.FusedMLPClassifier`.

    Scale the targets as well as the features, or training may diverge; ``TransformedTargetRegressor`` does that.

    As in MLPRegressor, a row's gradient sums the squared error over outputs, although the reported loss is a mean.  A
    row's weight multiplies its gradient.  It is relative to the mean weight of all rows, not of the batch as in
    MLPRegressor, so it matters at a batch size of 1, too.  Rows of weight 0 are dropped before the partition.

    References
    ----------
    J. Smith and M. Gashler, "An Investigation of How Neural Networks Learn From the Experiences of Peers Through
    Periodic Weight Averaging", ICMLA 2017.

    Examples
    --------
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import StandardScaler, scale
    >>> from skfusion import FusedMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = FusedMLPRegressor(n_networks=3, max_iter=20, tol=0, random_state=0)
    >>> model = TransformedTargetRegressor(network, transformer=StandardScaler())
    >>> bool(model.fit(scale(X), y).score(scale(X), y) > 0.5)
    True
    """

    peers_: list[MLPRegressor]
    consensus_: MLPRegressor

    def partial_fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Train the peers for one epoch on further rows.

        Rows of a known group go to its peer (``ownership_``); other rows are partitioned again.  Peers without rows sit
        the call out: they do not train, but fuse with the others.  A single row is enough, even in the first call if
        ``n_networks`` is a number.

        Weights are relative to their mean over the rows of the call, so ``sample_weight`` changes nothing where these
        all have the same weight, such as in a portion of a single row.

        An adaptive learning rate stays as it is, since losses of different rows do not show when training stalls; a new
        ``learning_rate_init`` replaces it.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers to predict.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels.  If later calls will bring more groups, set ``n_networks`` to the number of all of them; peers
            that have no group yet wait for one.

        Returns
        -------
        FusedMLPRegressor
            The regressor, fitted on what it has seen so far.

        Raises
        ------
        TypeError, ValueError
            As in ``fit``; also if the number of outputs changes, and with ``early_stopping=True``.
        """
        return self._partial_fit(X, y, sample_weight, groups)

    def _check_targets(self, y):
        check_dense(y)
        check_targets(y)
        check_plain_numbers("y", y, FOR_LABELS)

    def _validate(self, X, y, old):
        X, y = self._validate_rows(X, y, old, multi_output=True)
        y = check_numbers(y, X.dtype)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if old is not None and n_outputs != old.network.layer_sizes[-1]:
            raise ValueError(
                f"y must have {old.network.layer_sizes[-1]} outputs, since the peers' weights are kept; got {n_outputs}"
            )
        return X, y

    def _classes_of(self, y, sample_weight):
        return None

    def _encode(self, rows):
        values = np.ascontiguousarray(rows.y.reshape(len(rows.y), -1))
        weight = relative_weight(rows.sample_weight, None, np.zeros(len(values), np.intp), None, rows.X.dtype)
        return Targets(values, weight, *self._output_layer(None, values.shape[1]))

    def _output_layer(self, classes, n_outputs):
        return n_outputs, "identity"

    def _decode(self, answers):
        return answers.ravel() if answers.shape[1] == 1 else answers

    def _metric(self, y, predicted, sample_weight):
        return r2_score(y, predicted, sample_weight=sample_weight)

    def _check_held_out(self, n_rows, have_weight, fraction):
        super()._check_held_out(n_rows, have_weight, fraction)
        if n_rows < 2:
            raise ValueError(
                f"early_stopping needs at least 2 held-out rows for R², but validation_fraction={fraction:g} takes "
                f"{n_rows}; set it higher"
            )
