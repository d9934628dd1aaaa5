"""Sequential: layers one after another."""

from types import MappingProxyType

from .. import _checks
from .base import Layer


class Sequential(Layer):
    """Layers applied one after another.

    Parameters
    ----------
    *layers : Layer

    Attributes
    ----------
    params, grads, buffers : read-only mappings
        The arrays of all layers under PyTorch's names: "0.weight", "0.bias", "3.weight", ...

    Raises
    ------
    TypeError
        An argument that is no layer.
    """

    def __init__(self, *layers):
        self.layers = [_checks.layer("Sequential", layer, Layer) for layer in layers]
        self.training = True

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        if not isinstance(index, slice):
            return self.layers[index]
        part = Sequential(*self.layers[index])
        part.training = self.training
        return part

    def __repr__(self):
        lines = [f"  ({i}): " + repr(layer).replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "\n".join(["Sequential(", *lines, ")"])

    @property
    def params(self):
        """All parameters, by name."""
        return self._collected("params")

    @property
    def grads(self):
        """All gradients, by name."""
        return self._collected("grads")

    @property
    def buffers(self):
        """All buffers, by name."""
        return self._collected("buffers")

    def _collected(self, kind):
        # read-only: an assignment here would be lost, write into the arrays instead
        named = {
            f"{i}.{key}": array
            for i, layer in enumerate(self.layers)
            for key, array in getattr(layer, kind).items()
        }
        return MappingProxyType(named)

    def _state(self):
        return {
            f"{i}.{key}": array
            for i, layer in enumerate(self.layers)
            for key, array in layer._state().items()
        }

    def output_shape(self, input_shape):
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return tuple(input_shape)

    def train(self, mode=True):
        self.training = _checks.flag("Sequential.train", "mode", mode)
        for layer in self.layers:
            layer.train(mode)
        return self

    def forward(self, input):
        for layer in self.layers:
            input = layer.forward(input)
        return input

    def backward(self, grad_output, *, needs_input_grad=False):
        """Gradients of all layers; the input's own only with `needs_input_grad`, else None."""
        for i in reversed(range(len(self.layers))):
            wanted = needs_input_grad or i > 0
            grad_output = self.layers[i].backward(grad_output, needs_input_grad=wanted)
        return grad_output if needs_input_grad else None
