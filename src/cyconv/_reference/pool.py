"""Max and average pooling, and their gradients."""

import numpy as np
import numpy.typing as npt

from .._types import Array, Float, Indices
from .._window import Window
from .windows import add_windows, at_once, clipped, pieces, windows_of


def max_pool2d_forward(
    input: Array[Float], window: Window, output: Array[Float], indices: Indices | None
) -> None:
    """output = max of each window; indices (or None) = its flat position in the plane.

    The last NaN wins over all, else the first maximum inside the image; -1 where no tap is inside.
    """
    N, C, H_in, W_in = input.shape
    H_out, W_out = output.shape[2:]
    window = clipped(window, input.shape, output.shape)
    taps = window.kernel_h * window.kernel_w
    for images, rows in pieces(N, H_out, C * taps * W_out * input.itemsize):
        windows = windows_of(input[images], rows, W_out, window, -np.inf)
        flat = windows.reshape(*windows.shape[:4], taps)
        output[images, :, rows] = flat.max(axis=-1)
        if indices is not None:
            position = _positions(rows, W_out, H_in, W_in, window)  # (rows, W_out, taps), -1 outside
            tap = _winning_tap(flat, position >= 0)
            indices[images, :, rows] = np.take_along_axis(position[np.newaxis, np.newaxis], tap, -1)[..., 0]


def _positions(rows: slice, W_out: int, H_in: int, W_in: int, window: Window) -> Indices:
    """Flat position in the plane of each tap of each window; -1 outside the image."""
    y = np.arange(rows.start, rows.stop)[:, np.newaxis] * window.stride_h - window.pad_top
    x = np.arange(W_out)[:, np.newaxis] * window.stride_w - window.pad_left
    y = y + np.arange(window.kernel_h) * window.dilation_h  # (rows, kernel_h)
    x = x + np.arange(window.kernel_w) * window.dilation_w  # (W_out, kernel_w)
    y, x = y[:, np.newaxis, :, np.newaxis], x[np.newaxis, :, np.newaxis, :]
    inside = (y >= 0) & (y < H_in) & (x >= 0) & (x < W_in)
    positions: Indices = np.where(inside, y * W_in + x, -1)
    return positions.reshape(rows.stop - rows.start, W_out, -1)


def _winning_tap(flat: Array[Float], inside: npt.NDArray[np.bool_]) -> Indices:
    """Tap of each window's maximum, (N, C, rows, W_out, 1)."""
    # padding is -inf, and the first maximum must be a pixel: among equals prefer taps inside the image
    best = flat.max(axis=-1, keepdims=True)
    first = np.argmax((flat == best) & inside, axis=-1, keepdims=True)
    nan = np.isnan(flat)
    last_nan = flat.shape[-1] - 1 - np.argmax(nan[..., ::-1], axis=-1, keepdims=True)
    tap: Indices = np.where(np.isnan(best), last_nan, first)
    return tap


def max_pool2d_backward(grad_output: Array[Float], indices: Indices, grad_input: Array[Float]) -> int:
    """grad_input[index] += grad_output; returns how many indices lie outside the plane (-1 is legal)."""
    N, C, H_in, W_in = grad_input.shape
    plane = H_in * W_in
    outside = 0
    grad_input[...] = 0
    images = at_once(C * plane * grad_input.itemsize)
    for n in range(0, N, images):
        piece = slice(n, n + images)
        index = indices[piece].reshape(-1, grad_output.shape[2] * grad_output.shape[3])
        legal = (index >= 0) & (index < plane)
        outside += int(np.count_nonzero((index < -1) | (index >= plane)))
        flat = index + np.arange(len(index))[:, np.newaxis] * plane
        target = grad_input[piece].reshape(-1)
        np.add.at(target, flat[legal], grad_output[piece].reshape(index.shape)[legal])
    return outside


def avg_pool2d_forward(
    input: Array[Float], window: Window, count_include_pad: bool, output: Array[Float]
) -> None:
    """output = sum of each window / its number of pixels."""
    N, C, H_in, W_in = input.shape
    H_out, W_out = output.shape[2:]
    divisor = _divisor(H_in, W_in, H_out, W_out, window, count_include_pad, input.dtype)
    window = clipped(window, input.shape, output.shape)
    for images, rows in pieces(N, H_out, C * window.kernel_h * window.kernel_w * W_out * input.itemsize):
        windows = windows_of(input[images], rows, W_out, window)
        output[images, :, rows] = windows.sum(axis=(4, 5)) / divisor[rows]


def avg_pool2d_backward(
    grad_output: Array[Float], window: Window, count_include_pad: bool, grad_input: Array[Float]
) -> None:
    """grad_input = every output's gradient / divisor, added to each pixel of its window."""
    N, C, H_in, W_in = grad_input.shape
    H_out, W_out = grad_output.shape[2:]
    divisor = _divisor(H_in, W_in, H_out, W_out, window, count_include_pad, grad_input.dtype)
    window = clipped(window, grad_input.shape, grad_output.shape)
    grad_input[...] = 0
    for images, rows in pieces(N, H_out, C * W_out * grad_input.itemsize):
        share = (grad_output[images, :, rows] / divisor[rows])[..., np.newaxis, np.newaxis]
        windows = np.broadcast_to(share, (*share.shape[:4], window.kernel_h, window.kernel_w))
        add_windows(windows, rows, window, grad_input[images])


def _divisor(
    H_in: int,
    W_in: int,
    H_out: int,
    W_out: int,
    window: Window,
    count_include_pad: bool,
    dtype: np.dtype[Float],
) -> Array[Float]:
    """(H_out, W_out): pixels of each window, with padding or without, never what hangs over it."""
    counts = []
    for size, count, kernel, stride, before, after in (
        (H_in, H_out, window.kernel_h, window.stride_h, window.pad_top, window.pad_bottom),
        (W_in, W_out, window.kernel_w, window.stride_w, window.pad_left, window.pad_right),
    ):
        start = np.arange(count) * stride - before
        stop = np.minimum(start + kernel, size + after)
        if not count_include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, size)
        counts.append(stop - start)
    return np.outer(*counts).astype(dtype)
