"""What the classifier and the regressor share: parameters, fit, and what is known of the peers afterwards."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion import _weights_file
from skfusion._checks import shown
from skfusion._fitting import fitted_attributes, forget, publish, train
from skfusion._inputs import (
    FOR_TEXT,
    Rows,
    check_groups,
    check_indices,
    check_plain_numbers,
    check_rows,
    check_sample_weight,
    encode,
)
from skfusion._mlps import as_mlps
from skfusion._ownership import Ownership, Peers
from skfusion._parameters import check_parameters, check_prediction
from skfusion._training.engine import engine_for
from skfusion._training.ensemble import Ensemble, Progress
from skfusion._training.held_out import HeldOutRows, hold_out
from skfusion._training.outcome import Yardstick
from skfusion._training.problem import Data, Problem
from skfusion._training.training import Training
from skfusion._typing import (
    FloatArray,
    FusionRule,
    IntArray,
    MatrixLike,
    PartitionerName,
    RandomState,
    Records,
    Splitter,
    TopologyName,
)
from skfusion.partition import BasePartitioner, check_partitioner, divide
from skfusion.topology import BaseTopology, check_round, with_edges_alone

_Method = TypeVar("_Method", bound=Callable)
# Typed, as scikit-learn's is not: fit would lose its own hints.
_with_callbacks: Callable[[_Method], _Method] = with_callbacks


class BaseFusedMLP(CallbackSupportMixin, BaseEstimator, ABC):
    """Base of the estimators, whose docstrings describe parameters and attributes.

    A subclass says what its targets are, and what becomes of the answers to a row: class probabilities, or outputs.
    """

    n_features_in_: int
    feature_names_in_: np.ndarray
    partition_: list[IntArray]
    ownership_: Ownership | None
    sites_: list[str]
    partitioner_: BasePartitioner
    topology_: BaseTopology
    history_: Records
    loss_: float
    best_loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float]
    best_validation_score_: float
    n_iter_: int
    n_layers_: int
    n_outputs_: int
    out_activation_: str
    _ensemble: Ensemble | None  # None where the weights are at sites

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | IntArray = (100,),
        *,
        activation: Literal["identity", "logistic", "tanh", "relu"] = "tanh",
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.n_networks = n_networks
        self.partitioner = partitioner
        self.topology = topology
        self.fusion_rate = fusion_rate
        self.fusion_frequency = fusion_frequency
        self.fusion_unit = fusion_unit
        self.fusion_rule = fusion_rule
        self.drift_correction = drift_correction
        self.fusion_momentum = fusion_momentum
        self.prediction = prediction
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
        self.shuffle = shuffle
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # What a subclass says

    @abstractmethod
    def _check_targets(self, y):
        """Raise TypeError or ValueError for targets of a kind that neither ``fit`` nor ``peer_scores`` takes."""

    @abstractmethod
    def _validate(self, X, y, old):
        """Return checked rows and targets; ``old`` is the ensemble that goes on with them, or None."""

    @abstractmethod
    def _classes_of(self, y, sample_weight):
        """Return the classes of targets; None in regression."""

    @abstractmethod
    def _encode(self, rows):
        """Return the Targets of Rows."""

    @abstractmethod
    def _output_layer(self, classes, n_outputs):
        """Return the number of outputs and the output function, for classes or for ``n_outputs`` numbers per row."""

    @abstractmethod
    def _decode(self, answers):
        """Return what ``predict`` returns, from the answers of shape (n_samples, n_classes or n_outputs)."""

    @abstractmethod
    def _metric(self, y, predicted, sample_weight):
        """Return the score of predictions."""

    def _check_held_out(self, n_rows, have_weight, fraction):
        """Check that rows held out for early stopping can be scored; ``have_weight`` is whether any has a weight."""
        if not have_weight:
            raise ValueError(
                f"early_stopping needs held-out rows with a weight, but those that validation_fraction={fraction:g} "
                f"takes have none or next to none, by {self._what_weighs()}; set validation_fraction higher"
            )

    def _what_weighs(self):
        """Return what may take rows their weight, for errors."""
        class_weight = getattr(self, "class_weight", None)
        return "sample_weight" if class_weight is None else f"class_weight={shown(class_weight)} or sample_weight"

    def _check_parameters(self):
        """Check all parameters, and return those that the estimators share."""
        return check_parameters(self)

    # Fit

    @_with_callbacks
    def fit(
        self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Fit the peers.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Training rows.  NumPy's float32 and float64, also in pandas frames, stay as they are; other types, such as
            Polars' Float32, become float64, as in scikit-learn.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers in regression.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels for the partitioner, such as the site that each row comes from.  A partitioner that cannot use
            them raises an error.  In a warm start a known group keeps its peer (``ownership_``).

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the input is not as described, if a peer would have no rows (except in a warm start), if
            groups are needed and do not reach ``fit``, or if training diverges.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` is reached, the model is hardly better than a constant answer (or one of several outputs is
            worse), or fusion drives the peers apart; the warning says what to change.
        """
        parameters = self._check_parameters()
        old = self._known_peers() if parameters.warm_start else None
        if old is None:
            forget(self)  # so that a fit that fails leaves no model behind
        given = X  # callbacks get it as it came, with its feature names
        X, y = self._validate(X, y, old)
        rows = self._rows(X, y, sample_weight, groups, None if old is None else old.classes)
        progress = Progress.start(parameters.random_state)
        if old is not None:
            progress.go_on_from(old.progress)
        peers = self._peers(parameters, rows, old, complete=old is None)
        problem, data, held_out, attributes = self._divide(parameters, rows, peers, progress)
        if not data.has_weight():
            raise ValueError(
                f"rows to train on must have a weight, but have none or next to none, by {self._what_weighs()}"
            )
        to_train_on = data.sparsified()  # before there are weights: many peers take much memory to agree on it
        if old is None:
            ensemble = Ensemble.start(problem, rows.classes, progress, rows.X.dtype)
        else:
            ensemble = old.restarted(problem, progress)
        yardstick = Yardstick(ensemble, data)
        engine = engine_for(problem, to_train_on, ensemble.state, problem.settings.max_iter)
        training = Training(ensemble, problem, engine, held_out)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        train(self, training, yardstick, attributes, {"X": given, "y": y, "metadata": metadata})
        return self

    def _partial_fit(self, X, y, sample_weight, groups, classes=None):
        """Train the peers for one epoch on further rows."""
        parameters = self._check_parameters()
        if parameters.settings.early_stopping:
            raise ValueError("early_stopping must be False for partial_fit, which sees only some of the rows; got True")
        old = self._known_peers()
        rows = self._rows(*self._validate(X, y, old), sample_weight, groups, classes)
        progress = Progress.start(parameters.random_state) if old is None else copy.deepcopy(old.progress)
        peers = self._peers(parameters, rows, old, complete=False)
        if old is not None:
            peers = replace(peers, n_seen=old.state.samples_seen)
        problem, data, _, attributes = self._divide(parameters, rows, peers, progress)
        if old is None:
            ensemble = Ensemble.start(problem, rows.classes, progress, rows.X.dtype)
        else:
            ensemble = old.continued(problem, progress)
        yardstick = Yardstick(ensemble, data)
        training = Training(ensemble, problem, engine_for(problem, data.sparsified(), ensemble.state, n_epochs=1))
        training.one_epoch()
        yardstick.judge(ensemble, n_epochs=1)
        publish(self, training, attributes)
        return self

    def _known_peers(self):
        """Return the ensemble that training continues, None if it starts afresh; NotFittedError if it is at sites."""
        return self._fitted() if "_ensemble" in vars(self) else None

    # Afterwards

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict class labels, or numbers in regression.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers with a column for each of several outputs.

        Raises
        ------
        NotFittedError
            If there are no weights yet.
        TypeError, ValueError
            If ``X`` is not as in ``fit``, or ``prediction`` names a peer that does not exist.
        """
        return self._decode(self._answers(X))

    def peer_scores(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> FloatArray:
        """Score each peer by accuracy, or in regression by R².

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to score on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their class labels, or numbers in regression.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        ndarray of shape (n_networks,)
            The score of each peer.

        Raises
        ------
        NotFittedError
            If there are no weights yet.
        TypeError, ValueError
            If ``X``, ``y`` or ``sample_weight`` is not as in ``fit``, or they differ in length.
        """
        ensemble = self._fitted()
        X = self._validate_features(X)
        self._check_targets(y)
        check_consistent_length(X, y)
        sample_weight = check_sample_weight(sample_weight, X.shape[0])
        predicted = (self._decode(ensemble.answers(X, peer)) for peer in range(len(ensemble.weights)))
        return np.array([self._metric(y, of_peer, sample_weight) for of_peer in predicted])

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Save the peers' weights as an .npz file of plain arrays, for another site to load.

        The file holds the arrays "weights" (``weights_``), "layer_sizes", "activation", "output"
        (``out_activation_``), "classes" of a classifier, "feature_names" if ``fit`` saw names, and "format_version".
        It appears under its name only when it is complete.

        Parameters
        ----------
        path : str or path-like
            Where to save.  Replaces a regular file and keeps its owner and mode, follows a symbolic link, and refuses
            anything else.

        Raises
        ------
        NotFittedError
            If there are no weights yet.
        TypeError
            If ``path`` is not a path.
        OSError
            If the file cannot be written.
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

    def load_weights(self, path: str | PathLike[str]) -> Self:
        """Replace the peers' weights with those that ``save_weights`` wrote, here or at another site.

        A fitted estimator keeps everything else, as when peers fuse: the optimiser's moments, the learning rates, the
        history.  An estimator that is not fitted, or whose weights ``fit_sites`` left at the sites, also takes the
        classes or the number of outputs, and the features, from the file, and with ``n_networks=None`` any number of
        peers.  It can then predict and go on with ``partial_fit``.  Until it trains, it lacks the attributes that come
        from training, such as ``loss_`` and ``partition_``.  The file does not say which groups each peer has
        (``ownership_``), so these are given to the peers anew.

        Parameters
        ----------
        path : str or path-like
            The file.  Nothing in it is executed, and all of it is checked before anything changes.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError
            If ``path`` is not a path.
        OSError
            If the file cannot be read.
        ValueError
            If the file is not a complete .npz file or would unpack to many times its size; if an entry is missing,
            malformed, not finite, or so large that sums in the network overflow; or if its network, classes, feature
            names, number of networks or dtype do not match this estimator (or its parameters, if it is not fitted).
        """
        contents = _weights_file.read(path)
        if is_classifier(self) == (contents.classes is None):
            kind, output = ("classifier" if is_classifier(self) else "regressor"), contents.network.output
            raise ValueError(f"entry 'output' of {path} must be that of a {kind}, got {output!r}")
        ensemble = getattr(self, "_ensemble", None)
        if ensemble is not None:
            _weights_file.check_agreement(path, contents, self._contents())
            self._ensemble = ensemble.with_weights(contents.weights)
            return self
        _weights_file.check_agreement(path, contents, self._contents_like(contents))
        started = self._start_as(contents).with_weights(contents.weights)
        forget(self)  # such as the feature names of a fit that failed
        self.__dict__.update(fitted_attributes(started, n_iter=0))
        if contents.feature_names is not None:
            self.feature_names_in_ = contents.feature_names.astype(object)
        return self

    @property
    def weights_(self) -> FloatArray:
        """Each peer's weights, ndarray of shape (n_networks, n_parameters); assign to it to replace them."""
        return self._fitted().weights

    @weights_.setter
    def weights_(self, weights: ArrayLike) -> None:
        ensemble = self._fitted()
        check_plain_numbers("weights_", weights)
        self._ensemble = ensemble.with_weights(ensemble.checked(weights))

    @property
    def coefs_(self) -> list[FloatArray]:
        """Coefficients of the consensus, a list of read-only ndarray of shape (fan_in, fan_out)."""
        return self._fitted().consensus_layers()[0]

    @property
    def intercepts_(self) -> list[FloatArray]:
        """Intercepts of the consensus, a list of read-only ndarray of shape (fan_out,)."""
        return self._fitted().consensus_layers()[1]

    @property
    def peers_(self) -> list[MLPClassifier] | list[MLPRegressor]:
        """Copies of the peers as fitted MLPClassifiers, or in regression MLPRegressors."""
        return self._as_mlps(range(len(self.weights_)))

    @property
    def consensus_(self) -> MLPClassifier | MLPRegressor:
        """A copy of the consensus as a fitted MLPClassifier, or in regression MLPRegressor."""
        return self._as_mlps(["consensus"])[0]

    def _as_mlps(self, predictions):
        names = (
            "solver learning_rate learning_rate_init power_t momentum nesterovs_momentum beta_1 beta_2 epsilon alpha "
            "batch_size max_iter tol n_iter_no_change shuffle random_state"
        )
        mlps = as_mlps(self._fitted(), predictions, {name: getattr(self, name) for name in names.split()})
        for mlp in mlps:
            mlp.n_iter_ = self.n_iter_
            if hasattr(self, "feature_names_in_"):
                mlp.feature_names_in_ = self.feature_names_in_
        return mlps

    def _fitted(self):
        if "_ensemble" in vars(self) and self._ensemble is None:
            raise NotFittedError(
                f"the weights of this {type(self).__name__} are at the sites where it was trained; load those of one "
                "with load_weights of another estimator, with n_networks=None, or fit anew, with warm_start=False"
            )
        check_is_fitted(self)
        return self._ensemble

    def _validate_features(self, X):
        check_plain_numbers("X", X, FOR_TEXT)
        X = validate_data(self, X, accept_sparse="csr", dtype=self._ensemble.weights.dtype, reset=False)
        check_indices(X)
        return X

    def _answers(self, X):
        """Return class probabilities or outputs, by ``prediction``."""
        ensemble = self._fitted()
        prediction = check_prediction(self.prediction, len(ensemble.weights))
        return ensemble.answers(self._validate_features(X), prediction)

    def _contents(self):
        ensemble, names = self._fitted(), getattr(self, "feature_names_in_", None)
        return _weights_file.Contents(ensemble.network, ensemble.weights, ensemble.classes, names)

    def _contents_like(self, contents):
        """Return what a file would say of peers with these parameters and a file's features and classes or outputs."""
        parameters = self._check_parameters()
        n_networks = parameters.n_networks or len(contents.weights)
        check_prediction(self.prediction, n_networks)
        n_features, *_, n_outputs = contents.network.layer_sizes
        network = parameters.network(n_features, *self._output_layer(contents.classes, n_outputs))
        # They take no memory, however many the file says there are.
        weights = np.broadcast_to(contents.weights.dtype.type(0), (n_networks, network.n_parameters))
        return replace(contents, network=network, weights=weights)

    def _start_as(self, contents):
        """Return peers before their first epoch, with the network and in the number that a file says."""
        parameters = self._check_parameters()
        n_rows = np.zeros(len(contents.weights), np.int64)
        problem = Problem(contents.network, parameters.settings, parameters.topology, n_rows)
        progress = Progress.start(parameters.random_state)
        return Ensemble.start(problem, contents.classes, progress, contents.weights.dtype)

    def __sklearn_is_fitted__(self):
        return "_ensemble" in vars(self)  # also with weights at sites, or a pipeline would not let predict say so

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # Input

    def _validate_rows(self, X, y, old, **y_options):
        if y is not None:  # which scikit-learn refuses in words of its own
            self._check_targets(y)
        check_plain_numbers("X", X, FOR_TEXT)
        dtype = (np.float64, np.float32) if old is None else old.weights.dtype
        options = dict(accept_sparse="csr", dtype=dtype, order="C", reset=old is None)
        X, y = validate_data(self, X, y, **options, **y_options)
        check_rows(X)
        return X, y

    def _rows(self, X, y, sample_weight, groups, classes):
        """Check what goes with the rows, and drop those of weight 0."""
        groups, weight = check_groups(groups, len(y)), check_sample_weight(sample_weight, len(y))
        if classes is None:
            classes = self._classes_of(y, weight)
        elif weight is not None:
            encode(y[weight == 0], classes)  # which refuses unknown labels of rows that are dropped, too
        return Rows.of_weight(X, y, weight, groups, classes)

    def _peers(self, parameters, rows, old, complete):
        """Return what is known of the peers before rows are divided; ``old`` is the ensemble that goes on, or None."""
        if old is None:
            return Peers(parameters.n_networks, complete, classes=None if complete else rows.classes)
        n_networks = len(old.weights)
        if parameters.n_networks not in (None, n_networks):
            raise ValueError(
                f"n_networks must stay {n_networks}, since the peers' weights are kept; got {parameters.n_networks}"
            )
        return Peers(n_networks, complete, classes=rows.classes, ownership=getattr(self, "ownership_", None))

    def _divide(self, parameters, rows, peers, progress):
        """Divide the rows among the peers.

        Returns
        -------
        problem : Problem
        data : Data
            To train on.
        held_out : HeldOut or None
        attributes : dict
            Fitted attributes that describe the partition.
        """
        targets, settings, topology = self._encode(rows), parameters.settings, parameters.topology
        partitioner = check_partitioner(parameters.partitioner, rows.groups, peers, labelled=is_classifier(self))
        partition, ownership = divide(partitioner, rows.X, rows.y, rows.groups, peers, progress.partition_rng)
        check_prediction(settings.prediction, len(partition))
        if len(partition) > 1:  # one network, to compare the peers with, may keep a topology of several
            check_round(topology, len(partition), progress.fusion_round)
        topology = with_edges_alone(topology)
        data = Data(rows.X, targets.values, targets.sample_weight, partition)
        network = parameters.network(rows.X.shape[1], targets.n_outputs, targets.output)
        held_out = None
        if settings.early_stopping:
            data, others = self._hold_out(data, settings.validation_fraction, progress.partition_rng)
            held_out = HeldOutRows(network, others)
        problem = Problem(network, settings, topology, np.array([len(part) for part in data.parts]))
        attributes = {
            "partition_": [rows.trained[part] for part in partition],
            "ownership_": ownership or peers.ownership,
            "partitioner_": partitioner,
            "topology_": topology,
        }
        return problem, data, held_out, attributes

    def _hold_out(self, data, fraction, rng):
        """Split each peer's rows into those to train on and those to validate on."""
        parts, held_out = hold_out(data.parts, fraction, rng)
        others = replace(data, parts=held_out)
        self._check_held_out(sum(map(len, held_out)), others.has_weight(), fraction)
        return replace(data, parts=parts), others
