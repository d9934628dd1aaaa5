"""Sequential: layers one after another."""

from collections.abc import Iterator
from typing import Literal, Self, TypeGuard, overload

from .. import _checks
from .._types import Array, Arrays, Float, Shape
from .arrays import Collected
from .base import Layer
from .conv import Conv2d
from .elementwise import ReLU
from .linear import Linear
from .pool import MaxPool2d


def _rectified(layer: Layer, behind: Layer) -> TypeGuard[Conv2d | Linear]:
    """Whether `behind` is a rectifier that `layer` applies as well: it keeps its output, not its input."""
    return type(layer) in (Conv2d, Linear) and type(behind) is ReLU


def _pooled(layer: Layer, before: Layer) -> TypeGuard[MaxPool2d]:
    """Whether `layer` pooled what `before`, a rectifier, gave, and can go back through both.

    A maximum is 0 where its pixel is: the gradient may be rectified before it is spread, while it is small.
    """
    if type(layer) is not MaxPool2d or type(before) is not ReLU or not (layer._saved and before._saved):
        return False
    return layer._saved[1] is before._saved[0]


class Sequential(Layer):
    """Layers applied one after another.

    A `ReLU` behind a `Conv2d` or `Linear` is applied by that layer, while its output is in cache, and the
    gradient of one before a `MaxPool2d` by the pooling: the same bits, with fewer passes over the memory.
    What `forward` returned is not to be changed in place before `backward`.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    params, grads, buffers : dict of str to ndarray
        The layers' own arrays under PyTorch's names: "0.weight", "0.bias", "3.weight", ... An array that
        is assigned to a name is written into the layer's; names are added and removed in the layers alone.

    Raises
    ------
    TypeError
        An argument that is no layer.
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = [_checks.layer("Sequential", layer, Layer) for layer in layers]
        self.training = True

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Layer:
        if not isinstance(index, slice):
            return self.layers[index]
        part = Sequential(*self.layers[index])
        part.training = self.training
        return part

    def __repr__(self) -> str:
        lines = [f"  ({i}): " + repr(layer).replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "\n".join(["Sequential(", *lines, ")"])

    @property
    def params(self) -> Arrays:  # type: ignore[override]
        """All parameters, by name."""
        return self._collected("params")

    @property
    def grads(self) -> Arrays:  # type: ignore[override]
        """All gradients, by name."""
        return self._collected("grads")

    @property
    def buffers(self) -> Arrays:  # type: ignore[override]
        """All buffers, by name."""
        return self._collected("buffers")

    def _collected(self, kind: Literal["params", "grads", "buffers"]) -> Arrays:
        return Collected(
            {
                f"{i}.{key}": array
                for i, layer in enumerate(self.layers)
                for key, array in getattr(layer, kind).items()
            }
        )

    def _state(self) -> Arrays:
        return {
            f"{i}.{key}": array
            for i, layer in enumerate(self.layers)
            for key, array in layer._state().items()
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return tuple(input_shape)

    def train(self, mode: bool = True) -> Self:
        self.training = _checks.flag("Sequential.train", "mode", mode)
        for layer in self.layers:
            layer.train(mode)
        return self

    def forward(self, input: Array[Float]) -> Array[Float]:
        i = 0
        while i < len(self.layers):
            layer, behind = self.layers[i], self.layers[i + 1 : i + 2]
            if behind and _rectified(layer, behind[0]):
                input = layer._forward(input, True)
                behind[0]._keep(input)
                i += 2
            else:
                input = layer.forward(input)
                i += 1
        return input

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = False) -> Array[Float] | None:
        """Gradients of all layers; the input's own only with `needs_input_grad`, else None."""
        i = len(self.layers) - 1
        while i >= 0:
            layer = self.layers[i]
            if 0 < i < len(self.layers) - 1 and _pooled(layer, self.layers[i - 1]):  # the last output is the caller's
                grad_output = layer._backward(grad_output, True)
                i -= 2
            else:
                grad_output = layer.backward(grad_output, needs_input_grad=needs_input_grad or i > 0)
                i -= 1
        return grad_output if needs_input_grad else None
