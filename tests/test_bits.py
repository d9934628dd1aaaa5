"""The same bits for any number of threads, and from run to run.

Real numbers, whose sums depend on their order: whole numbers would hide a changed order.
"""

import numpy as np
import pytest
from geometries import Geometry
from helpers import LEVELS, as_tuple, cases, dtypes, real, whole

import cyconv
from cyconv import functional as F

# Each large enough for 8 threads, which start at 100,000 multiply-adds each.
GEOMETRIES = {
    "images": Geometry((9, 16, 15, 13), 24, (3, 2), 1, (1, 0)),
    "images-share-tiles": Geometry((40, 16, 6, 7), 24, (3, 3), 1, 1),
    "one-image-rows": Geometry((1, 3, 90, 61), 32, (3, 5), 1, (1, 2)),
    "one-image-channels": Geometry((1, 60, 7, 9), 130, (2, 3)),
    "taps-split": Geometry((2, 71, 12, 16), 5, (7, 3), 1, (3, 1)),
    "strided-dilated": Geometry((3, 8, 50, 41), 24, (2, 3), (2, 1), 1, (1, 2)),
    "groups": Geometry((4, 12, 21, 20), 48, (2, 3), 1, 1, 1, 3),
    "depthwise": Geometry((4, 40, 31, 30), 40, (3, 5), 1, (1, 2), 1, 40),
    "depthwise-13": Geometry((4, 40, 31, 30), 40, (13, 9), 1, (6, 4), 1, 40),
    "whole-image": Geometry((90, 40, 5, 4), 200, (5, 4)),
    "dilation-in-padding": Geometry((2, 70, 45, 44), 80, 3, 1, 16, 16),
    "small-planes": Geometry((9, 150, 8, 7), 150, (3, 5), 1, (1, 2), 1, 150),
    "1x1": Geometry((2, 64, 21, 20), 70, 1),
}


def leave_nan(dtype):
    """Fill the workspace that calls hand on with NaN, which no later result may show."""
    if cyconv.backend == "cython":
        input, weight = np.full((1, 32, 40, 40), np.nan, dtype), np.full((32, 32, 3, 3), np.nan, dtype)
        for algorithm in ("winograd", "im2col"):
            F.conv2d(input, weight, algorithm=algorithm)


def assert_same_bits(call):
    """`call()` gives the same bytes on 1, 2, 3 and 8 threads, and once more on 8 and 3; whatever came before."""
    cyconv.set_num_threads(1)
    results = as_tuple(call())
    expected = [array.tobytes() for array in results]
    leave_nan(results[0].dtype)
    for threads in (1, 2, 3, 8, 8, 3) if cyconv.backend == "cython" else (1,):  # NumPy has no threads of ours
        cyconv.set_num_threads(threads)
        assert [array.tobytes() for array in as_tuple(call())] == expected, f"{threads} threads"


@cases("geometry", GEOMETRIES)
@dtypes
def test_conv2d(backend, geometry, dtype):
    grad_output, input, weight, bias = geometry.arrays(dtype, real)
    assert_same_bits(lambda: F.conv2d(input, weight, bias, *geometry.arguments))
    assert_same_bits(lambda: F.conv2d_backward(grad_output, input, weight, *geometry.arguments))


@dtypes
def test_conv_transpose2d(backend, dtype):
    input, weight = real((4, 16, 15, 13), dtype), real((16, 12, 3, 2), dtype)
    arguments = ((2, 1), (1, 0), (1, 0))
    assert_same_bits(lambda: F.conv_transpose2d(input, weight, None, *arguments))
    grad_output = real((4, 12, 30, 14), dtype)
    assert_same_bits(lambda: F.conv_transpose2d_backward(grad_output, input, weight, *arguments))


@dtypes
def test_columns(backend, dtype):
    input = real((3, 10, 41, 50), dtype)
    columns = F.im2col(input, (3, 2), (2, 1), (1, 0))
    assert_same_bits(lambda: F.im2col(input, (3, 2), (2, 1), (1, 0)))
    assert_same_bits(lambda: F.col2im(columns, (41, 50), (3, 2), (2, 1), (1, 0)))


@dtypes
def test_pooling(backend, dtype):
    input = real((3, 10, 61, 50), dtype)
    window = ((3, 5), (2, 1), (1, 2))
    output, indices = F.max_pool2d(input, *window, return_indices=True)
    assert_same_bits(lambda: F.max_pool2d(input, *window, return_indices=True))
    assert_same_bits(lambda: F.max_pool2d_backward(output, indices, input.shape))
    assert_same_bits(lambda: F.avg_pool2d(input, *window))
    assert_same_bits(lambda: F.avg_pool2d_backward(output, input.shape, *window))


@dtypes
def test_linear(backend, dtype):
    input, weight, bias = real((1100, 60), dtype), real((530, 60), dtype), real((530,), dtype)
    grad_output = real((1100, 530), dtype)
    assert_same_bits(lambda: F.linear(input, weight, bias))
    assert_same_bits(lambda: F.linear_backward(grad_output, input, weight))


@pytest.mark.skipif(not LEVELS, reason="NumPy has no threads of ours")
def test_a_changed_order_would_be_seen():
    """These arrays are such that another order of summation gives other bits."""
    grad_output, input, weight, _ = GEOMETRIES["images"].arrays(np.float32, real)
    _, forwards, _ = F.conv2d_backward(grad_output, input, weight, *GEOMETRIES["images"].arguments)
    _, backwards, _ = F.conv2d_backward(
        grad_output[::-1], input[::-1], weight, *GEOMETRIES["images"].arguments
    )
    assert forwards.tobytes() != backwards.tobytes()
    grad_output, input, weight, _ = GEOMETRIES["images"].arrays(np.float32, whole)
    results = [
        F.conv2d_backward(grad_output[order], input[order], weight, *GEOMETRIES["images"].arguments)[1]
        for order in (slice(None), slice(None, None, -1))
    ]
    np.testing.assert_array_equal(*results)  # while whole numbers have but one sum
