"""Messages: short whatever the value is, and of use."""

import string

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from skfusion import FusedMLPClassifier, FusedMLPRegressor
from skfusion._checks import shown
from skfusion.diagnostics import diagnose
from skfusion.partition import BasePartitioner, ClassPartitioner, PredefinedPartitioner
from skfusion.topology import GraphTopology, RingTopology

X, Y = load_iris(return_X_y=True)
FRAME = pd.DataFrame(X, columns=list("abcd")).assign(site="bath")
LONGEST = 400
BIG = np.arange(1000)

SHORT = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(string.printable, max_size=9)

LONG = {
    "an array": np.arange(1000) * 1.5,
    "a large array": np.zeros((500, 500)),
    "a list": list(range(10**6)),
    "lists in a list": [[1] * 100] * 100,
    "a text": "x" * 10**6,
    "bytes": b"x" * 10**6,
    "a dict": dict.fromkeys(range(1000), "x" * 1000),
    "a set": set(range(10**5)),
    "a number": 10**1000,
    "a frame": pd.DataFrame(np.ones((500, 40))),
    "a series": pd.Series(np.arange(1000)),
    "a strategy": PredefinedPartitioner(np.arange(900)),
    "a list of arrays": [np.arange(900)] * 50,
}

# What is right for these, and would be used.
RIGHT = {("class_weight", "a dict"), ("partitioner", "a strategy")}
UNBOUNDED = ("batch_size", "fusion_frequency", "hidden_layer_sizes", "max_iter", "n_iter_no_change", "verbose")


@pytest.mark.parametrize("parameter", sorted(set(FusedMLPClassifier().get_params()) - {"n_jobs"}))
def test_no_message_about_a_parameter_is_long(parameter):
    for kind, value in LONG.items():
        if (parameter, kind) in RIGHT or (parameter in UNBOUNDED and kind == "a number"):
            continue
        with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
            FusedMLPClassifier(**{parameter: value}).fit(X, Y)
        assert len(str(caught.value)) < LONGEST, kind


class FromOnePartitioner(BasePartitioner):
    """A third party's, which counts rows from 1."""

    def partition(self, X, y, groups=None, n_networks=None, random_state=None):
        return [np.arange(len(y)) + 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: FusedMLPClassifier(partitioner=PredefinedPartitioner(BIG)).fit(X, Y),
        lambda: FusedMLPClassifier(partitioner=ClassPartitioner("x" * 5000)).fit(X, Y),
        lambda: FusedMLPClassifier(topology=GraphTopology(BIG)).fit(X, Y),
        lambda: FusedMLPClassifier(topology=GraphTopology([("node" * 1000, 0)])).fit(X, Y),
        lambda: FusedMLPClassifier(class_weight={"key" * 1000: -1}).fit(X, Y),
        lambda: FusedMLPRegressor(partitioner=ClassPartitioner(BIG)).fit(X, X[:, 0]),
        lambda: FusedMLPRegressor().fit(X, np.array(["label" * 1000] * 150)),
        lambda: FusedMLPRegressor().fit(X, np.array(["label" * 1000] * 150, dtype=object)),
        lambda: FusedMLPClassifier().partial_fit(X, np.array(["a" * 500] * 150), classes=["b" * 999, "c" * 999]),
        lambda: FusedMLPClassifier().fit(X, np.array(["label" * 1000] * 150)),
        lambda: FusedMLPClassifier(partitioner=FromOnePartitioner(), n_networks=1).fit(BIG[:, None], BIG % 2),
        lambda: diagnose(BIG, 4, 0.5),
        lambda: diagnose("ring", 4, BIG),
        lambda: RingTopology().pairs("x" * 1000),
    ],
)
def test_no_message_of_the_data_or_of_a_strategy_is_long(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert len(str(caught.value)) < LONGEST


@given(SHORT | st.lists(SHORT, max_size=4) | st.dictionaries(st.text(max_size=5), SHORT, max_size=1))
def test_what_is_short_is_shown_as_it_is(value):
    assert shown(value) == repr(value)


def test_the_ends_of_what_is_long_are_shown():
    assert shown(np.arange(1000)).startswith("array([  0,   1,   2, ..., 997, 998, 999]")
    assert shown(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"
    assert shown("a" + "x" * 999 + "z").startswith("'axxx")
    assert shown("a" + "x" * 999 + "z").endswith("xxxz'")
    assert "\n" not in shown(FRAME)
    assert shown(np.arange(4)) == "array([0, 1, 2, 3])"


@pytest.mark.parametrize("name", ["X", "y", "groups", "sample_weight"])
@pytest.mark.parametrize("estimator", [FusedMLPClassifier(), FusedMLPRegressor()], ids=lambda it: type(it).__name__)
def test_the_name_of_a_column_is_not_taken_for_its_values(estimator, name):
    match = rf"^{name} must be an array .*got 'site'; .*values of a column, such as frame\['site'\]"
    classes = {"classes": [0, 1, 2]} if isinstance(estimator, FusedMLPClassifier) else {}
    for method, options in ((estimator.fit, {}), (estimator.partial_fit, classes)):
        with pytest.raises(ValueError, match=match):
            method(**{"X": X, "y": Y, name: "site"}, **options)


def test_nor_is_that_of_the_peers():
    with pytest.raises(ValueError, match=r"peer_of_row must be an array .*frame\['site'\]"):
        FusedMLPClassifier(partitioner=PredefinedPartitioner("site")).fit(X, Y)


def test_a_single_value_is_no_group_of_all_rows():
    with pytest.raises(ValueError, match=r"groups must have one label for each of the 150 rows, got 3$"):
        FusedMLPClassifier().fit(X, Y, groups=3)
