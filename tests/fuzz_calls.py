"""The calls of tests/fuzz.py: strategies of hypothesis that make up arguments good and bad, for every function."""

import math
from typing import NamedTuple

import numpy as np
from helpers import Subclass, misaligned, read_only, strided
from hypothesis import strategies as st

from cyconv import functional as F


class Array(NamedTuple):
    """How to make one array, anew for each backend."""

    shape: tuple
    dtype: type = np.float32
    seed: int = 0
    values: str = "whole"
    layout: str = "plain"

    def make(self):
        rng = np.random.default_rng((self.seed, *self.shape))
        array = rng.integers(-4, 5, self.shape).astype(self.dtype)
        if self.values == "special":
            array[rng.random(self.shape) < 0.1] = np.nan
            array[rng.random(self.shape) < 0.1] = np.inf
            array[rng.random(self.shape) < 0.1] = -np.inf
        return LAYOUTS[self.layout](array)


LAYOUTS = {
    "plain": lambda array: array,
    "strided": strided,
    "fortran": np.asfortranarray,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read-only": read_only,
    "subclass": lambda array: array.view(Subclass),
    "broadcast": lambda array: np.broadcast_to(array.ravel()[:1].sum(), array.shape),
}
GOOD_LAYOUTS = st.sampled_from([*["plain"] * 8, *LAYOUTS])

# Things that are no array, or not one of float32 or float64, or of no dimension that fits.
BAD_ARRAYS = {
    "none": lambda array: None,
    "list": lambda array: array.tolist(),
    "number": lambda array: 1.5,
    "scalar": lambda array: np.float32(1),
    "string": lambda array: "array",
    "memoryview": lambda array: memoryview(np.ascontiguousarray(array)),
    "masked": np.ma.array,
    "object": lambda array: array.astype(object),
    "float16": lambda array: np.zeros(array.shape, np.float16),
    "longdouble": lambda array: array.astype(np.longdouble),
    "complex": lambda array: array.astype(np.complex64),
    "int": lambda array: np.zeros(array.shape, np.int64),
    "bool": lambda array: array.astype(bool),
    "text": lambda array: array.astype("U8"),
    "time": lambda array: np.zeros(array.shape, "M8[s]"),
    "record": lambda array: np.zeros(array.shape, [("a", "f4")]),
    "other-float": lambda array: array.astype(np.float64 if array.dtype == np.float32 else np.float32),
    "no-dimension": lambda array: array.ravel()[:1].sum(keepdims=False),
    "zero-dimensional": lambda array: np.array(1, array.dtype),
    "one-dimension-more": lambda array: array[np.newaxis],
    "one-dimension-less": lambda array: array[0] if array.ndim and len(array) else array,
    "32-dimensions": lambda array: array.reshape((1,) * (32 - array.ndim) + array.shape),
    "empty": lambda array: array[..., :0],
    "no-rows": lambda array: array[:0],
    "longer": lambda array: np.concatenate([array, array]) if array.ndim else array,
    "shorter": lambda array: array[..., 1:],
}


class Bad(NamedTuple):
    """An array spoilt in one way of BAD_ARRAYS."""

    array: Array
    way: str

    def make(self):
        return BAD_ARRAYS[self.way](self.array.make())


class Out(NamedTuple):
    """`out`: in a layout; over the memory of the input, some elements before or after it; or spoilt."""

    kind: str
    offset: int = 0


class Index:
    """An integer that is none of Python's."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    def __repr__(self):
        return f"Index({self.value})"


HUGE = (2**31 - 1, 2**31 - 2, 2**30 + 1, 10**9, 2**31, 2**32 + 1, 2**62, 2**63, 2**64, 10**30)
NUMBERS = (0, 1, 2, 3, -1, -2, -(2**31), -(2**63), -(10**30), *HUGE)
ODD = [
    None, True, False, 1.0, 1.5, math.nan, math.inf, 1j, "same", "valid", "full", "1", "", b"1", (), (1,), (1, 2, 3),
    ((1, 1), (1, 1)), ((1, 2), (0, 3)), ((1,), (1, 1)), ((1, 1), 1), [1, 2], [[0, 1], [1, 0]], {}, {1, 2}, range(2),
    np.int8(1), np.int64(2), np.uint64(3), np.float32(1), np.bool_(True), np.array(1), np.array([1, 2]), Index(2),
    np.array([1, 1], object), object, Index(2**40), slice(1, 2), "im2col", "winograd", "auto",
]  # fmt: skip
# repr of the bare object type is stable, so that both backends' messages can be compared
bad_numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.sampled_from(ODD),
    st.tuples(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)),
    st.tuples(st.integers(-1, 4), st.sampled_from((*NUMBERS, *ODD))),
    st.tuples(
        st.tuples(st.integers(0, 3), st.sampled_from(NUMBERS)),
        st.tuples(st.sampled_from(NUMBERS), st.integers(0, 3)),
    ),
)


# ---------------------------------------------------------------- good calls


class Call(NamedTuple):
    function: str
    arguments: dict  # Array and Bad stand for arrays
    out: Out | None = None


def pair(draw, least, most):
    """An int, or a pair of them, as a caller may write it."""
    if draw(st.booleans()):
        return draw(st.integers(least, most))
    return draw(st.integers(least, most)), draw(st.integers(least, most))


def both(value):
    return value if isinstance(value, tuple) else (value, value)


def arrays_of(draw, **shapes):
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    values = draw(st.sampled_from(("whole", "whole", "special")))
    return {
        name: None if shape is None else Array(shape, dtype, seed, values, draw(GOOD_LAYOUTS))
        for seed, (name, shape) in enumerate(shapes.items())
    }


def image(draw, C, extent, padding):
    """(N, C, H, W) or (C, H, W) in which a window of `extent` fits, with luck."""
    size = [
        draw(st.integers(max(1, e - 2 * p), max(1, e - 2 * p) + 14))
        for e, p in zip(extent, both(padding) if not isinstance(padding, str) else (0, 0), strict=True)
    ]
    single = draw(st.integers(0, 4)) == 0
    return (C, *size) if single else (draw(st.integers(0, 3)), C, *size)


def output_shape(shape, C_out, sizes):
    return (*shape[:-3], C_out, *sizes)


def sizes_of(shape, kernel, stride, padding, dilation=1, ceil_mode=False):
    """The output's size; 1x1 where there is none, so that the call is one that is rejected."""
    try:
        return both(F.output_size(tuple(shape[-2:]), kernel, stride, padding, dilation, ceil_mode))
    except ValueError:
        return 1, 1


def window(draw, most_padding=4):
    kernel = draw(
        st.one_of(st.sampled_from((1, 2, 3, 3, 5)), st.tuples(st.integers(1, 6), st.integers(1, 6)))
    )
    plain = draw(st.booleans())  # stride and dilation 1: often Winograd, and shifted columns
    stride, dilation = (1, 1) if plain else (pair(draw, 1, 4), pair(draw, 1, 3))
    padding = draw(
        st.one_of(
            st.integers(0, min(2, most_padding)),
            st.tuples(st.integers(0, most_padding), st.integers(0, most_padding)),
            st.sampled_from(("same", "valid")),
        )
    )
    return kernel, stride, padding, dilation


def extent_of(kernel, dilation):
    return [(k - 1) * d + 1 for k, d in zip(both(kernel), both(dilation), strict=True)]


def channels(draw):
    """C_in, C_out, groups; sometimes depthwise, sometimes more channels than a panel has rows."""
    groups = draw(st.integers(1, 5))
    C, M = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if draw(st.integers(0, 5)) == 0:
        C, M = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    return groups * C, groups * M, groups


def conv2d(draw, backward=False):
    C_in, C_out, groups = channels(draw)
    kernel, stride, padding, dilation = window(draw)
    shape = image(draw, C_in, extent_of(kernel, dilation), padding)
    weight = (C_out, C_in // groups, *both(kernel))
    rest = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    rest["algorithm"] = draw(st.sampled_from(("auto", "auto", "auto", "im2col", "winograd")))
    if backward:
        sizes = sizes_of(shape, kernel, stride, padding, dilation)
        arrays = arrays_of(draw, grad_output=output_shape(shape, C_out, sizes), input=shape, weight=weight)
        return Call("conv2d_backward", arrays | rest | {"needs_input_grad": draw(st.booleans())})
    bias = (C_out,) if draw(st.booleans()) else None
    return Call("conv2d", arrays_of(draw, input=shape, weight=weight, bias=bias) | rest, draw(OUTS))


def conv_transpose2d(draw, backward=False):
    C_in, C_out, groups = channels(draw)
    kernel, stride, padding, dilation = window(draw, 2)
    padding = 0 if isinstance(padding, str) else padding
    shape = image(draw, C_in, (1, 1), 0)
    weight = (C_in, C_out // groups, *both(kernel))
    extra = draw(st.integers(0, max(0, max(both(stride)) - 1)))
    rest = {
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "groups": groups,
        "dilation": dilation,
    }
    if backward:
        sizes = [
            max(1, (n - 1) * s - 2 * p + e + extra)
            for n, s, p, e in zip(
                shape[-2:], both(stride), both(padding), extent_of(kernel, dilation), strict=True
            )
        ]
        arrays = arrays_of(draw, grad_output=output_shape(shape, C_out, sizes), input=shape, weight=weight)
        return Call("conv_transpose2d_backward", arrays | rest | {"needs_input_grad": draw(st.booleans())})
    bias = (C_out,) if draw(st.booleans()) else None
    return Call("conv_transpose2d", arrays_of(draw, input=shape, weight=weight, bias=bias) | rest, draw(OUTS))


def columns(draw, adjoint=False):
    kernel, stride, padding, dilation = window(draw)
    C = draw(st.integers(1, 4))
    shape = image(draw, C, extent_of(kernel, dilation), padding)
    rest = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    if not adjoint:
        return Call("im2col", arrays_of(draw, input=shape) | rest)
    sizes = sizes_of(shape, kernel, stride, padding, dilation)
    wide = (*shape[:-3], C * math.prod(both(kernel)), math.prod(sizes))
    return Call("col2im", arrays_of(draw, columns=wide) | {"output_size": tuple(shape[-2:])} | rest)


def pooling(draw, function):
    kernel, stride, padding, dilation = window(draw, 2)
    if isinstance(padding, int):
        padding = min(padding, min(both(kernel)) // 2)
    dilation = dilation if function == "max_pool2d" else 1
    C = draw(st.integers(1, 4))
    shape = image(draw, C, extent_of(kernel, dilation), padding)
    rest = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}
    if draw(st.integers(0, 3)) == 0:
        rest["stride"] = stride = None
    if function == "max_pool2d":
        rest |= {"dilation": dilation, "return_indices": draw(st.booleans())}
        return Call(function, arrays_of(draw, input=shape) | rest, draw(OUTS))
    rest["count_include_pad"] = draw(st.booleans())
    if function == "avg_pool2d":
        return Call(function, arrays_of(draw, input=shape) | rest, draw(OUTS))
    sizes = sizes_of(shape, kernel, stride or kernel, padding, 1, rest["ceil_mode"])
    grad_output = arrays_of(draw, grad_output=output_shape(shape, C, sizes))
    return Call(function, grad_output | {"input_shape": shape} | rest)


def max_pool2d_backward(draw):
    shape = image(draw, draw(st.integers(1, 4)), (1, 1), 0)
    pooled = (*shape[:-2], draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    arrays = arrays_of(draw, grad_output=pooled)
    plane = shape[-2] * shape[-1]
    least = draw(st.sampled_from((0, 0, 0, -1, -2, -(2**62))))
    past = draw(st.sampled_from((plane, plane, plane, plane + 1, 2**62)))
    indices = Indices(pooled, draw(st.integers(0, 99)), least, past, draw(GOOD_LAYOUTS))
    return Call("max_pool2d_backward", arrays | {"indices": indices, "input_shape": shape})


class Indices(NamedTuple):
    shape: tuple
    seed: int
    least: int
    past: int
    layout: str

    def make(self):
        array = np.random.default_rng(self.seed).integers(
            min(self.least, self.past - 1), self.past, self.shape
        )
        return LAYOUTS[self.layout](array)


def dense(draw, function):
    leading = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    sizes = draw(st.integers(0, 40)), draw(st.integers(0, 40))
    if function.startswith("relu"):
        names = ("input",) if function == "relu" else ("grad_output", "output")
        return Call(function, arrays_of(draw, **dict.fromkeys(names, (*leading, sizes[0]))))
    input, weight, output = (*leading, sizes[1]), sizes, (*leading, sizes[0])
    if function == "linear":
        bias = sizes[:1] if draw(st.booleans()) else None
        return Call(function, arrays_of(draw, input=input, weight=weight, bias=bias))
    arrays = arrays_of(draw, grad_output=output, input=input, weight=weight)
    return Call(function, arrays | {"needs_input_grad": draw(st.booleans())})


def convolve(draw):
    ndim = draw(st.integers(1, 2))
    f, g = (tuple(draw(st.integers(1, 12)) for _ in range(ndim)) for _ in range(2))
    return Call(
        "convolve", arrays_of(draw, f=f, g=g) | {"mode": draw(st.sampled_from(("full", "same", "valid")))}
    )


def output_size(draw):
    kernel, stride, padding, dilation = window(draw)
    rest = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return Call("output_size", {"input_size": pair(draw, 1, 30), **rest, "ceil_mode": draw(st.booleans())})


GENERATORS = {
    "conv2d": conv2d,
    "conv2d_backward": lambda draw: conv2d(draw, backward=True),
    "conv_transpose2d": conv_transpose2d,
    "conv_transpose2d_backward": lambda draw: conv_transpose2d(draw, backward=True),
    "im2col": columns,
    "col2im": lambda draw: columns(draw, adjoint=True),
    "max_pool2d": lambda draw: pooling(draw, "max_pool2d"),
    "max_pool2d_backward": max_pool2d_backward,
    "avg_pool2d": lambda draw: pooling(draw, "avg_pool2d"),
    "avg_pool2d_backward": lambda draw: pooling(draw, "avg_pool2d_backward"),
    "linear": lambda draw: dense(draw, "linear"),
    "linear_backward": lambda draw: dense(draw, "linear_backward"),
    "relu": lambda draw: dense(draw, "relu"),
    "relu_backward": lambda draw: dense(draw, "relu_backward"),
    "convolve": convolve,
    "output_size": output_size,
}
OUTS = st.one_of(
    st.none(),
    st.none(),
    st.builds(Out, st.sampled_from([*LAYOUTS])),
    st.builds(Out, st.just("over-input"), st.integers(-9, 9)),
    st.builds(Out, st.sampled_from([*BAD_ARRAYS])),
)


@st.composite
def calls(draw, function):
    """A call of `function`: half of them as they should be, else with one argument or two spoilt."""
    call = GENERATORS[function](draw)
    spoilt = draw(st.sampled_from((0, 0, 1, 1, 1, 2)))
    arguments = dict(call.arguments)
    for name in draw(st.lists(st.sampled_from(list(arguments)), min_size=spoilt, max_size=spoilt)):
        if isinstance(arguments[name], Array | Indices):
            arguments[name] = Bad(arguments[name], draw(st.sampled_from([*BAD_ARRAYS])))
        elif name == "input_shape" and draw(st.booleans()):
            place = draw(st.integers(0, len(call.arguments[name]) - 1))
            number = draw(st.sampled_from((*NUMBERS, *ODD)))
            shape = call.arguments[name]
            arguments[name] = (*shape[:place], number, *shape[place + 1 :])
        else:
            arguments[name] = draw(bad_numbers)
    return call._replace(arguments=arguments)
