"""What several test modules share: every backend in turn, exact arrays, geometries, operators."""

import contextlib
import functools
import inspect
import math
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from cyconv import _backend
from cyconv import functional as F

# ---------------------------------------------------------------- backends

# The levels that this CPU runs; none where only the NumPy backend is asked for, or nothing is compiled.
LEVELS = [] if os.environ.get("CYCONV_BACKEND") == "numpy" else _backend.compiled_levels()
VARIANTS = {"numpy": ("numpy", None), **{level: ("cython", level) for level in LEVELS}}

# What is tested in processes of its own, which take long: NumPy only where it is all that is tested.
COMPILED_OR_NUMPY = LEVELS or ["numpy"]

needs_compiled = pytest.mark.skipif(not LEVELS, reason="no compiled kernels, or CYCONV_BACKEND=numpy")


@contextlib.contextmanager
def using(variant):
    """The backend and level called `variant` inside, what was in use before afterwards."""
    before = _backend.name, _backend.level
    switch_to(VARIANTS[variant])
    try:
        yield
    finally:
        switch_to(before)


_modules = {}


def switch_to(wanted):
    """`_backend.use`, which looks for modules and libraries each time, but once: later the module that it gave."""
    if wanted not in _modules:
        _modules[wanted] = _backend.use(*wanted)
    _backend.kernels = _modules[wanted]
    _backend.name, _backend.level = wanted


def everywhere(call):
    """{variant: tuple of what `call()` returns there}."""
    results = {}
    for variant in VARIANTS:
        with using(variant):
            results[variant] = as_tuple(call())
    return results


def environment_of(variant):
    """The variables that choose a variant."""
    name, level = VARIANTS[variant]
    return {"CYCONV_BACKEND": name, "CYCONV_LEVEL": level or ""}


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def assert_same(result, expected, where=""):
    """Equal shapes, dtypes and values (NaN is NaN), of an array or of each of a tuple."""
    for k, (a, b) in enumerate(zip(as_tuple(result), as_tuple(expected), strict=True)):
        if a is None or b is None:
            assert a is b, where
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), where
        if a.tobytes() != b.tobytes():  # the same bytes are the usual case, and soon compared
            np.testing.assert_array_equal(a, b, err_msg=f"{where}[{k}]")


def assert_agree(call):
    """`call()` gives the same under every compiled level as under NumPy; returns that."""
    results = everywhere(call)
    for variant in results:
        assert_same(results[variant], results["numpy"], variant)
    return results["numpy"]


def run_python(code, *arguments, check=True, **environment):
    """Run `code` in a new Python with the given variables, and no other switch of cyconv: the process."""
    return run_command(["-c", code, *arguments], check, **environment)


def run_command(arguments, check=True, **environment):
    """A new Python with these arguments and variables, and no other switch of cyconv: the process."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CYCONV_", "OMP_", "OPENBLAS_", "MKL_"))
    }
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=100,  # a hang is a failure
    )
    assert not check or process.returncode == 0, process.stdout + process.stderr
    return process


# ---------------------------------------------------------------- arrays

DTYPES = (np.float32, np.float64)
# Whole numbers up to these, so that sums of up to 2**16 products are exact in any order: results are
# compared bit by bit, without a tolerance. In float64 they are too large for float32 to hold.
LARGEST = {np.float32: 4, np.float64: 2**17}


def drawn_once(draw):
    """Copies of the array that `draw` gave for the same arguments a moment ago: to draw takes longer."""
    remembered = functools.lru_cache(maxsize=16)(draw)

    @functools.wraps(draw)
    def copied(shape, dtype=np.float64, seed=0):
        return remembered(tuple(shape), dtype, seed).copy()

    return copied


@drawn_once
def whole(shape, dtype=np.float64, seed=0):
    """Random whole numbers, whose sums of products are exact in any order."""
    largest = LARGEST[dtype]
    return np.random.default_rng((seed, *shape)).integers(-largest, largest + 1, shape).astype(dtype)


@drawn_once
def real(shape, dtype=np.float64, seed=0):
    """Random numbers from the normal distribution."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def spiky(shape, dtype=np.float64, seed=0):
    """-1, 0 and 1, so that windows have ties; NaN, -inf often enough to fill a window, inf."""
    rng = np.random.default_rng((seed, *shape))
    array = rng.integers(-1, 2, shape).astype(dtype)
    place = rng.random(shape)
    array[place < 0.4] = -np.inf
    array[place > 0.9] = np.nan
    array[(place > 0.86) & (place < 0.9)] = np.inf
    return array


def cases(names, table):
    """Parametrise over a dict of named cases."""
    return pytest.mark.parametrize(names, list(table.values()), ids=list(table))


def dtypes(test):
    """Run the test for each dtype in turn: as one test, because pytest's work for a test is that of many calls."""

    @functools.wraps(test)
    def for_each(**arguments):
        for dtype in DTYPES:
            try:
                test(dtype=dtype, **arguments)
            except BaseException as error:
                error.add_note(f"with dtype {dtype.__name__}")
                raise

    signature = inspect.signature(test)  # the fixtures that pytest is to give
    rest = [parameter for name, parameter in signature.parameters.items() if name != "dtype"]
    for_each.__signature__ = signature.replace(parameters=rest)
    return for_each


# Layouts of an array that are not what a kernel takes; each gives an array of equal values.


def strided(array):
    """Every second element of a larger array along every axis, the last one backwards."""
    large = np.zeros([2 * size for size in array.shape], array.dtype)
    view = large[tuple(slice(None, None, 2) for _ in array.shape)][..., ::-1]
    view[...] = array
    return view


def misaligned(array):
    """One byte off its alignment."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = buffer.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


class Subclass(np.ndarray):
    pass


LAYOUTS = {
    "strided": strided,
    "transposed": lambda array: np.asfortranarray(array),
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read-only": read_only,
    "subclass": lambda array: array.view(Subclass),
}


# ---------------------------------------------------------------- convolutions


class Geometry(NamedTuple):
    """One convolution; nothing about it is square."""

    image: tuple  # (N, C_in, H_in, W_in)
    C_out: int
    kernel: int | tuple
    stride: int | tuple = 1
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    groups: int = 1

    @property
    def arguments(self):
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def window(self):
        """The arguments of im2col."""
        return self.kernel, self.stride, self.padding, self.dilation

    def arrays(self, dtype, make=whole):
        """(grad_output, input, weight, bias)"""
        N, C_in, H_in, W_in = self.image
        kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        size = F.output_size((H_in, W_in), *self.window)
        return (
            make((N, self.C_out, *size), dtype, 1),
            make(self.image, dtype, 2),
            make((self.C_out, C_in // self.groups, *kernel), dtype, 3),
            make((self.C_out,), dtype, 4),
        )


GEOMETRIES = {
    "1x1": Geometry((2, 3, 4, 5), 4, 1),
    "1x1-stride": Geometry((2, 3, 7, 5), 4, 1, (3, 2)),
    "1x1-stride-h": Geometry((1, 3, 7, 5), 4, 1, (3, 1)),
    "1x1-stride-w": Geometry((1, 3, 5, 7), 4, 1, (1, 3)),
    "1x1-padding": Geometry((1, 2, 3, 2), 3, 1, 1, (1, 2)),
    "1x1-dilation": Geometry((2, 2, 3, 4), 3, 1, 1, 0, (2, 3)),
    "1x1-groups": Geometry((2, 6, 3, 4), 4, 1, groups=2),
    "tiny": Geometry((1, 1, 1, 1), 1, 1),
    "kernel-2x3": Geometry((2, 3, 6, 7), 4, (2, 3)),
    "kernel-3x2-stride-3x1": Geometry((2, 3, 8, 5), 4, (3, 2), (3, 1), (1, 0)),
    "stride-1x3": Geometry((1, 2, 5, 9), 3, (2, 3), (1, 3), (0, 1)),
    "stride-past-kernel": Geometry((2, 2, 9, 11), 3, (2, 1), (4, 5)),
    "dilation-2x3": Geometry((2, 2, 8, 11), 3, (3, 2), (1, 2), (2, 1), (2, 3)),
    "sides": Geometry((2, 2, 4, 5), 3, (2, 3), (2, 1), ((0, 3), (2, 1))),
    "same": Geometry((2, 2, 5, 6), 3, (2, 3), (2, 3), "same"),
    "valid": Geometry((1, 2, 5, 6), 3, (2, 3), 1, "valid"),
    "groups": Geometry((2, 6, 5, 4), 9, (2, 3), 1, 1, 1, 3),
    "depthwise": Geometry((2, 5, 6, 5), 5, (3, 2), (1, 2), (1, 0), 1, 5),
    "depthwise-twice": Geometry((1, 3, 5, 6), 6, (2, 3), 1, 1, (2, 1), 3),
    "depthwise-stride-2x3": Geometry((2, 3, 11, 14), 3, (2, 4), (2, 3), (1, 2), 1, 3),
    "depthwise-dilation-2x3": Geometry((1, 3, 13, 12), 6, (3, 2), (1, 4), ((5, 0), (0, 6)), (2, 3), 3),
    "depthwise-stride-9x10": Geometry((1, 2, 20, 21), 2, (3, 2), (9, 10), 0, 1, 2),
    "one-channel": Geometry((2, 1, 9, 45), 5, (3, 2), (1, 2), (1, 0)),
    "whole-image": Geometry((3, 2, 4, 6), 5, (4, 6)),
    "kernel-past-image": Geometry((2, 2, 2, 3), 3, (4, 5), 1, (1, 1)),
    "windows-in-padding": Geometry((1, 2, 2, 2), 2, (2, 2), 1, 4),
    "one-row": Geometry((2, 2, 1, 9), 3, (1, 4), (1, 2), (0, 2)),
    "one-column": Geometry((2, 2, 9, 1), 3, (4, 1), (2, 1), (2, 0)),
    "empty-batch": Geometry((0, 4, 5, 6), 6, (2, 3), 1, 1, 1, 2),
}


class Transposed(NamedTuple):
    """One transposed convolution."""

    image: tuple  # (N, C_in, H_in, W_in)
    C_out: int
    kernel: tuple
    stride: int | tuple = 1
    padding: int | tuple = 0
    output_padding: int | tuple = 0
    groups: int = 1
    dilation: int | tuple = 1

    @property
    def arguments(self):
        return self[3:]

    def arrays(self, dtype):
        """(input, weight, bias)"""
        weight = (self.image[1], self.C_out // self.groups, *self.kernel)
        return whole(self.image, dtype, 1), whole(weight, dtype, 2), whole((self.C_out,), dtype, 3)


TRANSPOSED = {
    "plain": Transposed((2, 3, 4, 5), 4, (2, 3)),
    "1x1": Transposed((2, 3, 4, 5), 2, (1, 1)),
    "1x1-shifted": Transposed(
        (1, 3, 4, 5), 2, (1, 1), 1, ((1, 0), (0, 0)), (1, 0), 1, (2, 1)
    ),  # as large as the image
    "stride": Transposed((2, 3, 4, 3), 4, (3, 2), (2, 3)),
    "padding": Transposed((2, 2, 4, 5), 3, (2, 3), (1, 2), ((1, 0), (0, 2))),
    "output-padding": Transposed((2, 2, 3, 4), 3, (2, 3), (3, 2), (1, 0), (2, 1)),
    "output-padding-by-dilation": Transposed((1, 2, 3, 4), 3, (2, 2), 1, 1, (2, 1), 1, (3, 2)),
    "output-padding-uncut": Transposed((2, 2, 3, 3), 2, (1, 1), (3, 4), 0, (2, 3)),
    "dilation": Transposed((2, 2, 4, 3), 3, (3, 2), (1, 2), (2, 1), 0, 1, (2, 3)),
    "groups": Transposed((2, 6, 3, 4), 9, (2, 3), (2, 1), 1, 0, 3),
    "depthwise": Transposed((2, 4, 3, 4), 4, (3, 2), 2, (1, 0), 1, 4),
    "empty-batch": Transposed((0, 2, 3, 4), 3, (2, 3), 2),
}


# ---------------------------------------------------------------- poolings


class Pooling(NamedTuple):
    image: tuple  # (N, C, H_in, W_in)
    kernel: int | tuple
    stride: int | tuple | None = None
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    ceil_mode: bool = False

    @property
    def max_arguments(self):
        return self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode

    @property
    def avg_arguments(self):
        return self.kernel, self.stride, self.padding, self.ceil_mode

    @property
    def multiple(self):
        """A multiple of every divisor of average pooling, so that quotients of its multiples are whole."""
        kernel_h, kernel_w = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        return math.lcm(*range(1, kernel_h + 1)) * math.lcm(*range(1, kernel_w + 1))


POOLINGS = {
    "2": Pooling((2, 3, 6, 8), 2),
    "3-stride-2": Pooling((2, 2, 9, 7), 3, 2),
    "2x3-stride-3x1": Pooling((2, 3, 8, 7), (2, 3), (3, 1), (1, 0)),
    "3x2-stride-1x3": Pooling((1, 2, 7, 8), (3, 2), (1, 3), (0, 1)),
    "sides": Pooling((2, 2, 5, 6), (4, 5), (2, 1), ((2, 0), (1, 2))),
    "same": Pooling((2, 2, 7, 5), (3, 2), 2, "same"),
    "stride-past-kernel": Pooling((2, 2, 9, 11), (2, 1), (4, 5)),
    "whole-image": Pooling((2, 3, 5, 4), (5, 4)),
    "1x1": Pooling((2, 2, 3, 4), 1),
    "tiny": Pooling((1, 1, 1, 1), 1),
    "ceil": Pooling((2, 2, 6, 8), (3, 3), 2, 0, 1, True),
    "ceil-starts-in-padding": Pooling((1, 2, 3, 5), 2, 2, 1, 1, True),
    "ceil-hangs-over-padding": Pooling((2, 2, 7, 6), (3, 4), (3, 5), (1, 2), 1, True),
    "ceil-larger-than-image": Pooling((2, 2, 2, 3), (3, 4), (2, 3), 0, 1, True),
    "empty-batch": Pooling((0, 2, 6, 8), (2, 3), 1, 1),
}
DILATED_POOLINGS = {
    "dilation-2x3": Pooling((2, 2, 8, 11), (3, 2), (1, 2), (2, 1), (2, 3)),
    "dilation-ceil": Pooling((2, 2, 7, 9), (2, 3), (3, 2), 1, (2, 2), True),
    "taps-around-image": Pooling((1, 2, 1, 3), (2, 2), 1, (2, 1), (4, 2)),  # some windows have no pixel
}


# ---------------------------------------------------------------- operators


class Operator(NamedTuple):
    """A call of one function: the shapes of its arrays, how they are passed, how many start with the batch."""

    shapes: list
    call: object
    batched: int = 1


def _max_pool2d_backward(grad_output, input):
    _, indices = F.max_pool2d(input, (2, 3), (2, 1), (1, 0), return_indices=True)
    return F.max_pool2d_backward(grad_output, indices, input.shape)


_CONV = ((2, 1), (1, 0), 1, 2)  # stride, padding, dilation, groups
_TRANSPOSED = ((2, 1), (1, 0), (1, 0), 2)  # stride, padding, output_padding, groups
_POOL = ((2, 3), (2, 1), (1, 0))  # kernel, stride, padding

_IMAGE, _POOLED = (3, 4, 7, 6), (3, 4, 4, 4)
_WEIGHT, _OUTPUT = (6, 2, 2, 3), (3, 6, 4, 4)
_TRANSPOSED_WEIGHT, _TRANSPOSED_OUTPUT = (4, 3, 2, 3), (3, 6, 13, 8)

OPERATORS = {
    "conv2d": Operator([_IMAGE, _WEIGHT, (6,)], lambda x, w, b: F.conv2d(x, w, b, *_CONV)),
    "conv2d_backward": Operator(
        [_OUTPUT, _IMAGE, _WEIGHT], lambda g, x, w: F.conv2d_backward(g, x, w, *_CONV), 2
    ),
    "conv_transpose2d": Operator(
        [_IMAGE, _TRANSPOSED_WEIGHT, (6,)], lambda x, w, b: F.conv_transpose2d(x, w, b, *_TRANSPOSED)
    ),
    "conv_transpose2d_backward": Operator(
        [_TRANSPOSED_OUTPUT, _IMAGE, _TRANSPOSED_WEIGHT],
        lambda g, x, w: F.conv_transpose2d_backward(g, x, w, *_TRANSPOSED),
        2,
    ),
    "im2col": Operator([_IMAGE], lambda x: F.im2col(x, *_POOL)),
    "col2im": Operator([(3, 24, 16)], lambda columns: F.col2im(columns, (7, 6), *_POOL)),
    "max_pool2d": Operator([_IMAGE], lambda x: F.max_pool2d(x, *_POOL, return_indices=True)),
    "max_pool2d_backward": Operator([_POOLED, _IMAGE], _max_pool2d_backward, 2),
    "avg_pool2d": Operator([_IMAGE], lambda x: F.avg_pool2d(x, *_POOL)),
    "avg_pool2d_backward": Operator(
        [_POOLED], lambda g: F.avg_pool2d_backward(g, (*g.shape[:-2], 7, 6), *_POOL)
    ),
    "linear": Operator([(5, 4), (3, 4), (3,)], F.linear),
    "linear_backward": Operator([(5, 3), (5, 4), (3, 4)], F.linear_backward, 2),
    "relu": Operator([_IMAGE], F.relu),
    "relu_backward": Operator([_IMAGE, _IMAGE], F.relu_backward, 2),
    "convolve": Operator([(7, 6), (2, 3)], F.convolve, 0),
}
# avg_pool2d_backward divides: 12 is a multiple of each divisor of a 2x3 window, so that it stays exact
_SCALE = {"avg_pool2d_backward": 12}


def operands(name, dtype):
    """Arrays for the operator `name` whose result is exact in any order of summation."""
    return [
        whole(shape, dtype, seed) * dtype(_SCALE.get(name, 1))
        for seed, shape in enumerate(OPERATORS[name].shapes)
    ]
