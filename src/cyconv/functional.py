"""Convolution, pooling and their gradients as pure functions: check, allocate, call the kernel.

Arrays are NCHW, float32 or float64, all of one call alike; a single image (C, H, W) gives a result
without the batch axis; an empty batch gives an empty result. Nothing but ``out=`` is written.
Semantics are those of PyTorch's functions of the same names.
"""

import math

import numpy as np

from . import _backend, _checks, _window

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "convolve",
    "im2col",
    "linear",
    "linear_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "output_size",
    "relu",
    "relu_backward",
]

ALGORITHMS = ("auto", "im2col")


def _result(function, shape, like, single, out, inputs):
    """Where the kernel writes, and how what it wrote becomes the caller's result.

    Without `out` the kernel fills a new array. `out` is filled directly where it is C-contiguous,
    native, aligned and shares no memory with an input, else through a copy.
    """
    _checks.allocatable(function, "output", shape, like.dtype)
    public_shape = shape[1:] if single else shape
    if out is None:
        target = np.empty(shape, like.dtype)
        return target, lambda: target[0] if single else target
    _checks.out_array(function, out, public_shape, like.dtype)
    flags = out.flags
    direct = flags.c_contiguous and flags.aligned and out.dtype.isnative
    if direct and not any(np.may_share_memory(out, array) for array in inputs if array is not None):
        return np.asarray(out).reshape(shape), lambda: out
    target = np.empty(shape, like.dtype)

    def copy_out():
        out[...] = target.reshape(public_shape)
        return out

    return target, copy_out


# ---------------------------------------------------------------- convolution


def conv2d(
    input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm="auto", out=None
):
    """Cross-correlate a batch of images with filters.

    ``output[n, o, y, x] = bias[o] + sum over c, i, j of
    input[n, c, y*stride + i*dilation - pad, x*stride + j*dilation - pad] * weight[o, c, i, j]``,
    where pixels outside the image are 0 and c runs over the channels of o's group.

    Parameters
    ----------
    input : ndarray, (N, C_in, H_in, W_in) or (C_in, H_in, W_in)
        float32 or float64.
    weight : ndarray, (C_out, C_in/groups, kernel_h, kernel_w)
    bias : ndarray, (C_out,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
        One number; height and width; ``((top, bottom), (left, right))``; 0; or what gives
        ``ceil(size / stride)`` outputs, the odd pixel at the end (ONNX SAME_UPPER).
    groups : int
        Input and output channels are divided into so many independent convolutions.
    algorithm : {"auto", "im2col"}
        How it is computed; "auto" chooses.
    out : ndarray, optional
        Receives the result: its exact shape and dtype, any strides.

    Returns
    -------
    ndarray, (N, C_out, H_out, W_out) or (C_out, H_out, W_out)
        ``H_out = floor((H_in + pad_top + pad_bottom - dilation*(kernel_h - 1) - 1) / stride) + 1``.

    Raises
    ------
    TypeError
        An argument of the wrong kind, or arrays that are not all float32 or all float64.
    ValueError
        Shapes that do not fit each other, or a window that does not fit the padded image.

    Notes
    -----
    Definition and argument names: ``torch.nn.functional.conv2d``.
    """
    input, weight, bias = _checks.arrays("conv2d", input=input, weight=weight, bias=bias)
    input, single = _checks.images("conv2d", "input", input)
    groups = _checks.integer("conv2d", "groups", groups, 1)
    C_out = _checks.conv_weight("conv2d", input, weight, bias, groups)
    _checks.choice("conv2d", "algorithm", algorithm, ALGORITHMS)
    N, _, H_in, W_in = input.shape
    window = _window.parse("conv2d", (H_in, W_in), weight.shape[2:], stride, padding, dilation)
    H_out, W_out = _checks.output_size("conv2d", window, H_in, W_in)
    output, result = _result("conv2d", (N, C_out, H_out, W_out), input, single, out, (input, weight, bias))
    _backend.kernels.conv2d_forward(input, weight, bias, window, groups, algorithm, output)
    return result()


def conv2d_backward(
    grad_output,
    input,
    weight,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    *,
    needs_input_grad=True,
    algorithm="auto",
):
    """Gradients of `conv2d` with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, (N, C_out, H_out, W_out) or (C_out, H_out, W_out)
        Gradient of the loss with respect to the output.
    input, weight, stride, padding, dilation, groups, algorithm
        As they were passed to `conv2d`.
    needs_input_grad : bool
        False leaves the gradient of the input out (the first layer of a network).

    Returns
    -------
    grad_input : ndarray shaped like `input`, or None
        The adjoint of the convolution: ``col2im(weight^T . grad_output)``.
    grad_weight : ndarray shaped like `weight`
        ``grad_output . im2col(input)^T``, summed over the batch.
    grad_bias : ndarray, (C_out,)
        ``grad_output`` summed over batch and positions.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`; also where `grad_output` does not have the shape of its output.

    Notes
    -----
    Definition: ``torch.ops.aten.convolution_backward``.
    """
    name = "conv2d_backward"
    grad_output, input, weight = _checks.arrays(name, grad_output=grad_output, input=input, weight=weight)
    input, single = _checks.images(name, "input", input)
    groups = _checks.integer(name, "groups", groups, 1)
    needs_input_grad = _checks.flag(name, "needs_input_grad", needs_input_grad)
    C_out = _checks.conv_weight(name, input, weight, None, groups)
    _checks.choice(name, "algorithm", algorithm, ALGORITHMS)
    N, _, H_in, W_in = input.shape
    window = _window.parse(name, (H_in, W_in), weight.shape[2:], stride, padding, dilation)
    H_out, W_out = _checks.output_size(name, window, H_in, W_in)
    grad_output = _like_output(name, grad_output, (N, C_out, H_out, W_out), single)

    grad_input = None
    if needs_input_grad:
        grad_input = np.empty_like(input)
        _backend.kernels.conv2d_backward_input(grad_output, weight, window, groups, algorithm, grad_input)
    grad_weight = np.empty_like(weight)
    _backend.kernels.conv2d_backward_weight(grad_output, input, window, groups, algorithm, grad_weight)
    if single and needs_input_grad:
        grad_input = grad_input[0]
    return grad_input, grad_weight, _sum_channels(grad_output)


def _like_output(function, grad_output, shape, single):
    """`grad_output` as (N, C, H, W), after a check against the forward pass's output shape."""
    _checks.same_shape(
        function, "grad_output", grad_output, shape[1:] if single else shape, "the output of the forward pass"
    )
    return grad_output.reshape(shape)


def _sum_channels(grad_output):
    """(N, C, H, W) -> (C,): the gradient of a bias."""
    N, C, H, W = grad_output.shape
    # pairwise along the plane, then over the batch: NumPy sums a last axis pairwise
    return grad_output.reshape(N, C, H * W).sum(axis=2).sum(axis=0)


def conv_transpose2d(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, out=None
):
    """Transposed convolution: the gradient of `conv2d` with respect to its input, as a layer.

    Each input pixel adds its multiple of the filter to the output at `stride` times its place.

    Parameters
    ----------
    input : ndarray, (N, C_in, H_in, W_in) or (C_in, H_in, W_in)
        float32 or float64.
    weight : ndarray, (C_in, C_out/groups, kernel_h, kernel_w)
    bias : ndarray, (C_out,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int) or ((int, int), (int, int))
        So many pixels are cut from the border of the output.
    output_padding : int or (int, int)
        Rows and columns added at the end; less than stride or dilation.
    groups : int
    out : ndarray, optional
        Receives the result: its exact shape and dtype, any strides.

    Returns
    -------
    ndarray, (N, C_out, H_out, W_out) or (C_out, H_out, W_out)
        ``H_out = (H_in - 1)*stride - pad_top - pad_bottom + dilation*(kernel_h - 1) + output_padding + 1``.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`; also for an `output_padding` that is too large, or an empty output.

    Notes
    -----
    Definition and argument names: ``torch.nn.functional.conv_transpose2d``.
    """
    name = "conv_transpose2d"
    input, weight, bias = _checks.arrays(name, input=input, weight=weight, bias=bias)
    input, single, groups, window, shape = _transposed(
        name, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
    output, result = _result(name, shape, input, single, out, (input, weight, bias))
    _backend.kernels.conv2d_backward_input(input, weight, window, groups, "auto", output)
    if bias is not None:
        output += bias[:, np.newaxis, np.newaxis]
    return result()


def conv_transpose2d_backward(
    grad_output,
    input,
    weight,
    stride=1,
    padding=0,
    output_padding=0,
    groups=1,
    dilation=1,
    *,
    needs_input_grad=True,
):
    """Gradients of `conv_transpose2d` with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, (N, C_out, H_out, W_out) or (C_out, H_out, W_out)
    input, weight, stride, padding, output_padding, groups, dilation
        As they were passed to `conv_transpose2d`.
    needs_input_grad : bool
        False leaves the gradient of the input out.

    Returns
    -------
    grad_input : ndarray shaped like `input`, or None
        ``conv2d(grad_output, weight)``.
    grad_weight : ndarray shaped like `weight`
    grad_bias : ndarray, (C_out,)

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`; also where `grad_output` does not have the shape of its output.
    """
    name = "conv_transpose2d_backward"
    grad_output, input, weight = _checks.arrays(name, grad_output=grad_output, input=input, weight=weight)
    needs_input_grad = _checks.flag(name, "needs_input_grad", needs_input_grad)
    input, single, groups, window, shape = _transposed(
        name, input, weight, None, stride, padding, output_padding, groups, dilation
    )
    grad_output = _like_output(name, grad_output, shape, single)
    grad_input = None
    if needs_input_grad:
        grad_input = np.empty_like(input)
        _backend.kernels.conv2d_forward(grad_output, weight, None, window, groups, "auto", grad_input)
    grad_weight = np.empty_like(weight)
    _backend.kernels.conv2d_backward_weight(input, grad_output, window, groups, "auto", grad_weight)
    if single and needs_input_grad:
        grad_input = grad_input[0]
    return grad_input, grad_weight, _sum_channels(grad_output)


def _transposed(name, input, weight, bias, stride, padding, output_padding, groups, dilation):
    """The checks that a transposed convolution and its gradient share."""
    input, single = _checks.images(name, "input", input)
    groups = _checks.integer(name, "groups", groups, 1)
    C_out = _checks.conv_weight(name, input, weight, bias, groups, transposed=True)
    _checks.transposed_padding(name, padding)
    N, _, H_in, W_in = input.shape
    window = _window.parse(name, (H_in, W_in), weight.shape[2:], stride, padding, dilation)
    output_padding = _checks.pair(name, "output_padding", output_padding, 0)
    H_out, W_out = _checks.transposed_output(name, window, H_in, W_in, output_padding)
    return input, single, groups, window, (N, C_out, H_out, W_out)


def convolve(f, g, mode="full"):
    """The convolution of mathematics: ``(f * g)[x] = sum over t of f[t] * g[x - t]``.

    One of the two is flipped and slid over the other; `conv2d`, like every deep-learning library,
    does not flip (it cross-correlates).

    Parameters
    ----------
    f, g : ndarray, both (n,) or both (rows, columns)
        float32 or float64.
    mode : {"full", "same", "valid"}
        Every place of overlap; the central part; or only complete overlap.

    Returns
    -------
    ndarray
        In one dimension that of `numpy.convolve` ("same" has the length of the longer), in two that
        of `scipy.signal.convolve2d` ("same" has the shape of `f`).

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dtypes or mode; empty arrays; "valid" where neither holds the other.
    """
    f, g = _checks.arrays("convolve", f=f, g=g)
    _checks.choice("convolve", "mode", mode, ("full", "same", "valid"))
    _checks.convolve_operands(f, g, mode)
    if (f.ndim == 1 or mode == "valid") and f.size < g.size:
        f, g = g, f  # the convolution commutes; the longer one is what "same" and "valid" refer to
    kernel = g[(slice(None, None, -1),) * g.ndim]
    pads = []
    for size in (1, *g.shape)[-2:]:
        before = {"full": size - 1, "same": size // 2, "valid": 0}[mode]
        after = {"full": size - 1, "same": (size - 1) // 2, "valid": 0}[mode]
        pads.append((before, after))
    image = f.reshape((1, 1, *f.shape)[-3:])
    weight = kernel.reshape((1, 1, 1, *g.shape)[-4:])
    output = conv2d(image, weight, padding=tuple(pads))[0]
    return output[0] if f.ndim == 1 else output


def output_size(input_size, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False):
    """Size of the output of a convolution or pooling: how many places the window fits.

    ``floor((size + pad_before + pad_after - dilation*(kernel - 1) - 1) / stride) + 1`` per axis;
    with `ceil_mode` ``ceil`` for ``floor``, less one where the last window would start at or beyond
    ``size + pad_before``.

    Parameters
    ----------
    input_size, kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
    ceil_mode : bool

    Returns
    -------
    int or (int, int)
        An int where no argument is a pair.

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or values, or a window that does not fit even once.

    Examples
    --------
    >>> output_size(227, 11, stride=4)
    55
    >>> output_size((5, 7), 3, padding="same")
    (5, 7)
    """
    H_in, W_in = _checks.pair("output_size", "input_size", input_size, 1)
    window = _window.parse("output_size", (H_in, W_in), kernel_size, stride, padding, dilation)
    ceil_mode = _checks.flag("output_size", "ceil_mode", ceil_mode)
    H_out, W_out = _checks.output_size("output_size", window, H_in, W_in, ceil_mode)
    arguments = (input_size, kernel_size, stride, padding, dilation)
    return (H_out, W_out) if any(isinstance(a, (tuple, list)) for a in arguments) else H_out


# ---------------------------------------------------------------- im2col


def im2col(input, kernel_size, stride=1, padding=0, dilation=1):
    """Stretch each window of the images into a column.

    Parameters
    ----------
    input : ndarray, (N, C, H_in, W_in) or (C, H_in, W_in)
        float32 or float64.
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"

    Returns
    -------
    ndarray, (N, C*kernel_h*kernel_w, H_out*W_out) or (C*kernel_h*kernel_w, H_out*W_out)
        Rows in the order (C, kernel_h, kernel_w), columns (H_out, W_out), as
        ``torch.nn.functional.unfold``.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    Notes
    -----
    kernel_h*kernel_w times the memory of `input` at stride 1: `conv2d` never makes this array.
    """
    (input,) = _checks.arrays("im2col", input=input)
    input, single = _checks.images("im2col", "input", input)
    N, C, H_in, W_in = input.shape
    window = _window.parse("im2col", (H_in, W_in), kernel_size, stride, padding, dilation)
    H_out, W_out = _checks.output_size("im2col", window, H_in, W_in)
    shape = (N, C * window.kernel_h * window.kernel_w, H_out * W_out)
    _checks.allocatable("im2col", "columns", shape, input.dtype)
    columns = np.empty(shape, input.dtype)
    _backend.kernels.im2col(input, window, columns)
    return columns[0] if single else columns


def col2im(columns, output_size, kernel_size, stride=1, padding=0, dilation=1):
    """Add columns back into images: the adjoint of `im2col`, so overlapping windows add.

    Parameters
    ----------
    columns : ndarray, (N, C*kernel_h*kernel_w, L) or (C*kernel_h*kernel_w, L)
        float32 or float64, L = H_out*W_out of the window over `output_size`.
    output_size : int or (int, int)
        Height and width of the images.
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"

    Returns
    -------
    ndarray, (N, C, H, W) or (C, H, W)
        As ``torch.nn.functional.fold``.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`; also where `columns` does not have the shape that `im2col` would give.
    """
    (columns,) = _checks.arrays("col2im", columns=columns)
    H, W = _checks.pair("col2im", "output_size", output_size, 1)
    window = _window.parse("col2im", (H, W), kernel_size, stride, padding, dilation)
    H_out, W_out = _checks.output_size("col2im", window, H, W)
    columns, single, C = _checks.columns("col2im", columns, window, H_out, W_out)
    shape = (columns.shape[0], C, H, W)
    _checks.allocatable("col2im", "output", shape, columns.dtype)
    output = np.empty(shape, columns.dtype)
    _backend.kernels.col2im(columns, window, output)
    return output[0] if single else output


# ---------------------------------------------------------------- pooling


def max_pool2d(
    input,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
    *,
    out=None,
):
    """Maximum of each window.

    ``output[n, c, y, x] = max over i, j of
    input[n, c, y*stride + i*dilation - pad, x*stride + j*dilation - pad]``.

    Parameters
    ----------
    input : ndarray, (N, C, H_in, W_in) or (C, H_in, W_in)
        float32 or float64.
    kernel_size, dilation : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` where not given.
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
        Counts as -inf and never wins; at most half of what the kernel covers.
    ceil_mode : bool
        Round the output size up: the last window may hang over the edge.
    return_indices : bool
        Return the place of each maximum as well.
    out : ndarray, optional
        Receives the maxima: their exact shape and dtype, any strides.

    Returns
    -------
    output : ndarray, (N, C, H_out, W_out) or (C, H_out, W_out)
    indices : ndarray of int64, the same shape; only with `return_indices`
        Flat position in the H_in*W_in plane; -1 where a dilated window has no pixel of the image.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`; also for too much padding.

    Notes
    -----
    The first maximum in row-major order wins. A NaN wins over everything, and the last NaN gives the
    index; a window of only -inf gives its first pixel (``torch.nn.functional.max_pool2d``).
    """
    (input,) = _checks.arrays("max_pool2d", input=input)
    return_indices = _checks.flag("max_pool2d", "return_indices", return_indices)
    input, single, window, shape = _pooled(
        "max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode
    )
    output, result = _result("max_pool2d", shape, input, single, out, (input,))
    indices = np.empty(shape, np.int64) if return_indices else None
    _backend.kernels.max_pool2d_forward(input, window, output, indices)
    if return_indices:
        return result(), indices[0] if single else indices
    return result()


def max_pool2d_backward(grad_output, indices, input_shape):
    """Gradient of `max_pool2d`: each output's gradient goes to the pixel that was its maximum.

    Parameters
    ----------
    grad_output : ndarray, (N, C, H_out, W_out) or (C, H_out, W_out)
        float32 or float64.
    indices : ndarray of int64, the same shape
        As `max_pool2d` returned them.
    input_shape : tuple of int
        Shape of the pooled array.

    Returns
    -------
    ndarray of `input_shape`
        Gradients of overlapping windows add; 0 where no maximum was.

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or shapes, or an index outside the plane.
    """
    name = "max_pool2d_backward"
    (grad_output,) = _checks.arrays(name, grad_output=grad_output)
    indices = _checks.index_array(name, "indices", indices)
    input_shape = _checks.image_shape(name, "input_shape", input_shape)
    _checks.same_shape(name, "indices", indices, grad_output.shape, "that of grad_output")
    _checks.pooled_shape(name, grad_output, input_shape)
    grad_input = np.empty(input_shape, grad_output.dtype)
    # (C, H, W) or (N, C, H, W): the kernel sees (N, C, H, W)
    outside = _backend.kernels.max_pool2d_backward(
        grad_output.reshape((1, *grad_output.shape)[-4:]),
        indices.reshape((1, *indices.shape)[-4:]),
        grad_input.reshape((1, *input_shape)[-4:]),
    )
    _checks.indices_in_plane(name, outside, input_shape[-2:])
    return grad_input


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, *, out=None
):
    """Mean of each window.

    Parameters
    ----------
    input : ndarray, (N, C, H_in, W_in) or (C, H_in, W_in)
        float32 or float64.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` where not given.
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
        Counts as 0; at most half of the kernel.
    ceil_mode : bool
        Round the output size up: the last window may hang over the edge.
    count_include_pad : bool
        Divide by the window's pixels with padding (but without what hangs over it), or by those in
        the image.
    out : ndarray, optional
        Receives the result: its exact shape and dtype, any strides.

    Returns
    -------
    ndarray, (N, C, H_out, W_out) or (C, H_out, W_out)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`.

    Notes
    -----
    Definition and argument names: ``torch.nn.functional.avg_pool2d``.
    """
    (input,) = _checks.arrays("avg_pool2d", input=input)
    count_include_pad = _checks.flag("avg_pool2d", "count_include_pad", count_include_pad)
    input, single, window, shape = _pooled("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode)
    output, result = _result("avg_pool2d", shape, input, single, out, (input,))
    _backend.kernels.avg_pool2d_forward(input, window, count_include_pad, output)
    return result()


def avg_pool2d_backward(
    grad_output, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
):
    """Gradient of `avg_pool2d`: each output's gradient is shared equally by the pixels of its window.

    Parameters
    ----------
    grad_output : ndarray, (N, C, H_out, W_out) or (C, H_out, W_out)
        float32 or float64.
    input_shape : tuple of int
        Shape of the pooled array.
    kernel_size, stride, padding, ceil_mode, count_include_pad
        As they were passed to `avg_pool2d`.

    Returns
    -------
    ndarray of `input_shape`

    Raises
    ------
    TypeError, ValueError
        As `avg_pool2d`; also where `grad_output` does not have the shape of its output.
    """
    name = "avg_pool2d_backward"
    (grad_output,) = _checks.arrays(name, grad_output=grad_output)
    count_include_pad = _checks.flag(name, "count_include_pad", count_include_pad)
    input_shape = _checks.image_shape(name, "input_shape", input_shape)
    grad_input = np.empty(input_shape, grad_output.dtype)
    images, single, window, shape = _pooled(name, grad_input, kernel_size, stride, padding, 1, ceil_mode)
    grad_output = _like_output(name, grad_output, shape, single)
    _backend.kernels.avg_pool2d_backward(grad_output, window, count_include_pad, images)
    return grad_input


def _pooled(name, input, kernel_size, stride, padding, dilation, ceil_mode):
    """The checks that all poolings share; the window and the output's shape."""
    ceil_mode = _checks.flag(name, "ceil_mode", ceil_mode)
    input, single = _checks.images(name, "input", input)
    N, C, H_in, W_in = input.shape
    stride = kernel_size if stride is None else stride
    window = _window.parse(name, (H_in, W_in), kernel_size, stride, padding, dilation)
    _checks.pool_padding(name, window)
    H_out, W_out = _checks.output_size(name, window, H_in, W_in, ceil_mode)
    return input, single, window, (N, C, H_out, W_out)


# ---------------------------------------------------------------- linear, relu


def linear(input, weight, bias=None):
    """``output = input . weight^T + bias``: the fully connected layer.

    Parameters
    ----------
    input : ndarray, (..., in_features)
        float32 or float64.
    weight : ndarray, (out_features, in_features)
    bias : ndarray, (out_features,), optional

    Returns
    -------
    ndarray, (..., out_features)

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dtypes or shapes.
    """
    input, weight, bias = _checks.arrays("linear", input=input, weight=weight, bias=bias)
    _checks.linear_shapes("linear", input, weight, bias)
    output = _matmul(_rows(input), False, weight, True)
    if bias is not None:
        output += bias
    return output.reshape(*input.shape[:-1], weight.shape[0])


def linear_backward(grad_output, input, weight, *, needs_input_grad=True):
    """Gradients of `linear` with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, (..., out_features)
    input, weight
        As they were passed to `linear`.
    needs_input_grad : bool
        False leaves the gradient of the input out.

    Returns
    -------
    grad_input : ndarray shaped like `input`, or None
        ``grad_output . weight``.
    grad_weight : ndarray shaped like `weight`
        ``grad_output^T . input``, summed over all leading axes.
    grad_bias : ndarray, (out_features,)

    Raises
    ------
    TypeError, ValueError
        As `linear`; also where `grad_output` does not have the shape of its output.
    """
    name = "linear_backward"
    grad_output, input, weight = _checks.arrays(name, grad_output=grad_output, input=input, weight=weight)
    _checks.linear_shapes(name, input, weight, None)
    shape = (*input.shape[:-1], weight.shape[0])
    _checks.same_shape(name, "grad_output", grad_output, shape, "the output of the forward pass")
    grad_rows = _rows(grad_output)
    grad_input = None
    if _checks.flag(name, "needs_input_grad", needs_input_grad):
        grad_input = _matmul(grad_rows, False, weight, False).reshape(input.shape)
    grad_weight = _matmul(grad_rows, True, _rows(input), False)
    return grad_input, grad_weight, grad_rows.sum(axis=0)


def _rows(array):
    """(..., features) -> (rows, features)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _matmul(a, transpose_a, b, transpose_b):
    """``op(a) . op(b)`` of two matrices by the backend's gemm."""
    rows = a.shape[1] if transpose_a else a.shape[0]
    columns = b.shape[0] if transpose_b else b.shape[1]
    output = np.empty((rows, columns), a.dtype)
    _backend.kernels.matmul(a, transpose_a, b, transpose_b, output)
    return output


def relu(input):
    """``max(0, input)``, of an array of any shape; NaN stays NaN.

    Parameters
    ----------
    input : ndarray
        float32 or float64.

    Returns
    -------
    ndarray shaped like `input`

    Raises
    ------
    TypeError
        Not a float32 or float64 array.
    """
    (input,) = _checks.arrays("relu", input=input)
    return np.maximum(input, 0)


def relu_backward(grad_output, output):
    """Gradient of `relu`: `grad_output` where the output is positive (or NaN), else 0.

    Parameters
    ----------
    grad_output, output : ndarray
        Of one shape and dtype; `output` is what `relu` returned.

    Returns
    -------
    ndarray of the same shape

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or dtypes, or two shapes.
    """
    grad_output, output = _checks.arrays("relu_backward", grad_output=grad_output, output=output)
    _checks.same_shape("relu_backward", "grad_output", grad_output, output.shape, "that of output")
    return np.where(output <= 0, grad_output.dtype.type(0), grad_output)
