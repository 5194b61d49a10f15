"""The data of the paper's experiments: which rows train, which test, and how inputs are scaled."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).parents[1]))
from datasets import load_arrays, load_frame

# Training rows of the data sets that come in a usual order, training rows first.
N_TRAIN = {"vowel": 528, "mnist_784": 60000, "CIFAR_10": 50000}


@dataclass(frozen=True)
class Split:
    """Rows to train and to test on; float32, classes as integers from 0."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def first(self, n_train):
        """Keep the first training rows, and all test rows."""
        return Split(self.X_train[:n_train], self.y_train[:n_train], self.X_test, self.y_test)

    def test_rows(self):
        """Keep the test rows alone, in the memory too."""
        return Split(self.X_train[:0].copy(), self.y_train[:0].copy(), self.X_test, self.y_test)

    def first_of_each_class(self, n_train):
        """Keep the first training rows of each class, and all test rows."""
        rows = [np.flatnonzero(self.y_train == code)[:n_train] for code in np.unique(self.y_train)]
        rows = np.sort(np.concatenate(rows))
        return Split(self.X_train[rows], self.y_train[rows], self.X_test, self.y_test)


def load_split(name, seed=0, background_zero=False):
    """Load a data set, split and scaled.

    Parameters
    ----------
    name : str
        A name of the data set on OpenML, or "digits": scikit-learn's, which needs no download.
    seed : int, default=0
        Of the third of the rows that tests, where there is no usual split.
    background_zero : bool, default=False
        Divide images by their largest value, so that the background is 0 (which trains faster); otherwise each
        column is scaled to [-1, 1] by its range over the training rows, as in the paper.

    Returns
    -------
    Split
    """
    return _load(name, None if name in N_TRAIN else seed, background_zero)


@lru_cache(maxsize=4)
def _load(name, seed, background_zero):
    X, y, nominal = _rows(name)
    if name in N_TRAIN:
        train, test = np.arange(N_TRAIN[name]), np.arange(N_TRAIN[name], len(y))
    else:
        train, test = train_test_split(np.arange(len(y)), test_size=1 / 3, random_state=seed)
    X_train, X_test = X[train], X[test]
    if background_zero:
        largest = X_train.max()
        X_train /= largest
        X_test /= largest
    elif not nominal:
        _scale(X_train, X_test)
    return Split(X_train, y[train], X_test, y[test])


def _rows(name):
    """Return a data set's X, y, and whether its columns are indicators of nominal values."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X.astype(np.float32), y, False
    if name in ("mnist_784", "CIFAR_10"):
        return *load_arrays(name), False
    X, y = load_frame(name)
    numbers = X.select_dtypes("number")
    nominal = numbers.empty  # splice; vowel's nominal columns, the speaker and the sex, are not used
    X = pd.get_dummies(X) if nominal else numbers
    return np.ascontiguousarray(X, dtype=np.float32), y, nominal


def _scale(X_train, X_test):
    """Scale columns in place to [-1, 1] by their training range; constant ones, and missing values, become 0."""
    low, high = np.nanmin(X_train, axis=0), np.nanmax(X_train, axis=0)
    factor = np.divide(2, high - low, out=np.zeros_like(low), where=high > low)
    for values in (X_train, X_test):
        np.subtract(values, (low + high) / 2, out=values)
        np.multiply(values, factor, out=values)
        np.nan_to_num(values, copy=False)
