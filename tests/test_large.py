"""Offsets past 2**31: `pytest -m large tests/test_large.py`, at most 18 GB, seconds to a minute each.

Images are zeros, whose pages the system makes only where they are written, with a few pixels set; so the
results are known, and results alone take memory. Of the other backend, whose offsets are NumPy's, pooling alone.
"""

import numpy as np
import pytest
from helpers import LEVELS, using

from cyconv import functional as F

pytestmark = pytest.mark.large
SIDE = 46342  # SIDE**2 > 2**31
PLANE = 8200  # 32 * PLANE**2 > 2**31


@pytest.fixture(params=LEVELS)
def level(request):
    with using(request.param):
        yield request.param


def zeros(*shape):
    return np.zeros(shape, np.float32)


def pixels(array, least=0.01):
    """{place: value} of what is not zero, up to rounding; looks at a piece at a time."""
    flat, found, step = array.reshape(-1), {}, 2**26
    for start in range(0, flat.size, step):
        for place in np.flatnonzero(np.abs(flat[start : start + step]) > least):
            found[tuple(map(int, np.unravel_index(start + place, array.shape)))] = round(
                float(flat[start + place]), 2
            )
    return found


def test_pooling(backend):
    """8 GiB of pixels, made of padding, then pooled away again."""
    pad, size = 23171, 46343
    input, weight = np.full((1, 1, 1, 1), 3, np.float32), np.full((1, 1, 1, 1), 2, np.float32)
    output = F.conv2d(input, weight, np.ones(1, np.float32), padding=pad)
    assert output.shape == (1, 1, size, size)
    assert output.size > 2**31
    assert output[0, 0, pad, pad] == 7
    output[0, 0, pad, pad] = 1
    assert output.min() == output.max() == 1
    output[0, 0, -1, -2] = 5
    pooled, indices = F.max_pool2d(output, 64, ceil_mode=True, return_indices=True)
    assert pooled.shape == (1, 1, 725, 725)
    assert pooled[0, 0, -1, -1] == pooled.sum() - pooled.size + 1 == 5
    assert indices[0, 0, -1, -1] == size * size - 2
    del output
    grad_input = F.max_pool2d_backward(pooled, indices, (1, 1, size, size))
    assert grad_input[0, 0, -1, -2] == 5
    assert np.count_nonzero(grad_input) == pooled.size


def test_average_pooling(level):
    input = zeros(1, 1, SIDE, SIDE)
    input[0, 0, -1, -2], input[0, 0, 0, 1] = 8, 4
    output = F.avg_pool2d(input, 2)
    half = SIDE // 2
    assert pixels(output) == {(0, 0, 0, 0): 1, (0, 0, half - 1, half - 1): 2}
    last = {(0, 0, SIDE - i, SIDE - j): 0.5 for i in (1, 2) for j in (1, 2)}
    first = {(0, 0, i, j): 0.25 for i in (0, 1) for j in (0, 1)}
    assert pixels(F.avg_pool2d_backward(output, input.shape, 2)) == last | first


WEIGHT = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)


@pytest.mark.parametrize("algorithm", ["im2col", "auto"])  # auto: depthwise
def test_one_plane(level, algorithm):
    """One image of 2**31 pixels, forward and back: a pixel becomes its kernel, turned round."""
    input = zeros(1, 1, SIDE, SIDE)
    input[0, 0, -2, -3], input[0, 0, 5, 7] = 1, 2
    output = F.conv2d(input, WEIGHT, padding=1, algorithm=algorithm)
    turned = {
        (0, 0, y + 1 - i, x + 1 - j): value * float(WEIGHT[0, 0, i, j])
        for y, x, value in ((SIDE - 2, SIDE - 3, 1), (5, 7, 2))
        for i in range(3)
        for j in range(3)
    }
    assert pixels(output) == turned
    del output
    gradients = F.conv2d_backward(input, input, WEIGHT, padding=1, algorithm=algorithm)
    assert pixels(gradients[0]) == {
        (0, 0, y + i - 1, x + j - 1): value * float(WEIGHT[0, 0, i, j])
        for y, x, value in ((SIDE - 2, SIDE - 3, 1), (5, 7, 2))
        for i in range(3)
        for j in range(3)
    }
    assert pixels(gradients[1]) == {(0, 0, 1, 1): 5}  # 1*1 + 2*2


@pytest.mark.parametrize("stride, dilation", [(2, 1), (1, 3)])
def test_steps(level, stride, dilation):
    """Winograd's phases of a stride and parts of a dilation, in one plane."""
    input = zeros(1, 1, SIDE, SIDE)
    ends = ((SIDE - 2, SIDE - 3, 1), (5, 7, 2))
    for y, x, value in ends:
        input[0, 0, y, x] = value
    arguments = {"stride": stride, "padding": dilation, "dilation": dilation, "algorithm": "winograd"}
    output = F.conv2d(input, WEIGHT, **arguments)
    reached = {}
    for y, x, value in ends:
        for i, j in np.ndindex(3, 3):
            row, column = y + dilation * (1 - i), x + dilation * (1 - j)  # the window's place, in steps of the stride
            if row % stride == column % stride == 0 and max(row, column) < SIDE:
                reached[0, 0, row // stride, column // stride] = value * float(WEIGHT[0, 0, i, j])
    assert pixels(output) == reached
    output[:] = 0
    place = ((SIDE - 2) // stride, (SIDE - 3) // stride)
    output[0, 0, *place] = 1
    gradients = F.conv2d_backward(output, input, WEIGHT, **arguments, needs_input_grad=False)
    assert pixels(gradients[1]) == {
        (0, 0, i, j): value
        for y, x, value in ends
        for i in range(3)
        for j in range(3)
        if (y, x) == tuple(stride * p + dilation * (t - 1) for p, t in zip(place, (i, j), strict=True))
    }


@pytest.mark.parametrize(
    "kernel, groups, algorithm",
    [(1, 1, "auto"), (3, 1, "im2col"), (3, 1, "winograd"), (1, 16, "auto"), (3, 16, "auto")],
)
def test_many_planes(level, kernel, groups, algorithm):
    """Two images of 16 channels: offsets between planes; 1x1 multiplies the images themselves."""
    input = zeros(2, 16, PLANE, PLANE)
    assert input.size > 2**31
    input[1, 15, -1, -2], input[0, 3, 4, 5] = 3, 5
    weight = zeros(groups, 16 // groups, kernel, kernel)
    weight[..., kernel // 2, kernel // 2] = 1
    output = F.conv2d(input, weight, padding=kernel // 2, groups=groups, algorithm=algorithm)
    channel = (lambda c: c) if groups == 16 else (lambda c: 0)
    ends = {(1, channel(15), PLANE - 1, PLANE - 2): 3, (0, channel(3), 4, 5): 5}
    assert pixels(output) == ends
    rest = {"padding": kernel // 2, "groups": groups, "algorithm": algorithm}
    _, grad_weight, grad_bias = F.conv2d_backward(output, input, weight, **rest, needs_input_grad=False)
    place = (kernel // 2, kernel // 2)
    expected = {(channel(15), 15 % (16 // groups), *place): 9, (channel(3), 3 % (16 // groups), *place): 25}
    assert pixels(grad_weight) == expected
    assert round(float(grad_bias.sum()), 2) == 8
    del input
    grad_input, _, _ = F.conv2d_backward(output, zeros(2, 16, PLANE, PLANE), weight, **rest)
    spread = range(16) if groups == 1 else (None,)
    assert pixels(grad_input) == {
        (n, c if k is None else k, y, x): value
        for (n, c, y, x), value in ((end, ends[end]) for end in ends)
        for k in spread
    }


def test_columns(level):
    size = 15500
    input = zeros(1, size, size)
    input[0, -1, -1], input[0, 0, 0] = 2, 3
    columns = F.im2col(input, 3, padding=1)
    assert columns.size > 2**31
    L, ends = size * size, ((0, 0, 3), (size - 1, size - 1, 2))
    assert pixels(columns) == {
        (3 * i + j, (y + 1 - i) * size + x + 1 - j): value
        for y, x, value in ends
        for i in range(3)
        for j in range(3)
        if 0 <= y + 1 - i < size and 0 <= x + 1 - j < size
    }
    assert columns.shape == (9, L)
    assert pixels(F.col2im(columns, size, 3, padding=1)) == {(0, 0, 0): 12, (0, size - 1, size - 1): 8}


def test_dense(level):
    rows = 2**21 + 1
    input, weight = zeros(rows, 1024), np.arange(1, 3, dtype=np.float32).repeat(1024).reshape(2, 1024)
    input[-1, -1], input[0, 0] = 3, 5
    output = F.linear(input, weight)
    assert pixels(output) == {(0, 0): 5, (0, 1): 10, (rows - 1, 0): 3, (rows - 1, 1): 6}
    grad_input, grad_weight, _ = F.linear_backward(output, input, weight)
    assert pixels(grad_weight) == {(0, 0): 25, (1, 0): 50, (0, 1023): 9, (1, 1023): 18}
    assert set(np.unique(grad_input[[0, -1]], return_counts=False)) == {15, 25}
    assert not grad_input[1:-1].any()
    del grad_input
    assert pixels(F.relu(input)) == {(0, 0): 5, (rows - 1, 1023): 3}
    assert pixels(F.relu_backward(input, input)) == {(0, 0): 5, (rows - 1, 1023): 3}
