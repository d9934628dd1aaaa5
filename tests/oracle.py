"""Every operation of cyconv.functional as plain loops over pixels: slow, and right at a glance.

Everything is computed in float64, one multiply-add at a time. Arrays are (N, C, H, W).
"""

import itertools
import math

import numpy as np


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def sides(padding):
    """((top, bottom), (left, right)) of any way to write a padding."""
    vertical, horizontal = pair(padding)
    return pair(vertical), pair(horizontal)


def places(size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """First pixel of each place of a window along one axis: slide it until it no longer fits."""
    before, after = padding
    extent = (kernel - 1) * dilation + 1
    starts = []
    start = -before
    while start + extent <= size + after:
        starts.append(start)
        start += stride
    # ceil_mode: one more that hangs over the end, where the place before leaves pixels over (PyTorch's
    # rule), unless it would start beyond the image
    if ceil_mode and start - stride + extent < size + after and start < size:
        starts.append(start)
    return starts


def grid(image_size, kernel, stride, padding, dilation=1, ceil_mode=False):
    """(top, ...) and (left, ...) of all windows over an image."""
    return [
        places(*axis, ceil_mode)
        for axis in zip(image_size, pair(kernel), pair(stride), sides(padding), pair(dilation), strict=True)
    ]


def inside(h, w, H, W):
    return 0 <= h < H and 0 <= w < W


# ---------------------------------------------------------------- convolution


def products(image_shape, weight_shape, tops, lefts, dilation, groups):
    """Indices into (output, image, weight) of every product of a convolution: seven nested loops."""
    N, _, H_in, W_in = image_shape
    C_out, C, kernel_h, kernel_w = weight_shape
    dilation_h, dilation_w = pair(dilation)
    for n in range(N):
        for o in range(C_out):
            for y, top in enumerate(tops):
                for x, left in enumerate(lefts):
                    for c in range(C):
                        for i in range(kernel_h):
                            for j in range(kernel_w):
                                h, w = top + i * dilation_h, left + j * dilation_w
                                channel = o // (C_out // groups) * C + c
                                if inside(h, w, H_in, W_in):
                                    yield (n, o, y, x), (n, channel, h, w), (o, c, i, j)


def conv2d(input, weight, bias, stride=1, padding=0, dilation=1, groups=1):
    tops, lefts = grid(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    output = np.zeros((len(input), len(weight), len(tops), len(lefts)))
    for out, image, tap in products(input.shape, weight.shape, tops, lefts, dilation, groups):
        output[out] += float(input[image]) * float(weight[tap])
    return output + bias.reshape(-1, 1, 1)


def conv2d_backward(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1):
    tops, lefts = grid(input.shape[2:], weight.shape[2:], stride, padding, dilation)
    grad_input, grad_weight = np.zeros(input.shape), np.zeros(weight.shape)
    for out, image, tap in products(input.shape, weight.shape, tops, lefts, dilation, groups):
        grad_input[image] += float(grad_output[out]) * float(weight[tap])
        grad_weight[tap] += float(grad_output[out]) * float(input[image])
    return grad_input, grad_weight, bias_gradient(grad_output)


def bias_gradient(grad_output):
    grad_bias = np.zeros(grad_output.shape[1])
    for index in np.ndindex(grad_output.shape):
        grad_bias[index[1]] += grad_output[index]
    return grad_bias


def conv_transpose2d(input, weight, bias, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Each input pixel adds its multiple of the filter to the output."""
    tops, lefts, shape = transposed_grid(input, weight, stride, padding, output_padding, groups, dilation)
    output = np.zeros(shape)
    for pixel, out, tap in products(shape, weight.shape, tops, lefts, dilation, groups):
        output[out] += float(input[pixel]) * float(weight[tap])
    return output + bias.reshape(-1, 1, 1)


def conv_transpose2d_backward(
    grad_output, input, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    tops, lefts, shape = transposed_grid(input, weight, stride, padding, output_padding, groups, dilation)
    grad_input, grad_weight = np.zeros(input.shape), np.zeros(weight.shape)
    for pixel, out, tap in products(shape, weight.shape, tops, lefts, dilation, groups):
        grad_input[pixel] += float(grad_output[out]) * float(weight[tap])
        grad_weight[tap] += float(grad_output[out]) * float(input[pixel])
    return grad_input, grad_weight, bias_gradient(grad_output)


def transposed_grid(input, weight, stride, padding, output_padding, groups, dilation):
    """Where each input pixel's filter starts in the output, and the output's shape."""
    starts, sizes = [], []
    axes = zip(
        input.shape[2:], weight.shape[2:], pair(stride), sides(padding), pair(output_padding), pair(dilation),
        strict=True,
    )  # fmt: skip
    for size, kernel, step, (before, after), extra, spread in axes:
        starts.append([place * step - before for place in range(size)])
        uncut = (size - 1) * step + (kernel - 1) * spread + 1
        sizes.append(uncut - before - after + extra)
    return *starts, (len(input), weight.shape[1] * groups, *sizes)


def convolve(f, g):
    """The full convolution of two matrices: every product lands where the two indices add up."""
    output = np.zeros([a + b - 1 for a, b in zip(f.shape, g.shape, strict=True)])
    for i, j in itertools.product(np.ndindex(f.shape), np.ndindex(g.shape)):
        output[tuple(a + b for a, b in zip(i, j, strict=True))] += f[i] * g[j]
    return output


# ---------------------------------------------------------------- im2col


def taps(image_shape, kernel, stride, padding, dilation):
    """Indices into (columns, image) of every tap that lies in the image; and the columns' shape."""
    N, C, H_in, W_in = image_shape
    (kernel_h, kernel_w), (dilation_h, dilation_w) = pair(kernel), pair(dilation)
    tops, lefts = grid((H_in, W_in), kernel, stride, padding, dilation)
    found = []
    for n, c, i, j in np.ndindex(N, C, kernel_h, kernel_w):
        row = (c * kernel_h + i) * kernel_w + j
        for y, top in enumerate(tops):
            for x, left in enumerate(lefts):
                h, w = top + i * dilation_h, left + j * dilation_w
                if inside(h, w, H_in, W_in):
                    found.append(((n, row, y * len(lefts) + x), (n, c, h, w)))
    return found, (N, C * kernel_h * kernel_w, len(tops) * len(lefts))


def im2col(input, kernel, stride=1, padding=0, dilation=1):
    found, shape = taps(input.shape, kernel, stride, padding, dilation)
    columns = np.zeros(shape)
    for column, pixel in found:
        columns[column] = input[pixel]
    return columns


def col2im(columns, image_shape, kernel, stride=1, padding=0, dilation=1):
    output = np.zeros(image_shape)
    for column, pixel in taps(image_shape, kernel, stride, padding, dilation)[0]:
        output[pixel] += columns[column]
    return output


# ---------------------------------------------------------------- pooling


def max_pool2d(input, kernel, stride, padding=0, dilation=1, ceil_mode=False):
    """The first maximum wins; a NaN wins over all, the last one over the others; padding never wins."""
    N, C, H_in, W_in = input.shape
    (kernel_h, kernel_w), (dilation_h, dilation_w) = pair(kernel), pair(dilation)
    tops, lefts = grid((H_in, W_in), kernel, stride, padding, dilation, ceil_mode)
    output = np.full((N, C, len(tops), len(lefts)), -np.inf)
    indices = np.full(output.shape, -1)
    for n, c, y, x in np.ndindex(output.shape):
        for i in range(kernel_h):
            for j in range(kernel_w):
                h, w = tops[y] + i * dilation_h, lefts[x] + j * dilation_w
                if not inside(h, w, H_in, W_in):
                    continue
                value = input[n, c, h, w]
                first = indices[n, c, y, x] == -1
                if first or value > output[n, c, y, x] or math.isnan(value):
                    output[n, c, y, x] = value
                    indices[n, c, y, x] = h * W_in + w
    return output, indices


def max_pool2d_backward(grad_output, indices, input_shape):
    grad_input = np.zeros(input_shape)
    for n, c, y, x in np.ndindex(grad_output.shape):
        h, w = divmod(indices[n, c, y, x], input_shape[3])
        if indices[n, c, y, x] >= 0:
            grad_input[n, c, h, w] += grad_output[n, c, y, x]
    return grad_input


def averaged(image_size, kernel, stride, padding, ceil_mode, count_include_pad):
    """For each window (y, x): its pixels of the image, and by how many to divide."""
    (H_in, W_in), (kernel_h, kernel_w), ((_, bottom), (_, right)) = image_size, pair(kernel), sides(padding)
    tops, lefts = grid(image_size, kernel, stride, padding, 1, ceil_mode)
    windows = {}
    for y, top in enumerate(tops):
        for x, left in enumerate(lefts):
            all_pixels = list(itertools.product(range(top, top + kernel_h), range(left, left + kernel_w)))
            pixels = [(h, w) for h, w in all_pixels if inside(h, w, H_in, W_in)]
            padded = [(h, w) for h, w in all_pixels if h < H_in + bottom and w < W_in + right]
            windows[y, x] = pixels, len(padded if count_include_pad else pixels)
    return windows, (len(tops), len(lefts))


def avg_pool2d(input, kernel, stride, padding=0, ceil_mode=False, count_include_pad=True):
    windows, size = averaged(input.shape[2:], kernel, stride, padding, ceil_mode, count_include_pad)
    output = np.zeros((*input.shape[:2], *size))
    for n, c, y, x in np.ndindex(output.shape):
        pixels, count = windows[y, x]
        output[n, c, y, x] = sum(float(input[n, c, h, w]) for h, w in pixels) / count
    return output


def avg_pool2d_backward(
    grad_output, input_shape, kernel, stride, padding=0, ceil_mode=False, count_include_pad=True
):
    windows, _ = averaged(input_shape[2:], kernel, stride, padding, ceil_mode, count_include_pad)
    grad_input = np.zeros(input_shape)
    for n, c, y, x in np.ndindex(grad_output.shape):
        pixels, count = windows[y, x]
        for h, w in pixels:
            grad_input[n, c, h, w] += grad_output[n, c, y, x] / count
    return grad_input
