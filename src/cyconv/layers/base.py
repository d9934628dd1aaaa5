"""Layer: what all layers have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from .. import _checks, serialization
from .._types import AnyArray, Array, Arrays, Float, GradInput, Shape
from .arrays import InPlace


class Layer:
    """A step of a network: `forward`, `backward`, and the arrays in between.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        Parameters and the gradients of the last `backward`, with the same keys. `backward` overwrites
        `grads`. Both are filled in place, so an optimizer is ``params[k] -= lr * grads[k]``; an array
        assigned to a name is written into the array that is there.
    buffers : dict of str to ndarray
        What a layer remembers but no optimizer changes.
    training : bool
        In eval mode `forward` keeps nothing for `backward`.
    """

    def __init__(self) -> None:
        self.params: Arrays = InPlace()
        self.grads: Arrays = InPlace()
        self.buffers: Arrays = InPlace()
        self.training = True
        self._saved: tuple[Any, ...] | None = None

    def __call__(self, input: Array[Float]) -> Array[Float]:
        return self.forward(input)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def forward(self, input: Array[Float]) -> Array[Float]:
        """The layer's output for `input`, (N, ...) or one sample without N."""
        raise NotImplementedError

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        """Gradient with respect to the last input; fills `grads` on the way.

        Raises
        ------
        RuntimeError
            No forward pass in training mode came before.
        """
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        """Volume (C, H, W) or (features,) of the output for an input volume, without the batch."""
        return tuple(input_shape)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode; returns the layer."""
        self.training = _checks.flag(f"{type(self).__name__}.train", "mode", mode)
        if not mode:
            self._saved = None
        return self

    def eval(self) -> Self:
        """Switch to eval mode, in which `forward` keeps nothing; returns the layer."""
        return self.train(False)

    def state_dict(self) -> Arrays:
        """Copies of all parameters and buffers, under PyTorch's key names."""
        return {key: array.copy() for key, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Take over the arrays of `state`, all of them or none.

        Raises
        ------
        TypeError, ValueError
            Not a dict, or keys or shapes that differ: the message lists every mismatch.
        """
        serialization.fill(type(self).__name__, self._state(), state)

    def save(self, path: str | Path) -> None:
        """Write `state_dict` to a `.npz` or `.safetensors` file, atomically; see `cyconv.save`."""
        serialization.save(self._state(), path)

    def load(self, path: str | Path) -> None:
        """Read a file that `save` wrote, and take over its arrays; see `cyconv.load`."""
        self.load_state_dict(serialization.load(path))

    def _state(self) -> Arrays:
        return {**self.params, **self.buffers}

    def _keep(self, *saved: Any) -> None:
        """Remember what backward needs; in eval mode nothing."""
        self._saved = saved if self.training else None

    def _kept(self) -> tuple[Any, ...]:
        return _checks.kept(type(self).__name__, self.training, self._saved)

    def _parameter(self, name: str, array: AnyArray) -> None:
        self.params[name] = array
        self.grads[name] = np.zeros(array.shape, array.dtype)  # untouched pages cost no memory

    def _grad(self, name: str) -> AnyArray | None:
        """The gradient of a parameter, if a kernel can fill it as it lies: large ones are not copied."""
        param, grad = self.params[name], self.grads.get(name)
        if grad is None or grad.shape != param.shape or grad.dtype != param.dtype or not grad.dtype.isnative:
            return None
        return grad if grad.flags.carray else None

    def _fill_grads(self, **grads: AnyArray) -> None:
        for name, grad in grads.items():
            own = self.grads.get(name)
            if own is not None and own is not grad:
                own[...] = grad


def he_normal(shape: Shape, fan_in: float, dtype: np.dtype[Any], rng: np.random.Generator) -> AnyArray:
    """Normal numbers of standard deviation ``sqrt(2 / fan_in)`` (He et al., 2015)."""
    weight = rng.standard_normal(shape, dtype=dtype)
    weight *= (2 / fan_in) ** 0.5
    return weight
