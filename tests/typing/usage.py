"""What a type checker sees of an installed skfusion: mypy must accept all of this, and need each ``type: ignore``."""

from typing import Any, assert_type

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]

from skfusion import FusedMLPClassifier, FusedMLPRegressor, fuse
from skfusion.callback import PeerScores
from skfusion.diagnostics import TopologyDiagnostics, diagnose
from skfusion.display import FusionCurveDisplay, PartitionDisplay, TopologyDisplay
from skfusion.openml import run_on_task
from skfusion.partition import BasePartitioner, DirichletPartitioner, PredefinedPartitioner
from skfusion.sites import BaseTransport, FolderTransport, LocalTransport, Site, fit_sites
from skfusion.topology import BaseTopology, GraphTopology, HypercubeTopology, RingTopology

X, y = np.zeros((4, 2), np.float32), np.array(["a", "b", "a", "b"])
weights = np.zeros((2, 3), np.float32)


# Estimators

classifier = FusedMLPClassifier((50, 20), n_networks=None, topology="ring", batch_size="auto", prediction=1)
assert_type(classifier.fit(X, y, groups=["york", "bath", "york", "bath"]), FusedMLPClassifier)
assert_type(classifier.fit(pl.DataFrame(X), pl.Series(y)), FusedMLPClassifier)
assert_type(classifier.partial_fit(X.tolist(), y.tolist(), classes=("a", "b")), FusedMLPClassifier)
assert_type(classifier.load_weights("weights.npz"), FusedMLPClassifier)
assert_type(classifier.predict(X), np.ndarray)
assert_type(classifier.predict_proba(X), NDArray[np.floating])
assert_type(classifier.peer_scores(X, y), NDArray[np.floating])
assert_type(classifier.classes_, np.ndarray)
assert_type(classifier.coefs_, list[NDArray[np.floating]])
assert_type(classifier.partition_, list[NDArray[np.integer]])
assert_type(classifier.partitioner_, BasePartitioner)
assert_type(classifier.topology_, BaseTopology)
assert_type(classifier.history_, list[dict[str, Any]])
assert_type(classifier.loss_, float)
assert_type(classifier.n_iter_, int)
classifier.weights_ = weights.tolist()
assert_type(classifier.weights_, NDArray[np.floating])
FusedMLPClassifier(np.array([50, 20]), partitioner=StratifiedKFold(8), topology=HypercubeTopology())
FusedMLPClassifier(partitioner=DirichletPartitioner(0.3), random_state=np.random.RandomState(0))
FusedMLPClassifier(class_weight={"a": 1, "b": 2.5})

FusedMLPClassifier(n_networks="x")  # type: ignore[arg-type]
FusedMLPClassifier(n_networks=2.0)  # type: ignore[arg-type]
FusedMLPClassifier(hidden_layer_sizes="50, 20")  # type: ignore[arg-type]
FusedMLPClassifier(partitioner="classes")  # type: ignore[arg-type]
FusedMLPClassifier(topology="rign")  # type: ignore[arg-type]
FusedMLPClassifier(topology=[(0, 1)])  # type: ignore[arg-type]
FusedMLPClassifier(fusion_rule="parallel")  # type: ignore[arg-type]
FusedMLPClassifier(rate=0.5)  # type: ignore[call-arg]
FusedMLPClassifier((50, 20), "relu")  # type: ignore[call-arg]
classifier.fit(X)  # type: ignore[call-arg]
classifier.save_weights(1)  # type: ignore[arg-type]

regressor = FusedMLPRegressor(topology=RingTopology())
assert_type(regressor.partial_fit(X, X), FusedMLPRegressor)
assert_type(regressor.fit(X, X).predict(X), np.ndarray)
FusedMLPRegressor(loss="log_loss")  # type: ignore[call-arg]


# Strategies

assert_type(fuse(weights, [(0, 1)], 0.5), np.ndarray[tuple[int, int], np.dtype[np.float32]])
fuse(weights.tolist(), [(0, 1)], 0.5)  # type: ignore[type-var]
fuse(weights, [(0, 1)], 0.5, rule="parallel")  # type: ignore[arg-type]

assert_type(RingTopology().pairs(4), NDArray[np.integer])
assert_type(RingTopology().mixing_matrix(4, 0.5), NDArray[np.float64])
assert_type(DirichletPartitioner().partition(None, y, n_networks=2), list[NDArray[np.integer]])
assert_type(diagnose("ring", 8, 0.5), TopologyDiagnostics)
GraphTopology([(0, 1), (2, 1)])
GraphTopology(nx.path_graph(3))
PredefinedPartitioner([0, 1, 1, 0])
HypercubeTopology(incomplete="drop")  # type: ignore[arg-type]
diagnose("ring", "8", 0.5)  # type: ignore[arg-type]


class Neighbours(BaseTopology):
    """A topology of one's own may return a list."""

    def pairs(
        self, n_networks: int, fusion_round: int = 0, random_state: int | np.random.RandomState | None = None
    ) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in range(fusion_round % 2, n_networks - 1, 2)]


classifier.set_params(topology=Neighbours())


# Sites

sites = [Site(X, y, name="Bath"), Site(pl.DataFrame(X), pl.Series(y), name="York", groups=[1, 2, 1, 2])]
with LocalTransport(sites) as transport:
    assert_type(transport, LocalTransport)
    assert_type(fit_sites(classifier, transport, sites=["Bath", "York"]), FusedMLPClassifier)
assert_type(fit_sites(regressor, FolderTransport("shared"), sites=2, checkpoint="run.npz"), FusedMLPRegressor)
assert_type(classifier.sites_, list[str])
Site(X, y)  # type: ignore[call-arg]
fit_sites(classifier, transport, absent="ignore")  # type: ignore[arg-type]
BaseTransport()  # type: ignore[abstract]


# What looks on

classifier.set_callbacks(PeerScores(X, y))
assert_type(PeerScores(X, y).history, list[dict[str, Any]])
assert_type(FusionCurveDisplay.from_estimator(classifier, peer_kw={"color": "red"}), FusionCurveDisplay)
assert_type(TopologyDisplay.from_topology("star", 8).figure_, Figure)
assert_type(PartitionDisplay.from_partition(classifier.partition_, y).ax_, Axes)
TopologyDisplay.from_topology("stars", 8)  # type: ignore[arg-type]
run_on_task(classifier, 3022).publish()
run, flow = run_on_task(classifier, 3022, return_flow=True)
run_on_task(classifier, 3022.0)  # type: ignore[call-overload]
