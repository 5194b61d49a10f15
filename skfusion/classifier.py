"""FusedMLPClassifier: class labels, their weights and probabilities."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from skfusion._base import BaseFusedMLP
from skfusion._checks import check_choice, shown
from skfusion._inputs import (
    Targets,
    check_all_classes,
    check_class_weight,
    check_classes,
    check_label_type,
    check_object_labels,
    check_one_label,
    check_same_classes,
    check_targets,
    encode,
)
from skfusion._row_weights import relative_weight
from skfusion._training.network import outputs_for
from skfusion._typing import (
    FloatArray,
    FusionRule,
    IntArray,
    MatrixLike,
    PartitionerName,
    RandomState,
    Splitter,
    TopologyName,
)
from skfusion.partition import BasePartitioner
from skfusion.topology import BaseTopology


class FusedMLPClassifier(ClassifierMixin, BaseFusedMLP):
    """Classify by several neural networks that train apart and learn from one another.

    Each of the networks, the *peers*, trains on rows of its own.  At intervals, pairs of peers average their weights
    along a topology.  So a peer learns to recognise what only others have seen.

    The parameters come in groups:

    - **Network**: ``hidden_layer_sizes``, ``activation``, ``loss``, ``init``
    - **Peers and fusion**: ``n_networks``, ``partitioner``, ``topology``, ``fusion_rate``, ``fusion_frequency``,
      ``fusion_unit``, ``fusion_rule``, ``drift_correction``, ``fusion_momentum``, ``prediction``
    - **Optimiser**: ``solver``, ``learning_rate``, ``learning_rate_init``, ``power_t``, ``momentum``,
      ``nesterovs_momentum``, ``beta_1``, ``beta_2``, ``epsilon``, ``alpha``, ``l1_ratio``, ``batch_size``,
      ``shuffle``, ``class_weight``
    - **Stopping**: ``max_iter``, ``tol``, ``n_iter_no_change``, ``early_stopping``, ``validation_fraction``
    - **Running**: ``warm_start``, ``random_state``, ``n_jobs``, ``verbose``

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer.
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    loss : {"log_loss", "squared_error"}, default="log_loss"
        "log_loss" is cross-entropy on softmax outputs, or on one logistic output for two classes.
        "squared_error" is the paper's: half the squared error of tanh outputs against targets of 0 and 1.
    init : {"shared", "independent"}, default="shared"
        Whether all peers start from the same weights.  They are drawn as in MLPClassifier, or with
        ``loss="squared_error"`` as in the paper: normal with standard deviation max(0.03, 1 / fan_in).
    n_networks : int or None, default=8
        Number of peers.  None means the partitioner's natural number: one per group, class or fold.
    partitioner : {"random", "stratified", "class", "dirichlet", "group"}, partitioner, splitter or None, default=None
        Which rows each peer sees: a name, an instance of a class of :mod:`skfusion.partition`, or a scikit-learn
        splitter, whose test folds are the partition.  None means "group" if ``fit`` gets groups, else "random".
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
        What predicts: one network with the mean of the peers' weights, the mean of the peers' probabilities, or the
        peer with that index.
    solver : {"sgd", "adam"}, default="sgd"
        Each peer's optimiser.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the learning rate as in MLPClassifier, only with ``solver="sgd"``.  "adaptive" divides it by 5 when
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
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; they multiply ``sample_weight``.  "balanced" makes a class's weight inversely
        proportional to its number of rows.
    max_iter : int, default=200
        Maximum number of epochs.
    tol : float, default=1e-4
        Training stops when ``loss_``, or with ``early_stopping`` the validation score, has failed to improve by ``tol``
        for more than ``n_iter_no_change`` epochs in a row.
    n_iter_no_change : int or inf, default=10
        See ``tol``.  With inf, all ``max_iter`` epochs run; ``tol=0`` alone does not ensure that.
    early_stopping : bool, default=False
        Whether to stop training by the accuracy on rows that each peer holds out of its own.  Keeps the weights of the
        best epoch.
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
    classes_ : ndarray of shape (n_classes,)
        Class labels, including those of rows with ``sample_weight`` 0.  Every peer knows all of them.
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
    peers_ : list of MLPClassifier
        Each peer as a fitted MLPClassifier.  Each access makes new copies.
    consensus_ : MLPClassifier
        The consensus as a fitted MLPClassifier, whose losses are ``loss_curve_``.
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
        "seconds".  With ``early_stopping`` also "validation_scores", each peer's accuracy on its held-out rows, NaN if
        it has none or ``class_weight`` gives none of them a weight; and "validation_score", the accuracy on all
        held-out rows.
    loss_, best_loss_ : float
        Mean of the peers' losses in the last epoch, weighted by their numbers of rows, and the lowest such mean.
    loss_curve_ : list of float
        The same mean for each epoch.
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping``, accuracy on all held-out rows for each epoch, and its highest value.
    n_iter_ : int
        Number of epochs of the last call.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        As in MLPClassifier.

    See Also
    --------
    FusedMLPRegressor : The same for numbers.
    sklearn.neural_network.MLPClassifier : One network that sees all rows.

    Notes
    -----
    The defaults of ``topology``, ``fusion_rule`` and ``fusion_rate`` preserve the mean of all weights.  If the number
    of peers is a power of two, one round makes them all equal.  These defaults come from measurements on five data sets
    with 8, 10, 16 and 64 peers (``examples/paper/verdict.py``).  Compared with random pairs fused sequentially at the
    paper's rate of 0.55, they lowered the peers' errors by 2.9 to 18 points if each peer saw one class, and by 0.3 to
    1.4 points on random shares.  They send more in a round, 2 log2(N) networks for each of N peers;
    :func:`skfusion.diagnostics.diagnose` computes what other topologies send.

    A row's weight multiplies its gradient.  It is relative to the mean weight of all rows, not of the batch as in
    MLPClassifier, so it matters at a batch size of 1, too.  Rows of ``sample_weight`` 0 are dropped before the
    partition; those of a class of weight 0 stay.

    References
    ----------
    J. Smith and M. Gashler, "An Investigation of How Neural Networks Learn From the Experiences of Peers Through
    Periodic Weight Averaging", ICMLA 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import FusedMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), FusedMLPClassifier(n_networks=3, max_iter=20, tol=0, random_state=0))
    >>> bool(model.fit(X, y).score(X, y) > 0.9)
    True
    """

    classes_: np.ndarray
    peers_: list[MLPClassifier]
    consensus_: MLPClassifier

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | IntArray = (100,),
        *,
        activation: Literal["identity", "logistic", "tanh", "relu"] = "tanh",
        loss: Literal["log_loss", "squared_error"] = "log_loss",
        init: Literal["shared", "independent"] = "shared",
        n_networks: int | None = 8,
        partitioner: PartitionerName | BasePartitioner | Splitter | None = None,
        topology: TopologyName | BaseTopology = "hypercube",
        fusion_rate: float = 0.5,
        fusion_frequency: int = 1,
        fusion_unit: Literal["epoch", "step"] = "epoch",
        fusion_rule: FusionRule = "simultaneous",
        drift_correction: Literal["tracking"] | None = None,
        fusion_momentum: float = 0.0,
        prediction: int | Literal["consensus", "vote"] = "consensus",
        solver: Literal["sgd", "adam"] = "sgd",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.01,
        power_t: float = 0.5,
        momentum: float = 0.0,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        alpha: float = 0.0001,
        l1_ratio: float = 0.0,
        batch_size: int | Literal["auto"] = 1,
        shuffle: bool = True,
        class_weight: dict[Any, Any] | Literal["balanced"] | None = None,
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int | float = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: bool | int = False,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            init=init,
            n_networks=n_networks,
            partitioner=partitioner,
            topology=topology,
            fusion_rate=fusion_rate,
            fusion_frequency=fusion_frequency,
            fusion_unit=fusion_unit,
            fusion_rule=fusion_rule,
            drift_correction=drift_correction,
            fusion_momentum=fusion_momentum,
            prediction=prediction,
            solver=solver,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            alpha=alpha,
            l1_ratio=l1_ratio,
            batch_size=batch_size,
            shuffle=shuffle,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.loss = loss
        self.class_weight = class_weight

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train the peers for one epoch on further rows.

        Rows of a known group or class go to its peer (``ownership_``); other rows are partitioned again.  Peers without
        rows sit the call out: they do not train, but fuse with the others.  A single row is enough, even in the first
        call if ``n_networks`` is a number.

        Weights are relative to their mean over the rows of the call, so ``sample_weight`` and ``class_weight`` change
        nothing where these all have the same weight, such as in a portion of a single row or class.

        An adaptive learning rate stays as it is, since losses of different rows do not show when training stalls; a new
        ``learning_rate_init`` replaces it.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will occur; required in the first call.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels.  If later calls will bring more groups, set ``n_networks`` to the number of all of them; peers
            that have no group yet wait for one.

        Returns
        -------
        FusedMLPClassifier
            The classifier, fitted on what it has seen so far.

        Raises
        ------
        TypeError, ValueError
            As in ``fit``; also if ``classes`` is missing in the first call or changes later, with
            ``early_stopping=True``, and with ``class_weight="balanced"``.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight must be a dict or None for partial_fit, which sees only some of the rows; got "
                f"{shown(self.class_weight)}"
            )
        return self._partial_fit(X, y, sample_weight, groups, self._check_classes(classes))

    def predict_proba(self, X: MatrixLike) -> FloatArray:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities of the classes, in the order of ``classes_``.  Tanh outputs (``loss="squared_error"``) are
            made positive and scaled to sum to 1.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As in ``predict``.
        """
        return self._answers(X)

    def predict_log_proba(self, X: MatrixLike) -> FloatArray:
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms of the probabilities, in the order of ``classes_``; -inf for a probability of 0.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As in ``predict``.
        """
        return np.log(self.predict_proba(X))

    def _check_parameters(self):
        check_choice("loss", self.loss, ("log_loss", "squared_error"))
        check_class_weight(self.class_weight)
        return super()._check_parameters()

    def _check_classes(self, classes):
        """Return the classes of partial_fit, which are the same in each call."""
        fitted = self._known_peers() is not None
        if classes is None and not fitted:
            raise ValueError("classes must be passed to the first call of partial_fit, got None")
        if classes is None:
            return self.classes_
        classes = check_all_classes(classes)
        if fitted:
            check_same_classes(classes, self.classes_, "those of the first call")
        return classes

    def _check_targets(self, y):
        check_targets(y)
        check_object_labels(y)
        check_one_label(y)

    def _validate(self, X, y, old):
        X, y = self._validate_rows(X, y, old)
        check_label_type("y", y)
        return X, y

    def _classes_of(self, y, sample_weight):
        check_classification_targets(y)  # of known classes a portion may have many, of which it would warn
        training = y if sample_weight is None else y[sample_weight > 0]
        check_classes("y, apart from rows of sample_weight 0,", unique_labels(training))
        return unique_labels(y)

    def _encode(self, rows):
        codes = encode(rows.y, rows.classes)
        weight = relative_weight(rows.sample_weight, self.class_weight, codes, rows.classes, rows.X.dtype)
        return Targets(codes, weight, *self._output_layer(rows.classes, None))

    def _output_layer(self, classes, n_outputs):
        n_outputs, of_probabilities = outputs_for(classes)
        return n_outputs, "tanh" if self.loss == "squared_error" else of_probabilities

    def _decode(self, answers):
        return self.classes_[answers.argmax(axis=1)]

    def _metric(self, y, predicted, sample_weight):
        return accuracy_score(column_or_1d(y), predicted, sample_weight=sample_weight)
