"""FusedMLPClassifier: parameters, validation of input, prediction."""

import warnings
from numbers import Integral, Number

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._peers import Data, PeerState, Settings
from skfusion._validation import check_choice, check_flag, check_integer, check_real
from skfusion.fusion import RULES
from skfusion.network import Network
from skfusion.partition import check_partition, check_partitioner
from skfusion.topology import check_topology
from skfusion.training import Progress, Rounds, Stopping, hold_out, prefer_sparse

_AUTO_BATCH_SIZE = 200  # MLPClassifier's


class FusedMLPClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Classifier of several neural networks that train apart and learn from one another.

    Each of the networks, the *peers*, trains on rows of its own.  At intervals pairs of peers average their weights,
    along a topology, so that a peer learns to recognise what only others were shown.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int of shape (n_layers - 2,), default=(100,)
        Number of units of each hidden layer.
    n_networks : int or None, default=8
        Number of peers.  None means the partitioner's natural number: one per group, class or fold.
    partitioner : {"random", "stratified", "class", "dirichlet", "group"}, partitioner, splitter or None, default=None
        Which rows each peer sees: a name, an instance of a class of :mod:`skfusion.partition`, or a scikit-learn
        splitter, whose test folds are the partition.  None means "group" where ``fit`` gets groups, else "random".
    topology : {"ring", "random", "hypercube"} or topology, default="random"
        Which pairs of peers fuse in a round: a name or an instance of a class of :mod:`skfusion.topology`.
    fusion_rate : float, default=0.55
        Weight, from 0 to 1, that a peer gives to the other when they fuse; 0 means no fusion.
    fusion_frequency : int, default=1
        Interval between fusion rounds, in the unit of ``fusion_unit``.
    fusion_unit : {"epoch", "step"}, default="epoch"
        Whether ``fusion_frequency`` counts epochs or each peer's optimiser steps.  The steps are those of the peer
        with most rows; one that has passed over its own rows waits for the next epoch, but still fuses.
    fusion_rule : {"sequential", "simultaneous"}, default="sequential"
        Whether the second of a pair reads the weights of the first as already updated; see :func:`skfusion.fuse`.
    init : {"shared", "independent"}, default="shared"
        Whether all peers start from the same weights.  They are drawn as MLPClassifier's, or with
        ``loss="squared_error"`` as the paper's: normal with standard deviation max(0.03, 1 / fan_in).
    activation : {"identity", "logistic", "tanh", "relu"}, default="tanh"
        Activation of the hidden layers.
    loss : {"log_loss", "squared_error"}, default="log_loss"
        "log_loss" is cross-entropy on softmax outputs, or on one logistic output for two classes.
        "squared_error" is the paper's: half the squared error of tanh outputs against targets of 0 and 1.
    solver : {"sgd", "adam"}, default="sgd"
        Each peer's optimiser.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the learning rate, with ``solver="sgd"`` alone, as MLPClassifier's.  "adaptive" divides it by 5
        where training would otherwise stop.
    learning_rate_init : float, default=0.01
        Initial learning rate.
    power_t : float, default=0.5
        Exponent for "invscaling".
    momentum : float, default=0.0
        Momentum for ``solver="sgd"``, from 0 to 1.
    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum where ``momentum > 0``.
    beta_1, beta_2 : float, default=0.9 and 0.999
        Decay rates of Adam's moments, in [0, 1).
    epsilon : float, default=1e-8
        Adam's value for numerical stability.
    alpha : float, default=0.0001
        Strength of the penalty on the coefficients; a batch of b rows adds ``alpha / b`` of it to the mean gradient.
    l1_ratio : float, default=0.0
        Share of ``alpha`` that penalises magnitudes rather than squares, by a soft threshold after each step.
    batch_size : int or "auto", default=1
        Rows to an optimiser step, at most all of a peer's.  "auto" means 200.
    max_iter : int, default=200
        Largest number of epochs.
    tol : float, default=1e-4
        Training stops when the mean of the peers' losses, or with ``early_stopping`` the validation score, has not
        improved by ``tol`` in more than ``n_iter_no_change`` epochs running.
    n_iter_no_change : int, default=10
        See ``tol``.
    shuffle : bool, default=True
        Whether each peer takes its rows in a new random order in each epoch.
    early_stopping : bool, default=False
        Whether each peer holds out rows of its own and training stops by the accuracy on these; the peers' weights
        of the best epoch are kept.
    validation_fraction : float, default=0.1
        Share of its rows that each peer holds out for ``early_stopping``.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply ``sample_weight``; "balanced" weighs them inversely to their numbers
        of rows.
    prediction : {"consensus", "vote"} or int, default="consensus"
        Predict by one network with the mean of the peers' weights, by the mean of the peers' probabilities, or by
        the peer of that index.
    warm_start : bool, default=False
        Whether ``fit`` starts from the weights of the previous call.
    random_state : int, RandomState instance or None, default=None
        Source of randomness: of the partition, the initial weights, the order of rows and the topology.
    n_jobs : int or None, default=None
        Number of threads that train peers, through joblib; results do not depend on it.  Work too small to gain
        from threads runs in one.
    verbose : bool, default=False
        Whether to print the loss of each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; every peer knows all of them.
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where all are strings.
    weights_ : ndarray of shape (n_networks, n_parameters)
        Each peer's weights, layer after layer: coefficients in C order, then intercepts.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Coefficients of the consensus, the network with the mean of the peers' weights.
    intercepts_ : list of ndarray of shape (fan_out,)
        Intercepts of the consensus.
    peers_ : list of MLPClassifier
        Each peer as a fitted MLPClassifier.
    partition_ : list of int ndarray
        For each peer the indices of its rows in the X passed to ``fit``, held-out ones included.
    partitioner_, topology_ : object
        The partitioner and the topology in use.
    history_ : list of dict
        For each epoch: "epoch", counted from 1; "losses", each peer's mean training loss with penalty;
        "disagreement_before_fusion" and "disagreement_after_fusion", the root mean square distance of the peers'
        weights from the consensus around the epoch's last fusion round; "numbers_sent", by each peer;
        "seconds"; and with ``early_stopping`` "validation_scores", for each peer the accuracy on what it held out.
    loss_, best_loss_ : float
        Mean of the peers' losses in the last epoch, and its lowest value.
    loss_curve_ : list of float
        That mean for each epoch.
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping``, accuracy on all held-out rows for each epoch, and its highest value.
    n_iter_ : int
        Number of epochs of the last call.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        As of MLPClassifier.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : One network that sees all rows.

    Notes
    -----
    A row's weight multiplies its gradient.  As in MLPClassifier it is relative, though to the mean over all rows
    rather than over a batch's, so that it matters at a batch size of 1 too.  Rows of weight 0 are dropped before the
    partition.

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

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        *,
        n_networks=8,
        partitioner=None,
        topology="random",
        fusion_rate=0.55,
        fusion_frequency=1,
        fusion_unit="epoch",
        fusion_rule="sequential",
        init="shared",
        activation="tanh",
        loss="log_loss",
        solver="sgd",
        learning_rate="constant",
        learning_rate_init=0.01,
        power_t=0.5,
        momentum=0.0,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        alpha=0.0001,
        l1_ratio=0.0,
        batch_size=1,
        max_iter=200,
        tol=1e-4,
        n_iter_no_change=10,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        class_weight=None,
        prediction="consensus",
        warm_start=False,
        random_state=None,
        n_jobs=None,
        verbose=False,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.n_networks = n_networks
        self.partitioner = partitioner
        self.topology = topology
        self.fusion_rate = fusion_rate
        self.fusion_frequency = fusion_frequency
        self.fusion_unit = fusion_unit
        self.fusion_rule = fusion_rule
        self.init = init
        self.activation = activation
        self.loss = loss
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.prediction = prediction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None):
        """Fit the peers.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Training rows; float32 and float64 are kept as they are, others become float64.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels for the partitioner, such as the site that each row comes from.

        Returns
        -------
        FusedMLPClassifier
            The fitted classifier.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the input is not as described, a peer would have no rows, or training diverges.
        """
        settings = self._settings()
        resume = self.warm_start and hasattr(self, "weights_")
        X, y = self._validate_rows(X, y, reset=not resume)
        rows, weight = self._validate_weight(sample_weight, len(y), X.dtype)
        if not resume:
            self._set_classes(unique_labels(y[rows]))
        progress = Progress.start(self.random_state)
        self.partition_ = self._partition(X, y, groups, rows, progress)
        data = self._data(X, y, rows, weight)
        parts, held_out = self.partition_, None
        if self.early_stopping:
            parts, held_out = hold_out(parts, self.validation_fraction, progress.partition_rng)
        self._start(settings, progress, X.dtype, self.weights_ if resume else None)
        rounds = Rounds(self._network, settings, self.topology_, data, parts, self._state, progress)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._train(rounds, held_out, {"X": X, "y": y, "metadata": metadata})
        return self

    def partial_fit(self, X, y, classes=None, sample_weight=None, groups=None):
        """Train the peers for one epoch on further rows, which are partitioned for themselves.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will occur; needed in the first call.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels for the partitioner.

        Returns
        -------
        FusedMLPClassifier
            The classifier, fitted on what it has seen so far.

        Raises
        ------
        TypeError, ValueError
            As ``fit``; also if ``classes`` is missing in the first call or changes later, with
            ``early_stopping=True``, and with ``class_weight="balanced"``.
        """
        settings = self._settings()
        self._check_incremental()
        first = not hasattr(self, "weights_")
        X, y = self._validate_rows(X, y, reset=first)
        rows, weight = self._validate_weight(sample_weight, len(y), X.dtype)
        self._check_classes(classes, first)
        progress = Progress.start(self.random_state) if first else self._progress
        self.partition_ = self._partition(X, y, groups, rows, progress)
        data = self._data(X, y, rows, weight)
        if first:
            self._start(settings, progress, X.dtype)
        self._check_unchanged(self.weights_)
        rounds = Rounds(self._network, settings, self.topology_, data, self.partition_, self._state, progress)
        with rounds.workers(self.n_jobs, max_iter=1):
            self._record(rounds.epoch())
        self.n_iter_ = 1
        self._set_consensus()
        return self

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities of the classes, in the order of ``classes_``.  Tanh outputs (``loss="squared_error"``) count
            as probabilities once scaled to sum to 1.
        """
        check_is_fitted(self)
        prediction = self._check_prediction()
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return self._probabilities(X, prediction)

    def predict_log_proba(self, X):
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms of the probabilities, in the order of ``classes_``.
        """
        return np.log(self.predict_proba(X))

    def peer_scores(self, X, y, sample_weight=None):
        """Accuracy of each peer.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to score on.
        y : array-like of shape (n_samples,)
            Their class labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        ndarray of shape (n_networks,)
            For each peer the share of rows whose label it predicts.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        y = column_or_1d(y)
        check_consistent_length(X, y, sample_weight)
        return np.array(
            [
                accuracy_score(
                    y, self.classes_[self._probabilities(X, peer).argmax(axis=1)], sample_weight=sample_weight
                )
                for peer in range(len(self.weights_))
            ]
        )

    @property
    def coefs_(self):
        """Coefficients of the consensus, a list of ndarray of shape (fan_in, fan_out)."""
        return self._network.layers(self._consensus)[0]

    @property
    def intercepts_(self):
        """Intercepts of the consensus, a list of ndarray of shape (fan_out,)."""
        return self._network.layers(self._consensus)[1]

    @property
    def peers_(self):
        """Each peer as a fitted MLPClassifier."""
        check_is_fitted(self)
        return [self._as_mlp(peer) for peer in range(len(self.weights_))]

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_consensus")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # Parameters

    def _settings(self):
        """Check all parameters, and return those of training and fusion."""
        check_choice("activation", self.activation, ("identity", "logistic", "tanh", "relu"))
        check_choice("loss", self.loss, ("log_loss", "squared_error"))
        check_choice("init", self.init, ("shared", "independent"))
        check_integer("max_iter", self.max_iter, 1)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        check_real("tol", self.tol)
        check_real("validation_fraction", self.validation_fraction, 0, 1, open_minimum=True, open_maximum=True)
        for name in ("early_stopping", "warm_start"):
            check_flag(name, getattr(self, name))
        if self.n_networks is not None:
            check_integer("n_networks", self.n_networks, 1)
        self._hidden_layer_sizes()
        self._check_prediction()
        alpha = check_real("alpha", self.alpha, open_maximum=True)
        l1_ratio = check_real("l1_ratio", self.l1_ratio, 0, 1)
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        return Settings(
            solver=check_choice("solver", self.solver, ("sgd", "adam")),
            momentum=check_real("momentum", self.momentum, 0, 1),
            nesterovs_momentum=check_flag("nesterovs_momentum", self.nesterovs_momentum),
            beta_1=check_real("beta_1", self.beta_1, 0, 1, open_maximum=True),
            beta_2=check_real("beta_2", self.beta_2, 0, 1, open_maximum=True),
            epsilon=check_real("epsilon", self.epsilon, open_minimum=True, open_maximum=True),
            l1=alpha * l1_ratio,
            l2=alpha * (1 - l1_ratio),
            learning_rate=check_choice("learning_rate", self.learning_rate, ("constant", "invscaling", "adaptive")),
            learning_rate_init=check_real(
                "learning_rate_init", self.learning_rate_init, open_minimum=True, open_maximum=True
            ),
            power_t=check_real("power_t", self.power_t, open_maximum=True),
            batch_size=_AUTO_BATCH_SIZE if automatic else check_integer("batch_size", self.batch_size, 1),
            shuffle=check_flag("shuffle", self.shuffle),
            fusion_rate=check_real("fusion_rate", self.fusion_rate, 0, 1),
            fusion_frequency=check_integer("fusion_frequency", self.fusion_frequency, 1),
            fusion_unit=check_choice("fusion_unit", self.fusion_unit, ("epoch", "step")),
            fusion_rule=check_choice("fusion_rule", self.fusion_rule, RULES),
        )

    def _hidden_layer_sizes(self):
        sizes = self.hidden_layer_sizes
        sizes = [sizes] if isinstance(sizes, Number) or not hasattr(sizes, "__iter__") else sizes
        return tuple(check_integer("hidden_layer_sizes", size, 1) for size in sizes)

    def _check_prediction(self):
        n_networks = len(self.weights_) if hasattr(self, "weights_") else self.n_networks
        prediction = self.prediction
        if isinstance(prediction, Integral) and not isinstance(prediction, bool | np.bool_):
            if prediction < 0 or (n_networks is not None and prediction >= n_networks):
                limit = "" if n_networks is None else f" to {n_networks - 1}"
                raise ValueError(
                    f"prediction must be 'consensus', 'vote' or the index of a peer, from 0{limit}; got {prediction}"
                )
            return int(prediction)
        return check_choice("prediction", prediction, ("consensus", "vote"))

    def _check_incremental(self):
        if self.early_stopping:
            raise ValueError("early_stopping must be False for partial_fit, which sees some of the rows only; got True")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight must be a dict or None for partial_fit, which sees some of the rows only; "
                f"got {self.class_weight!r}"
            )

    def _check_classes(self, classes, first):
        if not first:
            if classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
                raise ValueError(f"classes must stay {self.classes_!r}, those of the first call; got {classes!r}")
        elif classes is None:
            raise ValueError("classes must be passed to the first call of partial_fit, got None")
        else:
            self._set_classes(unique_labels(classes))

    def _check_unchanged(self, weights):
        """Check that weights to go on from fit the parameters of today."""
        n_networks, n_parameters = weights.shape
        if n_networks != len(self.partition_):
            raise ValueError(
                f"n_networks must stay {n_networks}, as the peers' weights are kept; the rows were divided among "
                f"{len(self.partition_)}"
            )
        if n_parameters != self._network.n_parameters:
            raise ValueError(
                "hidden_layer_sizes must stay as it was, as the peers' weights are kept; got "
                f"{self.hidden_layer_sizes!r}"
            )

    # Input

    def _validate_rows(self, X, y, reset):
        dtype = (np.float64, np.float32) if reset else self.weights_.dtype
        X, y = validate_data(
            self, X, y, accept_sparse="csr", accept_large_sparse=False, dtype=dtype, order="C", reset=reset
        )
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _validate_weight(self, sample_weight, n_samples, dtype):
        """Return the rows whose weight is not 0, and all weights or None."""
        if sample_weight is None:
            return np.arange(n_samples), None
        if isinstance(sample_weight, Number):
            sample_weight = np.full(n_samples, sample_weight)
        weight = check_array(sample_weight, ensure_2d=False, dtype=dtype, input_name="sample_weight")
        if weight.shape != (n_samples,):
            raise ValueError(f"sample_weight must have shape ({n_samples},), got {weight.shape}")
        if (weight < 0).any():
            raise ValueError(f"sample_weight must not be negative, got {weight.min()}")
        if not weight.any():
            raise ValueError("sample_weight must contain at least one non-zero number, got zeros only")
        return np.flatnonzero(weight), weight

    def _set_classes(self, classes):
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes, got 1 class: {classes[0]!r}")
        self.classes_ = classes

    def _partition(self, X, y, groups, rows, progress):
        """Divide the rows of weight among the peers."""
        self.partitioner_ = check_partitioner(self.partitioner, groups)
        self.topology_ = check_topology(self.topology)
        if groups is not None:
            groups = column_or_1d(groups)
            if len(groups) != len(y):
                raise ValueError(f"groups must have one label for each of the {len(y)} rows, got {len(groups)}")
            groups = groups[rows]
        if len(rows) < len(y):
            X, y = X[rows], y[rows]
        if self.n_networks is not None and self.n_networks > len(y):
            raise ValueError(
                f"n_networks must be at most the number of rows, n_samples = {len(y)}, so that no peer "
                f"is empty; got {self.n_networks}"
            )
        parts = self.partitioner_.partition(
            X, y, groups=groups, n_networks=self.n_networks, random_state=progress.partition_rng
        )
        return [rows[part] for part in check_partition(parts, len(y), self.n_networks)]

    def _data(self, X, y, rows, weight):
        """Return rows ready for training, weighted by their classes too."""
        target = np.searchsorted(self.classes_, y)
        known = np.append(self.classes_, self.classes_[:1])[target] == y
        if not known[rows].all():
            raise ValueError(f"y must have labels of {self.classes_!r} only, got {y[rows][~known[rows]][0]!r}")
        target = np.where(known, target, 0).astype(np.int32)
        if self.class_weight is not None:
            kept = None if weight is None else weight[rows]
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y[rows], sample_weight=kept)
            weight = (1 if weight is None else weight) * by_class[target]
        if weight is not None:
            weight = (weight / weight[rows].mean()).astype(X.dtype)
        return Data(prefer_sparse(X), target, weight)

    # Training

    def _start(self, settings, progress, dtype, weights=None):
        """Set up peers that have not trained, with the given weights or with weights drawn anew."""
        n_outputs = len(self.classes_) if len(self.classes_) > 2 else 1
        hidden = self._hidden_layer_sizes()
        output = "tanh" if self.loss == "squared_error" else "softmax" if n_outputs > 1 else "logistic"
        self._network = Network((self.n_features_in_, *hidden, n_outputs), self.activation, output)
        self.n_layers_, self.n_outputs_, self.out_activation_ = len(hidden) + 2, n_outputs, output
        n_networks = len(self.partition_)
        if weights is None:
            self.history_, self.loss_curve_, self.best_loss_ = [], [], np.inf
            starts = [
                self._network.initial_weights(np.random.default_rng(seed), dtype)
                for seed in progress.seeds.spawn(1 if self.init == "shared" else n_networks)
            ]
            weights = np.resize(starts, (n_networks, self._network.n_parameters))
        else:
            self._check_unchanged(weights)
        self._state = PeerState.start(weights, progress.seeds.spawn(n_networks), settings)
        self._progress = progress
        self.weights_ = weights
        if self.early_stopping:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf

    def _train(self, rounds, held_out, data):
        """Run epochs until training converges, a callback asks to stop, or ``max_iter`` is reached."""
        task = self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        task.call_on_fit_task_begin(estimator=self, **data)
        best = [None]
        try:
            with rounds.workers(self.n_jobs, self.max_iter):
                converged = self._run_epochs(rounds, held_out, data, task, best)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user; the peers keep what they have learned.", stacklevel=3)
            converged = True
        if best[0] is not None:
            self.weights_[:] = best[0]
        self._set_consensus()
        if not converged:
            warnings.warn(
                f"Maximum number of epochs (max_iter={self.max_iter}) reached and training has not converged yet.",
                ConvergenceWarning,
                stacklevel=3,
            )
        task.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **data)

    def _run_epochs(self, rounds, held_out, data, task, best):
        """Return whether training came to an end before ``max_iter``; ``best[0]`` becomes the weights to restore."""
        stopping = Stopping(self.tol, self.n_iter_no_change)
        for epoch in range(self.max_iter):
            self.n_iter_ = epoch + 1
            subtask = task.subcontext(task_name="epoch")
            subtask.call_on_fit_task_begin(estimator=self, reconstruction_attributes=self._snapshot, **data)
            improved = stopping.update(self._record(rounds.epoch(), held_out, data))
            if improved and held_out is not None:
                best[0] = self.weights_.copy()
            asked = subtask.call_on_fit_task_end(estimator=self, reconstruction_attributes=self._snapshot, **data)
            if asked or (stopping.due and not rounds.lower_learning_rates()):
                return True
            if stopping.due:
                stopping.start_over()
        return False

    def _record(self, record, held_out=None, data=None):
        """Take an epoch's record into the fitted attributes; returns what training is to minimise."""
        self.history_.append(record)
        self.loss_ = float(np.mean(record["losses"]))
        self.loss_curve_.append(self.loss_)
        self.best_loss_ = min(self.best_loss_, self.loss_)
        goal = self.loss_
        message = f"Epoch {record['epoch']}, loss = {self.loss_:.8f}"
        if held_out is not None:
            record["validation_scores"], score = self._validation_scores(held_out, data)
            self.validation_scores_.append(score)
            self.best_validation_score_ = max(self.best_validation_score_, score)
            goal = -score
            message += f", validation score = {score:.6f}"
        if self.verbose:
            print(message)
        return goal

    def _validation_scores(self, held_out, data):
        """Accuracy on what each peer held out, and on all of it."""
        rows = np.concatenate(held_out)
        self._set_consensus()
        predicted = self.classes_[self._probabilities(data["X"][rows], self.prediction).argmax(axis=1)]
        correct = np.split(predicted == data["y"][rows], np.cumsum([len(part) for part in held_out])[:-1])
        return [float(part.mean()) for part in correct], float(np.concatenate(correct).mean())

    # Prediction

    def _snapshot(self):
        weights = self.weights_.copy()
        return {"weights_": weights, "_consensus": weights.mean(axis=0)}

    def _set_consensus(self):
        self._consensus = self.weights_.mean(axis=0)

    def _probabilities(self, X, prediction):
        if prediction == "consensus":
            return self._network.probabilities(self._consensus, X)
        if prediction == "vote":
            return sum(self._network.probabilities(weights, X) for weights in self.weights_) / len(self.weights_)
        return self._network.probabilities(self.weights_[prediction], X)

    def _as_mlp(self, peer):
        names = (
            "hidden_layer_sizes activation solver learning_rate learning_rate_init power_t momentum nesterovs_momentum "
            "beta_1 beta_2 epsilon alpha batch_size max_iter tol n_iter_no_change shuffle random_state verbose"
        )
        params = {name: getattr(self, name) for name in names.split()}
        mlp = MLPClassifier(**(params | {"batch_size": "auto", "random_state": 0, "verbose": False}))
        blank = np.zeros((len(self.classes_), self.n_features_in_), self.weights_.dtype)
        mlp.partial_fit(blank, self.classes_, classes=self.classes_).set_params(**params)
        # That step set up what MLPClassifier keeps to itself; the moments that it left behind must not stay.
        del mlp._optimizer
        mlp.coefs_, mlp.intercepts_ = self._network.layers(self.weights_[peer].copy())
        mlp.out_activation_ = self.out_activation_
        mlp.loss_curve_ = [record["losses"][peer] for record in self.history_]
        mlp.loss_, mlp.best_loss_ = mlp.loss_curve_[-1], min(mlp.loss_curve_)
        mlp.n_iter_, mlp.t_ = len(mlp.loss_curve_), int(self._state.samples_seen[peer])
        if hasattr(self, "feature_names_in_"):
            mlp.feature_names_in_ = self.feature_names_in_
        return mlp
