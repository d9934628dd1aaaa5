"""Convolution, transposed convolution and their gradients; the convolution of mathematics."""

from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from .. import _backend, _checks, _window
from .._types import Algorithm, Array, Float, GradInput, IntOrPair, Padding, Pair, Shape
from .._window import Window
from ._outputs import like_output, result, target

__all__ = ["conv2d", "conv2d_backward", "conv_transpose2d", "conv_transpose2d_backward", "convolve"]

ALGORITHMS = ("auto", "im2col", "winograd")


def conv2d(
    input: Array[Float],
    weight: Array[Float],
    bias: Array[Float] | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    algorithm: Algorithm = "auto",
    out: Array[Float] | None = None,
) -> Array[Float]:
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
    algorithm : {"auto", "im2col", "winograd"}
        How it is computed: as plain sums ("im2col"), whether by products with columns, made or read in place, or
        directly; or by Winograd's minimal filtering, up to three times as fast at a few times the rounding error;
        "auto" chooses by a cost model. Winograd's is for
        ``ceil(kernel / stride)`` of 2 to 5, the same in both directions, stride up to 4, stride or dilation 1, and
        padding less than the kernel covers: 3x3 and 5x5 kernels, 3x3 at stride 2, 11x11 at stride 4; and for kernels
        of 2 to 16 taps along one axis, 1x7 or 9x1, at stride 1. The NumPy backend has one way.
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
    return convolved(input, weight, bias, stride, padding, dilation, groups, algorithm, out, False)


def convolved(
    input: Array[Float],
    weight: Array[Float],
    bias: Array[Float] | None,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
    algorithm: Algorithm,
    out: Array[Float] | None,
    relu: bool,
) -> Array[Float]:
    """`conv2d`; with `relu` its `relu`, applied while the output is in cache."""
    input, weight, bias = _checks.arrays("conv2d", input=input, weight=weight, bias=bias)
    chosen = options("conv2d", stride, padding, dilation, groups, algorithm)
    bias_shape = None if bias is None else bias.shape
    window, groups, shape = geometry("conv2d", input.shape, weight.shape, bias_shape, algorithm, *chosen)
    filled = target("conv2d", shape, input, out, (input, weight, bias))
    single = input.ndim == 3
    images = input[np.newaxis] if single else input
    _backend.kernels.conv2d_forward(images, weight, bias, window, groups, algorithm, relu, filled)
    return result(filled, single, out)


def conv2d_backward(
    grad_output: Array[Float],
    input: Array[Float],
    weight: Array[Float],
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    needs_input_grad: bool = True,
    algorithm: Algorithm = "auto",
) -> tuple[GradInput[Float], Array[Float], Array[Float]]:
    """Gradients of `conv2d` with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, (N, C_out, H_out, W_out) or (C_out, H_out, W_out)
        Gradient of the loss with respect to the output.
    input, weight, stride, padding, dilation, groups, algorithm
        As they were passed to `conv2d`; Winograd's filtering gives both gradients.
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
    needs_input_grad = _checks.flag(name, "needs_input_grad", needs_input_grad)
    chosen = options(name, stride, padding, dilation, groups, algorithm)
    window, groups, shape = geometry(name, input.shape, weight.shape, None, algorithm, *chosen)
    single = input.ndim == 3
    grad_output = like_output(name, grad_output, shape, single)
    images = input[np.newaxis] if single else input

    grad_weight = np.empty(weight.shape, weight.dtype)
    grad_input: GradInput[Float] = None
    if needs_input_grad:
        grad_input = np.empty(images.shape, images.dtype)
        _backend.kernels.conv2d_backward_input(grad_output, weight, window, groups, algorithm, grad_input)
    _backend.kernels.conv2d_backward_weight(grad_output, images, window, groups, algorithm, grad_weight)
    if single and needs_input_grad:
        grad_input = grad_input[0]
    return grad_input, grad_weight, _sum_channels(grad_output)


Options: TypeAlias = tuple[IntOrPair, Padding, IntOrPair, int]  # stride, padding, dilation, groups


def options(
    name: str, stride: IntOrPair, padding: Padding, dilation: IntOrPair, groups: int, algorithm: str
) -> Options:
    """The caller's choices in a form by which `geometry` can be remembered; `algorithm` is one already."""
    _checks.choice(name, "algorithm", algorithm, ALGORITHMS)
    if type(groups) is not int:
        groups = _checks.integer(name, "groups", groups, 1)
    return *_window.exact(name, stride, padding, dilation), groups


@lru_cache(1024)
def geometry(
    name: str,
    input: Shape,
    weight: Shape,
    bias: Shape | None,
    algorithm: str,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
) -> tuple[Window, int, Shape]:
    """The checks of shapes and choices; the window, the groups, and the output's shape with N.

    A program calls with few shapes, many times: what follows from them is remembered.
    """
    N, _, H_in, W_in = _checks.images_shape(name, "input", input)
    groups = _checks.integer(name, "groups", groups, 1)
    C_out = _checks.conv_weight(name, input, weight, bias, groups)
    window = _window.parse(name, (H_in, W_in), weight[2:], stride, padding, dilation)  # type: ignore[arg-type]
    _checks.algorithm_applies(name, algorithm, window)
    shape = (N, C_out, *_checks.output_size(name, window, H_in, W_in))
    _checks.allocatable(name, "output", shape, np.float64)
    return window, groups, shape


def _sum_channels(grad_output: Array[Float]) -> Array[Float]:
    """(N, C, H, W) -> (C,): the gradient of a bias."""
    total = np.empty(grad_output.shape[1], grad_output.dtype)
    _backend.kernels.sum_channels(grad_output, total)
    return total


def conv_transpose2d(
    input: Array[Float],
    weight: Array[Float],
    bias: Array[Float] | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | tuple[Pair, Pair] = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    *,
    out: Array[Float] | None = None,
) -> Array[Float]:
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
    chosen = transposed_options(name, stride, padding, output_padding, groups, dilation)
    bias_shape = None if bias is None else bias.shape
    window, groups, shape = transposed_geometry(name, input.shape, weight.shape, bias_shape, *chosen)
    filled = target(name, shape, input, out, (input, weight, bias))
    single = input.ndim == 3
    images = input[np.newaxis] if single else input
    _backend.kernels.conv2d_backward_input(images, weight, window, groups, "auto", filled)
    if bias is not None:
        filled += bias[:, np.newaxis, np.newaxis]
    return result(filled, single, out)


def conv_transpose2d_backward(
    grad_output: Array[Float],
    input: Array[Float],
    weight: Array[Float],
    stride: IntOrPair = 1,
    padding: IntOrPair | tuple[Pair, Pair] = 0,
    output_padding: IntOrPair = 0,
    groups: int = 1,
    dilation: IntOrPair = 1,
    *,
    needs_input_grad: bool = True,
) -> tuple[GradInput[Float], Array[Float], Array[Float]]:
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
    chosen = transposed_options(name, stride, padding, output_padding, groups, dilation)
    window, groups, shape = transposed_geometry(name, input.shape, weight.shape, None, *chosen)
    single = input.ndim == 3
    grad_output = like_output(name, grad_output, shape, single)
    images = input[np.newaxis] if single else input
    grad_weight = np.empty(weight.shape, weight.dtype)
    grad_input: GradInput[Float] = None
    if needs_input_grad:
        grad_input = np.empty(images.shape, images.dtype)
        _backend.kernels.conv2d_forward(grad_output, weight, None, window, groups, "auto", False, grad_input)
    _backend.kernels.conv2d_backward_weight(images, grad_output, window, groups, "auto", grad_weight)
    if single and needs_input_grad:
        grad_input = grad_input[0]
    return grad_input, grad_weight, _sum_channels(grad_output)


def transposed_options(
    name: str,
    stride: IntOrPair,
    padding: IntOrPair | tuple[Pair, Pair],
    output_padding: IntOrPair,
    groups: int,
    dilation: IntOrPair,
) -> tuple[IntOrPair, Padding, IntOrPair, int, Pair]:
    """As `options`, of `transposed_geometry`."""
    _checks.transposed_padding(name, padding)
    groups = _checks.integer(name, "groups", groups, 1)
    output_padding = _checks.pair(name, "output_padding", output_padding, 0)
    return *_window.exact(name, stride, padding, dilation), groups, output_padding


@lru_cache(1024)
def transposed_geometry(
    name: str,
    input: Shape,
    weight: Shape,
    bias: Shape | None,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
    output_padding: Pair,
) -> tuple[Window, int, Shape]:
    """As `geometry`; the window is that of the convolution from the output to the input."""
    N, _, H_in, W_in = _checks.images_shape(name, "input", input)
    C_out = _checks.conv_weight(name, input, weight, bias, groups, transposed=True)
    window = _window.parse(name, (H_in, W_in), weight[2:], stride, padding, dilation)  # type: ignore[arg-type]
    shape = (N, C_out, *_checks.transposed_output(name, window, H_in, W_in, output_padding))
    _checks.allocatable(name, "output", shape, np.float64)
    return window, groups, shape


def convolve(
    f: Array[Float], g: Array[Float], mode: Literal["full", "same", "valid"] = "full"
) -> Array[Float]:
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
    output: Array[Float] = conv2d(image, weight, padding=(pads[0], pads[1]))[0]
    return output[0] if f.ndim == 1 else output
