"""How the kernels divide their work, and the windows of a piece: taken from the image, and added back to it."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._types import Array, Float, Pair, Shape
from .._window import Window

# Bytes of columns made at a time: small against any data set, large against NumPy's call overhead.
PIECE_BYTES = 4 * 2**20

Pieces: TypeAlias = Iterator[tuple[slice, slice]]  # of images and of output rows
Place: TypeAlias = tuple[slice, slice, slice, slice]  # in (N, C, H, W)


def at_once(item_bytes: int) -> int:
    """How many items of so many bytes make a piece of about PIECE_BYTES; at least one."""
    return max(1, PIECE_BYTES // item_bytes)


def pieces(N: int, H_out: int, row_bytes: int) -> Pieces:
    """Slices of images and of output rows that cover (N, H_out), each about PIECE_BYTES or one row."""
    rows = min(H_out, at_once(row_bytes))
    images = at_once(row_bytes * H_out) if rows == H_out else 1
    for n in range(0, N, images):
        for h in range(0, H_out, rows):
            yield slice(n, min(n + images, N)), slice(h, min(h + rows, H_out))


def column_pieces(grad_output: Array[Float], channels: int, window: Window) -> Pieces:
    """`pieces` where each output position has `channels` windows in memory."""
    N, _, H_out, W_out = grad_output.shape
    row_bytes = channels * window.kernel_h * window.kernel_w * W_out * grad_output.itemsize
    return pieces(N, H_out, row_bytes)


def _overlap(rows: slice, W_out: int, H_in: int, W_in: int, window: Window) -> tuple[Pair, Place, Place]:
    """What the windows of output `rows` see: (block shape, place in the image, place in the block)."""
    extent_h, extent_w = window.extent
    top = rows.start * window.stride_h - window.pad_top
    left = -window.pad_left
    H = (rows.stop - rows.start - 1) * window.stride_h + extent_h
    W = (W_out - 1) * window.stride_w + extent_w
    h0, h1 = min(max(top, 0), H_in), max(min(top + H, H_in), 0)
    w1 = min(left + W, W_in)
    h1, w1 = max(h0, h1), max(0, w1)
    image = (slice(None), slice(None), slice(h0, h1), slice(0, w1))
    block = (slice(None), slice(None), slice(h0 - top, h1 - top), slice(-left, w1 - left))
    return (H, W), image, block


def clipped(window: Window, image: Shape, output: Shape) -> Window:
    """`window` without the taps that lie outside the image of every output: (..., H, W) both."""
    kernel_h, pad_top = _clipped_axis(
        window.kernel_h, window.stride_h, window.pad_top, window.dilation_h, image[-2], output[-2]
    )
    kernel_w, pad_left = _clipped_axis(
        window.kernel_w, window.stride_w, window.pad_left, window.dilation_w, image[-1], output[-1]
    )
    return window._replace(kernel_h=kernel_h, kernel_w=kernel_w, pad_top=pad_top, pad_left=pad_left)


def _clipped_axis(kernel: int, stride: int, pad: int, dilation: int, size: int, count: int) -> Pair:
    # tap i of output y lies at y * stride + i * dilation - pad
    past = min(kernel, -(-(size + pad) // dilation))
    first = max(0, min(-(-(pad - (count - 1) * stride) // dilation), pad // dilation, past - 1))
    return past - first, pad - first * dilation


def _block(shape: Shape, fill: float, dtype: np.dtype[Float]) -> Array[Float]:
    """Padded images. The kernels' error where there is no room is MemoryError, also past NumPy's own limit."""
    try:
        return np.full(shape, fill, dtype)
    except ValueError as error:
        raise MemoryError(f"cyconv: {error}") from error


def windows_of(input: Array[Float], rows: slice, W_out: int, window: Window, fill: float = 0) -> Array[Float]:
    """View of every window of the output `rows`: (N, C, rows, W_out, kernel_h, kernel_w)."""
    N, C, H_in, W_in = input.shape
    size, image, inside = _overlap(rows, W_out, H_in, W_in, window)
    block = _block((N, C, *size), fill, input.dtype)
    block[inside] = input[image]
    views = sliding_window_view(block, window.extent, axis=(2, 3))
    return views[:, :, :: window.stride_h, :: window.stride_w, :: window.dilation_h, :: window.dilation_w]


def add_windows(windows: Array[Float], rows: slice, window: Window, output: Array[Float]) -> None:
    """The adjoint of `windows_of`: add (N, C, rows, W_out, kernel_h, kernel_w) into the images."""
    N, C, R, W_out = windows.shape[:4]
    H, W = output.shape[2:]
    size, image, inside = _overlap(rows, W_out, H, W, window)
    block = _block((N, C, *size), 0, output.dtype)
    for i in range(window.kernel_h):
        for j in range(window.kernel_w):
            h, w = i * window.dilation_h, j * window.dilation_w
            h_stop, w_stop = h + (R - 1) * window.stride_h + 1, w + (W_out - 1) * window.stride_w + 1
            block[:, :, h : h_stop : window.stride_h, w : w_stop : window.stride_w] += windows[..., i, j]
    output[image] += block[inside]
