"""The C interface, called through ctypes as a compiled module calls it: without the GIL, from any thread."""

import ctypes
import itertools
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from capi_caller import ALGORITHMS, FUNCTIONS, HEADER, SIZES, STATUS, Geometry, Table, geometry
from geometries import DILATED_POOLINGS, GEOMETRIES, POOLINGS
from helpers import LEVELS as COMPILED
from helpers import cases, dtypes, needs_compiled, run_python, using, whole

from cyconv import _backend, _window, capi
from cyconv import functional as F

HUGE = 2**62


@pytest.fixture(params=COMPILED)
def table(request):
    with using(request.param):
        yield Table()


def filled(shape, dtype):
    return np.full(shape, 99, dtype)


def conv_arguments(case):
    window = _window.parse("test", case.image[2:], *case.window)
    return geometry(case.image, window, case.C_out, case.groups)


# ---------------------------------------------------------------- numbers


@cases("case", GEOMETRIES)
@dtypes
@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
def test_conv2d(table, case, dtype, algorithm):
    grad_output, input, weight, bias = case.arrays(dtype)
    g = conv_arguments(case)
    g.algorithm = ALGORITHMS[algorithm]
    arguments = case.arguments
    assert table.output_size(g) == (0, grad_output.shape[2:])
    for b in (bias, None):
        output = filled(grad_output.shape, dtype)
        assert table.call("conv2d_forward", dtype, g, input, weight, b, output) == "CYCONV_OK"
        np.testing.assert_array_equal(output, F.conv2d(input, weight, b, *arguments, algorithm=algorithm))
    expected = F.conv2d_backward(grad_output, input, weight, *arguments, algorithm=algorithm)
    grad_input, grad_weight = filled(input.shape, dtype), filled(weight.shape, dtype)
    assert table.call("conv2d_backward_input", dtype, g, grad_output, weight, grad_input) == "CYCONV_OK"
    assert table.call("conv2d_backward_weight", dtype, g, grad_output, input, grad_weight) == "CYCONV_OK"
    np.testing.assert_array_equal(grad_input, expected[0])
    np.testing.assert_array_equal(grad_weight, expected[1])


@dtypes
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, (2, 3))])
def test_winograd(table, dtype, stride, dilation):
    input, weight = whole((2, 3, 19, 21), dtype), whole((4, 3, 3, 3), dtype)
    window = _window.parse("test", (19, 21), 3, stride, 1, dilation)
    output = filled((2, 4, *window.output_size(19, 21)), dtype)
    g = geometry(input.shape, window, 4, algorithm=ALGORITHMS["winograd"])
    assert table.call("conv2d_forward", dtype, g, input, weight, None, output) == "CYCONV_OK"
    expected, products = (
        F.conv2d(input, weight, None, stride, 1, dilation, algorithm=algorithm) for algorithm in ("winograd", "im2col")
    )
    assert output.tobytes() == expected.tobytes()
    assert (output != products).any()  # it rounds


@cases("case", {**POOLINGS, **DILATED_POOLINGS})
@dtypes
def test_max_pool2d(table, case, dtype):
    input = whole(case.image, dtype)
    window = _window.parse("test", case.image[2:], case.kernel, case.stride or case.kernel, case.padding, case.dilation)
    expected, places = F.max_pool2d(input, *case.max_arguments, return_indices=True)
    g = geometry(case.image, window, ceil_mode=case.ceil_mode)
    assert table.output_size(g) == (0, expected.shape[2:])
    output, indices = filled(expected.shape, dtype), filled(expected.shape, np.int64)
    assert table.call("max_pool2d_forward", dtype, g, input, output, None) == "CYCONV_OK"
    np.testing.assert_array_equal(output, expected)
    output[...] = 99
    assert table.call("max_pool2d_forward", dtype, g, input, output, indices) == "CYCONV_OK"
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(indices, places)
    grad_output, grad_input = whole(expected.shape, dtype, 1), filled(case.image, dtype)
    assert table.call("max_pool2d_backward", dtype, g, grad_output, indices, grad_input) == "CYCONV_OK"
    np.testing.assert_array_equal(grad_input, F.max_pool2d_backward(grad_output, places, case.image))


@cases("case", GEOMETRIES)
@dtypes
def test_columns(table, case, dtype):
    input = whole(case.image, dtype)
    g = conv_arguments(case)
    expected = F.im2col(input, *case.window)
    columns, image = filled(expected.shape, dtype), filled(case.image, dtype)
    assert table.call("im2col", dtype, g, input, columns) == "CYCONV_OK"
    np.testing.assert_array_equal(columns, expected)
    assert table.call("col2im", dtype, g, columns, image) == "CYCONV_OK"
    np.testing.assert_array_equal(image, F.col2im(expected, case.image[2:], *case.window))


# ---------------------------------------------------------------- geometry that must be refused

WINDOW = _window.parse("test", (8, 9), (3, 2), 1, (1, 0), 1)
BAD = {
    "N": ({"N": -1}, "BAD_SIZE"),
    "C_in": ({"C_in": 0}, "BAD_SIZE"),
    "H_in": ({"H_in": -3}, "BAD_SIZE"),
    "W_in": ({"W_in": 0}, "BAD_SIZE"),
    "C_out": ({"C_out": 0}, "BAD_SIZE"),
    **{name: ({name: 0}, "BAD_WINDOW") for name in SIZES if name.startswith(("kernel", "stride", "dilation"))},
    **{name: ({name: -1}, "BAD_WINDOW") for name in SIZES if name.startswith("pad")},
    **{f"{name}-huge": ({name: 2**31}, "BAD_WINDOW") for name in SIZES if "_h" in name and name != "H_in"},
    "groups": ({"groups": 0}, "BAD_GROUPS"),
    "groups-C_in": ({"groups": 3}, "BAD_GROUPS"),
    "groups-C_out": ({"groups": 4}, "BAD_GROUPS"),
    "algorithm": ({"algorithm": 3}, "BAD_ALGORITHM"),
    "algorithm-negative": ({"algorithm": -1}, "BAD_ALGORITHM"),
    "winograd": ({"algorithm": 2}, "BAD_ALGORITHM"),
    "winograd-padding": ({"algorithm": 2, "kernel_w": 3, "pad_bottom": 3}, "BAD_ALGORITHM"),
    "threads": ({"threads": 0}, "BAD_THREADS"),
    "threads-many": ({"threads": 1025}, "BAD_THREADS"),
    "ceil_mode": ({"ceil_mode": 2}, "BAD_CEIL_MODE"),
    "padding-ceil_mode": ({"ceil_mode": 1}, "BAD_CEIL_MODE"),
    "no-fit": ({"kernel_h": 11}, "NO_FIT"),
    "no-fit-dilation": ({"dilation_w": 9}, "NO_FIT"),
    "no-fit-stride": ({"kernel_h": 20, "stride_h": 7}, "NO_FIT"),
    "size": ({"size": 0}, "BAD_STRUCT"),
    "size-garbage": ({"size": HUGE}, "BAD_STRUCT"),
    "size-newer": ({"size": ctypes.sizeof(Geometry) + 8}, "BAD_STRUCT"),
    "input": ({"N": HUGE}, "TOO_LARGE"),
    "input-product": ({"N": 2**31, "C_in": 2**31, "H_in": 4}, "TOO_LARGE"),
    "input-wraps": ({"N": 2**33, "C_in": 2**31}, "TOO_LARGE"),
    "empty-input": ({"N": 0, "H_in": HUGE, "W_in": HUGE}, "TOO_LARGE"),
    "output": ({"N": 2**30, "C_out": 2**32}, "TOO_LARGE"),
    "weight": ({"C_out": HUGE}, "TOO_LARGE"),
    "padding": ({"N": 2**10, "C_out": 2**10, "pad_top": 2**31 - 1, "pad_left": 2**31 - 1}, "TOO_LARGE"),
    "taps": ({"C_in": 2**31}, "TOO_LARGE"),
    "taps-kernel": (
        {"kernel_h": 2**31 - 1, "pad_top": 2**31 - 1, "kernel_w": 2**31 - 1, "pad_left": 2**31 - 1},
        "TOO_LARGE",
    ),
}
# what im2col and pooling ignore, or find another fault with
OF_CONV = ("C_out", "groups", "algorithm", "winograd", "weight", "output", "taps")
NOT_OF_POOLING = (*OF_CONV, "padding")


@cases("changes, status", BAD)
@dtypes
def test_bad_convolution(table, changes, status, dtype):
    """A status before any work: the pointers are never looked at."""
    g = geometry((2, 4, 8, 9), WINDOW, 6)
    for name, value in changes.items():
        setattr(g, name, value)
    x = np.zeros(1, dtype)
    for name, count in (("conv2d_forward", 4), ("conv2d_backward_input", 3), ("conv2d_backward_weight", 3)):
        assert table.call(name, dtype, g, *[x] * count) == f"CYCONV_{status}"
    assert table.message(STATUS.index(f"CYCONV_{status}")).startswith("cyconv: ")


@cases("changes, status", {name: bad for name, bad in BAD.items() if not name.startswith(OF_CONV)})
@dtypes
def test_bad_columns(table, changes, status, dtype):
    g = geometry((2, 4, 8, 9), WINDOW, 6)
    for name, value in changes.items():
        setattr(g, name, value)
    x = np.zeros(1, dtype)
    for name in ("im2col", "col2im"):
        assert table.call(name, dtype, g, x, x) == f"CYCONV_{status}"


@cases("changes, status", {name: bad for name, bad in BAD.items() if not name.startswith(NOT_OF_POOLING)})
@dtypes
def test_bad_pooling(table, changes, status, dtype):
    g = geometry((2, 4, 8, 9), WINDOW, 6)
    for name, value in changes.items():
        setattr(g, name, value)
    x = np.zeros(1, dtype)
    for name in ("max_pool2d_forward", "max_pool2d_backward"):
        assert table.call(name, dtype, g, x, x, x) == f"CYCONV_{status}"


@dtypes
def test_columns_too_large(table, dtype):
    """The image and the output fit, their columns do not."""
    window = _window.parse("test", (2**21, 2**21), 2**20, 1, 2**20, 1)
    x = np.zeros(1, dtype)
    assert table.call("im2col", dtype, geometry((1, 1, 2**21, 2**21), window), x, x) == "CYCONV_TOO_LARGE"
    assert table.call("col2im", dtype, geometry((1, 1, 2**21, 2**21), window), x, x) == "CYCONV_TOO_LARGE"


@dtypes
@pytest.mark.parametrize("side", ["pad_top", "pad_bottom", "pad_left", "pad_right"])
def test_pool_padding(table, dtype, side):
    window = _window.parse("test", (8, 9), 3, 1, 1, 1)._replace(**{side: 2})
    x = np.zeros(1, dtype)
    assert table.call("max_pool2d_forward", dtype, geometry((1, 1, 8, 9), window), x, x, None) == "CYCONV_BAD_PADDING"


@dtypes
def test_null(table, dtype):
    """Every array but bias and the places of maxima; with an empty batch only the weight is read."""
    g, empty = geometry((2, 4, 8, 9), WINDOW, 6), geometry((0, 4, 8, 9), WINDOW, 6)
    x = np.zeros((6, 4, 3, 2), dtype)
    optional = {"conv2d_forward": [2], "max_pool2d_forward": [2]}
    weights = {"conv2d_forward": 1, "conv2d_backward_input": 1, "conv2d_backward_weight": 2}
    counts = dict(zip(FUNCTIONS, (4, 3, 3, 3, 3, 2, 2), strict=True))
    for name, count in counts.items():
        for k in set(range(count)) - set(optional.get(name, ())):
            arrays = [x] * count
            arrays[k] = None
            assert table.call(name, dtype, g, *arrays) == "CYCONV_NULL_POINTER"
        assert table.call(name, dtype, None, *[x] * count) == "CYCONV_NULL_POINTER"
        arrays = [None] * count
        if name in weights:
            assert table.call(name, dtype, empty, *arrays) == "CYCONV_NULL_POINTER"
            arrays[weights[name]] = x
        assert table.call(name, dtype, empty, *arrays) == "CYCONV_OK"


@dtypes
def test_bad_index(table, dtype):
    window = _window.parse("test", (4, 6), 2, 2, 0, 1)
    g, indices = geometry((1, 1, 4, 6), window), np.zeros(6, np.int64)
    grad_output, grad_input = np.ones(6, dtype), np.zeros(24, dtype)
    for index, status in ((23, "OK"), (-1, "OK"), (24, "BAD_INDEX"), (-2, "BAD_INDEX"), (2**62, "BAD_INDEX")):
        indices[3] = index
        assert table.call("max_pool2d_backward", dtype, g, grad_output, indices, grad_input) == f"CYCONV_{status}"


def test_messages(table):
    """A sentence for each status, none of them twice."""
    texts = [table.message(k) for k in range(len(STATUS) - 1)]
    assert len(set(texts)) == len(STATUS) - 1 > 10
    assert all(text.startswith("cyconv: ") for text in texts)
    assert {table.message(k) for k in (-1, len(STATUS) - 1, 10**6)} == {"cyconv: unknown status"}
    assert f'"{texts[STATUS.index("CYCONV_NOT_IMPORTED")]}"' in HEADER


# ---------------------------------------------------------------- threads


@dtypes
@pytest.mark.parametrize("kernel", [3, (3, 4)], ids=["winograd", "im2col"])
def test_threads(table, kernel, dtype):
    """The same bits for any number, and from many threads at once with one each."""
    rng = np.random.default_rng(0)
    input = rng.standard_normal((4, 16, 20, 21)).astype(dtype)
    window = _window.parse("test", (20, 21), kernel, 1, 1, 1)
    weight = rng.standard_normal((24, 16, window.kernel_h, window.kernel_w)).astype(dtype)
    expected = F.conv2d(input, weight, padding=1)
    g = geometry(input.shape, window, 24)
    for g.threads in (1, 2, 3, 8):
        output = filled(expected.shape, dtype)
        assert table.call("conv2d_forward", dtype, g, input, weight, None, output) == "CYCONV_OK"
        assert output.tobytes() == expected.tobytes()

    g.threads = 1
    outputs = [filled(expected.shape, dtype) for _ in range(8)]

    def work(output):
        for _ in range(5):
            output[...] = 99
            table.call("conv2d_forward", dtype, g, input, weight, None, output)

    workers = [threading.Thread(target=work, args=(output,)) for output in outputs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {output.tobytes() for output in outputs} == {expected.tobytes()}


FORKED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from capi_caller import Table, geometry
from cyconv import _backend, _window
x, w, y = np.ones((8, 64, 8, 9), "f"), np.ones((64, 64, 3, 2), "f"), np.zeros((8, 64, 8, 8), "f")
g = geometry(x.shape, _window.parse("test", (8, 9), (3, 2), 1, (1, 0), 1), 64, threads=4)
for level in sys.argv[2:]:
    _backend.use("cython", level)
    table = Table()
    print(table.call("conv2d_forward", "f", g, x, w, None, y), flush=True)
    child = os.fork()
    if child == 0:  # libgomp has no team here: more than one thread would hang
        y[...] = 0
        print(table.call("conv2d_forward", "f", g, x, w, None, y), y[0, 0, 2, 2], flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


@needs_compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_fork():
    """A child stays on one thread, whatever its geometry says."""
    printed = run_python(FORKED, Path(__file__).parent, *COMPILED).stdout.split()
    assert printed == ["CYCONV_OK", "CYCONV_OK", "384.0", "0"] * len(COMPILED)


# ---------------------------------------------------------------- versions


def test_version_is_the_headers():
    assert int(re.search(r"#define CYCONV_ABI (\d+)", HEADER)[1]) == capi.ABI
    assert capi.OLDEST_ABI <= capi.ABI


@needs_compiled
def test_older_struct(table):
    """A caller that knows only the first fields: the others are 0, so the threads are missing here."""
    g = geometry((2, 4, 8, 9), WINDOW, 6)
    g.size = Geometry.threads.offset
    x = np.zeros(1)
    assert table.call("im2col", np.float64, g, x, x) == "CYCONV_BAD_THREADS"


@pytest.mark.parametrize("abi", [capi.OLDEST_ABI - 1, capi.ABI + 1])
def test_other_version(abi):
    with pytest.raises(ImportError) as error:
        capi.table(abi)
    served = f"serves versions {capi.OLDEST_ABI} to {capi.ABI}; "
    remedy = "upgrade cyconv" if abi > capi.ABI else "compile the module again"
    assert f"compiled against version {abi} of cyconv's C interface" in str(error.value)
    assert served + remedy in str(error.value)


def test_not_compiled():
    with using("numpy"), pytest.raises(ImportError, match="the backend in use is numpy; install a binary wheel"):
        capi.table(capi.ABI)


@needs_compiled
def test_level_in_use():
    tables = set()
    for level in COMPILED:
        with using(level):
            assert capi.table(capi.ABI) is _backend.kernels.c_table
            tables.add(id(_backend.kernels.c_table))
    assert len(tables) == len(COMPILED)


def test_declarations_for_cython():
    """capi.pxd has the header's statuses, fields and functions."""
    declared = Path(capi.__file__).with_name("capi.pxd").read_text(encoding="utf-8")
    for name in STATUS:
        assert f'"{name}"' in declared
    for name, real in itertools.product(FUNCTIONS, ("float", "double")):
        assert f"int cyconv_{name}_{real}(" in declared
    for name in (*SIZES, "algorithm", "ceil_mode", "threads"):
        assert re.search(rf"\b{name}\b", declared), name
