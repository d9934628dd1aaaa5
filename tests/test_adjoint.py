"""A gradient is the adjoint of its linear operation: <A x, g> = <x, A^T g>, exactly, for whole numbers.

Whole numbers leave nothing to rounding: both sides are compared as Python ints. A convolution is linear
in its input and in its weight; a pooling once its indices are fixed.
"""

import operator

import numpy as np
import pytest
from geometries import DILATED_POOLINGS, GEOMETRIES, POOLINGS, TRANSPOSED, Geometry
from helpers import cases, dtypes, eps, real, spiky, whole

from cyconv import functional as F

TEAM = {  # large enough for several tiles and threads
    "tiles": Geometry((3, 5, 40, 31), 12, (3, 2), (1, 2), (1, 0)),
    "channels": Geometry((2, 96, 7, 9), 70, (2, 3), 1, 1),
}


def inner(a, b):
    """<a, b> of arrays of whole numbers, in Python's unbounded ints."""
    assert a.shape == b.shape
    factors = []
    for array in (a, b):
        assert (array == np.rint(array)).all() and (abs(array) < 2**63).all()
        factors.append(array.ravel().astype(np.int64).tolist())
    return sum(map(operator.mul, *factors))


@cases("geometry", GEOMETRIES | TEAM)
@dtypes
def test_conv2d(backend, geometry, dtype):
    grad_output, input, weight, bias = geometry.arrays(dtype)
    grad_input, grad_weight, grad_bias = F.conv2d_backward(grad_output, input, weight, *geometry.arguments)
    output = F.conv2d(input, weight, None, *geometry.arguments)
    loss = inner(output, grad_output)
    assert loss == inner(input, grad_input)
    assert loss == inner(weight, grad_weight)
    constant = F.conv2d(input, weight, bias, *geometry.arguments) - output
    assert inner(constant, grad_output) == inner(bias, grad_bias)


@cases("case", TRANSPOSED)
@dtypes
def test_conv_transpose2d(backend, case, dtype):
    input, weight, bias = case.arrays(dtype)
    output = F.conv_transpose2d(input, weight, None, *case.arguments)
    grad_output = whole(output.shape, dtype)
    gradients = F.conv_transpose2d_backward(grad_output, input, weight, *case.arguments)
    loss = inner(output, grad_output)
    assert loss == inner(input, gradients[0])
    assert loss == inner(weight, gradients[1])
    constant = F.conv_transpose2d(input, weight, bias, *case.arguments) - output
    assert inner(constant, grad_output) == inner(bias, gradients[2])


@cases("geometry", GEOMETRIES)
@dtypes
def test_conv_transpose2d_is_the_adjoint_of_conv2d(backend, geometry, dtype):
    """With `output_padding` for the pixels at the end that no window of a strided conv2d reaches."""
    if isinstance(geometry.padding, str):
        geometry = geometry._replace(padding=((0, 1), (1, 0)))
    grad_output, input, weight, _ = geometry.arrays(dtype)
    stride, padding, dilation, groups = geometry.arguments
    shortest = F.conv_transpose2d(grad_output, weight, None, stride, padding, 0, groups, dilation).shape
    rest = input.shape[2] - shortest[2], input.shape[3] - shortest[3]
    image = F.conv_transpose2d(grad_output, weight, None, stride, padding, rest, groups, dilation)
    output = F.conv2d(input, weight, None, *geometry.arguments)
    assert inner(output, grad_output) == inner(input, image)


@cases("geometry", GEOMETRIES | TEAM)
@dtypes
def test_im2col(backend, geometry, dtype):
    input = geometry.arrays(dtype)[1]
    columns = F.im2col(input, *geometry.window)
    grad_columns = whole(columns.shape, dtype)
    image = F.col2im(grad_columns, geometry.image[2:], *geometry.window)
    assert inner(columns, grad_columns) == inner(input, image)


@cases("pooling", POOLINGS | DILATED_POOLINGS)
@dtypes
def test_max_pool2d(backend, pooling, dtype):
    input = whole(pooling.image, dtype)
    output, indices = F.max_pool2d(input, *pooling.max_arguments, return_indices=True)
    grad_output = whole(output.shape, dtype)
    output[indices < 0] = 0  # -inf, of a window with no pixel
    grad_input = F.max_pool2d_backward(grad_output, indices, pooling.image)
    assert inner(output, grad_output) == inner(input, grad_input)


@pytest.mark.parametrize("make", [whole, spiky])
@cases("pooling", POOLINGS)
def test_max_pool2d_indices_lead_to_the_maxima(backend, pooling, make):
    input = make(pooling.image)
    output, indices = F.max_pool2d(input, *pooling.max_arguments, return_indices=True)
    N, C, _, W_in = input.shape
    n, c, _, _ = np.ogrid[:N, :C, :1, :1]
    np.testing.assert_array_equal(input[n, c, indices // W_in, indices % W_in], output)


@cases("pooling", POOLINGS)
@dtypes
@pytest.mark.parametrize("count_include_pad", [True, False], ids=["count-pad", "skip-pad"])
def test_avg_pool2d(backend, pooling, dtype, count_include_pad):
    arguments = (*pooling.avg_arguments, count_include_pad)
    multiple = dtype(pooling.multiple)  # so that quotients are whole too
    input = whole(pooling.image, dtype) * multiple
    output = F.avg_pool2d(input, *arguments)
    grad_output = whole(output.shape, dtype, 1) * multiple
    grad_input = F.avg_pool2d_backward(grad_output, pooling.image, *arguments)
    assert inner(output, grad_output) == inner(input, grad_input)


@dtypes
@pytest.mark.parametrize("shape", [(5,), (3, 5), (0, 5), (2, 3, 5), (1300, 5)])
def test_linear(backend, shape, dtype):
    input, weight, bias = whole(shape, dtype), whole((4, 5), dtype, 1), whole((4,), dtype, 2)
    output = F.linear(input, weight)
    grad_output = whole(output.shape, dtype, 3)
    grad_input, grad_weight, grad_bias = F.linear_backward(grad_output, input, weight)
    loss = inner(output, grad_output)
    assert loss == inner(input, grad_input)
    assert loss == inner(weight, grad_weight)
    assert inner(F.linear(input, weight, bias) - output, grad_output) == inner(bias, grad_bias)


@dtypes
def test_relu(backend, dtype):
    input, grad_output = whole((3, 4, 5), dtype), whole((3, 4, 5), dtype, 1)
    output = F.relu(input)
    assert inner(output, grad_output) == inner(input, F.relu_backward(grad_output, output))


def test_finite_differences_of_a_stack(backend):
    """conv, relu, max pool, transposed conv, average pool, linear: the slope along a random direction."""
    conv, image = Geometry((2, 3, 9, 8), 4, (3, 2), (2, 1), (1, 0)), real((2, 3, 9, 8))
    weights = [real((4, 3, 3, 2), seed=1), real((4, 2, 2, 3), seed=2), real((5, 8), seed=3)]
    biases = [real((4,), seed=4), real((2,), seed=5), real((5,), seed=6)]
    project = real((2, 5), seed=7)  # the loss is <output, project>

    def forward(image, conv_weight, up_weight, fc_weight, conv_bias, up_bias, fc_bias):
        hidden = F.relu(F.conv2d(image, conv_weight, conv_bias, *conv.arguments))
        pooled, indices = F.max_pool2d(hidden, (2, 3), (1, 2), return_indices=True)
        up = F.conv_transpose2d(pooled, up_weight, up_bias, (1, 2))
        mean = F.avg_pool2d(up, (2, 3))
        output = F.linear(mean.reshape(2, -1), fc_weight, fc_bias)
        return (output * project).sum(), (hidden, pooled, indices, up, mean)

    point = [image, *weights, *biases]
    _, (hidden, pooled, indices, up, mean) = forward(*point)
    grad, *fc = F.linear_backward(project, mean.reshape(2, -1), weights[2])
    grad = F.avg_pool2d_backward(grad.reshape(mean.shape), up.shape, (2, 3))
    grad, *transposed = F.conv_transpose2d_backward(grad, pooled, weights[1], (1, 2))
    grad = F.relu_backward(F.max_pool2d_backward(grad, indices, hidden.shape), hidden)
    grad, *first = F.conv2d_backward(grad, image, weights[0], *conv.arguments)
    gradients = [grad, first[0], transposed[0], fc[0], first[1], transposed[1], fc[1]]

    step = 1e-6  # small enough that no maximum and no sign changes: the loss is a cubic on the way
    direction = [real(array.shape, seed=8) for array in point]
    ahead, _ = forward(*(array + step * d for array, d in zip(point, direction, strict=True)))
    behind, _ = forward(*(array - step * d for array, d in zip(point, direction, strict=True)))
    slope = sum((gradient * d).sum() for gradient, d in zip(gradients, direction, strict=True))
    # rounding of the two losses (some hundreds of products) over the step, and step**2 of the cubic
    tolerance = 1000 * eps(np.float64) / step + 1000 * step**2
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, abs=tolerance)
    assert abs(slope) > 1
