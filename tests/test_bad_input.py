"""Input that is refused, and how."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from models import X, Y, model, regressor
from numpy.lib.recfunctions import structured_to_unstructured
from scipy.sparse import csr_array

from skfusion import FusedMLPClassifier
from skfusion._checks import shown
from skfusion.partition import PredefinedPartitioner

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def with_value(value):
    rows = X.copy()
    rows[3, 2] = value
    return rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("container", [np.asarray, csr_array])
def test_input_that_is_not_finite_is_refused(value, container):
    fitted = model().fit(X, Y)
    bad = container(with_value(value))
    for use in (
        lambda: model().fit(bad, Y),
        lambda: model().partial_fit(bad, Y, classes=[0, 1, 2]),
        lambda: fitted.predict(bad),
        lambda: fitted.predict_proba(bad),
        lambda: fitted.peer_scores(bad, Y),
    ):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            use()


def beside_numbers(frame):
    """Make of dates a frame with numbers in its first column."""
    return lambda dates: frame({"weight": X[:, 0], "date": dates[:, 0], "duration": dates[:, 1]})


def categories(dates):
    """Make of dates a frame that scikit-learn reads as the dates that are its categories."""
    return pd.DataFrame(dates).astype("category")


def with_zone(dates):
    """Make of dates a column that NumPy has no type for."""
    return pd.DataFrame({"date": pd.Series(dates[:, 2].astype("datetime64[ms]")).dt.tz_localize("UTC")})


def rows_of_a_list(dates):
    return [list(row) for row in dates]


def objects_beside_numbers(dates):
    """Make of dates an array of Python objects, which NumPy turns into numbers."""
    return np.array([[1.0, *row] for row in dates], dtype=object)


BESIDE = ["pandas beside numbers", "polars beside numbers", "pyarrow beside numbers"]


@pytest.mark.parametrize(
    "container",
    [
        *(np.asarray, pd.DataFrame, pl.DataFrame, categories, with_zone, rows_of_a_list, objects_beside_numbers),
        lambda dates: pd.DataFrame(objects_beside_numbers(dates), dtype=object),
        *map(beside_numbers, (pd.DataFrame, pl.DataFrame, pa.table)),
    ],
    ids=["array", "pandas", "polars", "categories", "time zone", "list", "objects", "pandas of objects", *BESIDE],
)
@pytest.mark.parametrize("kind", ["timedelta64[ms]", "datetime64[ms]"])
def test_dates_which_would_count_as_numbers_even_where_missing_are_refused(kind, container):
    dates = (1000 * X).astype(int).astype(kind)
    dates[3, 2] = "NaT"
    fitted = model().fit(X, Y)
    for use in (
        lambda rows: model().fit(rows, Y),
        lambda rows: regressor().fit(rows, Y),
        lambda rows: model().partial_fit(rows, Y, classes=[0, 1, 2]),
        fitted.predict,
        fitted.predict_proba,
        lambda rows: fitted.peer_scores(rows, Y),
    ):
        with pytest.raises(TypeError, match=r"^X must hold numbers, got .*(date|delta|Timestamp).*; turn dates"):
            use(container(dates))


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame, lambda columns: pd.DataFrame(columns).astype({"crp": "category"}), pl.DataFrame, pa.table],
    ids=["pandas", "categories", "polars", "pyarrow"],
)
def test_a_column_with_text_is_named(frame):
    numbers = {"age": X[:, 0].astype(str), "crp": X[:, 1].astype(str)}  # which scikit-learn takes for numbers
    fitted = model().fit(frame(numbers), Y)
    crp = numbers["crp"].astype(object)
    crp[3] = "12,5"
    text = frame(numbers | {"crp": crp})
    for use in (lambda: model().fit(text, Y), lambda: regressor().fit(text, Y), lambda: fitted.predict(text)):
        with pytest.raises(ValueError, match=r"^X must hold numbers, got '12,5' in column 'crp'; .*leave out what"):
            use()


@pytest.mark.parametrize(
    "container", [np.array, np.ndarray.tolist, lambda text: text.astype(object)], ids=["array", "list", "objects"]
)
def test_text_in_an_array_is_named_and_cut(container):
    numbers = X[:, 0].astype(str)  # which scikit-learn takes for numbers
    text = numbers.astype(object)
    text[3] = 100 * "12,5"
    fitted = model().fit(np.c_[numbers, numbers], Y)
    columns, text = container(np.c_[numbers, text].astype(str)), container(text.astype(str))
    weights_of_text = container(np.full(fitted.weights_.shape, text[3]))
    for name, use in (
        ("X", lambda: model().fit(columns, Y)),
        ("X", lambda: regressor().partial_fit(columns, Y)),
        ("X", lambda: fitted.predict(columns)),
        ("sample_weight", lambda: model().fit(X, Y, sample_weight=text)),
        ("weights_", lambda: setattr(fitted, "weights_", weights_of_text)),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must hold numbers, got '12,5") as refused:
            use()
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "y", [0, set(range(1000)), dict(enumerate(Y.tolist())), iter(Y)], ids=lambda y: type(y).__name__
)
def test_targets_that_are_no_array_are_named_and_cut(y):
    fitted = model().fit(X, Y)
    for use in (
        lambda: model().fit(X, y),
        lambda: regressor().fit(X, y),
        lambda: model().partial_fit(X, y, classes=[0, 1, 2]),
        lambda: fitted.peer_scores(X, y),
    ):
        with pytest.raises(ValueError, match=r"^y must be an array with an entry for each row, got ") as refused:
            use()
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("kind", [model, regressor])
def test_targets_that_are_none_are_refused_by_name(kind):
    for use in (kind().fit, kind().fit(X, Y).partial_fit):
        with pytest.raises(ValueError, match=r"requires y to be passed, but the target y is None"):
            use(X, None)
    with pytest.raises(ValueError, match=r"^y must be an array with an entry for each row, got None$"):
        kind().fit(X, Y).peer_scores(X, None)


def test_rows_of_unequal_length_are_refused_by_name():
    uneven = [*X.tolist()[:-1], [1.0]]
    fitted = model().fit(X, Y)
    for name, use in (
        ("X", lambda: model().fit(uneven, Y)),
        ("X", lambda: regressor().partial_fit(uneven, Y)),
        ("X", lambda: fitted.predict(uneven)),
        ("X", lambda: model().fit((X, Y), Y)),
        ("y", lambda: model().fit(X, uneven)),
        ("y", lambda: regressor().fit(X, uneven)),
        ("y", lambda: fitted.peer_scores(X, uneven)),
        ("sample_weight", lambda: model().fit(X, Y, sample_weight=uneven)),
        ("groups", lambda: model().fit(X, Y, groups=uneven)),
        ("peer_of_row", lambda: model(partitioner=PredefinedPartitioner(uneven)).fit(X, Y)),
        ("weights_", lambda: setattr(fitted, "weights_", uneven)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be an array, with rows of equal length, got ") as refused:
            use()
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "container",
    [pd.Series, pl.Series, lambda rows: pd.Series(list(np.array(rows)))],
    ids=["pandas", "polars", "arrays"],
)
def test_a_column_of_lists_is_refused_with_a_word_on_what_to_do(container):
    lists = container(X.tolist())
    fitted = model().fit(np.stack(lists), Y)
    for use in (lambda: model().fit(lists, Y), lambda: fitted.predict(lists)):
        with pytest.raises(
            ValueError, match=r"^X must hold numbers, got .*; make one array of all rows, as by np.stack$"
        ):
            use()


def test_rows_with_named_fields_are_refused_with_a_word_on_what_to_do():
    fields = pd.DataFrame(X).to_records(index=False)
    fitted = model().fit(structured_to_unstructured(fields), Y)
    for use in (lambda: model().fit(fields, Y), lambda: fitted.predict(fields)):
        with pytest.raises(
            ValueError, match=r"^X must hold numbers, got \(.*\); turn fields .*structured_to_unstructured$"
        ):
            use()


@pytest.mark.parametrize(
    "rows",
    [pl.DataFrame(X).lazy(), iter(X), Path("rows.csv"), dict(enumerate(X))],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_that_are_no_array_are_named_and_cut(rows):
    fitted = model().fit(X, Y)
    for name, use in (
        ("X", lambda: model().fit(rows, Y)),
        ("X", lambda: fitted.predict(rows)),
        ("sample_weight", lambda: model().fit(X, Y, sample_weight=rows)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be an array, got ") as refused:
            use()
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("container", [np.asarray, np.ndarray.tolist, pd.DataFrame], ids=["array", "list", "pandas"])
def test_integers_that_no_float_can_hold_are_refused(container):
    huge = X.astype(object)
    huge[3, 2] = -(10**400)
    fitted = model().fit(X, Y)
    for name, use in (
        ("X", lambda: model().fit(container(huge), Y)),
        ("X", lambda: fitted.predict(container(huge))),
        ("sample_weight", lambda: model().fit(X, Y, sample_weight=huge[:, 2])),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must hold numbers within the range of float64, got -10{{50}}"):
            use()


def test_complex_numbers_in_a_list_are_refused_without_a_warning_that_they_are_cast():
    with warnings.catch_warnings(), pytest.raises(TypeError, match="complex"):
        warnings.simplefilter("error")
        model().fit([[1j, 2]] * 150, Y)


def test_a_missing_number_among_objects_is_no_text():
    gaps = pd.DataFrame({"age": X[:, 0], "crp": [None, *X[1:, 1]]}, dtype=object)
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        model().fit(gaps, Y)
    gaps.loc[0, "crp"] = pd.NA  # which scikit-learn does not take for NaN here
    with pytest.raises(TypeError, match=r"^X must hold numbers, got <NA> in column 'crp'; .* or impute it"):
        model().fit(gaps, Y)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_dates_are_no_targets_and_no_weights_either(frame):
    columns = frame({"weight": X[:, 0], "date": np.datetime64("2017-12-18") + np.arange(len(Y))})
    for use in (regressor().fit, regressor().fit(X, columns["weight"]).peer_scores):
        with pytest.raises(TypeError, match=r"^y must hold numbers, got .*2017-12-18.* in column 'date'; turn dates"):
            use(X, columns)
    with pytest.raises(TypeError, match=r"^sample_weight must hold numbers, got .*2017-12-18.*; turn dates"):
        model().fit(X, Y, sample_weight=columns["date"])


@pytest.mark.parametrize(
    "container",
    [list, lambda dates: np.array([*dates], dtype=object), lambda dates: dates.astype(object)],
    ids=["list", "objects", "Python's"],
)
def test_lists_of_dates_are_no_targets_and_no_weights_either(container):
    dates = container(np.datetime64("2017-12-18") + np.arange(len(Y)))
    with pytest.raises(TypeError, match=r"^y must hold numbers, got .*2017"):
        regressor().fit(X, dates)
    with pytest.raises(TypeError, match=r"^sample_weight must hold numbers, got .*2017"):
        model().fit(X, Y, sample_weight=dates)


def test_masked_values_which_would_count_as_if_there_were_no_mask_are_refused():
    rows, column = np.ma.array(X, mask=X > 2), np.ma.array(Y, mask=Y == 0)
    fitted = model().fit(np.ma.array(X, mask=False), Y)
    for use in (model().fit, regressor().fit, fitted.peer_scores):
        with pytest.raises(ValueError, match=rf"^X must hold no masked values, got {np.sum(X > 2)} of 600; impute"):
            use(rows, Y)
    with pytest.raises(ValueError, match=r"^X must hold no masked values"):
        fitted.predict(rows)
    for name in ("sample_weight", "groups"):
        with pytest.raises(ValueError, match=rf"^{name} must hold no masked values, got 50 of 150"):
            model().fit(X, Y, **{name: column})
    for use in (model().fit, regressor().fit):
        with pytest.raises(ValueError, match=r"^y must hold no masked values, got 50 of 150"):
            use(X, column)


def test_labels_that_are_missing_or_continuous_are_refused():
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model().fit(X, np.where(Y == 0, np.nan, Y))
    days = np.datetime64("2017-12-18") + Y.astype("timedelta64[D]")
    with pytest.raises(ValueError, match=r"^y must be labels .* none may be missing; got NaT"):
        model().fit(X, np.where(Y == 0, np.datetime64("NaT", "D"), days))
    with pytest.raises(ValueError, match="Unknown label type"):
        model().fit(X, Y + 0.5)
    with pytest.raises(ValueError, match=r"^classes must be integers, .* got continuous numbers: \[0, 1\.5, 2\]"):
        model().partial_fit(X, Y, classes=[0, 1.5, 2])


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (np.array(["a", None, "b"], object), "NoneType, str"),
        (np.array(["a", np.nan, "b"], object), "float, str"),
        (["a", np.nan, "b"], "float, str"),
        (["a", np.float32("nan"), "b"], "float32, str"),
        (np.array(["a", 1, "b"], object), "int, str"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "NAType, str"),
        (pd.Series([frozenset({1}), frozenset({2}), frozenset({1, 2})]), "frozenset"),
        (pd.Series([["a"], ["b"], ["a", "b"]]), "list"),
    ],
    ids=str,
)
def test_labels_that_are_missing_or_cannot_be_sorted_are_refused_by_name(labels, got):
    column = labels * 50 if isinstance(labels, list) else labels[np.resize([0, 1, 2], len(Y))]
    match = f"must be labels that can be sorted.* none may be missing; got labels of type {got}"
    with pytest.raises(ValueError, match=f"^y {match}"):
        model().fit(X, column)
    with pytest.raises(ValueError, match=f"^y {match}"):
        model().partial_fit(X, column, classes=["a", "b"])
    with pytest.raises(ValueError, match=f"^y {match}"):
        model().fit(X, Y).peer_scores(X, column)
    with pytest.raises(ValueError, match=f"^groups {match}"):
        model().fit(X, Y, groups=column)
    with pytest.raises(ValueError, match=f"^classes {match}"):
        model().partial_fit(X, Y, classes=labels)
    with pytest.raises(ValueError, match=r"^classes must be a list of all class labels, got 'target'"):
        model().partial_fit(X, Y, classes="target")


@pytest.mark.parametrize("label", [int, bool, Fraction])
def test_labels_that_are_python_objects_are_refused_with_a_word_on_what_to_do(label):
    labels = np.array([label(0), label(1)], object)
    match = rf"must have a dtype of .*, the first of type {label.__name__}; convert it, as by astype\(int\)"
    with pytest.raises(ValueError, match=f"^Unknown label type: y {match}"):
        model().fit(X, labels[np.minimum(Y, 1)])
    with pytest.raises(ValueError, match=f"^Unknown label type: y {match}"):
        model().partial_fit(X, labels[np.minimum(Y, 1)], classes=[0, 1])
    with pytest.raises(ValueError, match=f"^Unknown label type: classes {match}"):
        model().partial_fit(X, np.minimum(Y, 1), classes=labels)


def test_strings_that_scikit_learn_cannot_read_are_refused_by_name():
    names = np.array(["a", "b", "c"]).astype(np.dtypes.StringDType())
    with pytest.raises(TypeError, match=r"^y must hold strings of fixed width, .*; pass y.tolist\(\)$"):
        model().fit(X, names[Y])
    with pytest.raises(TypeError, match=r"^classes must hold strings of fixed width"):
        model().partial_fit(X, names[Y].tolist(), classes=names)
    for use in (regressor().fit, model().fit(X, Y).peer_scores):
        with pytest.raises(TypeError, match=r"^y must hold strings of fixed width"):
            use(X, names[Y])


@pytest.mark.parametrize("params", [{}, {"sample_weight": np.arange(len(Y)) % 2}], ids=["all rows", "some rows"])
def test_csr_rows_whose_indices_leave_them_are_refused_before_they_are_read(params):
    for entries, wrong in (("indptr", 10**6), ("indptr", -(10**6)), ("indices", -5), ("indices", 4)):
        rows = csr_array(X)
        getattr(rows, entries)[3] = wrong
        with pytest.raises(ValueError, match=r"^X must (be a valid CSR array|have column indices from 0 to 3)"):
            model().fit(rows, Y, **params)


def test_csr_rows_to_predict_for_are_refused_too_however_many():
    fitted, rows = model().fit(X, Y), csr_array(np.tile(X, (60, 1)))
    rows.indptr[3] = 10**9
    for use in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, np.tile(Y, 60))):
        with pytest.raises(ValueError, match=r"^X must be a valid CSR array"):
            use(rows)


@pytest.mark.parametrize("container", [np.asarray, csr_array, pd.DataFrame, np.ndarray.tolist])
def test_several_labels_a_row_are_refused_with_a_word_on_how_to_learn_them(container):
    with pytest.raises(ValueError, match=r"^y must have one label .* shape \(150, 3\); .* MultiOutputClassifier"):
        model().fit(X, container(np.eye(3, dtype=int)[Y]))


def test_more_columns_than_the_core_can_number_are_refused():
    rows = csr_array(([1.0, 1.0], ([0, 1], [0, 2**31 - 1])), shape=(2, 2**31))
    with pytest.raises(ValueError, match=r"^X must have at most 2147483647 rows .*, got shape \(2, 2147483648\)"):
        model(n_networks=1).fit(rows, [0, 1])


@pytest.mark.parametrize("width", [3, 5])
def test_input_of_another_width_is_refused(width):
    fitted = model().fit(X, Y)
    other = np.ones((10, width))
    for use in (fitted.predict, fitted.predict_proba, lambda rows: fitted.peer_scores(rows, Y[:10])):
        with pytest.raises(ValueError, match=f"X has {width} features, but FusedMLPClassifier is expecting 4 features"):
            use(other)


def test_input_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model().fit(X, Y[:-1])
    fitted = model().fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.peer_scores(X, Y[:-1])


def test_one_class_is_refused_as_there_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="at least 2 classes, got 1 class"):
        model().fit(X, np.zeros(len(Y)))
    with pytest.raises(ValueError, match=r"^classes must have at least 2 classes, got 1 class: 0"):
        model().partial_fit(X, np.zeros(len(Y)), classes=[0])
    with pytest.raises(ValueError, match=r"^classes must have at least 2 classes, got none"):
        model().partial_fit(X, Y, classes=[])
    with pytest.raises(ValueError, match="y, apart from rows of sample_weight 0, must have at least 2 classes, got 1"):
        model().fit(X, Y, sample_weight=Y == 1)


def test_fewer_rows_than_peers_are_refused():
    for n_rows in (2, 7):
        rows = np.linspace(0, 149, n_rows).astype(int)
        with pytest.raises(ValueError, match=rf"n_networks must be at most .*n_samples = {n_rows}\b.*got 8"):
            model(n_networks=8).fit(X[rows], Y[rows])
        with pytest.raises(ValueError, match=rf"n_samples = {n_rows}, not counting those of sample_weight 0"):
            model(n_networks=8).fit(X, Y, sample_weight=np.isin(np.arange(len(Y)), rows))
    assert len(model(n_networks=8).fit(X[::19], Y[::19]).partition_) == 8


@pytest.mark.parametrize(
    ("name", "values", "error"),
    [
        ("hidden_layer_sizes", [0, -3, (5, 0), (5, -1)], ValueError),
        ("hidden_layer_sizes", [2.5, (5, 2.5), None, True, {5, 4}, {5: 4}, "5", b"5", np.bytes_(b"5")], TypeError),
        ("n_networks", [0, -1], ValueError),
        ("n_networks", [2.0, "8", True], TypeError),
        ("fusion_rate", [-0.1, 1.1, np.nan], ValueError),
        ("fusion_rate", ["0.5", None, True], TypeError),
        ("fusion_frequency", [0, -1], ValueError),
        ("fusion_frequency", [1.5, "1", None], TypeError),
        ("fusion_unit", ["epochs", None, 1], ValueError),
        ("fusion_rule", ["both", None], ValueError),
        ("init", ["zeros", None], ValueError),
        ("activation", ["softmax", None, np.tanh], ValueError),
        ("loss", ["hinge", None], ValueError),
        ("solver", ["lbfgs", None], ValueError),
        ("learning_rate", ["fast", 0.1], ValueError),
        ("learning_rate_init", [0, -0.1, np.nan, np.inf, 10**309, Fraction(1, 10**400)], ValueError),
        ("learning_rate_init", ["constant", None], TypeError),
        ("power_t", [-1, np.inf], ValueError),
        ("momentum", [-0.1, 1.1], ValueError),
        ("nesterovs_momentum", ["yes", 1], TypeError),
        ("beta_1", [-0.1, 1.0], ValueError),
        ("beta_2", [-0.1, 1.0], ValueError),
        ("epsilon", [0, -1e-8], ValueError),
        ("alpha", [-1e-4, np.inf, np.nan, -(10**309)], ValueError),
        ("l1_ratio", [-0.1, 1.1], ValueError),
        ("batch_size", [0, -1], ValueError),
        ("batch_size", [1.5, "all", None], TypeError),
        ("max_iter", [0, -1], ValueError),
        ("max_iter", [1.5, None], TypeError),
        ("tol", [-1e-4, np.nan], ValueError),
        ("n_iter_no_change", [0], ValueError),
        ("n_iter_no_change", [1.5, -np.inf, np.nan, pd.NA, np.array([1, 2])], TypeError),
        ("shuffle", ["yes", 1, None], TypeError),
        ("early_stopping", ["yes", 1], TypeError),
        ("validation_fraction", [0, 1, -0.1, 1.1], ValueError),
        ("warm_start", ["yes", 1], TypeError),
        ("n_jobs", [0], ValueError),
        ("n_jobs", [1.5, "2"], TypeError),
        ("verbose", ["loud", None, 0.5], TypeError),
        ("verbose", [-1], ValueError),
    ],
)
def test_a_wrong_parameter_is_named_with_its_value(name, values, error):
    for value in values:
        estimator = model().set_params(**{name: value})  # kept verbatim until it is used
        wrong = value[-1] if isinstance(value, tuple) else value
        for method, kwargs in (("fit", {}), ("partial_fit", {"classes": [0, 1, 2]})):
            with pytest.raises(error, match=name) as caught:
                getattr(estimator, method)(X, Y, **kwargs)
            assert shown(wrong) in str(caught.value)


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": 5},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": [5, 4]},
        {"hidden_layer_sizes": np.array([5, 4])},
        {"hidden_layer_sizes": pd.Series([5, 4])},
        {"fusion_rate": 1},
        {"fusion_rate": np.float32(0.5)},
        {"n_networks": np.int64(3)},
        {"batch_size": 10**6},
        {"batch_size": "auto"},
        {"n_networks": 150, "max_iter": 1},
        {"momentum": 1.0, "nesterovs_momentum": False},
        {"beta_1": 0, "beta_2": 0, "solver": "adam"},
        {"tol": 0},
        {"n_iter_no_change": np.inf},
        {"verbose": 2},
        {"alpha": 0},
        {"prediction": np.int64(1)},
    ],
    ids=str,
)
def test_parameters_at_the_edge_of_what_is_right_are_accepted(params):
    fitted = model(**params).fit(X, Y)
    assert np.isfinite(fitted.weights_).all()
    assert fitted.predict(X).shape == (150,)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_learning_rate_that_falls_below_all_numbers_is_zero():
    once = model(learning_rate="invscaling", power_t=1e3, max_iter=1).fit(X, Y)
    for_long = model(learning_rate="invscaling", power_t=1e3, max_iter=5).fit(X, Y)
    np.testing.assert_allclose(for_long.weights_, once.weights_, rtol=1e-12)


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="topolgy"):
        FusedMLPClassifier(topolgy="ring")
    with pytest.raises(ValueError, match="topolgy"):
        FusedMLPClassifier().set_params(topolgy="ring")
    with pytest.raises(TypeError):
        FusedMLPClassifier((5,), 8)  # all but the first by name
