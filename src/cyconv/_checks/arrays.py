"""Arrays: their type, dtype and layout, their shapes, and the memory that a shape would need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import ndarray  # looked up in every call

from .._types import AnyArray, Indices, Shape
from .arguments import FLOATS, integer

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
BEHAVED = 0x0001 | 0x0100  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED


def arrays(function: str, **named: Any) -> Iterable[Any]:
    """The named arrays as C-contiguous, aligned, native-endian float arrays of one dtype.

    A `bias` of None stays None. An array that is fit already is passed through, others are copied once.
    """
    dtype = None
    for name, array in named.items():
        if array is None and name == "bias":
            continue
        if type(array) is ndarray and array.flags.num & BEHAVED == BEHAVED:
            own = array.dtype
            if own is dtype or (dtype is None and (own is FLOAT32 or own is FLOAT64)):  # native, then
                dtype = own
                continue
        array = plain(function, name, array)
        if array.dtype.type not in FLOATS or (dtype is not None and array.dtype.type is not dtype.type):
            raise _dtype_error(function, named)
        dtype = np.dtype(array.dtype.type)
        named[name] = np.require(array, dtype=dtype, requirements=["C", "A"])
    return named.values()


def _dtype_error(function: str, named: Mapping[str, Any]) -> TypeError:
    given = {name: array for name, array in named.items() if name != "bias" or array is not None}
    arrays = {name: plain(function, name, array) for name, array in given.items()}
    dtypes = ", ".join(f"{name} is {array.dtype}" for name, array in arrays.items())
    wanted = next((a.dtype.type for a in arrays.values() if a.dtype.type in FLOATS), np.float32)
    odd = next(name for name, a in arrays.items() if a.dtype.type is not wanted)
    return TypeError(
        f"{function}: all arrays must be float32 or all float64, but {dtypes}; "
        f"write {odd}.astype(numpy.{wanted.__name__})"
    )


def plain(function: str, name: str, array: object) -> AnyArray:
    """`array` as a base-class ndarray; masked arrays and anything that is no array are refused."""
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{function}: {name} must be a NumPy array, got {type(array).__name__}; write numpy.asarray({name})"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{function}: {name} is a masked array, whose mask would be lost; write {name}.filled(value)"
        )
    return np.asarray(array)


def index_array(function: str, name: str, array: object) -> Indices:
    """`array` as a C-contiguous native int64 array of any shape."""
    if type(array) is np.ndarray and array.dtype is INT64 and array.flags.num & BEHAVED == BEHAVED:
        return array
    array = plain(function, name, array)
    if array.dtype.kind not in "iu" or (array.dtype.kind == "u" and array.dtype.itemsize == 8):
        raise TypeError(f"{function}: {name} must be an array of int64, got dtype {array.dtype}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


def same_shape(function: str, name: str, array: AnyArray, shape: Shape, why: str) -> None:
    """`array` must have `shape`; `why` says where that shape comes from."""
    if array.shape != tuple(shape):
        raise ValueError(f"{function}: {name} must have shape {tuple(shape)} ({why}), got {array.shape}")


def out_array(function: str, out: object, shape: Shape, dtype: npt.DTypeLike) -> None:
    """`out` must be a writable array of exactly the result's shape and dtype."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{function}: out must be a NumPy array, got {type(out).__name__}")
    if out.dtype.type is not np.dtype(dtype).type:
        raise TypeError(f"{function}: out must have dtype {np.dtype(dtype)}, got {out.dtype}")
    if out.shape != tuple(shape):
        raise ValueError(f"{function}: out must have shape {tuple(shape)}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only")


def images(function: str, name: str, array: AnyArray) -> tuple[AnyArray, bool]:
    """`array` of shape (N, C, H, W) or (C, H, W) as (N, C, H, W), and whether it had no batch axis."""
    return array.reshape(images_shape(function, name, array.shape)), array.ndim == 3


def images_shape(function: str, name: str, shape: Shape) -> Shape:
    """`shape` of images, (N, C, H, W) or (C, H, W), as (N, C, H, W)."""
    batch = (1, *shape) if len(shape) == 3 else shape
    if len(batch) != 4:
        raise ValueError(
            f"{function}: {name} must have shape (N, C, H, W) or (C, H, W), got {name}.shape={shape}"
        )
    if 0 in batch[1:]:
        raise ValueError(f"{function}: {name} may be empty only along the batch, got {name}.shape={shape}")
    return batch


def image_shape(function: str, name: str, shape: object) -> Shape:
    """`shape`, (N, C, H, W) or (C, H, W), as a tuple of ints."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a tuple of ints, got {type(shape).__name__}")
    if len(shape) not in (3, 4):
        raise ValueError(f"{function}: {name} must be (N, C, H, W) or (C, H, W), got {tuple(shape)}")
    least = (0, 1, 1, 1) if len(shape) == 4 else (1, 1, 1)
    shape = tuple(integer(function, name, n, m, 2**62) for n, m in zip(shape, least, strict=True))
    allocatable(function, name, shape, np.float64)
    return shape


def array_shape(function: str, name: str, shape: object, lengths: Sequence[int]) -> Shape:
    """`shape` as a tuple of ints of one of these lengths."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a tuple of ints, got {type(shape).__name__}")
    if len(shape) not in lengths:
        raise ValueError(
            f"{function}: {name} must be (N, C, H, W), (C, H, W), (N, features) or (features,), got {tuple(shape)}"
        )
    return tuple(integer(function, name, n, 1) for n in shape)


def volume_shape(function: str, name: str, shape: object) -> Shape:
    """`shape`, a volume (C, H, W) or features (F,), as a tuple of ints."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a tuple of ints (C, H, W), got {type(shape).__name__}")
    if len(shape) not in (1, 3):
        raise ValueError(
            f"{function}: {name} must be (C, H, W), without the batch, or (features,), got {tuple(shape)}"
        )
    return tuple(integer(function, name, n, 1) for n in shape)


def allocatable(function: str, name: str, shape: Shape, dtype: npt.DTypeLike) -> None:
    """Refuse a shape whose bytes do not fit in Py_ssize_t, before anything is computed."""
    size = np.dtype(dtype).itemsize
    for n in shape:
        size *= max(n, 1)  # NumPy counts an empty array as if it were not
    if size >= 2**63:
        raise ValueError(f"{function}: {name} of shape {tuple(shape)} is larger than any memory")
