"""ReLU and Dropout."""

import numpy as np

from .. import _checks, functional
from .base import Layer


class ReLU(Layer):
    """``max(0, input)``, element by element."""

    def forward(self, input):
        output = functional.relu(input)
        self._keep(output)
        return output

    def backward(self, grad_output, *, needs_input_grad=True):
        (output,) = self._kept()
        return functional.relu_backward(grad_output, output)


class Dropout(Layer):
    """In training, zero each element with probability `p` and scale the others by ``1 / (1 - p)``.

    Parameters
    ----------
    p : float
        In [0, 1].
    rng : numpy.random.Generator, optional
        Draws the elements.

    Raises
    ------
    TypeError, ValueError
        `p` of the wrong kind or range.

    Notes
    -----
    Srivastava et al., "Dropout", 2014, in the inverted form, so that eval mode does nothing.
    """

    def __init__(self, p=0.5, *, rng=None):
        super().__init__()
        self.p = _checks.number("Dropout", "p", p, 0, maximum=1)
        self.rng = _checks.generator("Dropout", rng)

    def __repr__(self):
        return f"Dropout(p={self.p})"

    def forward(self, input):
        (input,) = _checks.arrays("Dropout", input=input)
        if not self.training:
            return input
        kept = self.rng.random(input.shape, dtype=np.float32) >= self.p
        scale = kept * input.dtype.type(1 / (1 - self.p) if self.p < 1 else 0)
        self._keep(scale)
        return input * scale

    def backward(self, grad_output, *, needs_input_grad=True):
        (scale,) = self._kept()
        (grad_output,) = _checks.arrays("Dropout", grad_output=grad_output)
        _checks.same_shape("Dropout", "grad_output", grad_output, scale.shape, "the output of forward")
        return grad_output * scale
