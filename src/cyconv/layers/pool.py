"""MaxPool2d, AvgPool2d and GlobalAvgPool2d."""

from .. import _checks, _window, functional
from .._types import Array, Float, IntOrPair, Padding, Pair, Shape
from .._window import Window
from .base import Layer


class _Pool2d(Layer):
    """What the two windowed poolings share: the window and the output's shape."""

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None,
        padding: Padding,
        dilation: IntOrPair,
        ceil_mode: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = _checks.pair(name, "kernel_size", kernel_size, 1)
        self.stride = _checks.pair(name, "stride", kernel_size if stride is None else stride, 1)
        self.dilation = _checks.pair(name, "dilation", dilation, 1)
        self.ceil_mode = _checks.flag(name, "ceil_mode", ceil_mode)
        self.padding = padding
        _checks.pool_padding(name, self.window((1, 1)))

    def window(self, image_size: Shape) -> Window:
        """The parsed geometry over an image of (H, W)."""
        return _window.parse(
            type(self).__name__, image_size, self.kernel_size, self.stride, self.padding, self.dilation
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        name = type(self).__name__
        C, H, W = _checks.image_volume(name, input_shape)
        return (C, *_checks.output_size(name, self.window((H, W)), H, W, self.ceil_mode))


class MaxPool2d(_Pool2d):
    """Max pooling: `functional.max_pool2d`.

    Parameters
    ----------
    kernel_size, dilation : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` where not given.
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
    ceil_mode : bool

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def __repr__(self) -> str:
        return (
            f"MaxPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode})"
        )

    def forward(self, input: Array[Float]) -> Array[Float]:
        geometry = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        if not self.training:
            return functional.max_pool2d(input, *geometry)
        output, indices = functional.max_pool2d(input, *geometry, return_indices=True)
        self._keep(indices, input, output)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> Array[Float]:
        return self._backward(grad_output, False)

    def _backward(self, grad_output: Array[Float], relu: bool) -> Array[Float]:
        """`backward`, and with `relu` that of a `ReLU` whose output was pooled."""
        indices, input, output = self._kept()
        if relu:
            grad_output = functional.relu_backward(grad_output, output)
        return functional.max_pool2d_backward(grad_output, indices, input.shape)


class AvgPool2d(_Pool2d):
    """Average pooling: `functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        `kernel_size` where not given.
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
    ceil_mode, count_include_pad : bool

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = _checks.flag("AvgPool2d", "count_include_pad", count_include_pad)

    def __repr__(self) -> str:
        return (
            f"AvgPool2d(kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad})"
        )

    def _geometry(self) -> tuple[Pair, Pair, Padding, bool, bool]:
        return self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad

    def forward(self, input: Array[Float]) -> Array[Float]:
        output = functional.avg_pool2d(input, *self._geometry())
        self._keep(input.shape)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> Array[Float]:
        (input_shape,) = self._kept()
        return functional.avg_pool2d_backward(grad_output, input_shape, *self._geometry())


class GlobalAvgPool2d(Layer):
    """Mean of each whole plane: (N, C, H, W) -> (N, C, 1, 1)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (_checks.image_volume("GlobalAvgPool2d", input_shape)[0], 1, 1)

    def forward(self, input: Array[Float]) -> Array[Float]:
        (input,) = _checks.arrays("GlobalAvgPool2d", input=input)
        _checks.images("GlobalAvgPool2d", "input", input)
        self._keep(input.shape)
        return functional.avg_pool2d(input, input.shape[-2:])

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> Array[Float]:
        (input_shape,) = self._kept()
        (grad_output,) = _checks.arrays("GlobalAvgPool2d", grad_output=grad_output)
        shape = (*input_shape[:-2], 1, 1)
        _checks.same_shape("GlobalAvgPool2d", "grad_output", grad_output, shape, "the output of forward")
        return functional.avg_pool2d_backward(grad_output, input_shape, input_shape[-2:])
