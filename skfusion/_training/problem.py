"""What training never changes: the settings, the rows and whose they are, and the problem that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from skfusion._training.network import Network
from skfusion._training.sparsify import sparsified
from skfusion._typing import FloatArray, FusionRule, IntArray
from skfusion.topology import BaseTopology


@dataclass(frozen=True)
class Settings:
    """How peers train and fuse; each field as the parameter of the estimators, l1 and l2 made of alpha."""

    init: str
    solver: str
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    l1: float
    l2: float
    learning_rate: str
    learning_rate_init: float
    power_t: float
    batch_size: int
    shuffle: bool
    fusion_rate: float
    fusion_frequency: int
    fusion_unit: str
    fusion_rule: FusionRule
    drift_correction: str | None
    fusion_momentum: float
    max_iter: int
    tol: float
    n_iter_no_change: float
    early_stopping: bool
    validation_fraction: float
    prediction: int | str
    n_jobs: int | None
    verbose: int

    @property
    def schedule(self) -> str:
        """The schedule in use: Adam knows a constant learning rate only."""
        return self.learning_rate if self.solver == "sgd" else "constant"


@dataclass(frozen=True)
class Data:
    """Rows, and which peer has which.

    Attributes
    ----------
    X : {ndarray in C order, CSR} of shape (n_samples, n_features)
    target : ndarray
        Class indices, or numbers of X's dtype and of shape (n_samples, n_outputs).
    sample_weight : ndarray of shape (n_samples,) or None
    parts : list of int ndarray
        For each peer the indices of its rows.
    offset : ndarray of shape (n_features,) or None
        What is to be added to each row of a CSR X.
    """

    X: FloatArray | csr_array
    target: np.ndarray
    sample_weight: FloatArray | None
    parts: list[IntArray]
    offset: FloatArray | None = None

    def of_peers(self, peers: Sequence[int]) -> "Data":
        """Copy the rows of some peers alone, peer after peer."""
        parts = [self.parts[peer] for peer in peers]
        rows, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts])
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        own_parts = np.split(np.arange(ends[-1], dtype=np.int32), ends[:-1])
        return Data(self.X[rows], self.target[rows], weight, own_parts, self.offset)

    def has_weight(self) -> bool:
        """Whether any of the peers' rows has a weight above 0."""
        return self.sample_weight is None or bool(self.sample_weight[np.concatenate(self.parts)].any())

    def sparsified(self) -> "Data":
        """Return the same rows as sparse deviations from a background row, where that trains faster."""
        X, offset = sparsified(self.X, self.parts)
        return replace(self, X=X, offset=offset)


@dataclass(frozen=True)
class Problem:
    """What is to be trained and how, as far as it can be known without the rows.

    Attributes
    ----------
    network : Network
    settings : Settings
    topology : BaseTopology or None
        None where others fuse.
    lengths : int64 ndarray of shape (n_networks,)
        For each peer how many rows it trains on; one that has none sits out, but fuses.
    longest : int, default=0
        The largest length of peers that are not among these.
    names : list of str or None, default=None
        What errors call the peers; None for their numbers.
    """

    network: Network
    settings: Settings
    topology: BaseTopology | None
    lengths: IntArray
    longest: int = 0
    names: Sequence[str] | None = None

    @property
    def n_networks(self) -> int:
        """Number of peers."""
        return len(self.lengths)

    @cached_property
    def batch_sizes(self) -> IntArray:
        """For each peer how many rows an optimiser step takes, at least 1."""
        return np.clip(self.lengths, 1, self.settings.batch_size)

    @cached_property
    def n_epoch_steps(self) -> int:
        """How many steps an epoch has: those in which the peer with most rows passes over them once."""
        most = max(self.longest, int(self.lengths.max()))
        return -(-most // self.settings.batch_size)

    @cached_property
    def n_steps(self) -> IntArray:
        """For each peer how many steps it takes in an epoch; equal ones where rounds are counted in steps."""
        equal = self.settings.fusion_unit == "step"
        return np.where(self.lengths > 0, self.n_epoch_steps, 0) if equal else -(-self.lengths // self.batch_sizes)

    @cached_property
    def n_rows(self) -> IntArray:
        """For each peer how many rows these steps take; one that is to take more than it has goes round them again."""
        again = self.n_steps > -(-self.lengths // self.batch_sizes)
        return np.where(again, self.n_steps * self.batch_sizes, self.lengths)

    @property
    def n_rounds(self) -> float:
        """How often peers stop for one another in an epoch: the mean, at least 1."""
        by_step = self.settings.fusion_unit == "step"
        return max(1.0, self.n_epoch_steps / self.settings.fusion_frequency) if by_step else 1.0

    def of_peers(self, peers: Sequence[int]) -> "Problem":
        """Return the problem of some peers alone, for a worker that fuses none and may lack the topology's class."""
        longest = max(self.longest, int(self.lengths.max()))
        return replace(self, topology=None, lengths=self.lengths[list(peers)], longest=longest)
