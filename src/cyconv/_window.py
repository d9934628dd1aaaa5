"""The geometry of a sliding window: kernel, stride, padding, dilation, and the output-size formula."""

from typing import NamedTuple

from . import _checks
from ._types import IntOrPair, Padding, Pair, Shape


class Window(NamedTuple):
    """The parsed geometry of a convolution or pooling; its C twin is ``_kernels/window.pxd``."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    dilation_h: int
    dilation_w: int

    @property
    def extent(self) -> Pair:
        """Height and width that one window covers: ``dilation * (kernel - 1) + 1``."""
        return (self.dilation_h * (self.kernel_h - 1) + 1, self.dilation_w * (self.kernel_w - 1) + 1)

    def output_size(self, H_in: int, W_in: int, ceil_mode: bool = False) -> Pair:
        """``floor((size + pad_before + pad_after - extent) / stride) + 1`` per axis; < 1: does not fit.

        With `ceil_mode` the division rounds up, less one where the last window would start at or
        beyond ``size + pad_before`` (PyTorch's rule).
        """
        extent_h, extent_w = self.extent
        return (
            _output_size(H_in, self.pad_top, self.pad_bottom, extent_h, self.stride_h, ceil_mode),
            _output_size(W_in, self.pad_left, self.pad_right, extent_w, self.stride_w, ceil_mode),
        )

    def transposed_size(self, H_in: int, W_in: int, output_padding: Pair) -> Pair:
        """Output size of the transposed convolution: the smallest input that gives `H_in`, `W_in`, plus padding."""
        extent_h, extent_w = self.extent
        return (
            (H_in - 1) * self.stride_h - self.pad_top - self.pad_bottom + extent_h + output_padding[0],
            (W_in - 1) * self.stride_w - self.pad_left - self.pad_right + extent_w + output_padding[1],
        )


def _output_size(
    size: int, pad_before: int, pad_after: int, extent: int, stride: int, ceil_mode: bool
) -> int:
    room = size + pad_before + pad_after - extent
    count = room // stride + 1
    if ceil_mode and room % stride and count * stride < size + pad_before:
        count += 1
    return count


def _same_padding(size: int, extent: int, stride: int) -> Pair:
    """Padding before and after that gives ``ceil(size / stride)`` outputs, the odd one after."""
    total = max(0, (-(-size // stride) - 1) * stride + extent - size)
    return total // 2, total - total // 2


def parse(
    function: str,
    image_size: Shape,
    kernel_size: IntOrPair,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
) -> Window:
    """Build the `Window` of a call from its public arguments.

    Parameters
    ----------
    function : str
        Name of the public function, for error messages.
    image_size : (int, int)
        Height and width of the image under the window; ``padding="same"`` depends on it.
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
        One number; height and width; ``((top, bottom), (left, right))``; none; or as much as gives
        ``ceil(size / stride)`` outputs.

    Raises
    ------
    TypeError, ValueError
        See `_checks.pair` and `_checks.padding`.
    """
    kernel_h, kernel_w = _checks.pair(function, "kernel_size", kernel_size, 1)
    stride_h, stride_w = _checks.pair(function, "stride", stride, 1)
    dilation_h, dilation_w = _checks.pair(function, "dilation", dilation, 1)
    if isinstance(padding, str) and padding == "same":
        top, bottom = _same_padding(image_size[0], dilation_h * (kernel_h - 1) + 1, stride_h)
        left, right = _same_padding(image_size[1], dilation_w * (kernel_w - 1) + 1, stride_w)
    else:
        top, bottom, left, right = _checks.padding(function, padding)
    return Window(kernel_h, kernel_w, stride_h, stride_w, top, bottom, left, right, dilation_h, dilation_w)


def exact(
    function: str, stride: IntOrPair, padding: Padding, dilation: IntOrPair
) -> tuple[IntOrPair, Padding, IntOrPair]:
    """The same three arguments of `parse`, in a form in which equal ones mean the same.

    ``True == 1 == 1.0``, but only one of them is a stride; lists have no hash. What comes out is made of
    ints alone, so that results can be remembered by it.
    """
    if type(stride) is type(padding) is type(dilation) is int:  # the common call, at once
        return stride, padding, dilation
    if _plain(stride) and _plain(padding) and _plain(dilation):
        return stride, padding, dilation
    stride = _checks.pair(function, "stride", stride, 1)
    dilation = _checks.pair(function, "dilation", dilation, 1)
    if isinstance(padding, str) and padding == "same":
        return stride, "same", dilation
    top, bottom, left, right = _checks.padding(function, padding)
    return stride, ((top, bottom), (left, right)), dilation


def _plain(value: object) -> bool:
    """Whether it is an int, or a pair of ints, and nothing that only equals one."""
    if type(value) is tuple:
        return len(value) == 2 and type(value[0]) is type(value[1]) is int
    return type(value) is int
