"""Every check of what a caller passes, and so every error text of the library.

`TypeError` for the wrong kind, `ValueError` for the wrong value or shape, `RuntimeError` for the
wrong order of calls. A message names the function, the argument, what was expected, what came, and
the remedy where one is known.
"""

import functools
import operator
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ._types import AnyArray, Indices, Pair, Shape

if TYPE_CHECKING:
    from ._window import Window

T = TypeVar("T")

FLOATS = (np.float32, np.float64)
FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
BEHAVED = 0x0001 | 0x0100  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED
# The kernels keep sizes in Py_ssize_t and products of two of these parameters must fit as well.
LARGEST = 2**31 - 1


# ---------------------------------------------------------------- numbers


def integer(function: str, name: str, value: Any, minimum: int, maximum: int = LARGEST) -> int:
    """`value` as an int within [minimum, maximum]."""
    if type(value) is not int:
        try:
            if isinstance(value, (bool, np.bool_, np.ndarray)):
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{function}: {name} must be an int, got {type(value).__name__} ({value!r})"
            ) from None
    if not minimum <= value <= maximum:
        bound = f"at least {minimum}" if value < minimum else f"at most {maximum}"
        raise ValueError(f"{function}: {name} must be {bound}, got {value}")
    return cast(int, value)


def pair(function: str, name: str, value: Any, minimum: int, maximum: int = LARGEST) -> Pair:
    """`value`, an int or a pair of ints, as ``(height, width)``."""
    if type(value) is int and minimum <= value <= maximum:
        return value, value
    if type(value) is tuple and len(value) == 2:
        height, width = value
        exact = type(height) is int and type(width) is int
        if exact and minimum <= height <= maximum and minimum <= width <= maximum:
            return value
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                f"{function}: {name} must be an int or a pair (height, width), got {len(value)} values: {value!r}"
            )
        return integer(function, name, value[0], minimum, maximum), integer(
            function, name, value[1], minimum, maximum
        )
    if not hasattr(type(value), "__index__"):
        raise TypeError(
            f"{function}: {name} must be an int or a pair of ints, got {type(value).__name__} ({value!r})"
        )
    value = integer(function, name, value, minimum, maximum)
    return value, value


def padding(function: str, value: Any) -> tuple[int, int, int, int]:
    """`value` as ``(top, bottom, left, right)``; "same" is the caller's business."""
    if type(value) is int and 0 <= value <= LARGEST:
        return value, value, value, value
    if isinstance(value, str):
        if value == "valid":
            return 0, 0, 0, 0
        raise ValueError(
            f"{function}: padding must be an int, a pair (h, w), ((top, bottom), (left, right)), "
            f"'valid' or 'same', got {value!r}"
        )
    listed = (tuple, list)
    if isinstance(value, listed) and len(value) == 2 and isinstance(value[0], listed) and isinstance(value[1], listed):
        return pair(function, "padding", value[0], 0) + pair(function, "padding", value[1], 0)
    height, width = pair(function, "padding", value, 0)
    return height, height, width, width


def flag(function: str, name: str, value: object) -> bool:
    """`value` as a bool."""
    if type(value) is bool:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{function}: {name} must be True or False, got {type(value).__name__} ({value!r})")


def number(
    function: str,
    name: str,
    value: Any,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> float:
    """`value` as a finite float, at least `minimum`, less than `below` and at most `maximum`."""
    if isinstance(value, (bool, str, np.ndarray)) or not hasattr(value, "__float__"):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__} ({value!r})")
    value = float(value)
    too_small = minimum is not None and value < minimum
    too_large = (below is not None and value >= below) or (maximum is not None and value > maximum)
    if not np.isfinite(value) or too_small or too_large:
        wanted = ["finite"]
        wanted += [f"at least {minimum}"] if minimum is not None else []
        wanted += [f"below {below}"] if below is not None else []
        wanted += [f"at most {maximum}"] if maximum is not None else []
        raise ValueError(f"{function}: {name} must be {', '.join(wanted)}, got {value}")
    return cast(float, value)


def choice(function: str, name: str, value: object, choices: Sequence[str]) -> str:
    """`value`, which must be one of the strings `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{function}: {name} must be one of {listed}, got {value!r}"
        )
    return value


# ---------------------------------------------------------------- arrays


def arrays(function: str, **named: Any) -> Iterable[Any]:
    """The named arrays as C-contiguous, aligned, native-endian float arrays of one dtype.

    A `bias` of None stays None. An array that is fit already is passed through, others are copied once.
    """
    dtype = None
    for name, array in named.items():
        if type(array) is np.ndarray and array.flags.num & BEHAVED == BEHAVED:
            own = array.dtype
            if own is dtype or (dtype is None and (own is FLOAT32 or own is FLOAT64)):  # native, then
                dtype = own
                continue
        elif array is None and name == "bias":
            continue
        array = _plain(function, name, array)
        if array.dtype.type not in FLOATS or (dtype is not None and array.dtype.type is not dtype.type):
            raise _dtype_error(function, named)
        dtype = array.dtype.newbyteorder("=")
        named[name] = np.require(array, dtype=dtype, requirements=["C", "A"])
    return named.values()


def _dtype_error(function: str, named: Mapping[str, Any]) -> TypeError:
    given = {name: array for name, array in named.items() if name != "bias" or array is not None}
    arrays = {name: _plain(function, name, array) for name, array in given.items()}
    dtypes = ", ".join(f"{name} is {array.dtype}" for name, array in arrays.items())
    wanted = next((a.dtype.type for a in arrays.values() if a.dtype.type in FLOATS), np.float32)
    odd = next(name for name, a in arrays.items() if a.dtype.type is not wanted)
    return TypeError(
        f"{function}: all arrays must be float32 or all float64, but {dtypes}; "
        f"write {odd}.astype(numpy.{wanted.__name__})"
    )


def _plain(function: str, name: str, array: object) -> AnyArray:
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
    array = _plain(function, name, array)
    if array.dtype.kind not in "iu" or (array.dtype.kind == "u" and array.dtype.itemsize == 8):
        raise TypeError(f"{function}: {name} must be an array of int64, got dtype {array.dtype}")
    return np.require(array, dtype=np.int64, requirements=["C", "A"])


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


def same_shape(function: str, name: str, array: AnyArray, shape: Shape, why: str) -> None:
    """`array` must have `shape`; `why` says where that shape comes from."""
    if array.shape != tuple(shape):
        raise ValueError(f"{function}: {name} must have shape {tuple(shape)} ({why}), got {array.shape}")


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


def allocatable(function: str, name: str, shape: Shape, dtype: npt.DTypeLike) -> None:
    """Refuse a shape whose bytes do not fit in Py_ssize_t, before anything is computed."""
    size = np.dtype(dtype).itemsize
    for n in shape:
        size *= max(n, 1)  # NumPy counts an empty array as if it were not
    if size >= 2**63:
        raise ValueError(f"{function}: {name} of shape {tuple(shape)} is larger than any memory")


# ---------------------------------------------------------------- convolution and pooling


def conv_weight(
    function: str,
    input: Shape,
    weight: Shape,
    bias: Shape | None,
    groups: int,
    transposed: bool = False,
) -> int:
    """Shapes of a convolution's weight and bias against the channels of its input, (N, C, H, W) or (C, H, W).

    `weight` is (C_out, C_in/groups, kernel_h, kernel_w), or (C_in, C_out/groups, ...) of a
    transposed convolution. Returns C_out.
    """
    layout = (
        "(C_in, C_out/groups, kernel_h, kernel_w)"
        if transposed
        else "(C_out, C_in/groups, kernel_h, kernel_w)"
    )
    if len(weight) != 4 or 0 in weight:
        raise ValueError(
            f"{function}: weight must have shape {layout}, none of them 0, got weight.shape={weight}"
        )
    if weight[0] % groups:
        raise ValueError(
            f"{function}: weight.shape[0]={weight[0]} must be a multiple of groups={groups}"
        )
    C_in = input[-3]
    C_out: int
    if transposed:
        if weight[0] != C_in:
            raise ValueError(
                f"{function}: weight expects {weight[0]} input channels (weight.shape[0]="
                f"{weight[0]}) but input has {C_in} (input.shape={input})"
            )
        C_out = weight[1] * groups
    else:
        if weight[1] * groups != C_in:
            raise ValueError(
                f"{function}: weight expects {weight[1] * groups} input channels (weight.shape[1]="
                f"{weight[1]}, groups={groups}) but input has {C_in} (input.shape={input})"
            )
        C_out = weight[0]
    if bias is not None and bias != (C_out,):
        raise ValueError(
            f"{function}: bias must have shape ({C_out},) to match weight, got bias.shape={bias}"
        )
    taps = weight[1] * weight[2] * weight[3]
    if taps > LARGEST:
        raise ValueError(
            f"{function}: weight has {taps} elements per channel, more than BLAS can count ({LARGEST})"
        )
    if weight[0] // groups > LARGEST:
        raise ValueError(
            f"{function}: weight.shape[0]={weight[0]} in {groups} groups is more than BLAS can count ({LARGEST})"
        )
    return C_out


def algorithm_applies(function: str, algorithm: str, window: "Window") -> None:
    """Winograd's filtering is for 3x3 and 5x5 kernels at stride and dilation 1, with less padding than kernel."""
    pads = window.pad_top, window.pad_bottom, window.pad_left, window.pad_right
    square = window.kernel_h == window.kernel_w and window.kernel_h in (3, 5)
    steps = (window.stride_h, window.stride_w, window.dilation_h, window.dilation_w)
    if algorithm == "winograd" and not (square and steps == (1, 1, 1, 1) and max(pads) < window.kernel_h):
        raise ValueError(
            f"{function}: algorithm 'winograd' needs a 3x3 or 5x5 kernel, stride 1, dilation 1 and padding below "
            f"the kernel's size, got kernel_size {window.kernel_h}x{window.kernel_w}, stride {steps[:2]}, dilation "
            f"{steps[2:]}, padding {pads}; write algorithm='auto'"
        )


def output_size(function: str, window: "Window", H_in: int, W_in: int, ceil_mode: bool = False) -> Pair:
    """Output height and width of `window` over an image; an error where it does not fit even once."""
    H_out, W_out = window.output_size(H_in, W_in, ceil_mode)
    if H_out < 1 or W_out < 1:
        raise ValueError(
            f"{function}: kernel_size {window.kernel_h}x{window.kernel_w} with dilation "
            f"{window.dilation_h}x{window.dilation_w} covers {window.extent[0]}x{window.extent[1]} and does not "
            f"fit input of size {H_in}x{W_in} with padding (top {window.pad_top}, bottom {window.pad_bottom}, "
            f"left {window.pad_left}, right {window.pad_right}); increase padding"
        )
    countable(function, window, H_in, W_in)
    return H_out, W_out


def countable(function: str, window: "Window", H_in: int, W_in: int) -> None:
    """Kernels count positions in the padded image, also where nothing of its size is allocated."""
    padded = H_in + window.pad_top + window.pad_bottom, W_in + window.pad_left + window.pad_right
    allocatable(function, "padded image", padded, np.float64)


def pool_padding(function: str, window: "Window") -> None:
    """Pooling pads by at most half of what a window covers, so that no window lies in padding alone."""
    extent_h, extent_w = window.extent
    pads = (window.pad_top, window.pad_bottom, window.pad_left, window.pad_right)
    for side, pad, extent in zip(
        ("top", "bottom", "left", "right"), pads, (extent_h, extent_h, extent_w, extent_w), strict=True
    ):
        if pad > extent // 2:
            raise ValueError(
                f"{function}: padding must be at most half of the kernel, but {side} padding is {pad} and "
                f"the kernel covers {extent}"
            )


def transposed_padding(function: str, value: object) -> None:
    """A transposed convolution has no "same" or "valid" padding."""
    if isinstance(value, str):
        raise ValueError(
            f"{function}: padding must be an int, a pair (h, w) or ((top, bottom), (left, right)), got {value!r}"
        )


def transposed_output(function: str, window: "Window", H_in: int, W_in: int, output_padding: Pair) -> Pair:
    """Output size of a transposed convolution and its rule for `output_padding` (PyTorch's)."""
    for pad, stride, dilation in zip(
        output_padding,
        (window.stride_h, window.stride_w),
        (window.dilation_h, window.dilation_w),
        strict=True,
    ):
        if pad >= max(stride, dilation):
            raise ValueError(
                f"{function}: output_padding must be smaller than stride or dilation, got output_padding {pad} "
                f"with stride {stride} and dilation {dilation}"
            )
    H_out, W_out = window.transposed_size(H_in, W_in, output_padding)
    if H_out < 1 or W_out < 1:
        raise ValueError(
            f"{function}: input of size {H_in}x{W_in} with kernel_size {window.kernel_h}x{window.kernel_w} and "
            f"padding (top {window.pad_top}, bottom {window.pad_bottom}, left {window.pad_left}, right "
            f"{window.pad_right}) gives output of size {H_out}x{W_out}; decrease padding"
        )
    countable(function, window, H_out, W_out)
    return H_out, W_out


def columns(
    function: str, array: AnyArray, window: "Window", H_out: int, W_out: int
) -> tuple[AnyArray, bool, int]:
    """`array` of shape (N, C*kernel_h*kernel_w, L) or without N, as 3-D; whether it had no N; and C."""
    taps, L = window.kernel_h * window.kernel_w, H_out * W_out
    single = array.ndim == 2
    wide = array[np.newaxis] if single else array
    if wide.ndim != 3 or wide.shape[1] == 0 or wide.shape[1] % taps or wide.shape[2] != L:
        raise ValueError(
            f"{function}: columns must have shape (N, C*{taps}, {L}) or (C*{taps}, {L}) for kernel_size "
            f"{window.kernel_h}x{window.kernel_w} and {H_out}x{W_out} windows, got columns.shape={array.shape}"
        )
    return wide, single, wide.shape[1] // taps


def pooled_shape(function: str, grad_output: AnyArray, input_shape: Shape) -> None:
    """Pooling keeps batch and channels, so `grad_output` and `input_shape` share them."""
    leading = grad_output.shape[:-2]
    if grad_output.ndim != len(input_shape) or leading != input_shape[:-2] or 0 in grad_output.shape[-3:]:
        raise ValueError(
            f"{function}: grad_output must have the batch and channels of input_shape={input_shape} and at least "
            f"one pixel, got grad_output.shape={grad_output.shape}"
        )


def indices_in_plane(function: str, count: int, plane: Shape) -> None:
    """`count` is the number of indices that a kernel found outside the plane (and left out)."""
    if count:
        raise ValueError(
            f"{function}: {count} of the indices lie outside the plane of {plane[0]}x{plane[1]} pixels; "
            "pass the indices that max_pool2d(..., return_indices=True) gave for an input of input_shape"
        )


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


def convolve_operands(f: AnyArray, g: AnyArray, mode: str) -> None:
    """`convolve` takes two vectors or two matrices, and "valid" one that holds the other."""
    if f.ndim != g.ndim or f.ndim not in (1, 2):
        raise ValueError(
            f"convolve: f and g must both be 1-D or both 2-D, got f.shape={f.shape}, g.shape={g.shape}"
        )
    if f.size == 0 or g.size == 0:
        raise ValueError(f"convolve: f and g must not be empty, got f.shape={f.shape}, g.shape={g.shape}")
    bigger = [a >= b for a, b in zip(f.shape, g.shape, strict=True)]
    smaller = [a <= b for a, b in zip(f.shape, g.shape, strict=True)]
    if mode == "valid" and not all(bigger) and not all(smaller):
        raise ValueError(
            "convolve: mode 'valid' needs one array at least as large as the other along every axis, got "
            f"f.shape={f.shape}, g.shape={g.shape}"
        )


def linear_shapes(function: str, input: AnyArray, weight: AnyArray, bias: AnyArray | None) -> None:
    """`weight` is (out_features, in_features) and the last axis of `input` is in_features."""
    if weight.ndim != 2:
        raise ValueError(
            f"{function}: weight must have shape (out_features, in_features), got {weight.shape}"
        )
    if input.ndim < 1 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{function}: weight expects {weight.shape[1]} input features (weight.shape={weight.shape}) but the "
            f"last axis of input has {input.shape[-1] if input.ndim else 'no'} (input.shape={input.shape})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{function}: bias must have shape ({weight.shape[0]},), got {bias.shape}")
    if max(weight.shape) > LARGEST:
        raise ValueError(f"{function}: weight.shape={weight.shape} is more than BLAS can count ({LARGEST})")


def linear_rows(function: str, rows: int) -> None:
    """The gradient of a fully connected weight is a product along the rows of its input."""
    if rows > LARGEST:
        raise ValueError(f"{function}: input has {rows} rows, more than BLAS can count ({LARGEST}); pass fewer")


# ---------------------------------------------------------------- layers, losses, optimizers, files


def layer(function: str, value: object, layer_type: type[T]) -> T:
    """`value` must be a layer object."""
    if not isinstance(value, layer_type):
        remedy = (
            f"; write {value.__name__}(...)"
            if isinstance(value, type) and issubclass(value, layer_type)
            else ""
        )
        raise TypeError(f"{function}: expected a layer, got {value!r}{remedy}")
    return value


def assigned(name: str, value: object, array: AnyArray) -> None:
    """What is assigned to the name of an `array` of a layer is written into it, so it must fit."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name!r}: expected a NumPy array to write into that of the layer, got {value!r:.80}")
    if value.shape != array.shape:
        raise ValueError(f"{name!r}: expected an array of shape {array.shape}, got {value.shape}")
    if not np.can_cast(value.dtype, array.dtype, "same_kind"):
        raise TypeError(f"{name!r}: expected an array of dtype {array.dtype}, got {value.dtype}")


def names_of_layers(*name: object) -> ValueError:
    """The error for a name that is added to, or taken from, the arrays collected from several layers."""
    got = f", got {name[0]!r}" if name else ""
    return ValueError(f"Sequential: its arrays have the names of its layers, none can be added or removed{got}")


def explained(function: str, value: object, layer_type: type, functions: Collection[object]) -> None:
    """`value` must be a layer, or a partial call of one of `functions` that lacks its first argument alone."""
    if isinstance(value, layer_type):
        return
    if not isinstance(value, functools.partial) or value.func not in functions or value.args:
        raise TypeError(
            f"{function}: expected a layer, or functools.partial of a function of cyconv.functional with all arguments "
            f"but the first, by name, got {value!r:.80}"
        )


def array_shape(function: str, name: str, shape: object, lengths: Sequence[int]) -> Shape:
    """`shape` as a tuple of ints of one of these lengths."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a tuple of ints, got {type(shape).__name__}")
    if len(shape) not in lengths:
        raise ValueError(
            f"{function}: {name} must be (N, C, H, W), (C, H, W), (N, features) or (features,), got {tuple(shape)}"
        )
    return tuple(integer(function, name, n, 1) for n in shape)


def float_dtype(function: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as the NumPy dtype float32 or float64."""
    parsed: np.dtype[Any] | None
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        parsed = None
    if parsed is None or parsed.type not in FLOATS:
        raise TypeError(f"{function}: dtype must be numpy.float32 or numpy.float64, got {dtype!r}")
    return parsed.newbyteorder("=")


def generator(function: str, rng: object) -> np.random.Generator:
    """`rng`, or a new generator where it is None."""
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{function}: rng must be a numpy.random.Generator, got {type(rng).__name__}; write "
            "numpy.random.default_rng(seed)"
        )
    return rng


def channels_in_groups(function: str, in_channels: int, out_channels: int, groups: int) -> None:
    """Both channel counts must be multiples of `groups`."""
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ValueError(f"{function}: {name}={channels} must be a multiple of groups={groups}")


def kept(function: str, training: bool, saved: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """What a forward pass kept for backward; an error where there was none, or it kept nothing."""
    if saved is None:
        remedy = (
            "call forward(input) first"
            if training
            else "in eval mode forward keeps nothing for it; call train() and forward(input) first"
        )
        raise RuntimeError(f"{function}.backward: no forward pass to go back through; {remedy}")
    return saved


def volume(function: str, layer: object, input_shape: Shape, expected: Shape) -> None:
    """The (C, H, W) or (features,) that a layer is applied to must be what it was made for."""
    if tuple(input_shape[: len(expected)]) != tuple(expected):
        raise ValueError(
            f"{function}: {layer!r} expects {expected[0]} channels or features, got volume {input_shape}"
        )


def volume_shape(function: str, name: str, shape: object) -> Shape:
    """`shape`, a volume (C, H, W) or features (F,), as a tuple of ints."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{function}: {name} must be a tuple of ints (C, H, W), got {type(shape).__name__}")
    if len(shape) not in (1, 3):
        raise ValueError(
            f"{function}: {name} must be (C, H, W), without the batch, or (features,), got {tuple(shape)}"
        )
    return tuple(integer(function, name, n, 1) for n in shape)


def image_volume(function: str, shape: Shape) -> tuple[int, int, int]:
    """A volume that a layer slides over must be (C, H, W)."""
    if len(shape) != 3:
        raise ValueError(f"{function}: expected a volume (C, H, W), got {shape}")
    return shape


def features(function: str, in_features: int, shape: Shape) -> None:
    """A volume must have as many elements as a fully connected layer has inputs."""
    if int(np.prod(shape)) != in_features:
        raise ValueError(
            f"{function}: a volume of {shape} has {int(np.prod(shape))} elements, not {in_features}"
        )


def not_convertible(function: str, layer: object, shape: Shape) -> ValueError:
    """The error for a fully connected layer that does not look at a flattened (C, H, W) volume."""
    return ValueError(
        f"{function}: {layer!r} on {shape} can't become a convolution; put Flatten before the first Linear layer"
    )


def batch_statistics(function: str, count: int) -> None:
    """Batch normalisation in training needs two values per channel."""
    if count < 2:
        raise ValueError(
            f"{function}: training needs at least 2 values per channel, got {count}; use a larger batch or eval()"
        )


def norm_channels(function: str, array: AnyArray, num_features: int) -> None:
    """The channels of a normalised array."""
    if array.shape[1] != num_features:
        raise ValueError(
            f"{function}: expected {num_features} channels, got {array.shape[1]} (shape {array.shape})"
        )


def targets(function: str, logits: AnyArray, array: Any) -> Any:
    """Class indices, (N,), or probabilities, (N, K), checked against (N, K) `logits`."""
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"{function}: logits must have shape (N, K) with K > 0, got {logits.shape}")
    array = _plain(function, "targets", array)
    if array.dtype.kind == "f":
        _, array = arrays(function, logits=logits, targets=array)
        same_shape(function, "targets", array, logits.shape, "probabilities, that of logits")
        return array
    array = index_array(function, "targets", array)
    same_shape(function, "targets", array, logits.shape[:1], "one class index for each row of logits")
    if array.size and (array.min() < 0 or array.max() >= logits.shape[1]):
        raise ValueError(
            f"{function}: targets must be class indices in 0..{logits.shape[1] - 1}, got {array.min()}..{array.max()}"
        )
    return array


def nesterov(wanted: bool, momentum: float) -> None:
    """Nesterov's step looks ahead along the momentum."""
    if wanted and not momentum:
        raise ValueError("SGD: nesterov needs momentum above 0")


def two(function: str, name: str, value: Any) -> tuple[Any, Any]:
    """`value` as two things."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{function}: {name} must be a pair, got {value!r}")
    return value[0], value[1]


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


def unstorable(function: str, error: Exception) -> TypeError:
    """The error for arrays of a dtype that a file format does not know."""
    return TypeError(f"{function}: safetensors can't store these arrays ({error}); write .npz instead")


def weights_suffix(function: str, path: Path) -> str:
    """The file format, by the suffix of `path`."""
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"{function}: the file must end in .npz or .safetensors, got {str(path)!r}")
    return path.suffix


def damaged_file(function: str, path: Path, error: Exception) -> ValueError:
    """The error for a file that is not what its suffix says."""
    return ValueError(f"{function}: {str(path)!r} is damaged or no {path.suffix} file of arrays ({error})")


def npz_compression(info: zipfile.ZipInfo) -> None:
    """An entry of an .npz file is stored or deflated, as NumPy does; of the others not every Python has a reader."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} has a compression that numpy.savez does not write")


DEFLATE = 1032  # times fewer bytes at most (zlib.net/zlib_tech.html)


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
