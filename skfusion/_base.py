"""What the classifier and the regressor share: parameters, fit, and what is known of the peers afterwards."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion import _weights_file
from skfusion._ensemble import Ensemble
from skfusion._inputs import check_groups, check_sample_weight, check_weights
from skfusion._parameters import check_hidden_layer_sizes, check_parameters, check_prediction
from skfusion._peers import Data
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
from skfusion.network import Network
from skfusion.partition import BasePartitioner, check_n_networks, check_partition, check_partitioner
from skfusion.topology import BaseTopology, check_suits, check_topology
from skfusion.training import Progress, Rounds, Stopping, hold_out

_Method = TypeVar("_Method", bound=Callable)
# Typed, as scikit-learn's is not: fit would lose its own hints.
_with_callbacks: Callable[[_Method], _Method] = with_callbacks


class BaseFusedMLP(CallbackSupportMixin, BaseEstimator, ABC):
    """Base of the estimators, whose docstrings tell of parameters and attributes.

    A subclass says what its targets are, and what becomes of the answers to a row: class probabilities, or outputs.
    """

    n_features_in_: int
    feature_names_in_: np.ndarray
    partition_: list[IntArray]
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
    _ensemble: Ensemble

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] | IntArray = (100,),
        *,
        n_networks: int | None = 8,
        partitioner: PartitionerName | BasePartitioner | Splitter | None = None,
        topology: TopologyName | BaseTopology = "hypercube",
        fusion_rate: float = 0.5,
        fusion_frequency: int = 1,
        fusion_unit: Literal["epoch", "step"] = "epoch",
        fusion_rule: FusionRule = "simultaneous",
        init: Literal["shared", "independent"] = "shared",
        activation: Literal["identity", "logistic", "tanh", "relu"] = "tanh",
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
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int | float = 10,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        prediction: int | Literal["consensus", "vote"] = "consensus",
        warm_start: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: bool | int = False,
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
        self.prediction = prediction
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    # What a subclass says

    @abstractmethod
    def _validate(self, X, y, old):
        """Return checked rows and targets; ``old`` is the ensemble that goes on with them, or None."""

    @abstractmethod
    def _classes_of(self, y, sample_weight):
        """Return the classes of targets; None in regression."""

    @abstractmethod
    def _encode(self, y, sample_weight, dtype, classes):
        """Return Targets of rows that train, for the ``classes``, None in regression."""

    @abstractmethod
    def _output_layer(self, contents):
        """Return the number of outputs and the output function for the contents of a file of weights."""

    @abstractmethod
    def _decode(self, answers):
        """Return what ``predict`` returns, from the answers of shape (n_samples, n_classes or n_outputs)."""

    @abstractmethod
    def _metric(self, y, predicted, sample_weight):
        """Return the score of predictions."""

    @abstractmethod
    def _validation_score(self, target, answers, sample_weight):
        """Return the score of answers to encoded targets."""

    def _hold_out(self, rows, rng):
        """Split each peer's rows into those to train on and those to validate on."""
        train, held_out = hold_out(rows.partition, self.validation_fraction, rng)
        weight = rows.data.sample_weight
        if weight is not None and not weight[np.concatenate(held_out)].any():
            raise ValueError(
                f"early_stopping needs held-out rows that class_weight gives a weight, but those that "
                f"validation_fraction={self.validation_fraction:g} takes have none; set it higher"
            )
        return train, held_out

    def _check_parameters(self):
        """Check all parameters, and return those of training and fusion."""
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
            Training rows; float32 and float64 are kept as they are, others become float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or in regression numbers.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : array-like of shape (n_samples,) or None, default=None
            Group labels for the partitioner, such as the site that each row comes from.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the input is not as described, a peer would have no rows, or training diverges.
        """
        settings = self._check_parameters()
        old = self._ensemble if self.warm_start and self.__sklearn_is_fitted__() else None
        if old is None:
            self._forget()  # so that a fit that fails leaves no model behind
        given = X  # callbacks get it as it came, with its feature names
        X, y = self._validate(X, y, old)
        progress = Progress.start(self.random_state)
        known = None if old is None else getattr(self, "classes_", None)
        rows = self._prepare(X, y, sample_weight, groups, progress, known)
        train, held_out = rows.partition, None
        if self.early_stopping:
            train, parts = self._hold_out(rows, progress.partition_rng)
            held_out = _HeldOut(parts, X[rows.kept[np.concatenate(parts)]])
        if old is None:
            ensemble = self._start(rows, settings, progress)
        else:
            self._check_unchanged(old, rows)
            ensemble = old.restarted(settings, progress)
        rounds = Rounds(rows.network, settings, rows.topology, rows.data, train, ensemble.state, progress)
        self._train(_Run(ensemble, rounds, rows), held_out, {"X": given, "y": y, "metadata": _metadata(sample_weight)})
        return self

    def _partial_fit(self, X, y, sample_weight, groups, classes=None):
        """Train the peers for one epoch on further rows."""
        settings = self._check_parameters()
        if self.early_stopping:
            raise ValueError("early_stopping must be False for partial_fit, which sees some of the rows only; got True")
        old = self._ensemble if self.__sklearn_is_fitted__() else None
        X, y = self._validate(X, y, old)
        progress = Progress.start(self.random_state) if old is None else copy.deepcopy(old.progress)
        rows = self._prepare(X, y, sample_weight, groups, progress, classes)
        if old is None:
            ensemble = self._start(rows, settings, progress)
        else:
            self._check_unchanged(old, rows)
            ensemble = old.continued(settings, progress)
        rounds = Rounds(rows.network, settings, rows.topology, rows.data, rows.partition, ensemble.state, progress)
        with rounds.workers(self.n_jobs, max_iter=1):
            self._epoch(_Run(ensemble, rounds, rows))
        self._publish(ensemble, rows, n_iter=1)
        return self

    def _forget(self):
        """Drop all that an earlier fit has left."""
        for name in [name for name in self.__dict__ if name == "_ensemble" or name.endswith("_")]:
            delattr(self, name)

    # Afterwards

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict class labels, or in regression numbers.

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or numbers: a column per output where there are several.
        """
        return self._decode(self._answers(X))

    def peer_scores(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> FloatArray:
        """Score of each peer, as ``score`` is one of the prediction: accuracy, or in regression R².

        Parameters
        ----------
        X : {array-like, sparse} of shape (n_samples, n_features)
            Rows to score on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their class labels, or in regression numbers.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        ndarray of shape (n_networks,)
            For each peer its score.
        """
        ensemble = self._fitted()
        X = self._validate_features(X)
        check_consistent_length(X, y, sample_weight)
        predicted = (self._decode(ensemble.answers(X, peer)) for peer in range(len(ensemble.weights)))
        return np.array([self._metric(y, of_peer, sample_weight) for of_peer in predicted])

    def save_weights(self, path: str | PathLike[str]) -> None:
        """Save the peers' weights as an .npz file of plain arrays, for another site to load.

        The file holds the arrays "weights" (``weights_``), "layer_sizes", "activation", "output"
        (``out_activation_``), "classes" of a classifier, "feature_names" where ``fit`` saw names, and
        "format_version".  It appears under its name once it is whole.

        Parameters
        ----------
        path : str or path-like
            Where to save; a file of that name is replaced.

        Raises
        ------
        NotFittedError
            If there are no weights yet.
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
        """Replace the peers' weights by those that ``save_weights`` wrote, maybe at another site.

        A fitted estimator keeps all else, as when peers fuse: the optimiser's moments, the learning rates, the
        history.  One that is not fitted takes the classes or the number of outputs, and the features, from the file;
        it can then predict, and go on with ``partial_fit``, but has no attributes that tell of training, such as
        ``loss_`` and ``partition_``, before it trains.

        Parameters
        ----------
        path : str or path-like
            The file.  Nothing in it is executed, and all of it is checked before anything is changed.

        Returns
        -------
        estimator
            The estimator itself.

        Raises
        ------
        TypeError
            If ``path`` is no path.
        OSError
            If the file cannot be read.
        ValueError
            If it is no whole .npz file, an entry is missing, malformed or not finite, or if its network, classes,
            feature names, number of networks or dtype are not those of this estimator, or of the parameters of one
            that is not fitted.
        """
        contents = _weights_file.read(path)
        if is_classifier(self) == (contents.classes is None):
            kind, output = ("classifier" if is_classifier(self) else "regressor"), contents.network.output
            raise ValueError(f"entry 'output' of {path} must be one that a {kind} has, got {output!r}")
        fitted = self.__sklearn_is_fitted__()
        ensemble = self._ensemble if fitted else self._start_as(contents)
        ours = self._contents() if fitted else replace(contents, network=ensemble.network, weights=ensemble.weights)
        _weights_file.check_agreement(path, contents, ours)
        ensemble = ensemble.with_weights(contents.weights)
        if fitted:
            self._ensemble = ensemble
        else:
            self._forget()  # such as the feature names of a fit that failed
            self._publish_network(ensemble, {} if contents.classes is None else {"classes_": contents.classes})
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
        self._ensemble = ensemble.with_weights(check_weights(weights, ensemble.weights))

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
        """Each peer as a fitted MLPClassifier, or in regression MLPRegressor, a copy."""
        return [self._as_mlp(peer) for peer in range(len(self.weights_))]

    @property
    def consensus_(self) -> MLPClassifier | MLPRegressor:
        """The consensus as a fitted MLPClassifier, or in regression MLPRegressor, a copy."""
        return self._as_mlp("consensus")

    def _as_mlp(self, which):
        names = (
            "solver learning_rate learning_rate_init power_t momentum nesterovs_momentum beta_1 beta_2 epsilon alpha "
            "batch_size max_iter tol n_iter_no_change shuffle random_state"
        )
        params = {name: getattr(self, name) for name in names.split()}
        mlp = self._fitted().as_mlp(which, getattr(self, "classes_", None), params)
        mlp.n_iter_ = self.n_iter_
        if hasattr(self, "feature_names_in_"):
            mlp.feature_names_in_ = self.feature_names_in_
        return mlp

    def _fitted(self):
        check_is_fitted(self)
        return self._ensemble

    def _validate_features(self, X):
        return validate_data(self, X, accept_sparse="csr", dtype=self._ensemble.weights.dtype, reset=False)

    def _answers(self, X):
        """Class probabilities or outputs, by ``prediction``."""
        ensemble = self._fitted()
        prediction = check_prediction(self.prediction, len(ensemble.weights))
        return ensemble.answers(self._validate_features(X), prediction)

    def _contents(self):
        ensemble, names = self._fitted(), getattr(self, "feature_names_in_", None)
        return _weights_file.Contents(ensemble.network, ensemble.weights, getattr(self, "classes_", None), names)

    def _start_as(self, contents):
        """Peers before their first epoch, for the features and classes or outputs of a file."""
        settings, n_networks = self._check_parameters(), self.n_networks or len(contents.weights)
        check_prediction(self.prediction, n_networks)
        network = self._network(contents.network.layer_sizes[0], *self._output_layer(contents))
        shape = n_networks, contents.weights.dtype
        return Ensemble.start(
            network, settings, Progress.start(self.random_state), *shape, shared=self.init == "shared"
        )

    def __sklearn_is_fitted__(self):
        return "_ensemble" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # Input

    def _validate_rows(self, X, y, old, **y_options):
        dtype = (np.float64, np.float32) if old is None else old.weights.dtype
        options = dict(accept_sparse="csr", dtype=dtype, order="C", reset=old is None)
        return validate_data(self, X, y, **options, **y_options)

    def _prepare(self, X, y, sample_weight, groups, progress, classes):
        """Check what goes with the rows, drop those of weight 0, and divide the others among the peers."""
        groups, weight = check_groups(groups, len(y)), check_sample_weight(sample_weight, len(y))
        partitioner = check_partitioner(self.partitioner, groups, labelled=is_classifier(self))
        topology = check_topology(self.topology)
        if classes is None:
            classes = self._classes_of(y, weight)
        kept = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
        if len(kept) < len(y):
            X, y, weight = X[kept], y[kept], weight[kept]
            groups = None if groups is None else groups[kept]
        targets = self._encode(y, weight, X.dtype, classes)
        check_n_networks(self.n_networks, len(y))
        partition = partitioner.partition(
            X, y, groups=groups, n_networks=self.n_networks, random_state=progress.partition_rng
        )
        partition = check_partition(partition, len(y), self.n_networks)
        check_prediction(self.prediction, len(partition))
        if len(partition) > 1 and self.fusion_rate > 0:
            check_suits(topology, len(partition), progress.fusion_round)
        network = self._network(X.shape[1], targets.n_outputs, targets.output)
        data = Data(X, targets.values, targets.sample_weight)
        return _Rows(network, data, targets.attributes, partition, kept, partitioner, topology)

    def _network(self, n_features, n_outputs, output):
        sizes = n_features, *check_hidden_layer_sizes(self.hidden_layer_sizes), n_outputs
        return Network(sizes, self.activation, output)

    def _check_unchanged(self, old, rows):
        """Check that peers whose weights are kept fit the parameters and the rows of today."""
        kept = "since the peers' weights are kept"
        sizes, new_sizes = old.network.layer_sizes, rows.network.layer_sizes
        if sizes != new_sizes:
            raise ValueError(f"hidden_layer_sizes must stay as it was, {sizes[1:-1]}, {kept}; got {new_sizes[1:-1]}")
        for parameter, was, is_now in (
            ("activation", old.network.activation, rows.network.activation),
            ("loss", old.network.output, rows.network.output),
        ):
            if was != is_now:
                raise ValueError(f"{parameter} must stay as it was, {kept}; that would turn {was!r} into {is_now!r}")
        if len(old.weights) != len(rows.partition):
            raise ValueError(
                f"n_networks must stay {len(old.weights)}, {kept}; the rows were divided among {len(rows.partition)}"
            )

    # Training

    def _start(self, rows, settings, progress):
        shape = len(rows.partition), rows.data.X.dtype
        return Ensemble.start(rows.network, settings, progress, *shape, shared=self.init == "shared")

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
        n_before = len(run.ensemble.history)

        def snapshot():
            ensemble = run.ensemble.snapshot()
            n_iter = len(ensemble.history) - n_before
            return {"_ensemble": ensemble, "history_": ensemble.history, "n_iter_": n_iter} | run.rows.attributes

        for _ in range(self.max_iter):
            subtask = task.subcontext(task_name="epoch")
            subtask.call_on_fit_task_begin(estimator=self, reconstruction_attributes=snapshot, **data)
            if stopping.update(self._epoch(run, held_out)) and held_out is not None:
                run.best = run.ensemble.weights.copy()
            asked = subtask.call_on_fit_task_end(estimator=self, reconstruction_attributes=snapshot, **data)
            if asked or (stopping.due and not run.rounds.lower_learning_rates()):
                return True
            if stopping.due:
                stopping.start_over()
        return False

    def _epoch(self, run, held_out=None):
        """Run an epoch and record it; returns what training is to minimise."""
        record, ensemble = run.rounds.epoch(), run.ensemble
        goal = loss = record["loss"]
        message = f"Epoch {record['epoch']}, loss = {loss:.8f}"
        if held_out is not None:
            record["validation_scores"], score = self._validation_scores(run, held_out)
            message += f", validation score = {score:.6f}"
            goal = -score
            ensemble.validation_scores.append(score)
        ensemble.history.append(record)
        ensemble.loss_curve.append(loss)
        if self.verbose:
            print(message)
        return goal

    def _validation_scores(self, run, held_out):
        """Scores on what each peer held out, and on all of it."""
        rows, data = np.concatenate(held_out.parts), run.rows.data
        run.ensemble.settle()
        answers = run.ensemble.answers(held_out.X, self.prediction)

        def score(some):
            weight = None if data.sample_weight is None else data.sample_weight[rows[some]]
            return float(self._validation_score(data.target[rows[some]], answers[some], weight))

        peers = np.split(np.arange(len(rows)), np.cumsum([len(part) for part in held_out.parts])[:-1])
        return [score(peer) for peer in peers], score(slice(None))

    def _publish(self, ensemble, rows, n_iter):
        """Set the fitted attributes."""
        ensemble.settle()
        self._publish_network(ensemble, rows.attributes, n_iter)
        self.partitioner_, self.topology_ = rows.partitioner, rows.topology
        self.partition_ = [rows.kept[part] for part in rows.partition]
        self.loss_, self.best_loss_ = self.loss_curve_[-1], min(self.loss_curve_)
        if ensemble.validation_scores:
            self.validation_scores_ = ensemble.validation_scores
            self.best_validation_score_ = max(self.validation_scores_)
        else:
            vars(self).pop("validation_scores_", None)
            vars(self).pop("best_validation_score_", None)

    def _publish_network(self, ensemble, attributes, n_iter=0):
        """Set those of the fitted attributes that exist before the first epoch."""
        vars(self).update(attributes)
        self._ensemble, self.n_iter_ = ensemble, n_iter
        self.history_, self.loss_curve_ = ensemble.history, ensemble.loss_curve
        network = ensemble.network
        self.n_features_in_, self.n_layers_ = network.layer_sizes[0], len(network.layer_sizes)
        self.n_outputs_, self.out_activation_ = network.layer_sizes[-1], network.output


@dataclass
class _Rows:
    """The rows that one call of fit trains on: what is known of them, and which peer has which."""

    network: Network
    data: Data
    attributes: dict  # those fitted attributes that the targets make
    partition: list
    kept: np.ndarray  # which of the rows passed to fit they are
    partitioner: BasePartitioner
    topology: BaseTopology


@dataclass
class _HeldOut:
    """The rows that peers hold out for early stopping: which of the data's each does, and those of all."""

    parts: list
    X: np.ndarray | csr_array


@dataclass
class _Run:
    """One call of fit: the peers, their rounds and their rows, and the weights to return to."""

    ensemble: Ensemble
    rounds: Rounds
    rows: _Rows
    best: np.ndarray | None = None


def _metadata(sample_weight):
    return None if sample_weight is None else {"sample_weight": sample_weight}
