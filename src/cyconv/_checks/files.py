"""What is loaded and saved: states, the files that hold them, and the packages that read those."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._types import AnyArray

DEFLATE = 1032  # times fewer bytes at most (zlib.net/zlib_tech.html)


def matching_state(function: str, arrays: Mapping[str, AnyArray], state: Any) -> None:
    """`state` must have exactly the keys and shapes of `arrays`; the error lists every mismatch."""
    if not isinstance(state, Mapping):
        raise TypeError(
            f"{function}.load_state_dict: state must be a dict of arrays, got {type(state).__name__}"
        )
    wrong = [f"missing {key!r}" for key in arrays if key not in state]
    wrong += [f"unexpected {key!r}" for key in state if key not in arrays]
    for key in arrays:
        if key not in state:
            continue
        array, value = arrays[key], state[key]
        if not isinstance(value, np.ndarray):
            wrong.append(f"{key!r} is no NumPy array but {type(value).__name__}")
        elif value.shape != array.shape:
            wrong.append(f"{key!r} has shape {value.shape}, expected {array.shape}")
        elif not np.can_cast(value.dtype, array.dtype, "same_kind"):
            wrong.append(f"{key!r} has dtype {value.dtype}, expected {array.dtype}")
    if wrong:
        raise ValueError(f"{function}.load_state_dict: nothing was loaded: " + "; ".join(wrong))


def named_arrays(function: str, state: Any) -> Mapping[str, AnyArray]:
    """`state` must be a dict of str to arrays that need no pickle."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{function}: state must be a dict of arrays, got {type(state).__name__}")
    for key, array in state.items():
        if not isinstance(key, str):
            raise TypeError(f"{function}: keys must be strings, got {key!r}")
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            raise TypeError(
                f"{function}: {key!r} must be a NumPy array of numbers or strings, got {array!r:.80}"
            )
    return state


def weights_suffix(function: str, path: Path) -> str:
    """The file format, by the suffix of `path`."""
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"{function}: the file must end in .npz or .safetensors, got {str(path)!r}")
    return path.suffix


def unstorable(function: str, error: Exception) -> TypeError:
    """The error for arrays of a dtype that a file format does not know."""
    return TypeError(f"{function}: safetensors can't store these arrays ({error}); write .npz instead")


def damaged_file(function: str, path: Path, error: Exception) -> ValueError:
    """The error for a file that is not what its suffix says."""
    return ValueError(f"{function}: {str(path)!r} is damaged or no {path.suffix} file of arrays ({error})")


def npz_compression(info: zipfile.ZipInfo) -> None:
    """An entry of an .npz file is stored or deflated, as NumPy does; of the others not every Python has a reader."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} has a compression that numpy.savez does not write")


def npz_total(infos: Sequence[zipfile.ZipInfo], archive_size: int) -> None:
    """All entries together hold no more than a file of this size can; they would if they overlapped."""
    total = sum(info.file_size for info in infos)
    if total > DEFLATE * archive_size:
        raise ValueError(f"its index promises {total} bytes, more than a file of {archive_size} can hold")


def npz_size(info: zipfile.ZipInfo, promised: int) -> None:
    """An entry must be able to hold the bytes that its array's header promises, before memory is taken for them."""
    if promised > info.file_size:
        raise ValueError(f"the header of {info.filename} promises {promised} bytes, more than it holds")


def whole_entry(info: zipfile.ZipInfo, rest: bytes) -> None:
    """Nothing may follow the array of an entry."""
    if rest:
        raise ValueError(f"{info.filename} has bytes after its array")


def missing_package(function: str, package: str) -> ImportError:
    """The error for an optional package that is not installed."""
    return ImportError(f"{function}: needs the package {package}; pip install {package}")
