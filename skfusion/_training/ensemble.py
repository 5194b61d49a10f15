"""The peers of one estimator: their network, their state, and how they came by it."""

import copy
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.utils import check_array, check_random_state

from skfusion._checks import shown
from skfusion._training.drift import Drift
from skfusion._training.network import Network
from skfusion._training.peers import PeerState
from skfusion._training.problem import Settings


@dataclass
class Progress:
    """Where training stands, and its sources of randomness; ``partial_fit`` goes on from there."""

    seeds: np.random.SeedSequence
    partition_rng: np.random.RandomState
    topology_rng: np.random.RandomState
    epoch: int = 0
    step: int = 0  # of the peer with most steps
    fusion_round: int = 0

    @classmethod
    def start(cls, random_state):
        """Return where training begins; ``random_state`` is as scikit-learn's."""
        return cls.of(check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4).tolist())

    @classmethod
    def of(cls, entropy):
        """Return where training begins, with the entropy of all randomness, a list of int."""
        seeds = np.random.SeedSequence(entropy)
        return cls(seeds, *(np.random.RandomState(np.random.MT19937(seed)) for seed in seeds.spawn(2)))

    def go_on_from(self, other):
        """Go on counting from where other training ended; all randomness but the topology's is its own."""
        # Rounds go on too, since topologies that change over time need several to mix all peers.
        for name in ("epoch", "step", "fusion_round", "topology_rng"):
            setattr(self, name, copy.deepcopy(getattr(other, name)))


@dataclass
class Ensemble:
    """All that an estimator learns, except the names of the features.

    Attributes
    ----------
    network : Network
    settings : Settings
        Of the latest training.
    classes : ndarray of shape (n_classes,) or None
        None in regression.
    state : PeerState
    progress : Progress
    consensus : ndarray of shape (n_parameters,)
        The mean of the peers' weights, as of the last call of ``update_consensus``.
    history : list of dict
        A record for each epoch.
    curves : dict of list of float
        By name, the values in these records that fitted attributes list: to collect them anew would take ever longer.
    drift : Drift or None
        Where something corrects the peers' drift.
    """

    network: Network
    settings: Settings
    classes: np.ndarray | None
    state: PeerState
    progress: Progress
    consensus: np.ndarray | None = None
    history: list = field(default_factory=list)
    curves: dict = field(default_factory=lambda: {"loss": [], "validation_score": []})
    drift: Drift | None = None

    @classmethod
    def start(cls, problem, classes, progress, dtype):
        """Return peers before their first epoch, which start from the same weights or from weights of their own."""
        network, settings, n_networks = problem.network, problem.settings, problem.n_networks
        n_starts = 1 if settings.init == "shared" else n_networks
        starts = [
            network.initial_weights(np.random.default_rng(seed), dtype) for seed in progress.seeds.spawn(n_starts)
        ]
        weights = np.broadcast_to(starts, (n_networks, network.n_parameters))
        state = PeerState.start(weights, progress.seeds.spawn(n_networks), settings)
        return cls(network, settings, classes, state, progress, drift=Drift.of(settings, state.weights))

    def restarted(self, problem, progress):
        """Copy it, with peers that keep their weights but start anew otherwise."""
        self._check_fits(problem)
        state = PeerState.start(self.weights, progress.seeds.spawn(len(self.weights)), problem.settings)
        state.samples_seen += self.state.samples_seen
        return self._copy(problem.settings, state, progress)

    def continued(self, problem, progress):
        """Copy it, with peers that go on where they are."""
        self._check_fits(problem)
        state, settings = self.state.copy(), problem.settings
        state.set_solver(settings)
        state.set_learning_rates(settings, self.settings)
        return self._copy(settings, state, progress)

    def _check_fits(self, problem):
        """Raise ValueError unless the peers, whose weights are kept, are those of a problem."""
        kept = "since the peers' weights are kept"
        sizes, new_sizes = self.network.layer_sizes, problem.network.layer_sizes
        if sizes != new_sizes:
            raise ValueError(
                f"hidden_layer_sizes must stay as it was, {shown(sizes[1:-1])}, {kept}; got {shown(new_sizes[1:-1])}"
            )
        for parameter, was, is_now in (
            ("activation", self.network.activation, problem.network.activation),
            ("loss", self.network.output, problem.network.output),
        ):
            if was != is_now:
                raise ValueError(f"{parameter} must stay as it was, {kept}; this would turn {was!r} into {is_now!r}")
        if len(self.weights) != problem.n_networks:
            raise ValueError(
                f"n_networks must stay {len(self.weights)}, {kept}; the rows were divided among {problem.n_networks}"
            )

    def _copy(self, settings, state, progress):
        """Return peers of another state that have come the same way."""
        drift = Drift.of(settings, state.weights, self.drift)
        if drift is not None:
            drift.write(state.drift, settings.fusion_momentum)
        others = {"settings": settings, "state": state, "progress": progress, "drift": drift}
        curves = {name: curve.copy() for name, curve in self.curves.items()}
        return replace(self, **others, consensus=None, history=self.history.copy(), curves=curves)

    def rewrite_history(self, history):
        """Replace the history with another."""
        self.history, self.curves = [], {name: [] for name in self.curves}
        for epoch in history:
            self.record(epoch)

    def record(self, epoch):
        """Add the record of an epoch to the history."""
        self.history.append(epoch)
        for name, curve in self.curves.items():
            if name in epoch:
                curve.append(epoch[name])

    @property
    def weights(self):
        """Each peer's weights, of shape (n_networks, n_parameters)."""
        return self.state.weights

    def update_consensus(self):
        """Take the mean of the peers' weights as they are now."""
        self.consensus = self.weights.mean(axis=0)

    def consensus_layers(self):
        """Return the consensus's coefficients and intercepts, read-only: to change them would not change the peers."""
        consensus = self.consensus.view()
        consensus.flags.writeable = False
        return self.network.layers(consensus)

    def checked(self, weights):
        """Return weights that may replace the peers', as a new array of their dtype, or raise ValueError."""
        old = self.weights
        with np.errstate(invalid="ignore"):  # where large ones cancel out
            weights = check_array(
                weights, ensure_2d=False, dtype=old.dtype, order="C", copy=True, input_name="weights_"
            )
        if weights.shape != old.shape:
            raise ValueError(f"weights_ must have shape (n_networks, n_parameters) = {old.shape}, got {weights.shape}")
        if not self.network.stays_finite(weights):
            raise ValueError(
                f"weights_ must be so small that no sum of them overflows, got up to {np.abs(weights).max():g}"
            )
        return weights

    def with_weights(self, weights):
        """Return the same peers with other weights; all else about them stays, as when they fuse."""
        other = copy.copy(self)
        other.state = replace(self.state, weights=weights)
        if self.drift is not None:
            other.drift = self.drift.started_from(weights)
        other.update_consensus()
        return other

    def return_to(self, weights):
        """Go back to earlier weights, in place."""
        self.weights[:] = weights
        if self.drift is not None:
            self.drift = self.drift.started_from(weights)

    def snapshot(self):
        """Copy it as it is now, but for the consensus."""
        return self._copy(self.settings, self.state.copy(), copy.deepcopy(self.progress))

    def networks(self, prediction):
        """Return the networks whose mean answer is the prediction.

        Parameters
        ----------
        prediction : {"consensus", "vote"} or int

        Returns
        -------
        ndarray of shape (n, n_parameters)
        """
        if prediction == "consensus":
            return self.consensus[None]
        return self.weights if prediction == "vote" else self.weights[prediction : prediction + 1]

    def answers(self, X, prediction):
        """Return class probabilities, or outputs in regression, by the consensus, by a vote, or by one peer.

        Parameters
        ----------
        X : {ndarray, CSR} of shape (n_samples, n_features)
        prediction : {"consensus", "vote"} or int

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_outputs)
        """
        return self.network.answers(self.networks(prediction), X)
