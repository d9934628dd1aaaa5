"""Every kernel in NumPy: the readable specification, and the backend where nothing is compiled.

The functions have the names and arguments of the compiled kernels. All arrays are C-contiguous and
of one float dtype; outputs are allocated by the caller and only filled here. Work goes in pieces of
a bounded size: some rows of one image, or some whole images.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ._types import Algorithm, Array, Float, Indices, Pair, Plan, Shape
from ._window import Window

# Bytes of columns made at a time: small against any data set, large against NumPy's call overhead.
PIECE_BYTES = 4 * 2**20

c_table = None  # compiled kernels have a capsule here, for callers in C: cyconv.capi
OPENMP = OWN_GEMM = False  # as the compiled kernels say it of themselves


Pieces: TypeAlias = Iterator[tuple[slice, slice]]  # of images and of output rows
Place: TypeAlias = tuple[slice, slice, slice, slice]  # in (N, C, H, W)


def _pieces(N: int, H_out: int, row_bytes: int) -> Pieces:
    """Slices of images and of output rows that cover (N, H_out), each about PIECE_BYTES or one row."""
    rows = max(1, min(H_out, PIECE_BYTES // row_bytes))
    images = max(1, PIECE_BYTES // (row_bytes * H_out)) if rows == H_out else 1
    for n in range(0, N, images):
        for h in range(0, H_out, rows):
            yield slice(n, min(n + images, N)), slice(h, min(h + rows, H_out))


def _column_pieces(grad_output: Array[Float], channels: int, window: Window) -> Pieces:
    """`_pieces` where each output position has `channels` windows in memory."""
    N, _, H_out, W_out = grad_output.shape
    row_bytes = channels * window.kernel_h * window.kernel_w * W_out * grad_output.itemsize
    return _pieces(N, H_out, row_bytes)


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


def _clipped(window: Window, image: Shape, output: Shape) -> Window:
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


def _windows(input: Array[Float], rows: slice, W_out: int, window: Window, fill: float = 0) -> Array[Float]:
    """View of every window of the output `rows`: (N, C, rows, W_out, kernel_h, kernel_w)."""
    N, C, H_in, W_in = input.shape
    size, image, inside = _overlap(rows, W_out, H_in, W_in, window)
    block = _block((N, C, *size), fill, input.dtype)
    block[inside] = input[image]
    views = sliding_window_view(block, window.extent, axis=(2, 3))
    return views[:, :, :: window.stride_h, :: window.stride_w, :: window.dilation_h, :: window.dilation_w]


def _add_windows(windows: Array[Float], rows: slice, window: Window, output: Array[Float]) -> None:
    """The adjoint of `_windows`: add (N, C, rows, W_out, kernel_h, kernel_w) into the images."""
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


def im2col(input: Array[Float], window: Window, columns: Array[Float]) -> None:
    """columns[n, (c, i, j), (y, x)] = the padded image n, channel c, under tap (i, j) of window (y, x)."""
    N, C, _, W_in = input.shape
    H_out, W_out = _rows_columns(columns.shape[2], W_in, window)
    taps = (window.kernel_h, window.kernel_w)
    columns = columns.reshape(N, C, *taps, H_out, W_out)
    for images, rows in _pieces(N, H_out, C * taps[0] * taps[1] * W_out * input.itemsize):
        windows = _windows(input[images], rows, W_out, window)
        columns[images, ..., rows, :] = windows.transpose(0, 1, 4, 5, 2, 3)


def col2im(columns: Array[Float], window: Window, output: Array[Float]) -> None:
    """output = the adjoint of im2col: every column added back to the pixels that it came from."""
    N, C, _, W = output.shape
    H_out, W_out = _rows_columns(columns.shape[2], W, window)
    taps = (window.kernel_h, window.kernel_w)
    columns = columns.reshape(N, C, *taps, H_out, W_out)
    output[...] = 0
    for images, rows in _pieces(N, H_out, C * taps[0] * taps[1] * W_out * columns.itemsize):
        windows = columns[images, ..., rows, :].transpose(0, 1, 4, 5, 2, 3)
        _add_windows(windows, rows, window, output[images])


def _rows_columns(L: int, W: int, window: Window) -> Pair:
    """(H_out, W_out) of L windows over an image W pixels wide."""
    W_out = window.output_size(W, W)[1]
    return L // W_out, W_out


def _columns(input: Array[Float], rows: slice, W_out: int, window: Window, groups: int) -> Array[Float]:
    """im2col of some rows: (groups, C_in/groups*kernel_h*kernel_w, N*rows*W_out)."""
    windows = _windows(input, rows, W_out, window)
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
    for images, rows in _column_pieces(output, input.shape[1], window):
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
    for images, rows in _column_pieces(grad_output, C_in, window):
        piece = grad_output[images, :, rows]
        columns = transposed @ _by_group(piece, groups)
        windows = columns.reshape(C_in, *taps, len(piece), -1, W_out).transpose(3, 0, 4, 5, 1, 2)
        _add_windows(windows, rows, window, grad_input[images])


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
    for images, rows in _column_pieces(grad_output, input.shape[1], window):
        columns = _columns(input[images], rows, W_out, window, groups)
        total += _by_group(grad_output[images, :, rows], groups) @ columns.swapaxes(1, 2)


def max_pool2d_forward(
    input: Array[Float], window: Window, output: Array[Float], indices: Indices | None
) -> None:
    """output = max of each window; indices (or None) = its flat position in the plane.

    The last NaN wins over all, else the first maximum inside the image; -1 where no tap is inside.
    """
    N, C, H_in, W_in = input.shape
    H_out, W_out = output.shape[2:]
    window = _clipped(window, input.shape, output.shape)
    taps = window.kernel_h * window.kernel_w
    for images, rows in _pieces(N, H_out, C * taps * W_out * input.itemsize):
        windows = _windows(input[images], rows, W_out, window, -np.inf)
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
    for n in range(0, N, max(1, PIECE_BYTES // (C * plane * grad_input.itemsize))):
        piece = slice(n, n + max(1, PIECE_BYTES // (C * plane * grad_input.itemsize)))
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
    window = _clipped(window, input.shape, output.shape)
    for images, rows in _pieces(N, H_out, C * window.kernel_h * window.kernel_w * W_out * input.itemsize):
        windows = _windows(input[images], rows, W_out, window)
        output[images, :, rows] = windows.sum(axis=(4, 5)) / divisor[rows]


def avg_pool2d_backward(
    grad_output: Array[Float], window: Window, count_include_pad: bool, grad_input: Array[Float]
) -> None:
    """grad_input = every output's gradient / divisor, added to each pixel of its window."""
    N, C, H_in, W_in = grad_input.shape
    H_out, W_out = grad_output.shape[2:]
    divisor = _divisor(H_in, W_in, H_out, W_out, window, count_include_pad, grad_input.dtype)
    window = _clipped(window, grad_input.shape, grad_output.shape)
    grad_input[...] = 0
    for images, rows in _pieces(N, H_out, C * W_out * grad_input.itemsize):
        share = (grad_output[images, :, rows] / divisor[rows])[..., np.newaxis, np.newaxis]
        windows = np.broadcast_to(share, (*share.shape[:4], window.kernel_h, window.kernel_w))
        _add_windows(windows, rows, window, grad_input[images])


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


def matmul(
    a: Array[Float],
    transpose_a: bool,
    b: Array[Float],
    transpose_b: bool,
    bias: Array[Float] | None,
    relu: bool,
    output: Array[Float],
) -> None:
    """output = op(a) . op(b) + bias (or None) along each row; with `relu` max(0, that)."""
    np.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=output)
    if bias is not None:
        output += bias
    if relu:
        relu_forward(output, output)


def relu_forward(input: Array[Float], output: Array[Float]) -> None:
    """output = max(0, input); NaN stays NaN."""
    np.maximum(input, 0, out=output)


def relu_backward(grad_output: Array[Float], output: Array[Float], grad_input: Array[Float]) -> None:
    """grad_input = 0 where output <= 0, else grad_output."""
    grad_input[...] = np.where(output <= 0, grad_output.dtype.type(0), grad_output)


def dropout(input: Array[Float], seed: int, p: float, output: Array[Float]) -> None:
    """output = input / (1 - p), or input * 0 where the element's 32 bits are below p * 2**32.

    The bits are SplitMix64's (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    2014), two elements from each of its numbers.
    """
    least = min(int(p * 2**32 + 0.5), 2**32 - 1)
    scale = output.dtype.type(1 / (1 - p) if p < 1 else 0)
    piece = PIECE_BYTES // 8
    for start in range(0, input.size, piece):
        stop = min(start + piece, input.size)
        word = np.arange(start // 2 + 1, (stop + 1) // 2 + 1, dtype=np.uint64)
        word = np.uint64(seed) + word * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(31)
        bits = np.stack([word & np.uint64(2**32 - 1), word >> np.uint64(32)], axis=1).reshape(-1)
        np.multiply(
            input[start:stop],
            np.where(bits[: stop - start] >= least, scale, scale.dtype.type(0)),
            out=output[start:stop],
        )


def sum_channels(input: Array[Float], total: Array[Float]) -> None:
    """total[c] = the sum of input over images and positions."""
    # along the plane, then over the batch: NumPy sums a last axis pairwise
    N, C, H, W = input.shape
    total[...] = input.reshape(N, C, H * W).sum(axis=2).sum(axis=0)


def batch_norm_statistics(input: Array[Float], mean: Array[Float], var: Array[Float]) -> None:
    """Mean and (biased) variance of each channel over images and positions."""
    input.mean(axis=(0, 2, 3), out=mean)
    input.var(axis=(0, 2, 3), out=var)


def batch_norm_forward(
    input: Array[Float], mean: Array[Float], scale: Array[Float], bias: Array[Float], output: Array[Float]
) -> None:
    """output = (input - mean) * scale + bias, channel by channel."""
    np.subtract(input, _per_channel(mean), out=output)
    output *= _per_channel(scale)
    output += _per_channel(bias)


def batch_norm_backward(
    grad_output: Array[Float],
    input: Array[Float],
    mean: Array[Float],
    inverse: Array[Float],
    weight: Array[Float],
    grad_input: Array[Float] | None,
    grad_weight: Array[Float],
    grad_bias: Array[Float],
) -> None:
    """Gradients of (input - mean) * inverse * weight + bias, where mean and inverse are those of the input.

    grad_bias = sum of grad_output; grad_weight = sum of grad_output * normalised; and, unless it is None,
    grad_input = inverse * weight * (grad_output - grad_bias/count - normalised * grad_weight/count).
    """
    normalised = (input - _per_channel(mean)) * _per_channel(inverse)
    grad_output.sum(axis=(0, 2, 3), out=grad_bias)
    (grad_output * normalised).sum(axis=(0, 2, 3), out=grad_weight)
    if grad_input is not None:
        count = max(1, input.size // input.shape[1])
        # the mean and the variance depend on the input too: their two shares are taken off
        normalised *= _per_channel(grad_weight / count)
        np.subtract(grad_output, _per_channel(grad_bias / count), out=grad_input)
        grad_input -= normalised
        grad_input *= _per_channel(inverse * weight)


def _per_channel(values: Array[Float]) -> Array[Float]:
    """(C,) -> (C, 1, 1), to broadcast over (N, C, H, W)."""
    return values[:, np.newaxis, np.newaxis]


def softmax_cross_entropy(
    logits: Array[Float], targets: Array[Float] | Indices, losses: Array[Float], grad_logits: Array[Float]
) -> None:
    """losses[n] = -sum over k of t[n, k] * log(softmax(logits[n])[k]); grad_logits = that of their mean.

    targets: t, (N, K), or the classes where t is 1, (N,).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    np.divide(exponentials, total, out=grad_logits)
    if targets.ndim == 1:
        rows = np.arange(len(logits))
        np.subtract(np.log(total[:, 0]), shifted[rows, targets], out=losses)
        grad_logits[rows, targets] -= 1
    else:
        mass = targets.sum(axis=1, keepdims=True)
        # a class of probability 0 adds nothing, even where its log is -inf
        surprise = np.log(total) - shifted
        products = np.multiply(targets, surprise, out=np.zeros_like(logits), where=targets != 0)
        products.sum(axis=1, out=losses)
        grad_logits *= mass
        grad_logits -= targets
    grad_logits /= max(1, len(logits))


def sgd_update(
    param: Array[Float],
    grad: Array[Float],
    velocity: Array[Float] | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """g = grad + weight_decay * param; velocity (or None) = momentum * velocity + g; param -= lr * velocity.

    With nesterov param -= lr * (g + momentum * velocity), without a velocity param -= lr * g.
    """
    g = grad + weight_decay * param if weight_decay else grad
    if velocity is not None:
        velocity *= momentum
        velocity += g
        g = g + momentum * velocity if nesterov else velocity
    param -= lr * g


def adam_update(
    param: Array[Float],
    grad: Array[Float],
    first: Array[Float],
    second: Array[Float],
    beta1: float,
    beta2: float,
    step_size: float,
    root: float,
    eps: float,
    shrink: float,
    weight_decay: float,
) -> None:
    """param *= shrink; g = grad + weight_decay * param; first = beta1 * first + (1 - beta1) * g;
    second = beta2 * second + (1 - beta2) * g^2; param -= step_size * first / (sqrt(second) / root + eps).
    """
    param *= shrink
    g = grad + weight_decay * param if weight_decay else grad
    first *= beta1
    first += (1 - beta1) * g
    second *= beta2
    second += (1 - beta2) * np.square(g)
    param -= step_size * first / (np.sqrt(second) / root + eps)


def conv2d_plan(
    image_shape: Shape,
    output_shape: Shape,
    itemsize: int,
    window: Window,
    groups: int,
    algorithm: Algorithm,
    which: str,
) -> Plan:
    """What one pass of a convolution does: which is "forward", "input" or "weight". Nothing is computed."""
    N, C_in = image_shape[:2]
    C_out, H_out, W_out = output_shape[1:]
    taps = C_in * window.kernel_h * window.kernel_w
    row_bytes = taps * W_out * itemsize
    images, rows = next(_pieces(max(N, 1), H_out, row_bytes))
    held = (images.stop - images.start) * (rows.stop - rows.start)
    pieces = -(-max(N, 1) // images.stop) * -(-H_out // rows.stop)
    m, n, k = C_out // groups, held * W_out, taps // groups
    gemm = {"forward": (m, n, k), "input": (k, n, m), "weight": (m, k, n)}[which]
    return _serial_plan("im2col", gemm, groups * pieces, pieces, held * row_bytes)


def matmul_plan(m: int, n: int, k: int, transpose_a: bool, transpose_b: bool, itemsize: int) -> Plan:
    """The plan of `matmul`: op(a) is (m, k), op(b) (k, n)."""
    return _serial_plan("gemm", (m, n, k), 1)


def _serial_plan(
    algorithm: str,
    gemm: tuple[int, int, int] | None = None,
    products: int = 0,
    tiles: int = 0,
    workspace: int = 0,
) -> Plan:
    """A plan of one task, of which no cost model says anything."""
    return Plan(
        algorithm=algorithm,
        cycles={},
        gemm=gemm,
        products=products,
        tiles=tiles,
        tasks=1,
        threads=1,
        shared=0,
        workspace=workspace,
    )
