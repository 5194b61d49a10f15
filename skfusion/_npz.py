"""Entries of a stranger's .npz file, whose headers are known before any of it is unpacked."""

import math
import zipfile
from contextlib import contextmanager

import numpy as np

from skfusion._checks import check_path, cut, shown
from skfusion._replacing import regular_status

# An entry may unpack to this many times the size of the file, and in any case to this many bytes.
_LARGEST_EXPANSION, _NEGLIGIBLE_SIZE = 64, 2**20


@contextmanager
def open_entries(path):
    """Open an .npz file, and yield its entries.

    Parameters
    ----------
    path : str or path-like

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    OSError
        If there is no such regular file.
    ValueError
        If it is not a complete .npz file.
    """
    path = check_path("path", path)
    size = regular_status(path).st_size
    with open(path, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception:  # whatever zipfile makes of bytes that may be anything
            archive = None
        if archive is None:
            raise ValueError(
                f"{path} must be a complete .npz file, as save_weights writes it; it is not, or was cut short"
            )
        yield Entries(path, archive, max(_LARGEST_EXPANSION * size, _NEGLIGIBLE_SIZE))


class Entries:
    """The entries of an open .npz file, none of them trusted.

    Parameters
    ----------
    path : str
    archive : ZipFile
    largest : int
        Bytes that an entry may unpack to.
    """

    def __init__(self, path, archive, largest):
        self.path, self._archive, self._largest = path, archive, largest

    def __contains__(self, name):
        return f"{name}.npy" in self._archive.NameToInfo

    def header(self, name, kinds, n_dimensions):
        """Return the shape and the dtype of an entry of one of some kinds of dtype, or raise ValueError."""
        if name not in self:
            names = sorted(name.removesuffix(".npy") for name in self._archive.namelist())
            raise ValueError(f"{self.path} must have an entry {name!r}, got the entries {shown(names)}")
        with self._unpacking(name) as entry:
            shape, dtype = _read_header(entry, self._archive.getinfo(f"{name}.npy").file_size)
        if dtype.kind not in kinds or len(shape) != n_dimensions:
            right = " or ".join({"i": "integers", "f": "floats", "U": "strings"}[k] for k in kinds if k in "ifU")
            raise ValueError(
                f"entry {name!r} of {self.path} must be {n_dimensions}-dimensional and hold {right}, got {dtype} of "
                f"shape {shown(shape)}"
            )
        return shape, dtype

    def array(self, name):
        """Return an entry whose header has been checked."""
        with self._unpacking(name) as entry:
            return np.lib.format.read_array(entry, allow_pickle=False)

    def scalar(self, name, kinds):
        """Return the only value of an entry of one of some kinds of dtype, or raise ValueError."""
        self.header(name, kinds, 0)
        return self.array(name).item()

    def check(self, name, value, holds, right):
        """Raise ValueError unless what an entry says is right."""
        if not holds:
            value = value.tolist() if isinstance(value, np.ndarray) else value
            raise ValueError(f"entry {name!r} of {self.path} must be {right}, got {shown(value)}")

    @contextmanager
    def _unpacking(self, name):
        info = self._archive.getinfo(f"{name}.npy")
        try:
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("it is compressed as NumPy never does")
            if info.file_size > self._largest:
                raise ValueError(
                    f"it unpacks to {info.file_size} bytes, over {_LARGEST_EXPANSION} times the file's size"
                )
            with self._archive.open(info) as entry:
                yield entry
        except Exception as error:  # whatever numpy and zipfile make of bytes that may be anything
            raise ValueError(
                f"entry {name!r} of {self.path} must be a complete array of numbers or strings, without pickled "
                f"objects; reading it fails: {cut(str(error))}"
            ) from error


def _read_header(entry, size):
    """Return the shape and the dtype that an entry of ``size`` bytes has, or raise ValueError."""
    if np.lib.format.read_magic(entry) != (1, 0):
        raise ValueError("a plain array has a header of version 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(entry)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    needed, there = math.prod(shape) * dtype.itemsize, size - entry.tell()
    if needed != there:
        raise ValueError(f"its header announces {needed} bytes, but it has {there}")
    return shape, dtype
