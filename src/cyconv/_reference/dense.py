"""The product of a fully connected layer."""

import numpy as np

from .._types import Array, Float
from .elementwise import relu_forward


def matmul(
    a: Array[Float],
    transpose_a: bool,
    b: Array[Float],
    transpose_b: bool,
    bias: Array[Float] | None,
    relu: bool,
    output: Array[Float],
) -> None:
    """output = op(a) . op(b) + bias (or None) along each row; with `relu` max(0, that)."""
    np.matmul(a.T if transpose_a else a, b.T if transpose_b else b, out=output)
    if bias is not None:
        output += bias
    if relu:
        relu_forward(output, output)
