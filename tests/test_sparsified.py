"""Rows that train as deviations from a background row train as they are."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skfusion import FusedMLPClassifier
from skfusion._training import sparsify
from skfusion._training.problem import Data

DIGITS, LABELS = load_digits(return_X_y=True)


def sparsified(X):
    return sparsify.sparsified(X, [np.arange(X.shape[0])])


def background_rows(n_rows=60, n_features=13, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = np.tile(rng.normal(size=n_features), (n_rows, 1))
    others = rng.random(X.shape) < 0.2
    X[others] = rng.normal(size=others.sum())
    return X.astype(dtype), rng.integers(3, size=n_rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deviations_and_the_row_that_they_are_from_make_up_the_rows(dtype):
    X, _ = background_rows(dtype=dtype)
    deviations, offset = sparsified(X)
    assert deviations.dtype == offset.dtype == dtype
    assert deviations.nnz < 0.25 * X.size
    np.testing.assert_allclose(deviations.toarray() + offset, X, rtol=0, atol=2 * np.finfo(dtype).eps * abs(X).max())


def test_standardised_one_hot_columns_are_sparse():
    codes = np.random.default_rng(0).integers(8, size=(500, 3))
    X = StandardScaler().fit_transform(OneHotEncoder(sparse_output=False).fit_transform(codes))
    deviations, offset = sparsified(X)
    assert deviations.nnz == codes.size  # all but the rare column whose commonest value is its hot one
    np.testing.assert_allclose(deviations.toarray() + offset, X, rtol=1e-12)


def test_rows_without_a_background_stay_as_they_are():
    X = np.random.default_rng(0).normal(size=(50, 4))
    same, offset = sparsified(X)
    assert same is X and offset is None


def test_rows_with_more_deviations_than_can_be_numbered_stay_as_they_are(monkeypatch):
    X, _ = background_rows()
    monkeypatch.setattr(sparsify, "MAX_NONZEROS", 10)
    assert sparsified(X)[0] is X


def test_a_background_of_zeros_needs_no_offset():
    X, _ = background_rows()
    X[X[0] == X] = 0
    _, offset = sparsified(np.where(np.random.default_rng(1).random(X.shape) < 0.1, X, 0))
    assert offset is None


def test_some_peers_take_their_rows_along_as_they_are():
    X, y = background_rows()
    parts = [np.arange(0, 60, 3), np.arange(1, 60, 3), np.arange(2, 60, 3)]
    some = Data(X, y, None, parts).sparsified().of_peers([2, 0])
    np.testing.assert_allclose(some.X.toarray() + some.offset, X[np.concatenate([parts[2], parts[0]])], atol=1e-15)


def test_sparse_rows_stay_as_they_are():
    X = csr_array(np.eye(3))
    assert sparsified(X)[0] is X


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize(
    "params",
    [
        dict(alpha=0),
        dict(alpha=0.3),
        dict(alpha=60, learning_rate_init=0.02),  # a step's decay is below 0
        dict(alpha=0.1, l1_ratio=0.3),
        dict(momentum=0.9),
        dict(solver="adam", alpha=0.1),
        dict(fusion_unit="step", fusion_frequency=2),
    ],
    ids=str,
)
def test_weights_are_those_of_the_rows_as_they_are(params, batch_size, monkeypatch):
    X, y = background_rows()
    model = FusedMLPClassifier((9, 5), n_networks=3, max_iter=5, batch_size=batch_size, tol=0, random_state=0)
    model.set_params(**params)
    with pytest.warns(UserWarning, match="Maximum"):
        sparse = model.fit(X, y).weights_.copy()
    monkeypatch.setattr(sparsify, "_SPARSE_DENSITY", 0)
    with pytest.warns(UserWarning, match="Maximum"):
        dense = model.fit(X, y).weights_
    np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-13)
    assert not np.array_equal(sparse, dense)  # so both paths were taken


def test_early_stopping_scores_the_rows_as_they_are():
    X = StandardScaler().fit_transform((DIGITS > 8).astype(float)[:, ::2])
    assert sparsified(X)[1] is not None
    model = FusedMLPClassifier(
        (30,), n_networks=2, early_stopping=True, max_iter=4, prediction=0, random_state=0, alpha=0
    )
    with pytest.warns(UserWarning, match="Maximum"):
        model.fit(X, LABELS)
    assert model.best_validation_score_ > 0.8
