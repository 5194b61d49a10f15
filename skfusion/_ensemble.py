"""The peers of one estimator: their network, their state, and how they came to be."""

import copy
from dataclasses import dataclass, field

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skfusion._peers import PeerState
from skfusion.network import Network
from skfusion.training import Progress


@dataclass
class Ensemble:
    """All that an estimator learns, but for the names of classes and features.

    Attributes
    ----------
    network : Network
    state : PeerState
    progress : Progress
    consensus : ndarray of shape (n_parameters,)
        The mean of the peers' weights, as of the last call of ``settle``.
    history : list of dict
    loss_curve, validation_scores : list of float
    """

    network: Network
    state: PeerState
    progress: Progress
    consensus: np.ndarray | None = None
    history: list = field(default_factory=list)
    loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)

    @classmethod
    def start(cls, network, settings, progress, n_networks, dtype, *, shared):
        """Peers before their first epoch, which start from the same weights or from weights of their own."""
        starts = [
            network.initial_weights(np.random.default_rng(seed), dtype)
            for seed in progress.seeds.spawn(1 if shared else n_networks)
        ]
        weights = np.broadcast_to(starts, (n_networks, network.n_parameters))
        return cls(network, PeerState.start(weights, progress.seeds.spawn(n_networks), settings), progress)

    def restarted(self, settings, progress):
        """Copy it, with peers that keep their weights but start anew otherwise."""
        state = PeerState.start(self.weights, progress.seeds.spawn(len(self.weights)), settings)
        state.samples_seen += self.state.samples_seen
        # Rounds go on too, since topologies that change over time need several to mix all peers.
        for name in ("epoch", "step", "fusion_round", "topology_rng"):
            setattr(progress, name, copy.deepcopy(getattr(self.progress, name)))
        return self._with_history(state, progress)

    def continued(self, settings, progress):
        """Copy it, with peers that go on where they are."""
        state = self.state.copy()
        state.set_solver(settings)
        if settings.learning_rate == "constant":
            state.learning_rates[:] = settings.learning_rate_init
        return self._with_history(state, progress)

    def _with_history(self, state, progress):
        """Return peers of another state that have come the same way."""
        curves = self.history.copy(), self.loss_curve.copy(), self.validation_scores.copy()
        return Ensemble(self.network, state, progress, None, *curves)

    @property
    def weights(self):
        """Each peer's weights, of shape (n_networks, n_parameters)."""
        return self.state.weights

    def settle(self):
        """Take the mean of the peers' weights as they are now."""
        self.consensus = self.weights.mean(axis=0)

    def consensus_layers(self):
        """Coefficients and intercepts of the consensus, which nobody shall change apart from the peers: read-only."""
        consensus = self.consensus.view()
        consensus.flags.writeable = False
        return self.network.layers(consensus)

    def with_weights(self, weights):
        """Return the same peers with other weights; all else about them stays, as when they fuse."""
        other = copy.copy(self)
        other.state = self.state.with_weights(weights)
        other.settle()
        return other

    def snapshot(self):
        """Copy it as it is now."""
        other = self._with_history(self.state.copy(), copy.deepcopy(self.progress))
        other.settle()
        return other

    def answers(self, X, prediction):
        """Class probabilities, or outputs in regression, by the consensus, by a vote, or by one peer.

        Parameters
        ----------
        X : {ndarray, CSR} of shape (n_samples, n_features)
        prediction : {"consensus", "vote"} or int

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_outputs)
        """
        answers = self.network.outputs if self.network.output == "identity" else self.network.probabilities
        if prediction == "consensus":
            return answers(self.consensus, X)
        if prediction == "vote":
            return sum(answers(weights, X) for weights in self.weights) / len(self.weights)
        return answers(self.weights[prediction], X)

    def as_mlp(self, which, classes, params):
        """One network as a fitted MLPClassifier or MLPRegressor.

        Parameters
        ----------
        which : "consensus" or int
            The consensus, or the peer of that index.
        classes : ndarray of shape (n_classes,) or None
            None in regression.
        params : dict
            Parameters of MLPClassifier and MLPRegressor, except for those that the network itself tells.

        Returns
        -------
        MLPClassifier or MLPRegressor
        """
        mlp = self._blank_mlp(classes, params["solver"])
        mlp.set_params(**params)
        if which == "consensus":
            weights, losses, n_rows_seen = self.consensus, self.loss_curve, self.state.samples_seen.sum()
        else:
            weights, losses = self.weights[which], [record["losses"][which] for record in self.history]
            n_rows_seen = self.state.samples_seen[which]
        mlp.coefs_, mlp.intercepts_ = self.network.layers(weights.copy())
        mlp.out_activation_, mlp.t_ = self.network.output, int(n_rows_seen)
        mlp.loss_curve_ = list(losses)
        mlp.loss_, mlp.best_loss_ = losses[-1] if losses else np.inf, min(losses, default=np.inf)
        return mlp

    def _blank_mlp(self, classes, solver):
        """Return an MLP of the network's shape that has set up what it keeps to itself."""
        n_features, *hidden, n_outputs = self.network.layer_sizes
        params = dict(hidden_layer_sizes=tuple(hidden), activation=self.network.activation, solver=solver)
        params |= dict(alpha=0, random_state=0)
        if classes is None:
            blank = np.zeros((1, n_features), self.weights.dtype)
            mlp = MLPRegressor(**params).partial_fit(blank, np.zeros((1, n_outputs) if n_outputs > 1 else 1))
        else:
            blank = np.zeros((len(classes), n_features), self.weights.dtype)
            mlp = MLPClassifier(**params).partial_fit(blank, classes, classes=classes)
        del mlp._optimizer  # with the moments of that step
        return mlp
