"""Named arrays in files: `.npz` and safetensors, never pickle, written atomically."""

import errno
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import _checks
from ._types import AnyArray, Arrays

__all__ = ["load", "save"]

# What zipfile, zlib and numpy.lib.format raise on a file that is not what it says.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ValueError,
    TypeError,
    OverflowError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)


def save(state: Mapping[str, AnyArray], path: str | Path) -> None:
    """Write a dict of arrays, such as a `state_dict`, to a file.

    The file appears whole or not at all: it is written beside its place and renamed, so that a full
    disk or an interrupt leaves an older file as it was.

    Parameters
    ----------
    state : dict of str to ndarray
    path : str or path
        Ends in `.npz`, or in `.safetensors` (needs the package of that name).

    Raises
    ------
    TypeError
        Not a dict of arrays, or an array of Python objects.
    ValueError
        Another suffix.
    OSError
        The file can't be written.
    """
    path = Path(path)
    suffix = _checks.weights_suffix("save", path)
    arrays = _checks.named_arrays("save", state)
    write = _write_npz if suffix == ".npz" else _write_safetensors
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, or those of a new file."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _write_npz(file: IO[bytes], arrays: Mapping[str, AnyArray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _write_safetensors(file: IO[bytes], arrays: Mapping[str, AnyArray]) -> None:
    safetensors = _safetensors("save")
    native = {
        k: np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape) for k, a in arrays.items()
    }
    try:
        file.write(safetensors.numpy.save(native))
    except safetensors.SafetensorError as error:
        raise _checks.unstorable("save", error) from error


def load(path: str | Path) -> Arrays:
    """Read the arrays of a file that `save` (or numpy.savez, or safetensors) wrote.

    Parameters
    ----------
    path : str or path
        Ends in `.npz`, or in `.safetensors` (needs the package of that name).

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        Another suffix, or a file that is damaged, of another kind, or holds Python objects.
    OSError
        The file can't be read.
    """
    path = Path(path)
    suffix = _checks.weights_suffix("load", path)
    if suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                _checks.npz_total(archive.infolist(), path.stat().st_size)
                return {_entry_name(info): _read_entry(archive, info) for info in archive.infolist()}
        except OSError as error:
            # EINVAL, or no number: the damaged index led to a place outside the file
            if error.errno not in (None, errno.EINVAL):
                raise
            raise _checks.damaged_file("load", path, error) from error
        except DAMAGE as error:
            raise _checks.damaged_file("load", path, error) from error
    safetensors = _safetensors("load")
    try:
        arrays: Arrays = safetensors.numpy.load(path.read_bytes())
        return arrays
    except (safetensors.SafetensorError, *DAMAGE) as error:
        raise _checks.damaged_file("load", path, error) from error


def _safetensors(function: str) -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise _checks.missing_package(function, "safetensors") from error
    return safetensors


def fill(function: str, arrays: Mapping[str, AnyArray], state: Mapping[str, AnyArray]) -> None:
    """Copy the arrays of `state` into `arrays` (two dicts with the same keys), all of them or none."""
    _checks.matching_state(function, arrays, state)
    for key, array in arrays.items():
        array[...] = state[key]


def _entry_name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> AnyArray:
    _checks.npz_compression(info)
    _checks.npz_size(info, _promised_bytes(archive, info))
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        _checks.whole_entry(info, file.read(1))
        return array


def _promised_bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes of the array by its header, which is read before memory is taken for what it says."""
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            shape, _, dtype = read(file)
        except MemoryError as error:  # the parser's, of a text nested too deep
            raise ValueError(f"the header of {info.filename} can't be parsed") from error
    return math.prod(shape) * dtype.itemsize
