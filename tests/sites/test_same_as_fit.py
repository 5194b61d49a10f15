"""Training at sites comes to what fit makes of the same rows in one place, bit for bit."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion.sites import LocalTransport, Site, fit_sites

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training"),
]
RNG = np.random.default_rng(0)
N = 90
PLAIN = RNG.normal(size=(N, 5))
IMAGES = np.where(RNG.random((N, 12)) < 0.8, np.linspace(-1, 1, 12), RNG.normal(size=(N, 12)))
LABELS = RNG.integers(3, size=N)
NUMBERS = np.column_stack([PLAIN[:, 0] + PLAIN[:, 1] ** 2, np.sin(PLAIN[:, 2])])
WEIGHT = RNG.choice([0.3, 1, 7], size=N)


def sites_of(X, y, names, weight=None, wards=None):
    """The sites that have these rows, which come in any order."""
    return [
        Site(
            X[names == name],
            y[names == name],
            name=name,
            sample_weight=None if weight is None else weight[names == name],
            groups=None if wards is None else wards[names == name],
        )
        for name in np.unique(names)[::-1]
    ]


def at_sites(model, sites, **options):
    with LocalTransport(sites) as transport:
        return fit_sites(clone(model), transport, **options)


def assert_same(apart, whole):
    """Check that two fitted estimators cannot be told apart, but for the seconds that it took."""
    for name in ("weights", "first_moments", "second_moments", "n_steps", "samples_seen", "learning_rates", "losses"):
        np.testing.assert_array_equal(getattr(apart._ensemble.state, name), getattr(whole._ensemble.state, name))
    for mine, theirs in zip(apart.history_, whole.history_, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - {"seconds"}:
            np.testing.assert_array_equal(mine[name], theirs[name])
    left = {"history_", "partition_", "sites_", "ownership_", "topology_", "partitioner_", "validation_scores_"}
    public = {name for name in vars(whole) if name.endswith("_") and not name.startswith("_")} - left
    assert public <= vars(apart).keys()
    for name in public:
        np.testing.assert_array_equal(getattr(apart, name), getattr(whole, name))


problems = st.fixed_dictionaries(
    {
        "sites": st.lists(st.sampled_from(["York", "Bath", "Leeds", "Hull"]), min_size=N, max_size=N),
        "rows": st.sampled_from(["plain", "images", "sparse"]),
        "dtype": st.sampled_from([np.float32, np.float64]),
        "weighted": st.booleans(),
        "task": st.sampled_from(["labels", "strings", "two", "number", "numbers"]),
    }
)
parameters = st.fixed_dictionaries(
    {
        "topology": st.sampled_from(["ring", "random", "hypercube", "average"]),
        "fusion_rule": st.sampled_from(["sequential", "simultaneous"]),
        "fusion_rate": st.sampled_from([0.0, 0.3, 0.5]),
        "init": st.sampled_from(["shared", "independent"]),
        "solver": st.sampled_from(["sgd", "adam"]),
        "momentum": st.sampled_from([0.0, 0.9]),
        "batch_size": st.sampled_from([1, 7, 200]),
        "learning_rate": st.sampled_from(["constant", "invscaling", "adaptive"]),
        "shuffle": st.booleans(),
        "alpha": st.sampled_from([0.0, 0.01]),
        "l1_ratio": st.sampled_from([0.0, 0.5]),
        "early_stopping": st.booleans(),
        "prediction": st.sampled_from(["consensus", "vote", 0]),
        "tol": st.sampled_from([0.0, 0.05]),
        "n_iter_no_change": st.sampled_from([1, 10]),
    }
)
steps = st.sampled_from([{}, {"fusion_unit": "step", "fusion_frequency": 3}, {"fusion_frequency": 2}])
classifying = st.fixed_dictionaries(
    {
        "loss": st.sampled_from(["log_loss", "squared_error"]),
        "class_weight": st.sampled_from([None, "balanced", "dict"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(problems, parameters, steps, classifying)
def test_sites_train_what_fit_does(problem, parameters, steps, classifying):
    names, weight = np.array(problem["sites"]), WEIGHT if problem["weighted"] else None
    X = (IMAGES if problem["rows"] == "images" else PLAIN).astype(problem["dtype"])
    X = csr_array(np.where(abs(X) < 0.7, 0, X)) if problem["rows"] == "sparse" else X
    model, y = model_and_targets(problem["task"], classifying)
    model.set_params(**parameters, **steps)
    try:
        whole = clone(model).fit(X, y, groups=names, sample_weight=weight)
    except ValueError as error:  # such as too few rows at a site to hold some out
        with pytest.raises(ValueError, match=str(error)[:20].replace("(", ".").replace(")", ".")):
            at_sites(model, sites_of(X, y, names, weight))
        return
    assert_same(at_sites(model, sites_of(X, y, names, weight)), whole)


def model_and_targets(task, classifying):
    common = dict(n_networks=None, hidden_layer_sizes=(6,), max_iter=4, random_state=3, learning_rate_init=0.05)
    if task.startswith("number"):
        return FusedMLPRegressor(**common), NUMBERS if task == "numbers" else NUMBERS[:, 0]
    y = {"labels": LABELS + 4, "strings": np.array(["a", "bb", "c"])[LABELS], "two": LABELS > 1}[task]
    if classifying["class_weight"] == "dict":
        classifying = classifying | {"class_weight": {y[0].item(): 2.5}}
    return FusedMLPClassifier(**common, **classifying), y
