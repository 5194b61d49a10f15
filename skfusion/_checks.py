"""Checks of arguments, with messages that name the parameter, the value and what would be right."""

import os
import re
from numbers import Integral, Real
from reprlib import Repr
from unicodedata import normalize

import numpy as np
from sklearn.utils import check_random_state

_MAX_CHARACTERS = 160
_MAX_ITEMS = 10


class _Shortened(Repr):
    """``repr`` that leaves out most of what is long, before it is written."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong = 3, _MAX_CHARACTERS, _MAX_CHARACTERS
        self.maxtuple = self.maxlist = self.maxset = self.maxfrozenset = self.maxdict = _MAX_ITEMS

    def repr_instance(self, x, level):
        with np.printoptions(threshold=_MAX_ITEMS, edgeitems=3):
            return cut(repr(x))


_SHORTENED = _Shortened()


def shown(value):
    """Return ``repr`` of a value for a message: on one line, and cut where it is long."""
    return cut(_SHORTENED.repr(value))


def written_beside(text, others):
    """Return the function that writes a text, and those beside it, so that they look different: shown or ascii."""
    texts = (other for other in others if isinstance(other, str))
    alike = isinstance(text, str) and normalize("NFC", text) in (normalize("NFC", other) for other in texts)
    return ascii if alike else shown


def cut(text):
    """Return a text on one line, without its middle if it is long."""
    text = re.sub(r"\s*\n\s*", " ", text)
    if len(text) <= _MAX_CHARACTERS:
        return text
    half = (_MAX_CHARACTERS - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def check_whole(name, value):
    """Raise ValueError if ``value`` is the name of a column, if rows differ in length, or if a mask hides values.

    NumPy's error would not say which argument is wrong, and scikit-learn would take hidden values as if they were not.
    """
    if isinstance(value, str):
        raise ValueError(
            f"{name} must be an array with an entry for each row, got {shown(value)}; pass the values of a column, "
            f"such as frame[{shown(value)}]"
        )
    if not hasattr(value, "shape"):
        try:
            np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must be an array, with rows of equal length, got {shown(value)}") from error
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name} must hold no masked values, got {np.ma.count_masked(value)} of {value.size}; impute them, or "
            "leave their rows out"
        )


def as_array(value):
    """Return ``value`` as an array, of objects where its rows differ in length, which NumPy otherwise refuses."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.fromiter(value, dtype=object)  # where np.array may still fail


def described(value):
    """Return the shape and the dtype of a value for a message, or the value itself if no array can be made of it."""
    array = as_array(value)
    return f"shape {array.shape} and dtype {array.dtype}" if array.ndim else shown(value)


def is_integer(value):
    """Whether ``value`` is an integer of any type, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name, value, minimum):
    """Return ``value`` as an int, at least ``minimum``, or raise TypeError or ValueError."""
    if not is_integer(value):
        limit = "" if minimum == -np.inf else f" of at least {minimum}"
        raise TypeError(f"{name} must be an integer{limit}, got {shown(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {shown(value)}")
    return int(value)


def check_real(name, value, minimum=0.0, maximum=np.inf, *, open_minimum=False, open_maximum=False):
    """Return ``value`` as a float within the bounds, or raise TypeError or ValueError."""
    interval = f"{'(' if open_minimum else '['}{minimum:g}, {maximum:g}{')' if open_maximum else ']'}"
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number in {interval}, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # of an int or a Fraction that no float can hold
        number = np.inf if value > 0 else -np.inf
    above = number > minimum if open_minimum else number >= minimum
    below = number < maximum if open_maximum else number <= maximum
    if not (above and below):
        raise ValueError(f"{name} must be in {interval}, got {shown(value)}")
    return number


def check_choice(name, value, choices):
    """Return ``value`` if it is one of ``choices``, or raise ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {shown(value)}")
    return value


def check_flag(name, value):
    """Return ``value`` as a bool, or raise TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def check_path(name, path):
    """Return ``path`` as a string, or raise TypeError."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a string or another path, got {shown(path)}")
    return os.fspath(path)


def check_seed(random_state):
    """Return ``random_state`` if scikit-learn takes it for a source of randomness, or raise TypeError or ValueError."""
    if random_state is None or random_state is np.random or isinstance(random_state, np.random.RandomState):
        return random_state
    if not is_integer(random_state):
        raise TypeError(f"random_state must be None, an integer or a numpy RandomState, got {shown(random_state)}")
    if not 0 <= random_state < 2**32:
        raise ValueError(f"random_state must be from 0 to {2**32 - 1}, got {shown(random_state)}")
    return random_state


def check_rng(random_state):
    """Return the RandomState that ``random_state`` stands for, or raise TypeError or ValueError."""
    return check_random_state(check_seed(random_state))
