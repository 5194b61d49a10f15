"""Algorithm 1 and `fuse`: against a transliteration of the printed algorithm, its algebra, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfusion import _kernels, fuse
from skfusion.fusion import check_pairs
from skfusion.topology import RandomTopology, RingTopology

RULES = ["sequential", "simultaneous"]


def algorithm_1(a, b, rate, rule):
    """Fuse two networks, given as lists, as printed; in place."""
    for k in range(len(a)):
        if a[k] == 0:
            a[k] = b[k]
        elif b[k] == 0:
            b[k] = a[k]
        else:
            old = a[k]
            a[k] = (1 - rate) * a[k] + rate * b[k]
            b[k] = (1 - rate) * b[k] + rate * (a[k] if rule == "sequential" else old)


def fused_by_the_book(weights, pairs, rate, rule):
    networks = [[float(value) for value in row] for row in weights]
    for i, j in pairs:
        if i != j:
            algorithm_1(networks[i], networks[j], rate, rule)
    return np.array(networks)


def weights_with_zeros(n_networks, dtype, seed, n_parameters=23, share=0.3):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_networks, n_parameters))
    weights[rng.random(weights.shape) < share] = 0
    return weights.astype(dtype)


def rounding(weights, n_pairs):
    """Bound of the rounding errors: each fusion is a convex combination of four roundings at most."""
    return 4 * n_pairs * np.finfo(weights.dtype).eps * np.abs(weights).max()


# Algorithm 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rate", [0, 0.3, 0.5, 0.55, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fuse_agrees_with_the_printed_algorithm_for_arbitrary_pairs(rule, rate, dtype):
    rng = np.random.default_rng(0)
    for n_networks in (2, 3, 8):
        weights = weights_with_zeros(n_networks, dtype, seed=n_networks)
        pairs = rng.integers(n_networks, size=(2 * n_networks, 2))
        expected = fused_by_the_book(weights, pairs, rate, rule)
        bound = rounding(weights, len(pairs))
        fuse(weights, pairs, rate, rule)
        np.testing.assert_allclose(weights, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("sequential", [[7.0, 3.0, 0.0, 3.0], [7.0, 3.0, 0.0, 5.25]]),
        ("simultaneous", [[7.0, 3.0, 0.0, 3.0], [7.0, 3.0, 0.0, 5.0]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_one_weight_is_zero_it_takes_the_others_value_exactly(rule, expected, dtype):
    # In turn: A is zero, B is zero, both are, neither is.
    weights = np.array([[0.0, 3.0, 0.0, 2.0], [7.0, 0.0, 0.0, 6.0]], dtype)
    fuse(weights, [(0, 1)], 0.25, rule)
    np.testing.assert_array_equal(weights, np.array(expected, dtype))


@pytest.mark.parametrize("rule", RULES)
def test_negative_zero_counts_as_zero(rule):
    weights = np.array([[-0.0, 5.0], [3.0, -0.0]])
    np.testing.assert_array_equal(fuse(weights, [(0, 1)], 0.25, rule), [[3.0, 5.0], [3.0, 5.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_weights_are_no_zeros(dtype):
    tiny = np.finfo(dtype).tiny
    weights = fuse(np.array([[4 * tiny], [8 * tiny]], dtype), [(0, 1)], 0.5, "simultaneous")
    np.testing.assert_array_equal(weights, np.full((2, 1), 6 * tiny, dtype))


def test_a_pair_reads_what_the_pairs_before_it_wrote():
    weights = np.array([[1.0], [3.0], [5.0]])
    fuse(weights, [(0, 1), (1, 2)], 0.5, "simultaneous")
    np.testing.assert_array_equal(weights, [[2.0], [3.5], [3.5]])


def test_the_default_rule_is_sequential():
    np.testing.assert_array_equal(fuse(np.array([[1.0], [3.0]]), [(0, 1)], 0.5), [[2.0], [2.5]])


@pytest.mark.parametrize("rule", RULES)
def test_a_network_fused_with_itself_keeps_its_bits(rule):
    weights = weights_with_zeros(3, np.float32, seed=1)
    np.testing.assert_array_equal(fuse(weights.copy(), [(1, 1), (2, 2)], 0.55, rule), weights)


@pytest.mark.parametrize("rule", RULES)
def test_rate_zero_changes_only_zeros(rule):
    weights = weights_with_zeros(2, np.float64, seed=2)
    before = weights.copy()
    fuse(weights, [(0, 1)], 0, rule)
    np.testing.assert_array_equal(weights[before != 0], before[before != 0])
    np.testing.assert_array_equal(weights[before == 0], before[::-1][before == 0])


# Its algebra

nonzero = st.one_of(st.floats(-1e3, -1e-3), st.floats(1e-3, 1e3))
rates = st.floats(0, 1)


@settings(max_examples=30)
@given(pair=st.lists(st.tuples(nonzero, nonzero), min_size=1, max_size=5), rate=rates)
def test_simultaneous_fusion_preserves_the_sum_of_the_pair(pair, rate):
    weights = np.array(pair).T.copy()
    total = weights.sum(axis=0)
    bound = rounding(weights, 2)
    fuse(weights, [(0, 1)], rate, "simultaneous")
    np.testing.assert_allclose(weights.sum(axis=0), total, rtol=0, atol=bound)


@settings(max_examples=30)
@given(pair=st.lists(st.tuples(nonzero, nonzero), min_size=1, max_size=5), rate=rates)
def test_simultaneously_the_complementary_rate_swaps_the_two_networks(pair, rate):
    weights = np.array(pair).T.copy()
    swapped = fuse(weights.copy(), [(0, 1)], 1 - rate, "simultaneous")[::-1]
    bound = rounding(weights, 1)
    np.testing.assert_allclose(fuse(weights, [(0, 1)], rate, "simultaneous"), swapped, rtol=0, atol=bound)


@settings(max_examples=30)
@given(pair=st.lists(st.tuples(nonzero, nonzero), min_size=1, max_size=5), rate=rates)
@pytest.mark.parametrize(
    ("rule", "factor"),
    [("sequential", lambda rate: (1 - rate) ** 2), ("simultaneous", lambda rate: 1 - 2 * rate)],
)
def test_one_fusion_shrinks_the_difference_by_the_factor_of_its_rule(rule, factor, pair, rate):
    weights = np.array(pair).T.copy()
    difference, bound = weights[1] - weights[0], rounding(weights, 2)
    fuse(weights, [(0, 1)], rate, rule)
    np.testing.assert_allclose(weights[1] - weights[0], factor(rate) * difference, rtol=0, atol=bound)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    n_networks=st.integers(2, 6),
    n_parameters=st.integers(1, 40),
    rate=rates,
    rule=st.sampled_from(RULES),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_columns_fuse_as_they_would_alone(seed, n_networks, n_parameters, rate, rule, dtype):
    weights = weights_with_zeros(n_networks, dtype, seed, n_parameters)
    pairs = np.random.default_rng(seed).integers(n_networks, size=(5, 2))
    together = fuse(weights.copy(), pairs, rate, rule)
    apart = np.hstack([fuse(weights[:, [k]], pairs, rate, rule) for k in range(n_parameters)])
    np.testing.assert_allclose(together, apart, rtol=0, atol=rounding(weights, 5))


# In parts, as several threads do, and measured


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("topology", [RandomTopology(), RingTopology()])
def test_parts_and_measuring_change_no_bit(topology, dtype, rule):
    """Ring and random pairs are taken in blocks of different widths, and so are rounds that measure and others."""
    weights = weights_with_zeros(40, dtype, seed=0, n_parameters=5003)
    pairs = check_pairs(topology.pairs(40, random_state=0), 40)
    at_once = fuse(weights.copy(), pairs, 0.3, rule=rule)
    options = 0.3, rule == "simultaneous"
    for n_parts in (1, 3):
        measured, unmeasured = weights.copy(), weights.copy()
        spread = np.full((_kernels.n_blocks(weights), 2), np.nan)
        for part in range(n_parts):
            _kernels.fuse(measured, pairs, *options, part, n_parts, spread)
            _kernels.fuse(unmeasured, pairs, *options, part, n_parts)
        np.testing.assert_array_equal(measured, at_once)
        np.testing.assert_array_equal(unmeasured, at_once)
        expected = [((w - w.mean(axis=0)) ** 2).sum() for w in (weights.astype(float), at_once.astype(float))]
        np.testing.assert_allclose(spread.sum(axis=0), expected, rtol=1e-5 if dtype is np.float32 else 1e-12)


# What it accepts


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[:, ::2],
        lambda array: array[::-1],
        lambda array: array[::2, 1:],
        np.asfortranarray,
        lambda array: array.T,
    ],
    ids=["columns", "reversed rows", "rows", "fortran", "transposed"],
)
def test_arrays_of_any_strides_are_changed_in_place_and_returned(view, rule):
    array = view(weights_with_zeros(6, np.float64, seed=3, n_parameters=6))
    expected = fuse(np.ascontiguousarray(array), [(0, 1), (2, 1)], 0.55, rule)
    assert not array.flags.c_contiguous
    assert fuse(array, [(0, 1), (2, 1)], 0.55, rule) is array
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_that_lie_between_other_bytes_are_changed_in_place(dtype):
    records = np.zeros(4, [("flag", np.int8), ("weights", dtype, 5)])
    array = records["weights"]
    array[...] = weights_with_zeros(4, dtype, seed=4, n_parameters=5)
    expected = fuse(array.copy(), [(0, 1), (2, 1)], 0.55)
    assert not array.flags.aligned
    fuse(array, [(0, 1), (2, 1)], 0.55)
    np.testing.assert_array_equal(records["weights"], expected)
    assert not records["flag"].any()


def test_a_view_leaves_the_rest_of_its_array_alone():
    array = weights_with_zeros(4, np.float32, seed=4)
    before = array.copy()
    fuse(array[1:3, ::2], [(0, 1)], 0.5)
    assert not np.array_equal(array[1:3, ::2], before[1:3, ::2])
    np.testing.assert_array_equal(array[:, 1::2], before[:, 1::2])
    np.testing.assert_array_equal(array[[0, 3]], before[[0, 3]])


def test_a_contiguous_array_is_returned_itself():
    weights = np.ones((2, 3))
    assert fuse(weights, [(0, 1)], 0.5) is weights


@pytest.mark.parametrize("pairs", [[], np.empty((0, 2), int), ()])
def test_no_pairs_change_nothing(pairs):
    weights = weights_with_zeros(3, np.float64, seed=5)
    np.testing.assert_array_equal(fuse(weights.copy(), pairs, 0.5), weights)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_pairs_may_be_of_any_integer_type(dtype):
    pairs = np.array([(0, 1), (1, 2)], dtype)
    expected = fuse(np.array([[1.0], [2.0], [4.0]]), [(0, 1), (1, 2)], 0.5)
    np.testing.assert_array_equal(fuse(np.array([[1.0], [2.0], [4.0]]), pairs, 0.5), expected)


def test_networks_without_parameters_are_left_as_they_are():
    assert fuse(np.empty((2, 0)), [(0, 1)], 0.5).shape == (2, 0)


# What it refuses


def refused(error, match, weights=None, pairs=((0, 1),), rate=0.5, **kwargs):
    weights = np.array([[1.0, 2.0], [3.0, 4.0]]) if weights is None else weights
    before = weights.copy() if isinstance(weights, np.ndarray) else None
    with pytest.raises(error, match=match):
        fuse(weights, pairs, rate, **kwargs)
    if before is not None and before.dtype != object:
        np.testing.assert_array_equal(weights, before)


def test_networks_of_unequal_shapes_are_refused():
    unequal = np.empty(2, object)
    unequal[:] = [np.ones(3), np.ones(4)]
    refused(TypeError, "weights must be .* a row for each network; got an array of object", unequal)
    refused(TypeError, "weights must be .* a row for each network; got list", [np.ones(3), np.ones(4)])


def test_a_list_is_refused_as_it_could_not_be_changed_in_place():
    refused(TypeError, "weights must be a float32 or float64 ndarray .* got list", [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("dtype", [int, np.int32, np.float16, complex, bool, ">f8"])
def test_other_types_than_the_two_floats_are_refused(dtype):
    weights = np.ones((2, 2), dtype)
    refused(TypeError, f"weights must be a float32 or float64 ndarray .* got an array of {weights.dtype}", weights)


@pytest.mark.parametrize("shape", [(4,), (2, 2, 2), ()])
def test_weights_of_other_than_two_dimensions_are_refused(shape):
    refused(ValueError, r"weights must have shape \(n_networks, n_parameters\), got \(", np.ones(shape))


def test_weights_of_no_network_are_refused():
    refused(
        ValueError,
        r"weights must hold at least one network, got an array of shape \(0, 2\)",
        np.ones((0, 2)),
        (),
    )


def test_a_read_only_array_is_refused():
    weights = np.ones((2, 2))
    weights.flags.writeable = False
    refused(ValueError, "read-only|writeable", weights)


def test_a_read_only_array_of_other_strides_is_refused():
    weights = np.ones((2, 4))[:, ::2]
    weights.flags.writeable = False
    refused(ValueError, "read-only|writeable", weights)


@pytest.mark.parametrize("pair", [(0, 2), (2, 0), (-1, 0), (0, -1)])
def test_a_pair_out_of_range_is_named(pair):
    refused(
        ValueError, rf"indices from 0 to 1, .* 2 networks; got the pair \({pair[0]}, {pair[1]}\)", pairs=[(0, 1), pair]
    )


@pytest.mark.parametrize("pairs", [[(0, 1, 0)], [0, 1], [(0.0, 1.0)], [("a", "b")], [[(0, 1)]], [(True, False)]])
def test_pairs_that_are_not_two_columns_of_integers_are_refused(pairs):
    refused(ValueError, r"pairs must be integers of shape \(n_pairs, 2\), got shape", pairs=pairs)


@pytest.mark.parametrize(
    ("pairs", "got"),
    [(None, "None"), ({(0, 1)}, r"\{\(0, 1\)\}"), (iter([(0, 1)]), "<list_iterator"), ([[0], [1, 0]], r"shape \(2,\)")],
)
def test_what_no_array_of_pairs_can_be_made_of_is_shown(pairs, got):
    refused(ValueError, rf"pairs must be integers of shape \(n_pairs, 2\), got {got}", pairs=pairs)


@pytest.mark.parametrize("rate", [-0.01, 1.01, np.nan, np.inf])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    refused(ValueError, rf"fusion_rate must be in \[0, 1\], got {rate}", rate=rate)


@pytest.mark.parametrize("rate", ["0.5", None, True, 0.5j])
def test_a_rate_that_is_no_number_is_refused(rate):
    refused(TypeError, r"fusion_rate must be a number in \[0, 1\], got", rate=rate)


@pytest.mark.parametrize("rule", ["parallel", None, 1])
def test_an_unknown_rule_is_refused(rule):
    refused(ValueError, f"rule must be one of 'sequential', 'simultaneous'; got {rule!r}", rule=rule)
