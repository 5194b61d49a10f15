"""Checks of arguments, with messages that name the parameter, the value and what would be right."""

from numbers import Integral, Real

import numpy as np


def is_integer(value):
    """Whether ``value`` is an integer of any type, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_integer(name, value, minimum):
    """Return ``value`` as an int, at least ``minimum``, or raise TypeError or ValueError."""
    if not is_integer(value):
        limit = "" if minimum == -np.inf else f" of at least {minimum}"
        raise TypeError(f"{name} must be an integer{limit}, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    return int(value)


def check_real(name, value, minimum=0.0, maximum=np.inf, *, open_minimum=False, open_maximum=False):
    """Return ``value`` as a float within the bounds, or raise TypeError or ValueError."""
    interval = f"{'(' if open_minimum else '['}{minimum:g}, {maximum:g}{')' if open_maximum else ']'}"
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r}")
    above = value > minimum if open_minimum else value >= minimum
    below = value < maximum if open_maximum else value <= maximum
    if not (above and below):
        raise ValueError(f"{name} must be in {interval}, got {value!r}")
    return float(value)


def check_choice(name, value, choices):
    """Return ``value`` if it is one of ``choices``, or raise ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")
    return value


def check_flag(name, value):
    """Return ``value`` as a bool, or raise TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_seed(name, value):
    """Return ``value`` if scikit-learn takes it for a source of randomness, or raise TypeError or ValueError."""
    if value is None or value is np.random or isinstance(value, np.random.RandomState):
        return value
    if not is_integer(value):
        raise TypeError(f"{name} must be None, an integer or a numpy RandomState, got {value!r}")
    if not 0 <= value < 2**32:
        raise ValueError(f"{name} must be from 0 to {2**32 - 1}, got {value!r}")
    return value
