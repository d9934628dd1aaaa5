"""Linear and Flatten."""

import math

import numpy as np
import numpy.typing as npt

from .. import _checks
from .._types import Array, Float, GradInput, Shape
from ..functional.dense import gradients, transformed
from .base import Layer, he_normal
from .conv import Conv2d


class Linear(Layer):
    """A fully connected layer: ``output = input . weight^T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : numpy.float32 or numpy.float64
    rng : numpy.random.Generator, optional
        Draws the initial weight: normal, standard deviation ``sqrt(2 / in_features)``.

    Attributes
    ----------
    params : dict
        "weight", (out_features, in_features), and "bias", (out_features,).

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = _checks.integer("Linear", "in_features", in_features, 1)
        self.out_features = _checks.integer("Linear", "out_features", out_features, 1)
        dtype = _checks.float_dtype("Linear", dtype)
        rng = _checks.generator("Linear", rng)
        self._parameter("weight", he_normal((out_features, in_features), in_features, dtype, rng))
        if _checks.flag("Linear", "bias", bias):
            self._parameter("bias", np.zeros(out_features, dtype))

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features}, bias={'bias' in self.params})"

    def output_shape(self, input_shape: Shape) -> Shape:
        _checks.volume("Linear", self, input_shape[-1:], (self.in_features,))
        return (*input_shape[:-1], self.out_features)

    def forward(self, input: Array[Float]) -> Array[Float]:
        return self._forward(input, False)

    def _forward(self, input: Array[Float], relu: bool) -> Array[Float]:
        """`forward`, and with `relu` that of a `ReLU` behind it."""
        output = transformed(input, self.params["weight"], self.params.get("bias"), relu)
        self._keep(input)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        (input,) = self._kept()
        grad_input, grad_weight, grad_bias = gradients(
            grad_output, input, self.params["weight"], needs_input_grad, self._grad("weight")
        )
        self._fill_grads(weight=grad_weight, bias=grad_bias)
        return grad_input

    def to_conv2d(self, input_shape: Shape) -> Conv2d:
        """The convolution that computes this layer on a whole (C, H, W) volume.

        Its filters are exactly as large as the volume (F = H, P = 0, S = 1, K = out_features), so on that
        volume its output is 1x1, and on a larger one it is this layer at every position.

        Parameters
        ----------
        input_shape : (int, int, int)
            Volume (C, H, W) that is flattened into this layer's input.

        Returns
        -------
        Conv2d
            In this layer's mode. Its parameters are views of this layer's: they are shared, not copied.

        Raises
        ------
        ValueError
            C*H*W differs from in_features.
        """
        shape = _checks.volume_shape("to_conv2d", "input_shape", input_shape)
        _checks.image_volume("to_conv2d", shape)
        _checks.features("to_conv2d", self.in_features, shape)
        weight = self.params["weight"].reshape(self.out_features, *shape)
        return Conv2d.from_weight(weight, self.params.get("bias")).train(self.training)


class Flatten(Layer):
    """(N, C, H, W) -> (N, C*H*W); a single image (C, H, W) -> (C*H*W,)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, input: Array[Float]) -> Array[Float]:
        (input,) = _checks.arrays("Flatten", input=input)
        batched = input.ndim not in (0, 1, 3)
        output = input.reshape(input.shape[0], math.prod(input.shape[1:])) if batched else input.reshape(-1)
        self._keep(input.shape, output.shape)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        input_shape, output_shape = self._kept()
        (grad_output,) = _checks.arrays("Flatten", grad_output=grad_output)
        _checks.same_shape("Flatten", "grad_output", grad_output, output_shape, "the output of forward")
        return grad_output.reshape(input_shape)
