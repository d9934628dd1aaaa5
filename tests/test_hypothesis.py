"""Geometries that nobody thought of: oracle, equivalence and adjoint, found by hypothesis.

HYPOTHESIS_PROFILE=search looks at 5000 of them, other ones each time.
"""

import math

import numpy as np
import oracle
from geometries import Geometry, Pooling
from helpers import assert_agree, assert_same, spiky, using, whole
from hypothesis import assume, given
from hypothesis import strategies as st
from test_adjoint import inner

from cyconv import functional as F


def pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def geometries(draw):
    """Convolutions whose window fits at least once."""
    kernel, stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 4)), draw(pairs(1, 3))
    padding = draw(pairs(0, 4)), draw(pairs(0, 4))
    size = [
        draw(st.integers(max(1, (k - 1) * d + 1 - sum(pad)), 12))
        for k, d, pad in zip(kernel, dilation, padding, strict=True)
    ]
    groups = draw(st.integers(1, 3))
    C_in, C_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    image = (draw(st.integers(0, 3)), C_in, *size)
    return Geometry(image, C_out, kernel, stride, padding, dilation, groups)


@st.composite
def poolings(draw, most_dilation=1):
    """Poolings with at most half of the window as padding on each side."""
    kernel, stride, dilation = draw(pairs(1, 4)), draw(pairs(1, 5)), draw(pairs(1, most_dilation))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(pairs(0, extent // 2)) for extent in extents)
    ceil_mode = draw(st.booleans())
    image = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *draw(pairs(1, 12)))
    places = oracle.grid(image[2:], kernel, stride, padding, dilation, ceil_mode)
    assume(all(places))
    return Pooling(image, kernel, stride, padding, dilation, ceil_mode)


dtypes = st.sampled_from([np.float32, np.float64])


@given(geometries(), dtypes)
def test_conv2d(geometry, dtype):
    grad_output, input, weight, bias = geometry.arrays(dtype)
    arguments = geometry.arguments
    (output,) = assert_agree(lambda: F.conv2d(input, weight, bias, *arguments))
    gradients = assert_agree(lambda: F.conv2d_backward(grad_output, input, weight, *arguments))

    loss = inner(output - bias.reshape(-1, 1, 1), grad_output)
    assert loss == inner(input, gradients[0]) == inner(weight, gradients[1])
    if math.prod(output.shape) * weight[0].size < 3000:  # loops are slow
        assert_same(output, oracle.conv2d(input, weight, bias, *arguments).astype(dtype))


@given(geometries(), dtypes, st.data())
def test_conv_transpose2d(geometry, dtype, data):
    _, padding, dilation, groups = geometry.arguments
    stride = geometry.stride
    N, C_in, H_in, W_in = geometry.image
    extra = tuple(
        data.draw(st.integers(0, max(s, d) - 1), label="output_padding")
        for s, d in zip(stride, dilation, strict=True)
    )
    weight = whole((C_in, geometry.C_out // groups, *geometry.kernel), dtype, 1)
    input = whole((N, C_in, H_in, W_in), dtype, 2)
    _, _, shape = oracle.transposed_grid(input, weight, stride, padding, extra, groups, dilation)
    assume(min(shape[2:]) > 0)
    arguments = (stride, padding, extra, groups, dilation)
    (output,) = assert_agree(lambda: F.conv_transpose2d(input, weight, None, *arguments))
    assert output.shape == shape
    grad_output = whole(shape, dtype, 3)
    gradients = assert_agree(lambda: F.conv_transpose2d_backward(grad_output, input, weight, *arguments))
    assert inner(output, grad_output) == inner(input, gradients[0]) == inner(weight, gradients[1])
    if math.prod(input.shape) * weight[0].size < 3000:
        bias = np.zeros(geometry.C_out)
        assert_same(output, oracle.conv_transpose2d(input, weight, bias, *arguments).astype(dtype))


@given(geometries(), dtypes)
def test_columns(geometry, dtype):
    input = geometry.arrays(dtype)[1]
    (columns,) = assert_agree(lambda: F.im2col(input, *geometry.window))
    assert_same(columns, oracle.im2col(input, *geometry.window).astype(dtype))
    gradient = whole(columns.shape, dtype, 1)
    (image,) = assert_agree(lambda: F.col2im(gradient, input.shape[2:], *geometry.window))
    assert inner(columns, gradient) == inner(input, image)


@given(poolings(most_dilation=3), dtypes, st.sampled_from([whole, spiky]))
def test_max_pool2d(pooling, dtype, make):
    input = make(pooling.image, dtype)
    output, indices = assert_agree(lambda: F.max_pool2d(input, *pooling.max_arguments, return_indices=True))
    expected = oracle.max_pool2d(input, *pooling.max_arguments)
    assert_same((output, indices), (expected[0].astype(dtype), expected[1]))
    gradient = whole(output.shape, dtype, 1)
    (grad_input,) = assert_agree(lambda: F.max_pool2d_backward(gradient, indices, input.shape))
    assert_same(grad_input, oracle.max_pool2d_backward(gradient, indices, input.shape).astype(dtype))


@given(poolings(), dtypes, st.booleans())
def test_avg_pool2d(pooling, dtype, count_include_pad):
    multiple = dtype(pooling.multiple)  # so that quotients are whole
    input = whole(pooling.image, dtype) * multiple
    arguments = (*pooling.avg_arguments, count_include_pad)
    (output,) = assert_agree(lambda: F.avg_pool2d(input, *arguments))
    assert_same(output, oracle.avg_pool2d(input, *arguments).astype(dtype))
    gradient = whole(output.shape, dtype, 1) * multiple
    (grad_input,) = assert_agree(lambda: F.avg_pool2d_backward(gradient, input.shape, *arguments))
    assert inner(output, gradient) == inner(input, grad_input)


@given(geometries())
def test_same_padding(geometry):
    """ceil(size / stride) outputs; the sides differ by at most the odd pixel, which is at the end."""
    H_in, W_in = geometry.image[2:]
    kernel, stride, _, dilation = geometry.window
    sizes = F.output_size((H_in, W_in), kernel, stride, "same", dilation)
    assert sizes == (-(-H_in // stride[0]), -(-W_in // stride[1]))
    with using("numpy"):
        _, input, weight, bias = geometry.arrays(np.float64)
        output = F.conv2d(input, weight, bias, stride, "same", dilation, geometry.groups)
        padding = []
        for size, count, k, s, d in zip((H_in, W_in), sizes, kernel, stride, dilation, strict=True):
            total = max(0, (count - 1) * s + d * (k - 1) + 1 - size)
            padding.append((total // 2, total - total // 2))
        explicit = F.conv2d(input, weight, bias, stride, tuple(padding), dilation, geometry.groups)
    assert_same(output, explicit)
