"""Calls of every public function with arguments good and bad, made up by hypothesis: each level against NumPy.

    python tests/fuzz.py --calls 100000 --seed 1 [--level v3] [--function conv2d]

Shapes, strides, dtypes, byte orders, subclasses, object arrays, values with NaN and infinity; negative, zero and
huge numbers; things of the wrong kind; `out` of any kind and over the memory of an input. Each call must give
the NumPy backend's answer or its TypeError or ValueError, word for word, and write nothing but `out`.
MemoryError is allowed where arrays of the sizes asked for can't be had. The tests run some hundred calls.
"""

import argparse
import collections
import faulthandler
import math
import sys
import time
from typing import NamedTuple

import hypothesis
import numpy as np
from helpers import LEVELS, Subclass, as_tuple, misaligned, read_only, strided, using
from hypothesis import strategies as st

from cyconv import functional as F

try:
    import resource
except ImportError:  # Windows
    resource = None

MEMORY = 3 * 2**30  # bytes above which an array "can't be had", so that huge sizes fail at once


# ---------------------------------------------------------------- what is passed


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
    plain = draw(st.booleans())  # stride and dilation 1: Winograd, and shifted columns
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


# ---------------------------------------------------------------- what must come of it


class Outcome(NamedTuple):
    result: tuple | None
    error: str = ""
    kind: type | None = None


def outcome(function, arguments):
    """Results, or the error; errors of other kinds than those that are allowed are a failure."""
    try:
        return Outcome(as_tuple(getattr(F, function)(**arguments)))
    except (TypeError, ValueError, MemoryError) as error:
        assert type(error) in (TypeError, ValueError) or isinstance(error, MemoryError), type(error)
        text = str(error)
        assert (
            isinstance(error, MemoryError)
            or text.startswith(f"{function}:")
            or "missing" in text
            or (function == "convolve" and text.startswith("conv2d:"))
        ), text
        return Outcome(None, text, MemoryError if isinstance(error, MemoryError) else type(error))


def made(call):
    """The arguments as they are passed, newly made."""
    return {k: v.make() if isinstance(v, Array | Bad | Indices) else v for k, v in call.arguments.items()}


def make_out(out, arguments, expected):
    """`out` as the call asks for it; and whether it must be accepted. May replace the input of `arguments`."""
    if out.kind == "over-input":
        input = arguments["input"]
        size = max(input.size, expected.size) + abs(out.offset)
        buffer = np.zeros(size, expected.dtype)
        given = buffer[max(0, out.offset) :][: input.size].reshape(input.shape)
        given[...] = input
        arguments["input"] = given
        return buffer[max(0, -out.offset) :][: expected.size].reshape(expected.shape)
    return {**LAYOUTS, **BAD_ARRAYS}[out.kind](np.zeros_like(expected))


def check(call, levels):
    """Compare the compiled call at each level with NumPy's; returns what came of it, for the counts."""
    with using("numpy"), np.errstate(all="ignore"):
        expected = outcome(call.function, made(call))
    with_out = call.out is not None and expected.result is not None
    expected_out = expected
    if with_out:
        with using("numpy"), np.errstate(all="ignore"):
            again = made(call)
            expected_out = outcome(
                call.function, again | {"out": make_out(call.out, again, expected.result[0])}
            )
    came = {check_level(call, level, expected, expected_out, with_out) for level in levels}
    return "MemoryError" if "MemoryError" in came else came.pop()


def check_level(call, level, expected, expected_out, with_out):
    """The compiled call, with `out` where the NumPy one had it; raises AssertionError where they differ."""
    arguments = made(call)
    copies = {k: v.copy() for k, v in arguments.items() if isinstance(v, np.ndarray)}
    if with_out:
        arguments["out"] = make_out(call.out, arguments, expected.result[0])
    with using(level), np.errstate(all="ignore"):
        found = outcome(call.function, arguments)
    if MemoryError in (found.kind, expected_out.kind):
        return "MemoryError"  # of one or both: they need different amounts
    assert (found.kind, found.error) == (expected_out.kind, expected_out.error), level
    for name, copy in copies.items():
        if "out" not in arguments or name != "input" or call.out.kind != "over-input":
            assert arguments[name].tobytes() == copy.tobytes(), f"{name} was written"
    if found.result is None:
        return found.kind.__name__
    if arguments.get("out") is not None:
        assert found.result[0] is arguments["out"]
    for result, other in zip(found.result, expected.result, strict=True):
        assert_close(call, result, other)
    return "answer"


def assert_close(call, result, expected):
    if not isinstance(expected, np.ndarray):
        assert result == expected and type(result) is type(expected)
        return
    assert isinstance(result, np.ndarray) and result.shape == expected.shape
    assert result.dtype.type is expected.dtype.type
    if result.dtype.kind == "i" or not any(name in call.function for name in ("pool", "conv")):
        np.testing.assert_array_equal(result, expected)
        return
    # whole numbers; only Winograd's filtering and the divisions of average pooling round
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 1.0
    epsilon = float(np.finfo(result.dtype).eps)
    np.testing.assert_allclose(result, expected, rtol=64 * epsilon, atol=256 * epsilon * max(1.0, scale))


def limit_memory():
    """Sizes past MEMORY fail at once, on any machine."""
    if resource is not None and sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def run(function, count, seed, levels):
    """`count` calls of one function; {what came of it: how often}."""
    counts = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(calls(function))
    def fuzz(call):
        counts[check(call, levels)] += 1

    fuzz()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, help="in all, divided over the functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=LEVELS, action="append", help="only these; else all of this CPU")
    parser.add_argument("--function", choices=GENERATORS, action="append", help="only these")
    options = parser.parse_args()
    levels = options.level or LEVELS
    if not levels:
        parser.error("no compiled kernels here")
    faulthandler.enable()
    limit_memory()
    functions = options.function or list(GENERATORS)
    total, start = collections.Counter(), time.perf_counter()
    for function in functions:
        counts = run(function, math.ceil(options.calls / len(functions)), options.seed, levels)
        print(
            f"{function:26} {', '.join(f'{count} {what}' for what, count in counts.most_common())}",
            flush=True,
        )
        total += counts
    print(
        f"{total.total()} calls, {' and '.join(levels)}, seed {options.seed}, {time.perf_counter() - start:.0f} s: "
        + ", ".join(f"{count} {what}" for what, count in total.most_common())
    )


if __name__ == "__main__":
    main()
