"""The NumPy backend against loops over pixels: what the compiled kernels are measured by is right.

Whole numbers make every result exact, so there is no tolerance, except where an average divides.
"""

import numpy as np
import oracle
import pytest
from geometries import DILATED_POOLINGS, GEOMETRIES, POOLINGS, TRANSPOSED, Geometry
from helpers import assert_same, cases, dtypes, eps, real, spiky, using, whole

from cyconv import functional as F


@pytest.fixture(autouse=True)
def numpy_backend():
    with using("numpy"):
        yield


def resolved(geometry):
    """`geometry` with its padding as numbers: "same" by the rule of conventions, from the definition."""
    padding = geometry.padding
    if padding == "valid":
        padding = 0
    if padding == "same":
        sides = []
        for size, kernel, stride, dilation in zip(
            geometry.image[2:],
            *map(oracle.pair, (geometry.kernel, geometry.stride, geometry.dilation)),
            strict=True,
        ):
            outputs = -(-size // stride)
            total = max(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - size)
            sides.append((total // 2, total - total // 2))
        padding = tuple(sides)
    return geometry._replace(padding=padding)


def check(result, expected, dtype):
    assert_same(result, tuple(np.asarray(array, dtype) for array in expected))


@cases("geometry", GEOMETRIES)
@dtypes
def test_conv2d(geometry, dtype):
    _, input, weight, bias = geometry.arrays(dtype)
    expected = oracle.conv2d(input, weight, bias, *resolved(geometry).arguments)
    check(F.conv2d(input, weight, bias, *geometry.arguments), (expected,), dtype)
    check(F.conv2d(input, weight, None, *geometry.arguments), (expected - bias.reshape(-1, 1, 1),), dtype)


@cases("geometry", GEOMETRIES)
@dtypes
def test_conv2d_backward(geometry, dtype):
    grad_output, input, weight, _ = geometry.arrays(dtype)
    expected = oracle.conv2d_backward(grad_output, input, weight, *resolved(geometry).arguments)
    check(F.conv2d_backward(grad_output, input, weight, *geometry.arguments), expected, dtype)
    grad_input, *rest = F.conv2d_backward(
        grad_output, input, weight, *geometry.arguments, needs_input_grad=False
    )
    assert grad_input is None
    check(tuple(rest), expected[1:], dtype)


@cases("case", TRANSPOSED)
@dtypes
def test_conv_transpose2d(case, dtype):
    input, weight, bias = case.arrays(dtype)
    output = F.conv_transpose2d(input, weight, bias, *case.arguments)
    check(output, (oracle.conv_transpose2d(input, weight, bias, *case.arguments),), dtype)
    check(F.conv_transpose2d(input, weight, None, *case.arguments), (output - bias.reshape(-1, 1, 1),), dtype)

    grad_output = whole(output.shape, dtype, 4)
    expected = oracle.conv_transpose2d_backward(grad_output, input, weight, *case.arguments)
    check(F.conv_transpose2d_backward(grad_output, input, weight, *case.arguments), expected, dtype)
    grad_input, *rest = F.conv_transpose2d_backward(
        grad_output, input, weight, *case.arguments, needs_input_grad=False
    )
    assert grad_input is None
    check(tuple(rest), expected[1:], dtype)


@cases("geometry", GEOMETRIES)
@dtypes
def test_im2col(geometry, dtype):
    input, window = geometry.arrays(dtype)[1], resolved(geometry).window
    check(F.im2col(input, *geometry.window), (oracle.im2col(input, *window),), dtype)


@cases("geometry", GEOMETRIES)
@dtypes
def test_col2im(geometry, dtype):
    N, C, H, W = geometry.image
    kernel_h, kernel_w = oracle.pair(geometry.kernel)
    L = np.prod(F.output_size((H, W), *geometry.window))
    columns = whole((N, C * kernel_h * kernel_w, L), dtype)
    expected = oracle.col2im(columns, geometry.image, *resolved(geometry).window)
    check(F.col2im(columns, (H, W), *geometry.window), (expected,), dtype)


def window_arguments(pooling):
    """kernel, stride, padding as numbers: the stride is the kernel where there is none."""
    stride = pooling.kernel if pooling.stride is None else pooling.stride
    whole_window = Geometry(pooling.image, 1, pooling.kernel, stride, pooling.padding, pooling.dilation)
    return pooling.kernel, stride, resolved(whole_window).padding


@cases("pooling", POOLINGS | DILATED_POOLINGS)
@dtypes
@pytest.mark.parametrize("make", [whole, spiky])
def test_max_pool2d(pooling, dtype, make):
    input = make(pooling.image, dtype)
    output, indices = F.max_pool2d(input, *pooling.max_arguments, return_indices=True)
    expected = oracle.max_pool2d(input, *window_arguments(pooling), pooling.dilation, pooling.ceil_mode)
    assert indices.dtype == np.int64
    check(output, expected[:1], dtype)
    np.testing.assert_array_equal(indices, expected[1])
    check(F.max_pool2d(input, *pooling.max_arguments), expected[:1], dtype)

    grad_output = whole(output.shape, dtype)
    expected = oracle.max_pool2d_backward(grad_output, indices, pooling.image)
    check(F.max_pool2d_backward(grad_output, indices, pooling.image), (expected,), dtype)


@cases("pooling", POOLINGS)
@dtypes
@pytest.mark.parametrize("count_include_pad", [True, False], ids=["count-pad", "skip-pad"])
def test_avg_pool2d(pooling, dtype, count_include_pad):
    arguments = (*window_arguments(pooling), pooling.ceil_mode, count_include_pad)
    input = whole(pooling.image, dtype)
    output = F.avg_pool2d(input, *pooling.avg_arguments, count_include_pad)
    # a whole sum and one division, rounded once in dtype, once in the float64 of the oracle and once from it
    expected = oracle.avg_pool2d(input, *arguments).astype(dtype)
    assert (output.shape, output.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(output, expected, rtol=2 * eps(dtype), atol=0)

    grad_output = whole(output.shape, dtype) * dtype(pooling.multiple)
    expected = oracle.avg_pool2d_backward(grad_output, pooling.image, *arguments)
    check(
        F.avg_pool2d_backward(grad_output, pooling.image, *pooling.avg_arguments, count_include_pad),
        (expected,),
        dtype,
    )


@dtypes
def test_avg_pool2d_of_nan_and_infinity(dtype):
    input = spiky((2, 2, 7, 6), dtype)
    expected = oracle.avg_pool2d(input, (2, 3), (2, 1), (1, 0))
    with np.errstate(invalid="ignore"):  # inf - inf
        np.testing.assert_allclose(F.avg_pool2d(input, (2, 3), (2, 1), (1, 0)), expected, rtol=2 * eps(dtype))


@dtypes
def test_linear(dtype):
    input, weight, bias = whole((3, 4), dtype), whole((5, 4), dtype, 1), whole((5,), dtype, 2)
    expected = np.array([[sum(a * b for a, b in zip(x, w, strict=True)) for w in weight] for x in input])
    check(F.linear(input, weight), (expected,), dtype)
    check(F.linear(input, weight, bias), (expected + bias,), dtype)
    check(F.linear(input[0], weight, bias), (expected[0] + bias,), dtype)
    check(F.linear(input.reshape(3, 1, 4), weight, bias), ((expected + bias).reshape(3, 1, 5),), dtype)

    grad_output = whole((3, 5), dtype, 3)
    grad_input, grad_weight = np.zeros(input.shape), np.zeros(weight.shape)
    for n, o, i in np.ndindex(3, 5, 4):
        grad_input[n, i] += grad_output[n, o] * weight[o, i]
        grad_weight[o, i] += grad_output[n, o] * input[n, i]
    expected = (grad_input, grad_weight, sum(grad_output))
    check(F.linear_backward(grad_output, input, weight), expected, dtype)
    wide = grad_output.reshape(3, 1, 5), input.reshape(3, 1, 4)
    check(F.linear_backward(*wide, weight), (grad_input.reshape(3, 1, 4), *expected[1:]), dtype)
    assert F.linear_backward(grad_output, input, weight, needs_input_grad=False)[0] is None


@dtypes
def test_relu(dtype):
    input = np.array([[-1.5, -0.0, 0.0], [2.5, np.nan, np.inf], [-np.inf, 1e-40, -1e-40]], dtype)
    output = F.relu(input)
    check(output, ([[0, 0, 0], [2.5, np.nan, np.inf], [0, dtype(1e-40), 0]],), dtype)
    grad_output = np.array([[1, 2, 3], [4, 5, 6], [7, 8, np.nan]], dtype)
    check(F.relu_backward(grad_output, output), ([[0, 0, 0], [4, 5, 6], [0, 8, 0]],), dtype)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_size(ceil_mode):
    """Every small size against a window that slides until it no longer fits."""
    for size, kernel, stride, dilation, before, after in np.ndindex(9, 4, 4, 3, 3, 3):
        size, kernel, stride, dilation = size + 1, kernel + 1, stride + 1, dilation + 1
        expected = len(oracle.places(size, kernel, stride, (before, after), dilation, ceil_mode))
        arguments = (kernel, stride, ((before, after), (before, after)), dilation, ceil_mode)
        if expected:
            assert F.output_size(size, *arguments) == (expected, expected), (size, arguments)
        else:
            with pytest.raises(ValueError, match="does not fit"):
                F.output_size(size, *arguments)


def test_output_size_is_a_pair_where_an_argument_is():
    assert F.output_size(227, 11, stride=4) == 55
    assert F.output_size(7, 3, padding="same") == 7
    assert F.output_size((5, 7), 3, padding="same") == (5, 7)
    assert F.output_size(7, 3, padding=(1, 0)) == (7, 5)
    assert F.output_size(np.int64(7), 3, padding=[1, 0]) == (7, 5)


@pytest.mark.parametrize("C, C_out", [(70, 3), (3, 70)])
def test_pieces(monkeypatch, C, C_out):
    """The NumPy backend works in pieces: some rows of an image, or some images. Here they are small."""
    geometry = Geometry((3, C, 5, 6), C_out, (2, 3), (1, 2), (1, 0))
    grad_output, input, weight, bias = geometry.arrays(np.float64)
    pooling = ((2, 3), (1, 2), (1, 0))

    def results():
        output, indices = F.max_pool2d(input, *pooling, return_indices=True)
        return (
            F.conv2d(input, weight, bias, *geometry.arguments),
            *F.conv2d_backward(grad_output, input, weight, *geometry.arguments),
            F.im2col(input, *geometry.window),
            F.col2im(F.im2col(input, *geometry.window), (5, 6), *geometry.window),
            output,
            indices,
            F.max_pool2d_backward(output, indices, input.shape),
            F.avg_pool2d(input, *pooling),
            F.avg_pool2d_backward(output * 12, input.shape, *pooling),
        )

    expected = results()
    window_bytes = 8 * C * 6
    for piece_bytes in (1, 2 * 2 * window_bytes, 2 * 12 * window_bytes):  # a row; two rows; two images
        monkeypatch.setattr("cyconv._reference.windows.PIECE_BYTES", piece_bytes)
        assert_same(results(), expected, piece_bytes)


def test_real_numbers_in_float64():
    """Not whole for once: 2*3*3 = 18 products, each order of summation within 18 roundings of the sum of sizes."""
    geometry = Geometry((2, 3, 6, 7), 4, (2, 3))
    _, input, weight, bias = geometry.arrays(np.float64, real)
    expected = oracle.conv2d(input, weight, bias)
    scale = oracle.conv2d(abs(input), abs(weight), abs(bias))
    assert (abs(F.conv2d(input, weight, bias) - expected) <= 2 * 19 * eps(np.float64) * scale).all()
