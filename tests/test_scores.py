"""Moments and scores of shares of the rows add up to those of all rows."""

import math
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, r2_score
from sklearn.preprocessing import StandardScaler

from skfusion import _moments
from skfusion._moments import Moments, moments_of_rows
from skfusion._scores import AccuracySums, R2Sums

numbers = st.floats(-100, 100).map(lambda number: round(number, 6))  # or squares of theirs underflow
matrices = arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 3)), elements=numbers)


def split(data, n_rows):
    """Some division of the rows into shares, which may be empty."""
    ends = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=3)))
    return [slice(start, stop) for start, stop in zip([0, *ends], [*ends, n_rows], strict=True)]


def weights_of(data, n_rows):
    return data.draw(st.none() | arrays(np.float64, n_rows, elements=st.floats(0.1, 10)))


@given(matrices, st.data())
def test_moments_add_up(values, data):
    weight = weights_of(data, len(values))
    shares = [Moments.of(values[rows], None if weight is None else weight[rows]) for rows in split(data, len(values))]
    got = reduce(add, shares)
    mean = np.average(values, axis=0, weights=weight)
    assert got.weight == pytest.approx(len(values) if weight is None else weight.sum())
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12, atol=1e-12)
    expected = np.average((values - mean) ** 2, axis=0, weights=weight) * got.weight
    np.testing.assert_allclose(got.squared_deviations, expected, rtol=1e-9, atol=1e-9)


def test_moments_of_no_rows_change_nothing():
    nothing, some = Moments.of(np.empty((0, 1))), Moments.of(np.array([[1.0], [3]]))
    got = nothing + nothing + some + nothing
    assert (got.weight, got.mean, got.squared_deviations) == (2, 2, 2)


def test_columns_of_one_value_do_not_deviate_from_it():
    alike = np.full((7, 1), 0.1)
    got = Moments.of(alike) + Moments.of(alike[:3])
    assert (got.mean, got.squared_deviations) == (0.1, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("as_rows", [np.asarray, csr_array])
def test_moments_of_rows_are_those_of_a_scaler(as_rows, dtype, monkeypatch):
    monkeypatch.setattr(_moments, "_ROWS_AT_ONCE", 16)
    rng = np.random.default_rng(0)
    X = (rng.normal(3, 2, size=(100, 4)) * (rng.random((100, 4)) < 0.5)).astype(dtype)
    got, scaler = moments_of_rows(as_rows(X)), StandardScaler().fit(X)
    np.testing.assert_allclose(got.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(got.squared_deviations, scaler.var_ * 100, rtol=1e-12)


@given(matrices, st.data())
def test_r2_adds_up(target, data):
    answers = data.draw(arrays(np.float64, target.shape, elements=numbers))
    weight = weights_of(data, len(target))
    shares = [
        R2Sums.of(target[rows], answers[rows], None if weight is None else weight[rows])
        for rows in split(data, len(target))
    ]
    if (target.var(axis=0) < 1e-6).any():  # where scikit-learn's own sums are rounding errors
        assert math.isfinite(reduce(add, shares).score())
        return
    expected = r2_score(target, answers, sample_weight=weight)
    assert reduce(add, shares).score() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_r2_of_single_precision_is_computed_in_double():
    target, answers = np.random.default_rng(0).normal(size=(2, 1000, 2)).astype(np.float32)
    expected = r2_score(target.astype(np.float64), answers.astype(np.float64))
    assert R2Sums.of(target, answers, None).score() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(("answers", "score"), [([0.1, 0.1, 0.1], 1), ([0.1, 0.2, 0.1], 0)])
def test_r2_of_targets_that_are_all_alike_is_scikit_learns(answers, score):
    target, answers = np.full((3, 1), 0.1), np.array(answers)[:, None]
    assert R2Sums.of(target, answers, None).score() == score == r2_score(np.full(3, 0.5), answers + 0.4)


def test_r2_of_one_row_is_not_a_number():
    assert math.isnan(R2Sums.of(np.ones((1, 1)), np.ones((1, 1)), None).score())


@given(st.integers(1, 30), st.data())
def test_accuracy_adds_up(n_rows, data):
    target = data.draw(arrays(np.int32, n_rows, elements=st.integers(0, 2)))
    answers = data.draw(arrays(np.float64, (n_rows, 3), elements=numbers))
    weight = weights_of(data, n_rows)
    shares = [
        AccuracySums.of(target[rows], answers[rows], None if weight is None else weight[rows])
        for rows in split(data, n_rows)
    ]
    expected = accuracy_score(target, answers.argmax(axis=1), sample_weight=weight)
    assert reduce(add, shares).score() == pytest.approx(expected, rel=1e-12)


def test_accuracy_goes_by_no_order_of_the_rows():
    rng = np.random.default_rng(0)
    target, answers, weight = rng.integers(3, size=300), rng.random((300, 3)), rng.exponential(size=300)
    orders = [rng.permutation(300) for _ in range(20)]
    assert len({AccuracySums.of(target[rows], answers[rows], weight[rows]) for rows in orders}) == 1


@pytest.mark.parametrize("sums", [AccuracySums(2.0, 1.0), R2Sums(2, Moments.of(np.eye(2)), np.ones(2))], ids=type)
def test_answers_of_several_shares_are_finite_where_those_of_each_are(sums):
    other = replace(sums, finite=False)
    assert (sums + sums).finite
    assert not (sums + other).finite
    assert not (other + sums).finite


def test_accuracy_of_rows_without_weight_is_not_a_number():
    assert math.isnan(AccuracySums.of(np.zeros(2, int), np.eye(2), np.zeros(2)).score())
