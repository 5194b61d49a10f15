"""What fit takes: sparse rows, frames, labels of any kind, groups."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from models import GROUPS, NAMES, X, Y, assert_same_training, model, pandas_frame, regressor
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from skfusion.partition import GroupPartitioner

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("container", [csr_array, csr_matrix, csc_array, coo_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("params", [{}, {"batch_size": 16, "solver": "adam"}, {"loss": "squared_error"}], ids=str)
def test_sparse_input_is_equal_to_dense(params, dtype, container):
    rows, labels = load_digits(return_X_y=True)
    rows, labels = (rows[:300] / 16).astype(dtype), labels[:300]
    dense = model((12,), **params).fit(rows, labels)
    sparse = model((12,), **params).fit(container(rows), labels)
    rtol = 2e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(sparse.weights_, dense.weights_, rtol=rtol, atol=rtol / 1e2)
    for fitted in (dense, sparse):
        np.testing.assert_allclose(fitted.predict_proba(container(rows)), fitted.predict_proba(rows), rtol=rtol)
        np.testing.assert_allclose(fitted.peer_scores(container(rows), labels), fitted.peer_scores(rows, labels))


def test_csr_input_need_not_be_canonical():
    data, indices, indptr = [1.0, 2.0, 0.0, 3.0, -1.0, 1.0], [2, 0, 1, 1, 1, 2], [0, 3, 5, 6]
    messy = csr_array((data, np.array(indices, np.int32), np.array(indptr, np.int32)), shape=(3, 3))
    tidy = np.array([[2.0, 0, 1], [0, 2, 0], [0, 0, 1]])
    np.testing.assert_array_equal(messy.toarray(), tidy)
    one, other = (model(n_networks=1, shuffle=False, max_iter=20).fit(rows, [0, 1, 0]) for rows in (messy, tidy))
    np.testing.assert_allclose(one.weights_, other.weights_, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.predict_proba(messy), other.predict_proba(tidy), rtol=1e-12)


@pytest.mark.parametrize("order", ["C", "F", "strided", "list", "read-only"])
def test_the_memory_order_of_input_does_not_matter(order):
    rows = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "list": X.tolist(),
        "read-only": X.copy(),
    }[order]
    if order == "read-only":
        rows.flags.writeable = False
    fitted = model().fit(rows, Y)
    assert_same_training(fitted, model().fit(X, Y))
    np.testing.assert_array_equal(fitted.predict_proba(rows), fitted.predict_proba(X))


def test_what_can_be_made_an_array_need_not_have_a_shape():
    class Lazy:
        shape = None  # not known yet, as scikit-learn allows

        def __init__(self, array):
            self.array = array

        def __len__(self):
            return len(self.array)

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.array, dtype)

    fitted = model().fit(Lazy(X), Lazy(Y), sample_weight=Lazy(np.ones(len(Y))))
    assert_same_training(fitted, model().fit(X, Y))


def polars_frame(rows, names=NAMES):
    return pl.DataFrame(rows, schema=names)


@pytest.mark.parametrize(("frame", "series"), [(pandas_frame, pd.Series), (polars_frame, pl.Series)])
def test_frames_are_equal_to_arrays_and_their_names_are_kept(frame, series):
    labels = np.array(["setosa", "versicolor", "virginica"])[Y]
    weight = np.linspace(1, 2, len(Y))
    of_frame = model(n_networks=3).fit(frame(X), series(labels), sample_weight=series(weight), groups=series(GROUPS))
    of_array = model(n_networks=3).fit(X, labels, sample_weight=weight, groups=GROUPS)
    assert_same_training(of_frame, of_array)
    assert of_frame.feature_names_in_.tolist() == NAMES
    assert not hasattr(of_array, "feature_names_in_")
    np.testing.assert_array_equal(of_frame.predict(frame(X)), of_array.predict(X))
    np.testing.assert_array_equal(of_frame.peer_scores(frame(X), series(labels)), of_array.peer_scores(X, labels))
    assert of_frame.peers_[0].feature_names_in_.tolist() == NAMES


def test_columns_of_numbers_in_polars_are_not_converted_one_by_one(monkeypatch):
    """Of thousands of columns that would take many times as long as to convert the frame."""
    rows = polars_frame(X).with_columns(pl.col(NAMES[0]).cast(pl.Float32))
    expected = model().fit(rows, Y).predict(rows)

    def refuse(*_, **__):
        raise AssertionError("a column is converted")

    monkeypatch.setattr(pl.Series, "__array__", refuse)
    np.testing.assert_array_equal(model().fit(rows, Y).predict(rows), expected)


def test_a_series_of_dask_which_has_columns_is_no_table():
    dask = pytest.importorskip("dask.dataframe")
    weight = np.linspace(1, 2, len(Y))
    frame = dask.from_pandas(pandas_frame(X).assign(target=X[:, 0], weight=weight), npartitions=1)
    of_dask = regressor().fit(X, frame["target"], sample_weight=frame["weight"])
    assert_same_training(of_dask, regressor().fit(X, X[:, 0], sample_weight=weight))


@pytest.mark.parametrize("frame", [pandas_frame, polars_frame])
def test_frames_of_other_names_are_refused(frame):
    fitted = model().fit(frame(X), Y)
    renamed = frame(X, [*NAMES[:3], "colour"])
    turned = frame(X[:, ::-1], NAMES[::-1])
    for use in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y)):
        with pytest.raises(ValueError, match=r"(?s)feature names should match.*unseen at fit time:\n- colour"):
            use(renamed)
        with pytest.raises(ValueError, match="must be in the same order"):
            use(turned)
    with pytest.raises(ValueError, match="colour"):
        fitted.partial_fit(renamed, Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["w", "a", "b"]),
        np.array(["w", "a", "b"], object),
        np.array([10, -3, 7]),
        np.array([2.0, 0.0, 1.0]),
        pd.Series(["w", "a", "b"], dtype="category"),
        pd.Series(["w", "a", "b"], dtype="string"),
    ],
    ids=lambda names: f"{type(names).__name__} {names.dtype}",
)
def test_labels_may_be_of_any_kind(names):
    labels = names[Y] if isinstance(names, np.ndarray) else names.iloc[Y]
    fitted = model(max_iter=20, n_networks=2).fit(X, labels)
    assert fitted.classes_.tolist() == sorted(set(names))
    assert set(fitted.predict(X)) <= set(names)
    assert fitted.score(X, labels) > 0.8
    np.testing.assert_allclose(fitted.peer_scores(X, labels), [peer.score(X, labels) for peer in fitted.peers_])


def test_boolean_labels_are_two_classes():
    fitted = model(max_iter=20).fit(X, Y == 0)
    assert fitted.predict(X).dtype == bool
    assert fitted.score(X, Y == 0) == 1


def test_peers_know_classes_that_none_of_their_rows_has():
    fitted = model(partitioner="class", n_networks=None).fit(X, Y)
    assert all(len(np.unique(Y[part])) == 1 for part in fitted.partition_)
    assert all(peer.classes_.tolist() == [0, 1, 2] for peer in fitted.peers_)
    assert fitted.peers_[0].predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize(
    "groups", [GROUPS, GROUPS.tolist(), pd.Series(GROUPS), pl.Series(GROUPS), np.resize([3, 1, 2, 1], len(Y))]
)
def test_groups_make_a_peer_each(groups):
    fitted = model(n_networks=None).fit(X, Y, groups=groups)
    assert isinstance(fitted.partitioner_, GroupPartitioner)
    held = [set(np.asarray(groups)[part].tolist()) for part in fitted.partition_]
    assert held == [{name} for name in sorted(set(np.asarray(groups).tolist()))]


@pytest.mark.parametrize("n_groups", [149, 151])
@pytest.mark.parametrize("partitioner", [None, "random", StratifiedKFold(4)], ids=str)
def test_groups_of_wrong_length_are_refused(partitioner, n_groups):
    groups = np.resize(GROUPS, n_groups)
    with pytest.raises(ValueError, match=f"groups must have one label for each of the 150 rows, got {n_groups}"):
        model(partitioner=partitioner).fit(X, Y, groups=groups)
    with pytest.raises(ValueError, match=f"groups must have one label for each of the 150 rows, got {n_groups}"):
        model(partitioner=partitioner).partial_fit(X, Y, classes=[0, 1, 2], groups=groups)
