"""ReLU and Dropout."""

import numpy as np

from .. import _backend, _checks, functional
from .._types import Array, Float
from .base import Layer


class ReLU(Layer):
    """``max(0, input)``, element by element."""

    def forward(self, input: Array[Float]) -> Array[Float]:
        output = functional.relu(input)
        self._keep(output)
        return output

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> Array[Float]:
        (output,) = self._kept()
        return functional.relu_backward(grad_output, output)


class Dropout(Layer):
    """In training, zero each element with probability `p` and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float
        In [0, 1].
    rng : numpy.random.Generator, optional
        Draws a seed for the elements of each forward pass.

    Raises
    ------
    TypeError, ValueError
        `p` of the wrong kind or range.

    Notes
    -----
    Srivastava et al., "Dropout", 2014, in the inverted form, so that eval mode does nothing.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.p = _checks.number("Dropout", "p", p, 0, maximum=1)
        self.rng = _checks.generator("Dropout", rng)

    def __repr__(self) -> str:
        return f"Dropout(p={self.p})"

    def forward(self, input: Array[Float]) -> Array[Float]:
        (input,) = _checks.arrays("Dropout", input=input)
        if not self.training:
            return input
        seed = int(self.rng.integers(2**64, dtype=np.uint64))
        self._keep(seed, input.shape)
        return self._masked(input, seed)

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> Array[Float]:
        seed, shape = self._kept()
        (grad_output,) = _checks.arrays("Dropout", grad_output=grad_output)
        _checks.same_shape("Dropout", "grad_output", grad_output, shape, "the output of forward")
        return self._masked(grad_output, seed)

    def _masked(self, input: Array[Float], seed: int) -> Array[Float]:
        output = np.empty_like(input)
        _backend.kernels.dropout(input.reshape(-1), seed, self.p, output.reshape(-1))
        return output
