"""Class labels, which are numbers or strings, as JSON."""

from typing import Any

import numpy as np

from skfusion._checks import shown
from skfusion.sites.message import MessageError

LABEL_KINDS = "biufU"  # of dtypes
NUMBER_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
_MAX_CHARACTERS = 2**22  # of all labels, were each as long as the longest


def pack_labels(labels: np.ndarray) -> dict[str, Any]:
    """Return labels, which are numbers or strings, as JSON; floats that are neither single nor double become double."""
    if labels.dtype.kind == "f" and labels.dtype.name not in NUMBER_DTYPES:
        labels = labels.astype(np.float64)
    return {"dtype": "str" if labels.dtype.kind == "U" else labels.dtype.name, "values": labels.tolist()}


def unpack_labels(content: dict[str, Any]) -> np.ndarray:
    """Return labels from JSON, or raise MessageError unless they are sorted and distinct numbers or strings."""
    dtype, values = content.get("dtype"), content.get("values")
    right = "labels must be distinct numbers or strings, sorted"
    if not isinstance(values, list) or dtype not in (*NUMBER_DTYPES, "str"):
        raise MessageError(f"{right}, got the dtype {shown(dtype)}")
    kinds = set(map(type, values))
    if dtype == "str":
        fits = kinds <= {str} and len(values) * max(map(len, values), default=0) <= _MAX_CHARACTERS
    else:
        fits = kinds <= {np.dtype(dtype).type(0).item().__class__}
    try:
        labels = np.array(values if fits else [], dtype)
        distinct = np.array_equal(labels, np.unique(labels)) and labels.tolist() == values
    except (ValueError, OverflowError) as error:
        raise MessageError(f"{right}, got what {dtype} cannot hold: {error}") from None
    if not (fits and distinct):
        raise MessageError(f"{right}; these are not")
    return labels
