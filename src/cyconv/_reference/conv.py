"""Convolution: im2col and its adjoint, the forward pass and both gradients as products of matrices."""

import numpy as np

from .._types import Algorithm, Array, Float, Pair
from .._window import Window
from .elementwise import relu_forward
from .windows import add_windows, column_pieces, pieces, windows_of


def im2col(input: Array[Float], window: Window, columns: Array[Float]) -> None:
    """columns[n, (c, i, j), (y, x)] = the padded image n, channel c, under tap (i, j) of window (y, x)."""
    N, C, _, W_in = input.shape
    H_out, W_out = _rows_columns(columns.shape[2], W_in, window)
    taps = (window.kernel_h, window.kernel_w)
    columns = columns.reshape(N, C, *taps, H_out, W_out)
    for images, rows in pieces(N, H_out, C * taps[0] * taps[1] * W_out * input.itemsize):
        windows = windows_of(input[images], rows, W_out, window)
        columns[images, ..., rows, :] = windows.transpose(0, 1, 4, 5, 2, 3)


def col2im(columns: Array[Float], window: Window, output: Array[Float]) -> None:
    """output = the adjoint of im2col: every column added back to the pixels that it came from."""
    N, C, _, W = output.shape
    H_out, W_out = _rows_columns(columns.shape[2], W, window)
    taps = (window.kernel_h, window.kernel_w)
    columns = columns.reshape(N, C, *taps, H_out, W_out)
    output[...] = 0
    for images, rows in pieces(N, H_out, C * taps[0] * taps[1] * W_out * columns.itemsize):
        windows = columns[images, ..., rows, :].transpose(0, 1, 4, 5, 2, 3)
        add_windows(windows, rows, window, output[images])


def _rows_columns(L: int, W: int, window: Window) -> Pair:
    """(H_out, W_out) of L windows over an image W pixels wide."""
    W_out = window.output_size(W, W)[1]
    return L // W_out, W_out


def _columns(input: Array[Float], rows: slice, W_out: int, window: Window, groups: int) -> Array[Float]:
    """im2col of some rows: (groups, C_in/groups*kernel_h*kernel_w, N*rows*W_out)."""
    windows = windows_of(input, rows, W_out, window)
    N, C_in, R = windows.shape[:3]
    windows = windows.reshape(N, groups, C_in // groups, *windows.shape[2:])
    return windows.transpose(1, 2, 5, 6, 0, 3, 4).reshape(groups, -1, N * R * W_out)


def _by_group(grad_output: Array[Float], groups: int) -> Array[Float]:
    """(N, C_out, rows, W_out) -> (groups, C_out/groups, N*rows*W_out)."""
    N, C_out, R, W_out = grad_output.shape
    return grad_output.swapaxes(0, 1).reshape(groups, C_out // groups, N * R * W_out)


def conv2d_forward(
    input: Array[Float],
    weight: Array[Float],
    bias: Array[Float] | None,
    window: Window,
    groups: int,
    algorithm: Algorithm,
    relu: bool,
    output: Array[Float],
) -> None:
    """output = weight . im2col(input) + bias, one product for each group; with `relu` max(0, that)."""
    _, C_out, _, W_out = output.shape
    weight = weight.reshape(groups, C_out // groups, -1)
    for images, rows in column_pieces(output, input.shape[1], window):
        columns = _columns(input[images], rows, W_out, window, groups)
        product = weight @ columns  # (groups, C_out/groups, N*rows*W_out)
        piece = output[images, :, rows]
        piece[...] = product.reshape(C_out, len(piece), -1, W_out).swapaxes(0, 1)
        if bias is not None:
            piece += bias[:, np.newaxis, np.newaxis]
    if relu:
        relu_forward(output, output)


def conv2d_backward_input(
    grad_output: Array[Float],
    weight: Array[Float],
    window: Window,
    groups: int,
    algorithm: Algorithm,
    grad_input: Array[Float],
) -> None:
    """grad_input = col2im(weight^T . grad_output): overlapping windows add."""
    C_in = grad_input.shape[1]
    C_out, W_out = grad_output.shape[1], grad_output.shape[3]
    transposed = weight.reshape(groups, C_out // groups, -1).swapaxes(1, 2)
    taps = (window.kernel_h, window.kernel_w)
    grad_input[...] = 0
    for images, rows in column_pieces(grad_output, C_in, window):
        piece = grad_output[images, :, rows]
        columns = transposed @ _by_group(piece, groups)
        windows = columns.reshape(C_in, *taps, len(piece), -1, W_out).transpose(3, 0, 4, 5, 1, 2)
        add_windows(windows, rows, window, grad_input[images])


def conv2d_backward_weight(
    grad_output: Array[Float],
    input: Array[Float],
    window: Window,
    groups: int,
    algorithm: Algorithm,
    grad_weight: Array[Float],
) -> None:
    """grad_weight = grad_output . im2col(input)^T, summed over the batch."""
    C_out, W_out = grad_output.shape[1], grad_output.shape[3]
    total = grad_weight.reshape(groups, C_out // groups, -1)
    total[...] = 0
    for images, rows in column_pieces(grad_output, input.shape[1], window):
        columns = _columns(input[images], rows, W_out, window, groups)
        total += _by_group(grad_output[images, :, rows], groups) @ columns.swapaxes(1, 2)
