"""What sites tell adds up to what is known of all rows, and what does not fit together is refused by name."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from skfusion._row_weights import WeightTotals
from skfusion.sites._agreement import agree
from skfusion.sites._description import Description, Question
from skfusion.sites._labels import pack_labels, unpack_labels
from skfusion.sites._rows import SiteRows
from skfusion.sites.message import Message, MessageError, RefusalError

LABELS = Question(labelled=True, classes=None, by_class=True, moments=True)
NUMBERS = Question(labelled=False, classes=None, by_class=False, moments=False)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
Y = np.array([2, 2, 2, 5, 5, 5, 5, 9, 9, 9, 9, 9])


def answer(rows, question=LABELS, name="Bath"):
    """What a site answers, as a message."""
    told = rows.describe(name, question)
    return Message.decode(Message("description", "", 0, name, told.content(), told.arrays()).encode())


def told(X, y, question=LABELS, name="Bath", weight=None, groups=None):
    """What a site tells, as it is read from its message."""
    return Description.read(answer(SiteRows.check(name, X, y, weight, groups), question, name), question)


@given(st.data())
def test_sites_add_up_to_all_rows(data):
    sites = np.array(data.draw(st.lists(st.sampled_from(["York", "Bath", "Leeds"]), min_size=12, max_size=12)))
    weight = data.draw(st.none() | st.lists(st.sampled_from([0.1, 1, 3.5]), min_size=12, max_size=12).map(np.array))
    names = np.unique(sites)
    descriptions = [
        told(X[sites == name], Y[sites == name], name=name, weight=None if weight is None else weight[sites == name])
        for name in data.draw(st.permutations(names.tolist()))
    ]
    got, whole = agree(descriptions, LABELS), WeightTotals.of(weight, np.searchsorted([2, 5, 9], Y), 3)
    assert got.peers == got.sites == names.tolist()
    assert got.lengths == [(sites == name).sum() for name in names]
    assert got.classes.tolist() == [2, 5, 9]
    assert got.classes.dtype == Y.dtype
    np.testing.assert_array_equal(got.totals.counts, whole.counts)
    np.testing.assert_array_equal(got.totals.maxima, whole.maxima)
    assert got.totals.sums == whole.sums
    assert got.weighted == (weight is not None)
    assert got.moments.weight == 12
    np.testing.assert_allclose(got.moments.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.moments.squared_deviations, X.var(axis=0) * 12, rtol=1e-12)


def test_rows_of_weight_0_are_left_out_but_their_labels_are_known():
    got = told(X, Y, weight=Y > 2)
    assert got.labels.tolist() == [2, 5, 9]
    assert [(peer.name, peer.n_rows) for peer in got.peers] == [("Bath", 9)]
    assert got.peers[0].totals.counts.tolist() == [0, 4, 5]


def test_a_site_may_hold_several_peers():
    wards = np.array(["b", "a", "b", "c"] * 3)
    here = told(X, Y, name="Bath", groups=wards, weight=wards != "c")
    there = told(X[:5], Y[:5], name="Bath Spa")
    got = agree([there, here], LABELS)
    assert got.peers == ["Bath Spa", "Bath/a", "Bath/b"] == sorted(got.peers)
    assert got.sites == ["Bath Spa", "Bath", "Bath"]
    assert got.lengths == [5, 3, 6]


@pytest.mark.parametrize("as_rows", [np.asarray, csr_array, lambda x: pd.DataFrame(x, columns=["age", "height", "é"])])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_told_of_as_they_are(as_rows, dtype):
    got = told(as_rows(X.astype(dtype)), Y)
    assert (got.dtype, got.n_features, got.n_outputs) == (np.dtype(dtype).name, 3, 0)
    assert got.sparse == (as_rows is csr_array)
    assert got.feature_names == (["age", "height", "é"] if as_rows not in (np.asarray, csr_array) else None)


@pytest.mark.parametrize(("y", "n_outputs"), [(X[:, 0], 1), (X[:, :1], 1), (X[:, :2], 2), (Y, 1)])
def test_numbers_are_told_of_by_how_many_there_are(y, n_outputs):
    got = agree([told(X, y, NUMBERS), told(X[:5], y[:5], NUMBERS, name="York")], NUMBERS)
    assert (got.n_outputs, got.classes, got.lengths) == (n_outputs, None, [12, 5])
    assert got.totals.counts.tolist() == [17]


@pytest.mark.parametrize(
    "weight", [None, np.arange(12.0), np.geomspace(1e-300, 1e300, 12)], ids=["none", "some", "far"]
)
def test_moments_of_numbers_are_those_of_all_rows_by_their_weights(weight):
    y = X[:, :2] * [1, 1000] + [0, 5]
    parts = {"Bath": slice(0, 7), "York": slice(7, None)}
    weight_of = dict.fromkeys(parts) if weight is None else {site: weight[part] for site, part in parts.items()}
    here = [told(X[part], y[part], NUMBERS, site, weight=weight_of[site]) for site, part in parts.items()]
    got = agree(here, NUMBERS).targets
    mean = np.average(y, axis=0, weights=weight)
    np.testing.assert_allclose(got.mean, mean)
    np.testing.assert_allclose(got.squared_deviations, np.average((y - mean) ** 2, axis=0, weights=weight), atol=1e-9)
    assert agree([told(X, Y)], LABELS).targets is None


def test_huge_numbers_can_be_told_of():
    assert np.isfinite(told(X, np.copysign(1e200, X[:, 0]), NUMBERS).targets.squared_deviations).all()


def test_where_classes_are_known_beforehand_no_labels_are_told():
    question = Question(labelled=True, classes=pack_labels(np.array([2, 5, 7, 9])), by_class=False, moments=False)
    message = answer(SiteRows.check("Bath", X, Y, None, None), question)
    assert message.content["labels"] is None
    assert message.arrays["counts"].tolist() == [[12]]
    got = agree([Description.read(message, question)], question)
    assert got.classes.tolist() == [2, 5, 7, 9]
    by_class = Question(**(question.content() | {"by_class": True}))
    assert agree([told(X, Y, by_class)], by_class).totals.counts.tolist() == [3, 4, 0, 5]


def test_only_what_is_asked_for_is_told():
    rows = SiteRows.check("Bath", X, Y, None, None)
    message = answer(rows, Question(True, None, by_class=False, moments=False))
    assert message.content == {
        "dtype": "float64",
        "sparse": False,
        "n_features": 3,
        "feature_names": None,
        "n_outputs": 0,
        "labels": {"dtype": "int64", "values": [2, 5, 9]},
        "weighted": False,
        "checksum": rows.checksum,
        "peers": ["Bath"],
    }
    assert {name: array.tolist() for name, array in message.arrays.items()} == {"counts": [[12]]}


@pytest.mark.parametrize(
    "labels",
    [["a", "é"], [1, 2], [-1.5, 0.1], [False, True], np.array([0.1, 0.2], np.float32), np.array([1, 200], np.uint8)],
)
def test_labels_come_back_as_they_were(labels):
    labels = np.array(labels)
    again = unpack_labels(json.loads(json.dumps(pack_labels(labels))))
    assert again.dtype == labels.dtype
    assert again.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [2, 1]),
        ("int64", [1, 1]),
        ("int64", [1.0]),
        ("int64", [True]),
        ("int64", [2**70]),
        ("int8", [300]),
        ("float32", [0.1]),
        ("str", [1]),
        ("str", ["a\0"]),
        ("str", ["", "x" * 2**22]),
        ("object", [1]),
        ("int64", 3),
        (None, None),
        (["int64"], [1]),
    ],
)
def test_labels_that_are_none_are_refused(dtype, values):
    with pytest.raises(MessageError, match="labels must be distinct numbers or strings, sorted"):
        unpack_labels({"dtype": dtype, "values": values})


def test_labels_of_several_dtypes_merge_as_those_of_one_table_do():
    got = agree([told(X, Y.astype(np.int8)), told(X, np.where(Y == 9, 8.0, Y), name="York")], LABELS)
    assert got.classes.tolist() == [2, 5, 8, 9]
    got = agree([told(X, np.array(["b", "long"] * 6)), told(X, np.array(["a"] * 12, object), name="York")], LABELS)
    assert got.classes.tolist() == ["a", "b", "long"]


@pytest.mark.parametrize(
    ("theirs", "written"),
    [
        ("Bösartig", r"'b\xf6sartig' at site 'Bath', 'B\xf6sartig' at site 'York'"),
        ("bösartig ", r"'b\xf6sartig' at site 'Bath', 'b\xf6sartig ' at site 'York'"),
        ("bo\u0308sartig", r"'b\xf6sartig' at site 'Bath', 'bo\u0308sartig' at site 'York'"),
        ("böse", None),
        ("bösartig", None),
    ],
)
def test_labels_that_look_alike_are_told_to_the_log(theirs, written, caplog):
    ours = np.array(["bösartig", "gutartig"] * 6)
    got = agree([told(X, ours), told(X, np.array([theirs, "gutartig"] * 6), name="York")], LABELS)
    assert got.classes.tolist() == sorted({"bösartig", "gutartig", theirs})
    assert ("look alike" in caplog.text) == (written is not None)
    assert written is None or written in caplog.text


def test_sites_with_the_same_rows_are_told_to_the_log(caplog):
    agree([told(X, Y), told(X + 1, Y, name="Hull"), told(2 * X, Y, name="Leeds")], LABELS)
    assert not caplog.text
    agree([told(X, Y), told(X + 1, Y, name="Hull"), told(X, Y, name="York")], LABELS)
    assert "sites 'Bath' and 'York' report the same means; do they have the same rows?" in caplog.text


FRAME = pd.DataFrame(X, columns=["age", "sex", "height"])


@pytest.mark.parametrize(
    ("ours", "theirs", "match"),
    [
        ((X, Y), (X[:, :2], Y), "same number of features; site 'Bath' has 3, site 'York' 2"),
        (
            (FRAME, Y),
            (FRAME[["age", "height", "sex"]], Y),
            "same features, in the same order; site 'Bath' has 'sex' at place 1, site 'York' 'height'",
        ),
        ((FRAME, Y), (FRAME.rename(columns={"age": "Age"}), Y), "site 'Bath' has 'age' at place 0, site 'York' 'Age'"),
        (
            (FRAME, Y),
            (FRAME[["age", "height"]], Y),
            "same features, in the same order; site 'Bath' has 'sex' at place 1, site 'York' 'height'",
        ),
        (
            (FRAME.rename(columns={"height": "Gr\u00f6\u00dfe"}), Y),
            (FRAME.rename(columns={"height": "Gro\u0308\u00dfe"}), Y),
            r"site 'Bath' has 'Gr\\xf6\\xdfe' at place 2, site 'York' 'Gro\\u0308\\xdfe'",
        ),
        ((FRAME, Y), (FRAME[["age", "sex"]], Y), "site 'Bath' has 'height' at place 2, site 'York' none"),
        ((FRAME[["age", "sex"]], Y), (FRAME, Y), "site 'Bath' has none at place 2, site 'York' 'height'"),
        ((FRAME, Y), (X, Y), "same features, in the same order; site 'Bath' has names, site 'York' no names"),
        ((X, Y), (X.astype(np.float32), Y), "same dtype of X; site 'Bath' has float64, site 'York' float32"),
        ((X, Y), (csr_array(X), Y), "same kind of X; site 'Bath' has dense, site 'York' sparse"),
        ((X, Y), (X, Y.astype(str)), "same kind of labels; site 'Bath' has numbers, site 'York' strings"),
        ((X, Y + 2**60), (X, Y.astype(np.uint64)), "'Bath' has labels of int64 that change when .* become float64"),
    ],
)
def test_rows_that_could_not_stand_in_one_table_are_refused(ours, theirs, match):
    with pytest.raises(ValueError, match=match):
        agree([told(*theirs, name="York"), told(*ours, name="Bath")], LABELS)


def test_numbers_of_outputs_must_be_the_same():
    with pytest.raises(ValueError, match="same number of outputs; site 'Bath' has 1, site 'York' 2"):
        agree([told(X, X[:, 0], NUMBERS), told(X, X[:, :2], NUMBERS, name="York")], NUMBERS)


def as_it_is(frame):
    return frame


FRAMES = pytest.mark.parametrize(
    "table", [as_it_is, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "pyarrow"]
)


@FRAMES
def test_outputs_with_names_must_be_in_the_same_order(table):
    match = "same outputs, in the same order; site 'Bath' has 'age' at place 0, site 'York' 'height'"
    ours, theirs = table(FRAME[["age", "height"]]), table(FRAME[["height", "age"]])
    with pytest.raises(ValueError, match=match):
        agree([told(X, ours, NUMBERS), told(X, theirs, NUMBERS, name="York")], NUMBERS)
    assert agree([told(X, ours, NUMBERS), told(X, ours, NUMBERS, name="York")], NUMBERS).n_outputs == 2
    one = [told(X, FRAME[["age"]], NUMBERS), told(X, FRAME[["height"]], NUMBERS, name="York")]
    assert agree(one, NUMBERS).n_outputs == 1  # as of a column that is no table


@FRAMES
def test_one_of_several_outputs_may_not_be_a_date(table):
    y = FRAME[["age"]].assign(date=np.datetime64("2020-01-01") + np.arange(len(FRAME)))
    with pytest.raises(TypeError, match=r"^y must hold numbers, got .* in column 'date'; turn dates"):
        SiteRows.check("Bath", X, table(y), None, None)


@pytest.mark.parametrize(
    ("y", "question", "match"),
    [
        (X[:, 0], LABELS, "y must hold class labels, but has continuous numbers or several labels for each row"),
        (X[:, :2], LABELS, "y must hold class labels"),
        (Y.astype(object), LABELS, r"none may be missing; y has dtype object: convert it, as by astype\(int\) or"),
        (np.array(["2020-01-01"] * 12, "M8[D]"), LABELS, "none may be missing; y has dtype datetime64"),
        (Y, Question(True, pack_labels(np.array([2, 5])), False, False), "labels among the classes given"),
        (
            Y.astype(str),
            Question(True, pack_labels(np.array([2, 5, 9])), False, False),
            "labels among the classes given",
        ),
        (np.array(["secret"] * 12), NUMBERS, "y must hold finite numbers within the range of float64, X's dtype"),
        (np.array([np.datetime64("2020-01-01")] * 12, object), NUMBERS, "y must hold finite numbers within the range"),
    ],
)
def test_a_site_says_what_is_wrong_with_its_targets_and_shows_none(y, question, match):
    with pytest.raises(RefusalError, match=match) as error:
        SiteRows.check("Bath", X, y, None, None).describe("Bath", question)
    assert "secret" not in str(error.value)
    assert "2020" not in str(error.value)


def with_gaps(X):
    X = X.copy()
    X[3, 0], X[1:5, 2] = np.inf, np.nan
    return X


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((X[:0], Y[:0], None, None), ValueError, "0 sample"),
        ((X, Y[:5], None, None), ValueError, "inconsistent numbers of samples"),
        (
            (X, np.array(["a", None] * 6), None, None),
            ValueError,
            "y must be labels .* got labels of type NoneType, str",
        ),
        ((X, Y, np.zeros(12), None), ValueError, "at least one non-zero"),
        ((X, Y, np.ones(11), None), ValueError, "sample_weight must have shape"),
        ((X, Y, None, ["a"] * 11), ValueError, "groups must have one label for each of the 12 rows"),
        ((X, Y, None, ["a/b"] * 12), ValueError, "groups must hold labels that could be sites' names: .* got 'a/b'"),
        (
            (X, Y, None, ["\u00e9", "e\u0301"] * 6),
            ValueError,
            "groups must hold labels that differ once their characters",
        ),
        ((with_gaps(X), Y, None, None), ValueError, r"NaN or infinity in columns \[0, 2\]; fill gaps before"),
        ((csr_array(with_gaps(X)), Y, None, None), ValueError, r"in columns \[0, 2\]; fill gaps .* at all sites alike"),
        (
            (pd.DataFrame(with_gaps(X), columns=["age", "size", "crp"]), Y, None, None),
            ValueError,
            r"in columns \['age', 'crp'\]; fill gaps",
        ),
        (
            (pd.DataFrame({"age": X[:, 0], "crp": ["1.5", "12,5"] * 6}), Y, None, None),
            ValueError,
            "X must hold numbers, got '12,5' in column 'crp'",
        ),
        ((X, csr_array(X), None, None), TypeError, "y must be a dense array"),
        ((X.astype("M8[D]"), Y, None, None), TypeError, "X must hold numbers, got .*datetime64"),
        ((X, "diagnosis", None, None), ValueError, r"y must be an array.*pass the values of a column, .*'diagnosis'"),
    ],
)
def test_a_site_checks_its_rows(arguments, error, match):
    with pytest.raises(error, match=match):
        SiteRows.check("Bath", *arguments)


def sparse(columns, ends):
    """Twelve rows of ones in these columns, row by row up to these ends."""
    return csr_array((np.ones(12), columns, [0, *ends]), shape=(12, 3))


IN_ORDER = np.arange(1, 13)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((X, Y, None, ["a", "b"] * 6), (X, Y, None, ["a"] * 6 + ["b"] * 6)),
        ((X, Y, np.ones(12), None), (X, Y, np.arange(1.0, 13), None)),
        ((sparse([0, 1, 2] * 4, IN_ORDER), Y, None, None), (sparse([0, 2, 1] * 4, IN_ORDER), Y, None, None)),
        (
            (sparse([0, 1, 2] * 4, IN_ORDER), Y, None, None),
            (sparse([0, 1, 2] * 4, np.r_[2, 2, IN_ORDER[2:]]), Y, None, None),
        ),
    ],
    ids=["groups", "weights", "columns", "rows"],
)
def test_other_rows_have_another_checksum(ours, theirs):
    assert SiteRows.check("Bath", *ours).checksum != SiteRows.check("Bath", *theirs).checksum


GOOD = answer(SiteRows.check("Bath", X, Y, np.arange(12.0) + 1, None))


def changed(content=(), **arrays):
    return Message(
        GOOD.kind, GOOD.run, GOOD.round, GOOD.site, {**GOOD.content, **dict(content)}, {**GOOD.arrays, **arrays}
    )


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (changed({"n_features": 0}), "'n_features' must be from 1"),
        (changed({"n_features": 2**31}), "'n_features' must be from 1 to 2147483647, got 2147483648"),
        (changed({"n_features": 2}), "'mean' must be float64 of shape \\(2,\\)"),
        (changed({"n_features": True}), "'n_features' must be int, got True"),
        (changed({"dtype": "float16"}), "'dtype' must be one of float32, float64, got 'float16'"),
        (changed({"checksum": "12345"}), "'checksum' must have 4 hexadecimal digits, got '12345'"),
        (changed({"sparse": None}), "'sparse' must be bool, got None"),
        (changed({"feature_names": ["a"]}), "'feature_names' must have a string for each of 3 columns"),
        (changed({"feature_names": ["a", "b", 3]}), "'feature_names' must have a string for each of 3 columns"),
        (changed({"labels": None}), "'labels' must be dict, got None"),
        (changed({"peers": ["York"]}), "begins with the site's, got 'York'"),
        (changed({"peers": ["Bath Spa"]}), "begins with the site's, got 'Bath Spa'"),
        (changed({"peers": ["Bath/../York"]}), "begins with the site's"),
        (changed({"peers": [3]}), "begins with the site's"),
        (changed({"peers": ["Bath", "Bath"]}), "each peer must have a name of its own"),
        (changed({"peers": []}), "'counts' must be"),
        (changed(counts=np.zeros((1, 3), np.int64)), "must have rows with a weight above 0, got none"),
        (
            changed({"peers": ["Bath/a", "Bath/b"]}, counts=np.array([[3, 4, 5], [0, 0, 0]])),
            "each peer must have rows with a weight above 0, got none",
        ),
        (changed(counts=np.array([[-1, 2, 3]])), "counts of rows must be from 0"),
        (changed(counts=np.array([[2**40, 2, 3]])), "counts of rows must be from 0"),
        (changed(counts=np.array([[3, 4]])), "'counts' must be int64 of shape \\(1, 3\\)"),
        (changed({"sums": [7]}), "'sums' must have 1 lists of 3"),
        (changed({"sums": [[[6, 1], [22, 1]]]}), "'sums' must have 1 lists of 3"),
        (changed({"sums": [[[6, 1], [22, 1], [1e9, 1]]]}), "sums of weights must be ratios of integers"),
        (changed({"sums": [[[6, 0], [22, 1], [50, 1]]]}), "sums of weights must be ratios of integers"),
        (changed({"sums": [[[6, 1], [22, 1], [61, 1]]]}), "must lie between the largest weight and"),
        (changed({"sums": [[[2, 1], [22, 1], [50, 1]]]}), "must lie between the largest weight and"),
        (
            changed({"sums": [[[0, 1], [22, 1], [50, 1]]]}, maxima=np.array([[0.0, 7, 12]])),
            "must lie between the largest weight and",
        ),
        (changed(maxima=np.array([[3.0, -7, 12]])), "must lie between the largest weight and"),
        (changed(maxima=np.array([[3.0, np.nan, 12]])), "'maxima' must be finite"),
        (changed(weight=np.array(0.0)), "moments must be of 1 to 2147483647 rows"),
        (changed(weight=np.array(1e300)), "moments must be of 1 to 2147483647 rows"),
        (changed(squared_deviations=-np.ones(3)), "sums of squares must not be negative"),
        (changed(mean=np.array([0, 0, np.inf])), "'mean' must be finite"),
    ],
)
def test_what_no_honest_site_tells_is_refused(message, match):
    with pytest.raises(ValueError, match=match):
        Description.read(message, LABELS)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"n_outputs": 0}, "'n_outputs' must be from 1 to 2147483647, got 0"),
        ({"n_outputs": 2**31}, "'n_outputs' must be from 1 to 2147483647, got 2147483648"),
        ({"output_names": ["age"]}, "'output_names' must have a string for each of 2 columns"),
    ],
)
def test_outputs_that_no_honest_site_tells_of_are_refused(content, match):
    message = answer(SiteRows.check("Bath", X, X[:, :2], None, None), NUMBERS)
    with pytest.raises(MessageError, match=match):
        Description.read(replace(message, content={**message.content, **content}), NUMBERS)


@pytest.mark.parametrize("name", Question(True, None, False, False).content())
def test_questions_are_checked(name):
    content = {**LABELS.content(), name: 3}
    with pytest.raises(MessageError, match=f"entry '{name}' must be"):
        Question.read(Message("describe", "", 0, "", content))
    assert Question.read(Message("describe", "", 0, "", LABELS.content())) == LABELS
