"""Types that public signatures name."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix

MatrixLike: TypeAlias = ArrayLike | sparray | spmatrix
FloatArray: TypeAlias = NDArray[np.floating]
IntArray: TypeAlias = NDArray[np.integer]
Weights = TypeVar("Weights", bound=FloatArray)
RandomState: TypeAlias = int | np.random.RandomState | None
Records: TypeAlias = list[dict[str, Any]]

FusionRule: TypeAlias = Literal["sequential", "simultaneous"]
TopologyName: TypeAlias = Literal[
    "ring", "random", "hypercube", "line", "star", "complete", "torus", "exponential", "average"
]
PartitionerName: TypeAlias = Literal["random", "stratified", "class", "dirichlet", "group"]


class Splitter(Protocol):
    """A scikit-learn splitter, such as KFold."""

    def split(self, X: Any, y: Any, groups: Any, /) -> Iterable[tuple[Any, Any]]:
        """Yield the rows of each fold's training and test set."""

    def get_n_splits(self, X: Any, y: Any, groups: Any, /) -> int:
        """Return the number of folds."""


class Graph(Protocol):
    """A networkx graph."""

    @property
    def nodes(self) -> Callable[[], Iterable[Any]]:
        """What gives the nodes when called."""

    @property
    def edges(self) -> Callable[[], Iterable[Any]]:
        """What gives the edges, pairs of nodes, when called."""
