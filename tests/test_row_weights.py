"""Weights of rows do not depend on the order of the rows, nor on who adds them up."""

import math
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from skfusion._row_weights import WeightTotals, exact_sum

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
finite = st.floats(allow_infinity=False, allow_nan=False)


def relative(weight, codes, class_weight=None, n_classes=3):
    scale = WeightTotals.of(weight, codes, n_classes).scale(class_weight, np.arange(n_classes))
    return scale.relative(weight, codes)


@given(st.lists(finite, max_size=50))
def test_sum_is_exact(values):
    assert exact_sum(np.array(values, np.float64)) == sum(map(Fraction, values))


def test_sum_of_many_equal_numbers_is_exact():
    assert exact_sum(np.full(10**6, 0.1)) == 10**6 * Fraction(0.1)


@given(st.data())
def test_totals_of_shares_add_up_to_those_of_all_rows(data):
    rows = data.draw(st.lists(st.tuples(positive, st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40))
    weight, codes, site = (np.array(column) for column in zip(*rows, strict=True))
    order = data.draw(st.permutations(range(len(rows))))
    whole = WeightTotals.of(weight, codes, 3)
    shares = [WeightTotals.of(weight[site == k], codes[site == k], 3) for k in data.draw(st.permutations(range(4)))]
    for other in (reduce(add, shares), WeightTotals.of(weight[order], codes[order], 3)):
        np.testing.assert_array_equal(other.counts, whole.counts)
        np.testing.assert_array_equal(other.maxima, whole.maxima)
        assert other.sums == whole.sums


@given(st.lists(st.tuples(positive, st.integers(0, 2)), min_size=1, max_size=40))
def test_weights_of_any_size_are_finite_and_relative_to_their_mean(rows):
    weight, codes = (np.array(column) for column in zip(*rows, strict=True))
    got = relative(weight, codes)
    mean = sum(map(Fraction, weight.tolist())) / len(weight)
    expected = [float(Fraction(w) / mean) for w in weight.tolist()]
    np.testing.assert_allclose(got, expected, rtol=1e-15, atol=1e-300)
    assert math.isclose(got.mean(), 1, rel_tol=1e-12)


CLASS_WEIGHTS = [None, "balanced", {0: 3.0, 1: 0.5, 2: 1.0}, {1: 0.0}, {2: 1e-200}, {0: 3, 1: 0.5, 2: 1, "none": 4}]


@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_are_scikit_learns(class_weight, weighted):
    rng = np.random.default_rng(0)
    codes = rng.choice(3, size=200, p=[0.7, 0.2, 0.1])
    weight = rng.exponential(size=200) if weighted else None
    product = compute_sample_weight(class_weight, codes) * (1 if weight is None else weight)
    if class_weight == "balanced" and weighted:  # as compute_class_weight has it, not compute_sample_weight
        product = weight * (weight.sum() / (3 * np.bincount(codes, weights=weight)))[codes]
    np.testing.assert_allclose(relative(weight, codes, class_weight), product / product.mean(), rtol=1e-13)


def test_balanced_leaves_out_classes_without_rows():
    codes = np.array([0, 0, 0, 2])
    np.testing.assert_allclose(relative(None, codes, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2], rtol=1e-15)


def test_rows_without_weights_count_as_1_beside_weighted_ones():
    totals = WeightTotals.of(None, np.array([0, 1]), 2) + WeightTotals.of(np.array([4.0, 2.0]), np.array([0, 0]), 2)
    scale = totals.scale(None, np.arange(2))
    np.testing.assert_array_equal(scale.relative(None, np.array([0, 1])), [0.5, 0.5])
    np.testing.assert_array_equal(scale.relative(np.array([4.0, 2.0]), np.array([0, 0])), [2, 1])


@pytest.mark.parametrize(
    ("class_weight", "match"),
    [
        ({0: 0, 1: 0, 2: 0}, "must not be 0 for all classes of y, got {0: 0, 1: 0, 2: 0}"),
        ({7: 1}, "keys among the classes of y, .*, got {7: 1}"),
    ],
)
def test_wrong_class_weights_are_refused(class_weight, match):
    with pytest.raises(ValueError, match=match):
        relative(None, np.array([0, 1, 1]), class_weight)
