"""Max and average pooling and their gradients."""

from functools import lru_cache
from typing import Literal, overload

import numpy as np

from .. import _backend, _checks, _window
from .._types import Array, Float, Indices, IntOrPair, Padding, Pair, Shape
from .._window import Window
from ._outputs import like_output, result, target

__all__ = ["avg_pool2d", "avg_pool2d_backward", "max_pool2d", "max_pool2d_backward"]


@overload
def max_pool2d(
    input: Array[Float],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    out: Array[Float] | None = None,
) -> Array[Float]: ...
@overload
def max_pool2d(
    input: Array[Float],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[True] = ...,
    *,
    out: Array[Float] | None = None,
) -> tuple[Array[Float], Indices]: ...
def max_pool2d(
    input: Array[Float],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Array[Float] | None = None,
) -> Array[Float] | tuple[Array[Float], Indices]:
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
    options = _options("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    window, shape = _pooling("max_pool2d", "input", input.shape, *options)
    filled = target("max_pool2d", shape, input, out, (input,))
    indices = np.empty(shape, np.int64) if return_indices else None
    single = input.ndim == 3
    _backend.kernels.max_pool2d_forward(input[np.newaxis] if single else input, window, filled, indices)
    output = result(filled, single, out)
    if indices is None:
        return output
    return output, indices[0] if single else indices


def max_pool2d_backward(grad_output: Array[Float], indices: Indices, input_shape: Shape) -> Array[Float]:
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
    input: Array[Float],
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Array[Float] | None = None,
) -> Array[Float]:
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
    options = _options("avg_pool2d", kernel_size, stride, padding, 1, ceil_mode)
    window, shape = _pooling("avg_pool2d", "input", input.shape, *options)
    filled = target("avg_pool2d", shape, input, out, (input,))
    single = input.ndim == 3
    images = input[np.newaxis] if single else input
    _backend.kernels.avg_pool2d_forward(images, window, count_include_pad, filled)
    return result(filled, single, out)


def avg_pool2d_backward(
    grad_output: Array[Float],
    input_shape: Shape,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array[Float]:
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
    images_shape = (1, *input_shape)[-4:]  # (C, H, W) or (N, C, H, W): the kernel sees (N, C, H, W)
    options = _options(name, kernel_size, stride, padding, 1, ceil_mode)
    window, shape = _pooling(name, "input_shape", input_shape, *options)
    grad_output = like_output(name, grad_output, shape, len(input_shape) == 3)
    grad_input = np.empty(input_shape, grad_output.dtype)
    _backend.kernels.avg_pool2d_backward(
        grad_output, window, count_include_pad, grad_input.reshape(images_shape)
    )
    return grad_input


def _options(
    name: str,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: Padding,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> tuple[Pair, IntOrPair, Padding, IntOrPair, bool]:
    """The caller's choices in a form by which `_pooling` can be remembered."""
    ceil_mode = _checks.flag(name, "ceil_mode", ceil_mode)
    kernel = _checks.pair(name, "kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else stride
    return kernel, *_window.exact(name, stride, padding, dilation), ceil_mode


@lru_cache(1024)
def _pooling(
    name: str,
    argument: str,
    input: Shape,
    kernel_size: Pair,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> tuple[Window, Shape]:
    """The checks of shapes and choices; the window, and the output's shape with N. Remembered, as convolutions'."""
    N, C, H_in, W_in = _checks.images_shape(name, argument, input)
    window = _window.parse(name, (H_in, W_in), kernel_size, stride, padding, dilation)
    _checks.pool_padding(name, window)
    shape = (N, C, *_checks.output_size(name, window, H_in, W_in, ceil_mode))
    _checks.allocatable(name, "output", shape, np.float64)
    return window, shape
