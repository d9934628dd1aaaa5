"""What must fit together in a convolution, a pooling or a product: images, weights, windows, gradients."""

from typing import TYPE_CHECKING

import numpy as np

from .._types import AnyArray, Pair, Shape
from .arguments import LARGEST
from .arrays import allocatable

if TYPE_CHECKING:
    from .._window import Window


def conv_weight(
    function: str,
    input: Shape,
    weight: Shape,
    bias: Shape | None,
    groups: int,
    transposed: bool = False,
) -> int:
    """Shapes of a convolution's weight and bias against the channels of its input, (N, C, H, W) or (C, H, W).

    `weight` is (C_out, C_in/groups, kernel_h, kernel_w), or (C_in, C_out/groups, ...) of a
    transposed convolution. Returns C_out.
    """
    layout = (
        "(C_in, C_out/groups, kernel_h, kernel_w)"
        if transposed
        else "(C_out, C_in/groups, kernel_h, kernel_w)"
    )
    if len(weight) != 4 or 0 in weight:
        raise ValueError(
            f"{function}: weight must have shape {layout}, none of them 0, got weight.shape={weight}"
        )
    if weight[0] % groups:
        raise ValueError(
            f"{function}: weight.shape[0]={weight[0]} must be a multiple of groups={groups}"
        )
    C_in = input[-3]
    C_out: int
    if transposed:
        if weight[0] != C_in:
            raise ValueError(
                f"{function}: weight expects {weight[0]} input channels (weight.shape[0]="
                f"{weight[0]}) but input has {C_in} (input.shape={input})"
            )
        C_out = weight[1] * groups
    else:
        if weight[1] * groups != C_in:
            raise ValueError(
                f"{function}: weight expects {weight[1] * groups} input channels (weight.shape[1]="
                f"{weight[1]}, groups={groups}) but input has {C_in} (input.shape={input})"
            )
        C_out = weight[0]
    if bias is not None and bias != (C_out,):
        raise ValueError(
            f"{function}: bias must have shape ({C_out},) to match weight, got bias.shape={bias}"
        )
    taps = weight[1] * weight[2] * weight[3]
    if taps > LARGEST:
        raise ValueError(
            f"{function}: weight has {taps} elements per channel, more than BLAS can count ({LARGEST})"
        )
    if weight[0] // groups > LARGEST:
        raise ValueError(
            f"{function}: weight.shape[0]={weight[0]} in {groups} groups is more than BLAS can count ({LARGEST})"
        )
    return C_out


def channels_in_groups(function: str, in_channels: int, out_channels: int, groups: int) -> None:
    """Both channel counts must be multiples of `groups`."""
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ValueError(f"{function}: {name}={channels} must be a multiple of groups={groups}")


def algorithm_applies(function: str, algorithm: str, window: "Window") -> None:
    """Winograd's filtering is for kernels of 2x2 to 5x5 taps in each phase of the stride, or of 2 to 16 along one
    axis, and little padding."""
    if algorithm != "winograd":
        return
    pads = window.pad_top, window.pad_bottom, window.pad_left, window.pad_right
    stride, dilation = (window.stride_h, window.stride_w), (window.dilation_h, window.dilation_w)
    taps = -(-window.kernel_h // window.stride_h), -(-window.kernel_w // window.stride_w)
    steps = max(stride) <= 4 and all(1 in pair for pair in zip(stride, dilation, strict=True))
    covered = max(pads[:2]) < window.extent[0] and max(pads[2:]) < window.extent[1]
    square = taps[0] == taps[1] and 2 <= taps[0] <= 5
    kernel = sorted((window.kernel_h, window.kernel_w))
    line = kernel[0] == 1 and 2 <= kernel[1] <= 16 and stride == (1, 1)
    if not ((square or line) and steps and covered):
        raise ValueError(
            f"{function}: algorithm 'winograd' needs a kernel of 2 to 5 times the stride, rounded up, the same number "
            f"in both directions, or of 2 to 16 along one axis at stride 1, stride 4 or less, stride or dilation 1 "
            f"and less padding than the kernel covers, got kernel_size {window.kernel_h}x{window.kernel_w}, "
            f"stride {stride}, dilation {dilation}, padding {pads}; write algorithm='auto'"
        )


def output_size(function: str, window: "Window", H_in: int, W_in: int, ceil_mode: bool = False) -> Pair:
    """Output height and width of `window` over an image; an error where it does not fit even once."""
    H_out, W_out = window.output_size(H_in, W_in, ceil_mode)
    if H_out < 1 or W_out < 1:
        raise ValueError(
            f"{function}: kernel_size {window.kernel_h}x{window.kernel_w} with dilation "
            f"{window.dilation_h}x{window.dilation_w} covers {window.extent[0]}x{window.extent[1]} and does not "
            f"fit input of size {H_in}x{W_in} with padding (top {window.pad_top}, bottom {window.pad_bottom}, "
            f"left {window.pad_left}, right {window.pad_right}); increase padding"
        )
    countable(function, window, H_in, W_in)
    return H_out, W_out


def countable(function: str, window: "Window", H_in: int, W_in: int) -> None:
    """Kernels count positions in the padded image, also where nothing of its size is allocated."""
    padded = H_in + window.pad_top + window.pad_bottom, W_in + window.pad_left + window.pad_right
    allocatable(function, "padded image", padded, np.float64)


def pool_padding(function: str, window: "Window") -> None:
    """Pooling pads by at most half of what a window covers, so that no window lies in padding alone."""
    extent_h, extent_w = window.extent
    pads = (window.pad_top, window.pad_bottom, window.pad_left, window.pad_right)
    for side, pad, extent in zip(
        ("top", "bottom", "left", "right"), pads, (extent_h, extent_h, extent_w, extent_w), strict=True
    ):
        if pad > extent // 2:
            raise ValueError(
                f"{function}: padding must be at most half of the kernel, but {side} padding is {pad} and "
                f"the kernel covers {extent}"
            )


def transposed_padding(function: str, value: object) -> None:
    """A transposed convolution has no "same" or "valid" padding."""
    if isinstance(value, str):
        raise ValueError(
            f"{function}: padding must be an int, a pair (h, w) or ((top, bottom), (left, right)), got {value!r}"
        )


def transposed_output(function: str, window: "Window", H_in: int, W_in: int, output_padding: Pair) -> Pair:
    """Output size of a transposed convolution and its rule for `output_padding` (PyTorch's)."""
    for pad, stride, dilation in zip(
        output_padding,
        (window.stride_h, window.stride_w),
        (window.dilation_h, window.dilation_w),
        strict=True,
    ):
        if pad >= max(stride, dilation):
            raise ValueError(
                f"{function}: output_padding must be smaller than stride or dilation, got output_padding {pad} "
                f"with stride {stride} and dilation {dilation}"
            )
    H_out, W_out = window.transposed_size(H_in, W_in, output_padding)
    if H_out < 1 or W_out < 1:
        raise ValueError(
            f"{function}: input of size {H_in}x{W_in} with kernel_size {window.kernel_h}x{window.kernel_w} and "
            f"padding (top {window.pad_top}, bottom {window.pad_bottom}, left {window.pad_left}, right "
            f"{window.pad_right}) gives output of size {H_out}x{W_out}; decrease padding"
        )
    countable(function, window, H_out, W_out)
    return H_out, W_out


def columns(
    function: str, array: AnyArray, window: "Window", H_out: int, W_out: int
) -> tuple[AnyArray, bool, int]:
    """`array` of shape (N, C*kernel_h*kernel_w, L) or without N, as 3-D; whether it had no N; and C."""
    taps, L = window.kernel_h * window.kernel_w, H_out * W_out
    single = array.ndim == 2
    wide = array[np.newaxis] if single else array
    if wide.ndim != 3 or wide.shape[1] == 0 or wide.shape[1] % taps or wide.shape[2] != L:
        raise ValueError(
            f"{function}: columns must have shape (N, C*{taps}, {L}) or (C*{taps}, {L}) for kernel_size "
            f"{window.kernel_h}x{window.kernel_w} and {H_out}x{W_out} windows, got columns.shape={array.shape}"
        )
    return wide, single, wide.shape[1] // taps


def pooled_shape(function: str, grad_output: AnyArray, input_shape: Shape) -> None:
    """Pooling keeps batch and channels, so `grad_output` and `input_shape` share them."""
    leading = grad_output.shape[:-2]
    if grad_output.ndim != len(input_shape) or leading != input_shape[:-2] or 0 in grad_output.shape[-3:]:
        raise ValueError(
            f"{function}: grad_output must have the batch and channels of input_shape={input_shape} and at least "
            f"one pixel, got grad_output.shape={grad_output.shape}"
        )


def indices_in_plane(function: str, count: int, plane: Shape) -> None:
    """`count` is the number of indices that a kernel found outside the plane (and left out)."""
    if count:
        raise ValueError(
            f"{function}: {count} of the indices lie outside the plane of {plane[0]}x{plane[1]} pixels; "
            "pass the indices that max_pool2d(..., return_indices=True) gave for an input of input_shape"
        )


def convolve_operands(f: AnyArray, g: AnyArray, mode: str) -> None:
    """`convolve` takes two vectors or two matrices, and "valid" one that holds the other."""
    if f.ndim != g.ndim or f.ndim not in (1, 2):
        raise ValueError(
            f"convolve: f and g must both be 1-D or both 2-D, got f.shape={f.shape}, g.shape={g.shape}"
        )
    if f.size == 0 or g.size == 0:
        raise ValueError(f"convolve: f and g must not be empty, got f.shape={f.shape}, g.shape={g.shape}")
    bigger = [a >= b for a, b in zip(f.shape, g.shape, strict=True)]
    smaller = [a <= b for a, b in zip(f.shape, g.shape, strict=True)]
    if mode == "valid" and not all(bigger) and not all(smaller):
        raise ValueError(
            "convolve: mode 'valid' needs one array at least as large as the other along every axis, got "
            f"f.shape={f.shape}, g.shape={g.shape}"
        )


def linear_shapes(function: str, input: AnyArray, weight: AnyArray, bias: AnyArray | None) -> None:
    """`weight` is (out_features, in_features) and the last axis of `input` is in_features."""
    if weight.ndim != 2:
        raise ValueError(
            f"{function}: weight must have shape (out_features, in_features), got {weight.shape}"
        )
    if input.ndim < 1 or input.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{function}: weight expects {weight.shape[1]} input features (weight.shape={weight.shape}) but the "
            f"last axis of input has {input.shape[-1] if input.ndim else 'no'} (input.shape={input.shape})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{function}: bias must have shape ({weight.shape[0]},), got {bias.shape}")
    if max(weight.shape) > LARGEST:
        raise ValueError(f"{function}: weight.shape={weight.shape} is more than BLAS can count ({LARGEST})")


def linear_rows(function: str, rows: int) -> None:
    """The gradient of a fully connected weight is a product along the rows of its input."""
    if rows > LARGEST:
        raise ValueError(f"{function}: input has {rows} rows, more than BLAS can count ({LARGEST}); pass fewer")
