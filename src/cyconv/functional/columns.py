"""im2col and col2im, and the output-size formula."""

from typing import Literal, overload

import numpy as np

from .. import _backend, _checks, _window
from .._types import Array, Float, IntOrPair, Padding

__all__ = ["col2im", "im2col", "output_size"]


@overload
def output_size(
    input_size: int,
    kernel_size: int,
    stride: int = 1,
    padding: int | Literal["valid", "same"] = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int: ...
@overload
def output_size(
    input_size: IntOrPair,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> IntOrPair: ...
def output_size(
    input_size: IntOrPair,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> IntOrPair:
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


def im2col(
    input: Array[Float],
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
) -> Array[Float]:
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


def col2im(
    columns: Array[Float],
    output_size: IntOrPair,
    kernel_size: IntOrPair,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
) -> Array[Float]:
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
