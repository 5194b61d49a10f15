"""Checks of the data given to fit: rows, targets, weights and groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from numbers import Number

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target, unique_labels

from skfusion._checks import as_array, check_real, check_whole, cut, shown, written_beside
from skfusion._kernels import check_csr
from skfusion._typing import FloatArray

MAX_NUMBERED = np.iinfo(np.int32).max  # rows, and columns, that the compiled core can tell apart
_LARGEST_EXACT = 2**53  # up to which float64 holds every integer
_DATES = date, time, timedelta, np.datetime64, np.timedelta64  # pandas' are among Python's
FOR_TEXT = "; turn text into numbers, such as categories into columns of 0 and 1, and leave out what only names rows"
_FOR_DATES = "; turn dates into numbers, such as days since a date"
# By its first half scikit-learn's own checks recognise the error.
_FOR_OTHERS = "; float()'s argument must be a string or a number, so convert it, or impute it if it stands for a gap"
FOR_LABELS = "; FusedMLPClassifier takes labels"
_FOR_LISTS = "; make one array of all rows, as by np.stack"
_FOR_FIELDS = "; turn fields into columns, as by numpy.lib.recfunctions.structured_to_unstructured"


@dataclass(frozen=True)
class Targets:
    """What rows are to be trained towards.

    Attributes
    ----------
    values : ndarray
        Class indices, or numbers of shape (n_samples, n_outputs).
    sample_weight : ndarray of shape (n_samples,) or None
        Relative to their mean, and with the classes' weights.
    n_outputs : int
    output : str
        Output function of the network.
    """

    values: np.ndarray
    sample_weight: np.ndarray | None
    n_outputs: int
    output: str


@dataclass(frozen=True)
class Rows:
    """What was passed to fit, once checked, without the rows of weight 0.

    Attributes
    ----------
    X : {ndarray, CSR} of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : float64 ndarray of shape (n_samples,) or None
    groups : ndarray of shape (n_samples,) or None
    classes : ndarray of shape (n_classes,) or None
        Those of all rows; None in regression.
    trained : int ndarray of shape (n_samples,)
        Their indices among the rows that were passed.
    """

    X: FloatArray | csr_array
    y: np.ndarray
    sample_weight: np.ndarray | None
    groups: np.ndarray | None
    classes: np.ndarray | None
    trained: np.ndarray

    @classmethod
    def of_weight(cls, X, y, sample_weight, groups, classes):
        """Return the rows that have a weight above 0."""
        if sample_weight is None or sample_weight.all():
            return cls(X, y, sample_weight, groups, classes, np.arange(len(y)))
        trained = np.flatnonzero(sample_weight)
        groups = None if groups is None else groups[trained]
        return cls(X[trained], y[trained], sample_weight[trained], groups, classes, trained)


def check_rows(X):
    """Raise ValueError unless the compiled core can number the rows and the columns, and CSR indices stay within."""
    if max(X.shape) > MAX_NUMBERED:
        raise ValueError(f"X must have at most {MAX_NUMBERED} rows and as many columns, got shape {X.shape}")
    check_indices(X)


def check_indices(X):
    """Raise ValueError unless CSR indices stay within it, before SciPy selects rows: it would read and write beyond."""
    if issparse(X):
        check_csr(X, X.indptr)


def check_plain_numbers(name, numbers, for_text=""):
    """Raise TypeError or ValueError unless an array, or each column of a table, holds numbers; some may be missing.

    scikit-learn would turn dates into numbers, missing ones too, and hidden values into visible ones.  Its other errors
    would neither name the argument and the column nor cut the value.

    Parameters
    ----------
    name : str
    numbers : array-like, sparse or table
    for_text : str, default=""
        What to do about text.
    """
    check_whole(name, numbers)
    names, dtypes = columns_of(numbers)
    for place, dtype in enumerate(dtypes):
        if not _is_numeric(dtype):
            column = "" if names is None else f" in column {shown(names[place])}"
            _check_values(name, as_array(numbers if names is None else numbers[names[place]]), for_text, column)


def _is_numeric(dtype):
    """Whether a dtype of NumPy, pandas or Polars is of numbers, so that none of its values need be looked at."""
    if hasattr(dtype, "is_numeric"):  # Polars'
        return dtype.is_numeric()
    return getattr(dtype, "kind", "O") in "biufc"


def _check_values(name, values, for_text, column=""):
    wrong = _first_no_number(values)
    if wrong is None:
        return
    if values.ndim == 0:
        raise ValueError(f"{name} must be an array, got {shown(wrong)}")
    if isinstance(wrong, int):
        raise ValueError(f"{name} must hold numbers within the range of float64, got {shown(wrong)}{column}")
    if isinstance(wrong, str | bytes):
        error, remedy = ValueError, for_text
    elif isinstance(wrong, list | tuple | np.ndarray):
        error, remedy = ValueError, _FOR_FIELDS if values.dtype.names else _FOR_LISTS
    else:
        error, remedy = TypeError, _FOR_DATES if isinstance(wrong, _DATES) else _FOR_OTHERS
    raise error(f"{name} must hold numbers, got {shown(wrong)}{column}{remedy}")


def _first_no_number(values):
    """Return the first value that is no number, nor what a table has where one is missing; None if there is none."""
    if values.dtype.kind in "biufc":
        return None
    if values.dtype.kind in "mM":
        return next(values.flat, None)
    return next((value for value in values.ravel().tolist() if not (value is None or _is_number(value))), None)


def _is_number(value):
    """Whether NumPy makes a number of a Python object; it would also make one of a date."""
    if isinstance(value, _DATES):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def columns_of(numbers):
    """Return the names and the dtypes of a table's columns; None and the one dtype of what is not a table."""
    # A series of Dask has columns, too, and so has a lazy frame of Polars, which is no table yet.
    shape = getattr(numbers, "shape", None)
    is_table = isinstance(shape, tuple) and len(shape) == 2 and hasattr(numbers, "columns")
    if is_table and hasattr(numbers, "dtypes"):
        return numbers.columns, numbers.dtypes
    if is_table and hasattr(numbers, "column_names"):  # as PyArrow's tables have
        return numbers.column_names, [np.asarray(column[:1]).dtype for column in numbers.columns]
    return None, [getattr(numbers, "dtype", None)]


def check_classes(name, classes):
    """Return classes if there are at least two, or raise ValueError."""
    if len(classes) < 2:
        got = f"1 class: {shown(classes.tolist()[0])}" if len(classes) else "none"
        raise ValueError(f"{name} must have at least 2 classes, got {got}")
    return classes


def check_all_classes(classes):
    """Return all classes, which a caller passes, sorted and without repeats, or raise ValueError."""
    check_string_width("classes", classes)
    labels = check_labels("classes", classes)
    if labels.ndim != 1:
        raise ValueError(f"classes must be a list of all class labels, got {shown(classes)}")
    check_label_type("classes", labels)
    if type_of_target(labels) == "continuous":  # of which scikit-learn says no more than that they are unknown
        raise ValueError(f"classes must be integers, booleans or strings, got continuous numbers: {shown(classes)}")
    return check_classes("classes", unique_labels(labels))


def check_same_classes(classes, known, why):
    """Raise ValueError unless classes are those that the peers know."""
    if not np.array_equal(classes, known):
        raise ValueError(f"classes must stay {shown(known.tolist())}, {why}; got {shown(classes.tolist())}")


def encode(y, classes):
    """Return the class indices of labels, or raise ValueError if one is not a class."""
    y, classes = comparable(y, classes)
    try:
        codes = np.searchsorted(classes, y)
        known = np.append(classes, classes[:1])[codes] == y
    except TypeError:  # labels of another kind, such as strings as Python objects among numbers, have no order
        known = np.zeros(len(y), bool)
    if not known.all():
        label, classes = y[~known].tolist()[0], classes.tolist()
        write = written_beside(label, classes)
        raise ValueError(f"y must have only labels in {cut(write(classes))}, got {cut(write(label))}")
    return codes.astype(np.int32)


def check_dense(y):
    """Raise TypeError if targets are sparse."""
    if issparse(y):
        raise TypeError(f"y must be a dense array, got a {type(y).__name__}; pass y.toarray()")


def check_numbers(y, dtype):
    """Return targets of regression as finite numbers of ``dtype``, or raise TypeError or ValueError."""
    if y.dtype.kind in "SU":  # though all be digits
        raise ValueError(f"y must hold numbers, got {shown(str(y.flat[0]))}{FOR_LABELS}")
    _check_values("y", y, FOR_LABELS)
    with np.errstate(over="ignore"):
        values = y.astype(dtype)
    if not np.isfinite(values).all():
        wrong = y[~np.isfinite(values)].flat[0]
        raise ValueError(f"y must hold finite numbers within the range of {values.dtype}, X's dtype; got {wrong}")
    return values


def as_labels(labels):
    """Return labels as an array, of Python objects where NumPy would make the string "nan" of a gap in a list."""
    array = np.asarray(labels)
    listed = labels if array.dtype.kind == "U" and array.ndim == 1 and isinstance(labels, Sequence) else ()
    has_gaps = any(isinstance(label, float | np.floating) and np.isnan(label) for label in listed)
    return np.array(labels, dtype=object) if has_gaps else array


def check_string_width(name, labels):
    """Raise TypeError if an array holds NumPy's strings of variable width, which scikit-learn cannot read."""
    if isinstance(getattr(labels, "dtype", None), np.dtypes.StringDType):
        raise TypeError(
            f"{name} must hold strings of fixed width, since scikit-learn does not read NumPy's StringDType; pass "
            f"{name}.tolist()"
        )


def check_targets(y):
    """Raise TypeError or ValueError for targets that are no array, masked, or in NumPy's StringDType."""
    check_whole("y", y)
    check_string_width("y", y)
    shape = y.shape if hasattr(y, "shape") else as_array(y).shape  # np.shape would call what array-likes may lack
    if shape == ():
        raise ValueError(f"y must be an array with an entry for each row, got {shown(y)}")


def check_object_labels(y):
    """Raise ValueError unless labels that are Python objects, or dates, can be sorted and none is missing.

    Of others scikit-learn's own checks say so; of these they ask what not all can answer.
    """
    labels = as_labels(y)
    if labels.ndim > 0 and labels.dtype.kind in "OmM":
        check_labels("y", labels)


def check_label_type(name, labels):
    """Raise ValueError if an array holds Python objects that scikit-learn does not take for labels, such as numbers."""
    if labels.dtype == object and labels.size and not isinstance(labels.flat[0], Sequence):  # as strings are, too
        raise ValueError(
            f"Unknown label type: {name} must have a dtype of integers, booleans or strings, got an array of Python "
            f"objects, the first of type {type(labels.flat[0]).__name__}; convert it, as by astype(int) or astype(str)"
        )


def check_one_label(y):
    """Raise ValueError if rows have several labels each."""
    shape = y.shape if issparse(y) else np.asarray(y).shape
    if len(shape) == 2 and shape[1] > 1:
        raise ValueError(
            f"y must have one label for each row, got an array of shape {shape}; if rows have several labels, wrap the "
            "classifier in MultiOutputClassifier, and if columns indicate one label, pass y.argmax(axis=1)"
        )


def check_groups(groups, n_samples):
    """Return groups as an array with one label per row, or raise ValueError; None stays None."""
    if groups is None:
        return None
    check_whole("groups", groups)
    array = as_labels(groups)
    if array.shape != (n_samples,):
        got = len(array) if array.ndim == 1 else f"shape {array.shape}" if array.ndim else shown(groups)
        raise ValueError(f"groups must have one label for each of the {n_samples} rows, got {got}")
    return check_labels("groups", array)


def check_labels(name, labels):
    """Return labels as an array, or raise ValueError unless they can be sorted and none is missing."""
    array = as_labels(labels)
    right = f"{name} must be labels that can be sorted, such as numbers or strings, and none may be missing; got"
    try:
        unique = np.unique(array)
        missing = unique[np.not_equal(unique, unique)]  # NaN and NaT
        if array.dtype == object and not len(missing):
            _check_order(unique)
    except (TypeError, ValueError):  # the latter where NumPy's strings have a null
        types = sorted({type(label).__name__ for label in array.flat})
        raise ValueError(f"{right} labels of type {', '.join(types)}") from None
    if len(missing):
        raise ValueError(f"{right} {missing[0]}")
    return array


def _check_order(objects):
    """Raise TypeError unless Python objects can be hashed and each is less than the next: sets are ordered in part."""
    set(objects.tolist())
    if not (objects[:-1] < objects[1:]).all():
        raise TypeError


def comparable(labels, others):
    """Return two arrays of labels, as Python objects where NumPy's common dtype would round the integers of one.

    Dates, and durations, come in the finer unit of the two, as Python knows dates of different units apart.
    """
    arrays = labels, others
    if labels.dtype.kind == others.dtype.kind and labels.dtype.kind in "mM":
        return tuple(array.astype(np.result_type(*arrays)) for array in arrays)
    rounds = {one.dtype.kind for one in arrays} <= {"i", "u", "f"} and np.result_type(*arrays).kind == "f"
    if rounds and any(one.dtype.kind in "iu" and _exceeds_floats(one) for one in arrays):
        return labels.astype(object), others.astype(object)
    return arrays


def _exceeds_floats(integers):
    """Whether float64 does not hold all integers of that size."""
    return len(integers) > 0 and max(int(integers.max()), -int(integers.min())) > _LARGEST_EXACT


def check_sample_weight(sample_weight, n_samples):
    """Return weights of the rows as a float64 array, or raise TypeError or ValueError; None stays None."""
    if sample_weight is None:
        return None
    check_plain_numbers("sample_weight", sample_weight)
    if isinstance(sample_weight, Number) or getattr(sample_weight, "shape", None) == ():
        sample_weight = np.full(n_samples, sample_weight)
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.shape != (n_samples,):
        raise ValueError(f"sample_weight must have shape ({n_samples},), got {weight.shape}")
    if not np.isfinite(weight).all():  # which scikit-learn does not look for under assume_finite
        raise ValueError(f"sample_weight must hold finite numbers, got {weight[~np.isfinite(weight)][0]}")
    if (weight < 0).any():
        raise ValueError(f"sample_weight must not be negative, got {weight.min()}")
    if not weight.any():
        raise ValueError("sample_weight must contain at least one non-zero number, got only zeros")
    return weight


def check_class_weight(class_weight):
    """Raise TypeError or ValueError unless it is None, "balanced" or a dict of weights."""
    if class_weight is None:
        return
    if isinstance(class_weight, dict):
        for name, weight in class_weight.items():
            check_real(f"class_weight[{shown(name)}]", weight, open_maximum=True)
    elif not (isinstance(class_weight, str) and class_weight == "balanced"):
        raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {shown(class_weight)}")
