"""FusedMLPClassifier: parameters, validation of input, prediction."""

import copy
import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Number

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion import _weights_file
from skfusion._ensemble import Ensemble
from skfusion._inputs import check_classes, check_groups, check_sample_weight, check_weights, encode, relative_weight
from skfusion._peers import Data, Settings
from skfusion._validation import check_choice, check_flag, check_integer, check_real
from skfusion.fusion import RULES
from skfusion.network import ACTIVATIONS, Network
from skfusion.partition import BasePartitioner, check_partition, check_partitioner
from skfusion.topology import BaseTopology, check_topology
from skfusion.training import Progress, Rounds, Stopping, hold_out, sparsified

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
    topology : {"ring", "random", "hypercube", "line", "star", "complete", "torus", "exponential"} or topology, \
            default="random"
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
        Training stops when ``loss_``, or with ``early_stopping`` the validation score, has not improved by ``tol`` in
        more than ``n_iter_no_change`` epochs running.
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
        Each peer's weights, layer after layer: coefficients in C order, then intercepts.  Assign to it to replace
        them; what is changed in place does not reach the consensus.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Coefficients of the consensus, the network with the mean of the peers' weights.
    intercepts_ : list of ndarray of shape (fan_out,)
        Intercepts of the consensus.
    peers_ : list of MLPClassifier
        Each peer as a fitted MLPClassifier.
    consensus_ : MLPClassifier
        The consensus as a fitted MLPClassifier, whose losses are ``loss_curve_``.
    partition_ : list of int ndarray
        For each peer the indices of its rows in the X passed to ``fit``, held-out ones included.
    partitioner_, topology_ : object
        The partitioner and the topology in use.
    history_ : list of dict
        For each epoch: "epoch", counted from 1; "losses", each peer's mean training loss with penalty; "loss", their
        mean, each counted by its number of rows; "fusion_rounds", how many there were in the epoch;
        "disagreement_before_fusion" and "disagreement_after_fusion", the root mean square distance of the peers'
        weights from the consensus around the epoch's last fusion round; "numbers_sent", by each peer;
        "seconds"; and with ``early_stopping`` "validation_scores", for each peer the accuracy on what it held out.
    loss_, best_loss_ : float
        Mean of the peers' losses in the last epoch, each counted by its number of rows, and the lowest such mean.
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
        old = self._ensemble if self.warm_start and self.__sklearn_is_fitted__() else None
        if old is None:
            vars(self).pop("_ensemble", None)  # so that a fit that fails leaves no model behind
        X, y = self._validate_rows(X, y, old)
        progress = Progress.start(self.random_state)
        rows = self._prepare(X, y, sample_weight, groups, progress, None if old is None else self.classes_)
        train, held_out = rows.partition, None
        if self.early_stopping:
            train, held_out = hold_out(train, self.validation_fraction, progress.partition_rng)
        network = self._make_network(X.shape[1], len(rows.classes))
        if old is None:
            shape = len(train), X.dtype
            ensemble = Ensemble.start(network, settings, progress, *shape, shared=self.init == "shared")
        else:
            self._check_unchanged(old, network, rows)
            ensemble = old.restarted(settings, progress)
        run = _Run(ensemble, Rounds(network, settings, rows.topology, rows.data, train, ensemble.state, progress), rows)
        self._train(run, held_out, {"X": X, "y": y, "metadata": _metadata(sample_weight)})
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
        old = self._ensemble if self.__sklearn_is_fitted__() else None
        X, y = self._validate_rows(X, y, old)
        classes = self._check_classes(classes, old)
        progress = Progress.start(self.random_state) if old is None else copy.deepcopy(old.progress)
        rows = self._prepare(X, y, sample_weight, groups, progress, classes)
        network = self._make_network(X.shape[1], len(classes))
        if old is None:
            shape = len(rows.partition), X.dtype
            ensemble = Ensemble.start(network, settings, progress, *shape, shared=self.init == "shared")
        else:
            self._check_unchanged(old, network, rows)
            ensemble = old.continued(settings, progress)
        rounds = Rounds(network, settings, rows.topology, rows.data, rows.partition, ensemble.state, progress)
        with rounds.workers(self.n_jobs, max_iter=1):
            self._epoch(_Run(ensemble, rounds, rows))
        self._publish(ensemble, rows, n_iter=1)
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
        ensemble = self._fitted()
        prediction = self._check_prediction(len(ensemble.weights))
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return ensemble.probabilities(X, prediction)

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
        ensemble = self._fitted()
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        y = column_or_1d(y)
        check_consistent_length(X, y, sample_weight)
        return np.array(
            [
                accuracy_score(
                    y, self.classes_[ensemble.probabilities(X, peer).argmax(axis=1)], sample_weight=sample_weight
                )
                for peer in range(len(ensemble.weights))
            ]
        )

    def save_weights(self, path):
        """Save the peers' weights as an .npz file of plain arrays, for another site to load.

        The file holds the arrays "weights" (``weights_``), "layer_sizes", "activation", "output"
        (``out_activation_``), "classes", "feature_names" where ``fit`` saw names, and "format_version".  It appears
        under its name once it is whole.

        Parameters
        ----------
        path : str or path-like
            Where to save; a file of that name is replaced.

        Raises
        ------
        NotFittedError
            If there are no weights yet.
        ValueError
            If ``classes_`` are neither numbers nor strings.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> from sklearn.datasets import load_iris
        >>> from skfusion import FusedMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> here = FusedMLPClassifier(n_networks=2, max_iter=20, tol=0, random_state=0).fit(X, y)
        >>> with TemporaryDirectory() as folder:
        ...     here.save_weights(f"{folder}/weights.npz")
        ...     there = FusedMLPClassifier(n_networks=2).load_weights(f"{folder}/weights.npz")
        >>> bool((there.predict(X) == here.predict(X)).all())
        True
        """
        _weights_file.write(path, self._contents())

    def load_weights(self, path):
        """Replace the peers' weights by those that ``save_weights`` wrote, maybe at another site.

        A fitted classifier keeps all else, as when peers fuse: the optimiser's moments, the learning rates, the
        history.  One that is not fitted takes the classes and the features from the file; it can then predict, and go
        on with ``partial_fit``, but has no attributes that tell of training, such as ``loss_`` and ``partition_``,
        before it trains.

        Parameters
        ----------
        path : str or path-like
            The file.  Nothing in it is executed, and all of it is checked before anything is changed.

        Returns
        -------
        FusedMLPClassifier
            The classifier.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is no whole .npz file, an entry is missing, malformed or not finite, or if its network, classes,
            feature names, number of networks or dtype are not those of this classifier, or of the parameters of one
            that is not fitted.
        """
        contents = _weights_file.read(path)
        fitted = self.__sklearn_is_fitted__()
        ensemble = self._ensemble if fitted else self._start_as(contents)
        ours = self._contents() if fitted else replace(contents, network=ensemble.network, weights=ensemble.weights)
        _weights_file.check_agreement(path, contents, ours)
        ensemble.replace_weights(contents.weights)
        if not fitted:
            self._publish_network(ensemble, contents.classes)
            if contents.feature_names is not None:
                self.feature_names_in_ = contents.feature_names.astype(object)
        return self

    def _contents(self):
        ensemble, names = self._fitted(), getattr(self, "feature_names_in_", None)
        return _weights_file.Contents(ensemble.network, ensemble.weights, self.classes_, names)

    def _start_as(self, contents):
        """Peers before their first epoch, for the features and classes of a file."""
        settings, n_networks = self._settings(), self.n_networks or len(contents.weights)
        self._check_prediction(n_networks)
        network = self._make_network(contents.network.layer_sizes[0], len(contents.classes))
        shape = n_networks, contents.weights.dtype
        progress = Progress.start(self.random_state)
        return Ensemble.start(network, settings, progress, *shape, shared=self.init == "shared")

    @property
    def weights_(self):
        """Each peer's weights, ndarray of shape (n_networks, n_parameters); assign to it to replace them."""
        return self._fitted().weights

    @weights_.setter
    def weights_(self, weights):
        ensemble = self._fitted()
        ensemble.replace_weights(check_weights(weights, ensemble.weights))

    @property
    def coefs_(self):
        """Coefficients of the consensus, a list of read-only ndarray of shape (fan_in, fan_out)."""
        ensemble = self._fitted()
        return ensemble.network.layers(ensemble.consensus)[0]

    @property
    def intercepts_(self):
        """Intercepts of the consensus, a list of read-only ndarray of shape (fan_out,)."""
        ensemble = self._fitted()
        return ensemble.network.layers(ensemble.consensus)[1]

    @property
    def peers_(self):
        """Each peer as a fitted MLPClassifier, a copy."""
        return [self._as_mlp(peer) for peer in range(len(self.weights_))]

    @property
    def consensus_(self):
        """The consensus as a fitted MLPClassifier, a copy."""
        return self._as_mlp("consensus")

    def _as_mlp(self, which):
        names = (
            "solver learning_rate learning_rate_init power_t momentum nesterovs_momentum beta_1 beta_2 epsilon alpha "
            "batch_size max_iter tol n_iter_no_change shuffle random_state"
        )
        mlp = self._fitted().as_mlp(which, self.classes_, {name: getattr(self, name) for name in names.split()})
        mlp.n_iter_ = self.n_iter_
        if hasattr(self, "feature_names_in_"):
            mlp.feature_names_in_ = self.feature_names_in_
        return mlp

    def _fitted(self):
        check_is_fitted(self)
        return self._ensemble

    def __sklearn_is_fitted__(self):
        return "_ensemble" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # Parameters

    def _settings(self):
        """Check all parameters, and return those of training and fusion."""
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("loss", self.loss, ("log_loss", "squared_error"))
        check_choice("init", self.init, ("shared", "independent"))
        check_integer("max_iter", self.max_iter, 1)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        check_real("tol", self.tol, open_maximum=True)
        check_real("validation_fraction", self.validation_fraction, 0, 1, open_minimum=True, open_maximum=True)
        for name in ("early_stopping", "warm_start", "verbose"):
            check_flag(name, getattr(self, name))
        if self.n_networks is not None:
            check_integer("n_networks", self.n_networks, 1)
        self._hidden_layer_sizes()
        self._check_prediction()
        alpha = check_real("alpha", self.alpha, open_maximum=True)
        l1_ratio = check_real("l1_ratio", self.l1_ratio, 0, 1)
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        if isinstance(self.batch_size, str) and not automatic:
            raise TypeError(f"batch_size must be 'auto' or an integer of at least 1, got {self.batch_size!r}")
        if self.n_jobs is not None and check_integer("n_jobs", self.n_jobs, -np.inf) == 0:
            raise ValueError("n_jobs must be None or an integer other than 0, got 0")
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
        if isinstance(sizes, str) or not (isinstance(sizes, Number) or hasattr(sizes, "__len__")):
            raise TypeError(f"hidden_layer_sizes must be an integer or a sequence of integers, got {sizes!r}")
        sizes = [sizes] if isinstance(sizes, Number) else sizes
        try:
            return tuple(check_integer("hidden_layer_sizes", size, 1) for size in sizes)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"hidden_layer_sizes must be positive integers, got {self.hidden_layer_sizes!r}"
            ) from error

    def _check_prediction(self, n_networks=None):
        """Return what to predict by; ``n_networks`` is None as long as it is not known."""
        prediction = self.prediction
        if prediction in ("consensus", "vote"):
            return prediction
        if not isinstance(prediction, Integral) or isinstance(prediction, bool):
            raise ValueError(f"prediction must be 'consensus', 'vote' or the index of a peer, got {prediction!r}")
        if prediction < 0 or (n_networks is not None and prediction >= n_networks):
            limit = "" if n_networks is None else f" to {n_networks - 1}"
            raise ValueError(
                f"prediction must be 'consensus', 'vote' or the index of a peer, from 0{limit}; got {prediction}"
            )
        return int(prediction)

    def _check_incremental(self):
        if self.early_stopping:
            raise ValueError("early_stopping must be False for partial_fit, which sees some of the rows only; got True")
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight must be a dict or None for partial_fit, which sees some of the rows only; got "
                f"{self.class_weight!r}"
            )

    def _check_classes(self, classes, old):
        if classes is None and old is None:
            raise ValueError("classes must be passed to the first call of partial_fit, got None")
        if classes is None:
            return self.classes_
        classes = check_classes(unique_labels(classes))
        if old is not None and not np.array_equal(classes, self.classes_):
            raise ValueError(f"classes must stay {self.classes_.tolist()!r}, those of the first call; got {classes!r}")
        return classes

    def _check_unchanged(self, old, network, rows):
        """Check that peers whose weights are kept fit the parameters and the rows of today."""
        kept = "since the peers' weights are kept"
        sizes, new_sizes = old.network.layer_sizes, network.layer_sizes
        if sizes != new_sizes:
            raise ValueError(f"hidden_layer_sizes must stay as it was, {sizes[1:-1]}, {kept}; got {new_sizes[1:-1]}")
        for parameter, was, is_now in (
            ("activation", old.network.activation, network.activation),
            ("loss", old.network.output, network.output),
        ):
            if was != is_now:
                raise ValueError(f"{parameter} must stay as it was, {kept}; that would turn {was!r} into {is_now!r}")
        if len(old.weights) != len(rows.partition):
            raise ValueError(
                f"n_networks must stay {len(old.weights)}, {kept}; the rows were divided among {len(rows.partition)}"
            )

    # Input

    def _validate_rows(self, X, y, old):
        dtype = (np.float64, np.float32) if old is None else old.weights.dtype
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=dtype, order="C", reset=old is None)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _prepare(self, X, y, sample_weight, groups, progress, classes=None):
        """Check what goes with the rows, drop those of weight 0, and divide the others among the peers."""
        groups, weight = check_groups(groups, len(y)), check_sample_weight(sample_weight, len(y))
        partitioner, topology = check_partitioner(self.partitioner, groups), check_topology(self.topology)
        kept = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
        if len(kept) < len(y):
            X, y, weight = X[kept], y[kept], weight[kept]
            groups = None if groups is None else groups[kept]
        if classes is None:
            classes = check_classes(unique_labels(y))
        target = encode(y, classes)
        if self.n_networks is not None and self.n_networks > len(y):
            raise ValueError(
                f"n_networks must be at most the number of rows, n_samples = {len(y)}, so that no peer is empty; got "
                f"{self.n_networks}"
            )
        weight = relative_weight(weight, self.class_weight, y, classes, X.dtype)
        partition = partitioner.partition(
            X, y, groups=groups, n_networks=self.n_networks, random_state=progress.partition_rng
        )
        partition = check_partition(partition, len(y), self.n_networks)
        self._check_prediction(len(partition))
        X, offset = sparsified(X)
        return _Rows(classes, Data(X, target, weight, offset), partition, kept, partitioner, topology)

    # Training

    def _make_network(self, n_features, n_classes):
        n_outputs = n_classes if n_classes > 2 else 1
        output = "tanh" if self.loss == "squared_error" else "softmax" if n_outputs > 1 else "logistic"
        return Network((n_features, *self._hidden_layer_sizes(), n_outputs), self.activation, output)

    def _train(self, run, held_out, data):
        """Run epochs until training converges, a callback asks to stop, or ``max_iter`` is reached."""
        task = self._init_callback_context(task_name="fit", max_subtasks=self.max_iter)
        task.call_on_fit_task_begin(estimator=self, **data)
        n_before, weights = len(run.ensemble.history), run.ensemble.weights
        try:
            with run.rounds.workers(self.n_jobs, self.max_iter):
                converged = self._run_epochs(run, held_out, data, task)
        except KeyboardInterrupt:
            if len(run.ensemble.history) == n_before:
                raise
            warnings.warn("Training interrupted by user; the peers keep what they have learned.", stacklevel=4)
            converged = True
        if run.best is not None:
            weights[:] = run.best
        self._publish(run.ensemble, run.rows, len(run.ensemble.history) - n_before)
        if not converged:
            warnings.warn(
                f"Maximum number of epochs (max_iter={self.max_iter}) reached and training has not converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        task.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **data)

    def _run_epochs(self, run, held_out, data, task):
        """Return whether training came to an end before ``max_iter``."""
        stopping = Stopping(self.tol, self.n_iter_no_change)

        def snapshot():
            history = run.ensemble.history.copy()
            return {"_ensemble": run.ensemble.snapshot(), "classes_": run.rows.classes, "history_": history}

        for _ in range(self.max_iter):
            subtask = task.subcontext(task_name="epoch")
            subtask.call_on_fit_task_begin(estimator=self, reconstruction_attributes=snapshot, **data)
            if stopping.update(self._epoch(run, held_out, data["X"])) and held_out is not None:
                run.best = run.ensemble.weights.copy()
            asked = subtask.call_on_fit_task_end(estimator=self, reconstruction_attributes=snapshot, **data)
            if asked or (stopping.due and not run.rounds.lower_learning_rates()):
                return True
            if stopping.due:
                stopping.start_over()
        return False

    def _epoch(self, run, held_out=None, X=None):
        """Run an epoch and record it; returns what training is to minimise."""
        record = run.rounds.epoch()
        ensemble = run.ensemble
        ensemble.history.append(record)
        loss = record["loss"]
        ensemble.loss_curve.append(loss)
        message = f"Epoch {record['epoch']}, loss = {loss:.8f}"
        goal = loss
        if held_out is not None:
            record["validation_scores"], score = self._validation_scores(run, held_out, X)
            ensemble.validation_scores.append(score)
            message += f", validation score = {score:.6f}"
            goal = -score
        if self.verbose:
            print(message)
        return goal

    def _validation_scores(self, run, held_out, X):
        """Accuracy on what each peer held out, and on all of it."""
        rows = np.concatenate(held_out)
        run.ensemble.settle()
        predicted = run.ensemble.probabilities(X[run.rows.kept[rows]], self.prediction).argmax(axis=1)
        data = run.rows.data
        correct = predicted == data.target[rows]
        weight = np.ones(len(rows)) if data.sample_weight is None else data.sample_weight[rows]
        peers = np.split(np.arange(len(rows)), np.cumsum([len(part) for part in held_out])[:-1])
        scores = [float(np.average(correct[peer], weights=weight[peer])) for peer in peers]
        return scores, float(np.average(correct, weights=weight))

    def _publish(self, ensemble, rows, n_iter):
        """Set the fitted attributes."""
        ensemble.settle()
        self._publish_network(ensemble, rows.classes, n_iter)
        self.partitioner_, self.topology_ = rows.partitioner, rows.topology
        self.partition_ = [rows.kept[part] for part in rows.partition]
        self.loss_, self.best_loss_ = self.loss_curve_[-1], min(self.loss_curve_)
        if ensemble.validation_scores:
            self.validation_scores_ = ensemble.validation_scores
            self.best_validation_score_ = max(self.validation_scores_)
        else:
            vars(self).pop("validation_scores_", None)
            vars(self).pop("best_validation_score_", None)

    def _publish_network(self, ensemble, classes, n_iter=0):
        """Set those of the fitted attributes that exist before the first epoch."""
        self._ensemble, self.classes_, self.n_iter_ = ensemble, classes, n_iter
        self.history_, self.loss_curve_ = ensemble.history, ensemble.loss_curve
        network = ensemble.network
        self.n_features_in_, self.n_layers_ = network.layer_sizes[0], len(network.layer_sizes)
        self.n_outputs_, self.out_activation_ = network.layer_sizes[-1], network.output


@dataclass
class _Rows:
    """The rows that one call of fit trains on: what is known of them, and which peer has which."""

    classes: np.ndarray
    data: Data
    partition: list
    kept: np.ndarray  # which of the rows passed to fit they are
    partitioner: BasePartitioner
    topology: BaseTopology


@dataclass
class _Run:
    """One call of fit: the peers, their rounds and their rows, and the weights to return to."""

    ensemble: Ensemble
    rounds: Rounds
    rows: _Rows
    best: np.ndarray = None


def _metadata(sample_weight):
    return None if sample_weight is None else {"sample_weight": sample_weight}
