"""Messages between a coordinator and its sites: JSON and plain arrays as bytes, read as a stranger's.

A message is, one after another::

    8 bytes    b"SKFUSION"
    4 bytes    version of the format, an unsigned little-endian integer: 1
    4 bytes    length of the header, likewise
    header     a JSON object in UTF-8
    arrays     the values of each, in C order, little-endian, one array after another

The header has the entries "kind", what the message is; "run", which run of training it belongs to; "round", the number
of the exchange in that run; "site", whom it is to or from; "content", an object; and "arrays", for each array its name,
dtype and shape, as in ``["weights", "<f4", [1, 541]]``.  Nothing in a message is executed.
"""

import json
import math
import struct
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from skfusion._checks import is_integer, shown

__all__ = ["Message", "MessageError", "check_name"]

MAGIC = b"SKFUSION"
VERSION = 1
MAX_BYTES = 2**30
DTYPES = ("|u1", "<i8", "<u8", "<f4", "<f8")
_PREFIX = struct.Struct("<8sII")
_MAX_HEADER_BYTES = 2**22
_MAX_DIMENSIONS = 2
_MAX_LENGTH = 2**31 - 1  # along a dimension
_MAX_NAME = 64
_MAX_NAME_BYTES = 80  # which take up to 240 characters in a file's name
_ENTRIES = {"kind": str, "run": str, "round": int, "site": str, "content": dict, "arrays": list}


class MessageError(ValueError):
    """A message that is refused.

    Parameters
    ----------
    reason : str
        What is wrong with it.
    site : str or None, default=None
        The site that it is from, where that is known.

    Examples
    --------
    >>> from skfusion.sites.message import Message, MessageError
    >>> try:
    ...     Message.decode(b"no message")
    ... except MessageError as error:
    ...     print(error)
    the message must begin with b'SKFUSION', got b'no messa'
    """

    def __init__(self, reason: str, site: str | None = None):
        super().__init__(reason if site is None else f"the answer of site {site!r} is refused: {reason}")
        self.site = site


class RefusalError(ValueError):
    """Why a site does not do what it is asked; its text leaves the site and so shows no row, but its cause may."""


def check_name(name: str) -> str:
    """Check a site's name, which must suit any file system and any log, and return it.

    Parameters
    ----------
    name : str
        1 to 64 printable characters, which take at most 80 bytes in UTF-8, none of them a slash, a backslash or a
        leading or trailing dot or space.

    Returns
    -------
    str
        The name, its characters composed (Unicode's NFC), as the same name may be typed in several ways.

    Raises
    ------
    TypeError, ValueError
        If it is not such a name.

    Examples
    --------
    >>> from skfusion.sites.message import check_name
    >>> check_name("St Mary's")
    "St Mary's"
    """
    if not isinstance(name, str):
        raise TypeError(f"a site's name must be a string, got {shown(name)}")
    name = unicodedata.normalize("NFC", str(name))
    if not (0 < len(name) <= _MAX_NAME and name.isprintable()) or set(name) & set("/\\") or name != name.strip(" ."):
        raise ValueError(
            f"a site's name must have 1 to {_MAX_NAME} printable characters, without slashes and without dots or "
            f"spaces at its ends; got {shown(name)}"
        )
    if (n_bytes := len(name.encode())) > _MAX_NAME_BYTES:
        raise ValueError(
            f"a site's name must have at most {_MAX_NAME_BYTES} bytes in UTF-8; {shown(name)} has {n_bytes}"
        )
    return name


@dataclass(frozen=True, eq=False)
class Message:
    """A message.

    Parameters
    ----------
    kind : str
        What it is.  ``kind``, ``run`` and ``site`` have at most 64 printable characters.
    run : str
        Which run of training it belongs to.
    round : int
        Number of the exchange in that run.
    site : str
        Whom it is to or from.
    content : dict, default={}
        What JSON can hold.
    arrays : dict of str to ndarray, default={}
        Of unsigned bytes, 64-bit integers, or floats of 32 or 64 bits, with at most two dimensions.

    Raises
    ------
    MessageError
        If the kind, the run or the site is too long or not printable.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.sites.message import Message
    >>> message = Message("hello", run="2f1c", round=0, site="Bath", arrays={"x": np.arange(3)})
    >>> data = message.encode()
    >>> len(data)
    133
    >>> Message.decode(data).arrays["x"]
    array([0, 1, 2])
    """

    kind: str
    run: str
    round: int
    site: str
    content: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("kind", "run", "site"):  # which are logged, and come back in answers
            text = getattr(self, name)
            if len(text) > _MAX_NAME or not text.isprintable():
                raise MessageError(
                    f"a message's {name} must have at most {_MAX_NAME} printable characters, got {shown(text)}"
                )

    def encode(self) -> bytes:
        """Return the message as bytes.

        Returns
        -------
        bytes
            In the format above.

        Raises
        ------
        TypeError, ValueError
            If JSON cannot hold the content, the format does not allow an array, or the message would be too long.
        """
        arrays = {name: _little_endian(name, array) for name, array in self.arrays.items()}
        header = {name: getattr(self, name) for name in _ENTRIES}
        header["arrays"] = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
        text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if len(text) > _MAX_HEADER_BYTES:
            raise RefusalError(
                f"a message's header must have at most {_MAX_HEADER_BYTES} bytes, got {len(text)}; shorten the names "
                "of columns, labels or peers in it"
            )
        n_bytes = _PREFIX.size + len(text) + sum(array.nbytes for array in arrays.values())
        if n_bytes > MAX_BYTES:
            raise RefusalError(f"a message must have at most {MAX_BYTES} bytes, got {n_bytes}; use a smaller network")
        return b"".join(
            [_PREFIX.pack(MAGIC, VERSION, len(text)), text, *(array.tobytes() for array in arrays.values())]
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a message that anyone may have written.

        Parameters
        ----------
        data : bytes
            The message, of at most 2**30 bytes.

        Returns
        -------
        Message
            Its arrays are copies, in this machine's byte order.

        Raises
        ------
        MessageError
            If it is not a complete message.
        TypeError
            If it is not bytes.
        """
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"a message must be bytes, got {shown(data)}")
        if len(data) > MAX_BYTES:
            raise MessageError(f"the message must have at most {MAX_BYTES} bytes, got {len(data)}")
        header, start = _read_header(data)
        arrays, stop = {}, start
        for entry in header["arrays"]:
            name, dtype, shape = _array_entry(entry)
            start, stop = stop, stop + dtype.itemsize * math.prod(shape)
            if stop > len(data) or name in arrays:
                raise MessageError(f"array {shown(name)} must be complete, and be there only once")
            values = np.frombuffer(data, dtype, math.prod(shape), start)
            arrays[name] = values.reshape(shape).astype(dtype.newbyteorder("="))
        if stop != len(data):
            raise MessageError(f"the message must end with its arrays, after {stop} bytes; got {len(data)}")
        return cls(**{**header, "arrays": arrays})

    def array(self, name: str, dtype: DTypeLike, shape: tuple, *, finite: bool = True) -> np.ndarray:
        """Return an array if it is as it should be.

        Parameters
        ----------
        name : str
            Its name.
        dtype : dtype
            The dtype that it must have.
        shape : tuple of int
            The shape that it must have.
        finite : bool, default=True
            Whether infinities and NaN are refused.

        Returns
        -------
        ndarray
            Of that dtype and shape.

        Raises
        ------
        MessageError
            If there is no such array, or it is of another dtype or shape, or not finite.
        """
        array = self.arrays.get(name)
        got = "none" if array is None else f"{array.dtype} of shape {array.shape}"
        if array is None or array.dtype != dtype or array.shape != tuple(shape):
            raise MessageError(f"array {name!r} must be {np.dtype(dtype)} of shape {tuple(shape)}, got {got}")
        if finite and not np.isfinite(array).all():
            raise MessageError(f"array {name!r} must be finite, got {array[~np.isfinite(array)][0]}")
        return array

    def entry(self, name: str, *types: type) -> Any:
        """Return an entry of the content if it is of one of some types.

        Parameters
        ----------
        name : str
            Its name.
        *types : type
            JSON's: dict, list, str, int, float, bool or NoneType.

        Returns
        -------
        object
            Its value.

        Raises
        ------
        MessageError
            If there is no such entry, or it is of another type.
        """
        value = self.content.get(name)
        if name not in self.content or type(value) not in types:
            right = " or ".join(kind.__name__ for kind in types)
            raise MessageError(f"entry {name!r} must be {right}, got {shown(value)}")
        return value


def check_known(entries: Mapping[str, Any], known: Iterable[str]) -> None:
    """Check that no part of a message would be passed over.

    Parameters
    ----------
    entries : mapping
        By name, as they came.
    known : iterable of str
        The names of those that are read.

    Raises
    ------
    MessageError
        If there are others, which a coordinator with a later version may send.
    """
    if unknown := sorted(set(entries) - set(known)):
        raise MessageError(
            f"entry {shown(unknown[0])} is unknown to the site's skfusion, which must be as new as the coordinator's"
        )


def _little_endian(name, array):
    array = np.asarray(array)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    if array.dtype.str not in DTYPES or array.ndim > _MAX_DIMENSIONS:
        raise TypeError(
            f"array {name!r} must be of dtype {', '.join(DTYPES)} and have at most {_MAX_DIMENSIONS} dimensions, got "
            f"{array.dtype.str} of shape {array.shape}"
        )
    return array


def _read_header(data):
    """Return the header, whose entries are of the right types, and where it ends."""
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        raise MessageError(f"the message must begin with {MAGIC!r}, got {bytes(data[:8])!r}")
    _, version, length = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise MessageError(f"the message's format must have the version {VERSION}, got {version}")
    end = _PREFIX.size + length
    if length > _MAX_HEADER_BYTES or end > len(data):
        raise MessageError(f"the header must be complete and have at most {_MAX_HEADER_BYTES} bytes, got {length}")
    try:
        header = json.loads(bytes(data[_PREFIX.size : end]).decode())
        # Neither infinite numbers, such as 1e999, nor halves of surrogate pairs could be sent on.
        json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the header must be JSON: {error}") from None
    if not isinstance(header, dict) or {name: type(value) for name, value in header.items()} != _ENTRIES:
        raise MessageError(f"the header must have the entries {', '.join(_ENTRIES)}, got {shown(header)}")
    return header, end


def _array_entry(entry):
    """Return the name, dtype and shape that the header gives for an array."""
    if not (isinstance(entry, list) and list(map(type, entry)) == [str, str, list]):
        raise MessageError(f"an array must have a name, a dtype and a shape, got {shown(entry)}")
    name, dtype, shape = entry
    if dtype not in DTYPES:
        raise MessageError(f"array {shown(name)} must be of dtype {', '.join(DTYPES)}, got {shown(dtype)}")
    if len(shape) > _MAX_DIMENSIONS or not all(is_integer(length) and 0 <= length <= _MAX_LENGTH for length in shape):
        raise MessageError(
            f"array {shown(name)} must have at most {_MAX_DIMENSIONS} dimensions of up to {_MAX_LENGTH}, got "
            f"{shown(shape)}"
        )
    return name, np.dtype(dtype), shape
