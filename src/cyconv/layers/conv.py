"""Conv2d and ConvTranspose2d."""

from typing import Self

import numpy as np
import numpy.typing as npt

from .. import _checks, _window, functional
from .._types import AnyArray, Array, Float, GradInput, IntOrPair, Padding, Pair, Shape
from .._window import Window
from ..functional.convolution import convolved
from .base import Layer, he_normal


class Conv2d(Layer):
    """A convolution layer: `functional.conv2d` with a weight and a bias of its own.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or (int, int)
    padding : int, (int, int), ((int, int), (int, int)), "valid" or "same"
    groups : int
        Divides both channel counts; ``groups == in_channels`` is a depthwise convolution.
    bias : bool
    dtype : numpy.float32 or numpy.float64
    rng : numpy.random.Generator, optional
        Draws the initial weight: normal, standard deviation ``sqrt(2 / fan_in)``. The bias starts at 0.

    Attributes
    ----------
    params : dict
        "weight", (C_out, C_in/groups, kernel_h, kernel_w), and "bias", (C_out,).

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value.

    Notes
    -----
    Argument names and order: ``torch.nn.Conv2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        in_channels = _checks.integer("Conv2d", "in_channels", in_channels, 1)
        out_channels = _checks.integer("Conv2d", "out_channels", out_channels, 1)
        groups = _checks.integer("Conv2d", "groups", groups, 1)
        _checks.channels_in_groups("Conv2d", in_channels, out_channels, groups)
        dtype = _checks.float_dtype("Conv2d", dtype)
        rng = _checks.generator("Conv2d", rng)
        shape = (out_channels, in_channels // groups, *_checks.pair("Conv2d", "kernel_size", kernel_size, 1))
        weight = he_normal(shape, shape[1] * shape[2] * shape[3], dtype, rng)
        has_bias = _checks.flag("Conv2d", "bias", bias)
        self._set(
            weight, np.zeros(out_channels, dtype) if has_bias else None, stride, padding, dilation, groups
        )

    @classmethod
    def from_weight(
        cls,
        weight: Array[Float],
        bias: Array[Float] | None = None,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
    ) -> Self:
        """A layer around existing arrays, which it shares with the caller where it can.

        Parameters
        ----------
        weight : ndarray, (C_out, C_in/groups, kernel_h, kernel_w)
        bias : ndarray, (C_out,), optional
        stride, padding, dilation, groups
            As `Conv2d`.

        Raises
        ------
        TypeError, ValueError
            Arrays of the wrong kind or shape.
        """
        weight, bias = _checks.arrays("Conv2d", weight=weight, bias=bias)
        groups = _checks.integer("Conv2d", "groups", groups, 1)
        C_in = weight.shape[1] * groups if weight.ndim == 4 else 1
        bias_shape = None if bias is None else bias.shape
        _checks.conv_weight("Conv2d", (0, C_in, 1, 1), weight.shape, bias_shape, groups)
        layer = cls.__new__(cls)
        Layer.__init__(layer)
        layer._set(weight, bias, stride, padding, dilation, groups)
        return layer

    def _set(
        self,
        weight: AnyArray,
        bias: AnyArray | None,
        stride: IntOrPair,
        padding: Padding,
        dilation: IntOrPair,
        groups: int,
    ) -> None:
        self._parameter("weight", weight)
        if bias is not None:
            self._parameter("bias", bias)
        self.out_channels, C, *kernel_size = weight.shape
        self.in_channels = C * groups
        self.kernel_size = tuple(kernel_size)
        self.stride = _checks.pair("Conv2d", "stride", stride, 1)
        self.dilation = _checks.pair("Conv2d", "dilation", dilation, 1)
        self.padding = padding
        self.groups = groups
        self.window((1, 1))  # rejects a bad padding now, not at the first forward

    def __repr__(self) -> str:
        return (
            f"Conv2d({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={'bias' in self.params})"
        )

    def window(self, image_size: Shape) -> Window:
        """The parsed geometry over an image of (H, W)."""
        return _window.parse("Conv2d", image_size, self.kernel_size, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        _, H, W = _checks.image_volume("Conv2d", input_shape)
        _checks.volume("Conv2d", self, input_shape, (self.in_channels,))
        return (self.out_channels, *_checks.output_size("Conv2d", self.window((H, W)), H, W))

    def forward(self, input: Array[Float]) -> Array[Float]:
        return self._forward(input, False)

    def _forward(self, input: Array[Float], relu: bool) -> Array[Float]:
        """`forward`, and with `relu` that of a `ReLU` behind it."""
        output = convolved(
            input,
            self.params["weight"],
            self.params.get("bias"),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            "auto",
            None,
            relu,
        )
        self._keep(input)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        (input,) = self._kept()
        grad_input, grad_weight, grad_bias = functional.conv2d_backward(
            grad_output,
            input,
            self.params["weight"],
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            needs_input_grad=needs_input_grad,
        )
        self._fill_grads(weight=grad_weight, bias=grad_bias)
        return grad_input


class ConvTranspose2d(Layer):
    """A transposed convolution layer: `functional.conv_transpose2d` with a weight and a bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, output_padding, dilation : int or (int, int)
    padding : int, (int, int) or ((int, int), (int, int))
    groups : int
    bias : bool
    dtype : numpy.float32 or numpy.float64
    rng : numpy.random.Generator, optional
        Draws the initial weight: normal, ``sqrt(2 / n)`` for n terms in an output pixel.

    Attributes
    ----------
    params : dict
        "weight", (C_in, C_out/groups, kernel_h, kernel_w), and "bias", (C_out,).

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value.

    Notes
    -----
    Argument names and order: ``torch.nn.ConvTranspose2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | tuple[Pair, Pair] = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        name = "ConvTranspose2d"
        self.in_channels = _checks.integer(name, "in_channels", in_channels, 1)
        self.out_channels = _checks.integer(name, "out_channels", out_channels, 1)
        self.groups = _checks.integer(name, "groups", groups, 1)
        _checks.channels_in_groups(name, in_channels, out_channels, groups)
        self.kernel_size = _checks.pair(name, "kernel_size", kernel_size, 1)
        self.stride = _checks.pair(name, "stride", stride, 1)
        self.dilation = _checks.pair(name, "dilation", dilation, 1)
        self.output_padding = _checks.pair(name, "output_padding", output_padding, 0)
        _checks.transposed_padding(name, padding)
        self.padding = padding
        dtype = _checks.float_dtype(name, dtype)
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        terms = in_channels // groups * np.prod(self.kernel_size) / np.prod(self.stride)
        self._parameter("weight", he_normal(shape, max(1.0, terms), dtype, _checks.generator(name, rng)))
        if _checks.flag(name, "bias", bias):
            self._parameter("bias", np.zeros(out_channels, dtype))
        self.window((1, 1))

    def __repr__(self) -> str:
        return (
            f"ConvTranspose2d({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}, output_padding={self.output_padding}, "
            f"groups={self.groups}, dilation={self.dilation}, bias={'bias' in self.params})"
        )

    def window(self, image_size: Shape) -> Window:
        """The parsed geometry of the convolution that this one transposes."""
        return _window.parse(
            "ConvTranspose2d", image_size, self.kernel_size, self.stride, self.padding, self.dilation
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        _, H, W = _checks.image_volume("ConvTranspose2d", input_shape)
        _checks.volume("ConvTranspose2d", self, input_shape, (self.in_channels,))
        size = _checks.transposed_output("ConvTranspose2d", self.window((H, W)), H, W, self.output_padding)
        return (self.out_channels, *size)

    def _geometry(self) -> tuple[Pair, IntOrPair | tuple[Pair, Pair], Pair, int, Pair]:
        return self.stride, self.padding, self.output_padding, self.groups, self.dilation

    def forward(self, input: Array[Float]) -> Array[Float]:
        output = functional.conv_transpose2d(
            input, self.params["weight"], self.params.get("bias"), *self._geometry()
        )
        self._keep(input)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        (input,) = self._kept()
        grad_input, grad_weight, grad_bias = functional.conv_transpose2d_backward(
            grad_output, input, self.params["weight"], *self._geometry(), needs_input_grad=needs_input_grad
        )
        self._fill_grads(weight=grad_weight, bias=grad_bias)
        return grad_input
