"""The fully connected layer and the rectifier, and their gradients."""

import math

import numpy as np

from .. import _backend, _checks
from .._types import Array, Float, GradInput

__all__ = ["linear", "linear_backward", "relu", "relu_backward"]


def linear(input: Array[Float], weight: Array[Float], bias: Array[Float] | None = None) -> Array[Float]:
    """``output = input . weight^T + bias``: the fully connected layer.

    Parameters
    ----------
    input : ndarray, (..., in_features)
        float32 or float64.
    weight : ndarray, (out_features, in_features)
    bias : ndarray, (out_features,), optional

    Returns
    -------
    ndarray, (..., out_features)

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dtypes or shapes.
    """
    return transformed(input, weight, bias, False)


def transformed(
    input: Array[Float], weight: Array[Float], bias: Array[Float] | None, relu: bool
) -> Array[Float]:
    """`linear`; with `relu` its `relu`, applied while the output is in cache."""
    input, weight, bias = _checks.arrays("linear", input=input, weight=weight, bias=bias)
    _checks.linear_shapes("linear", input, weight, bias)
    output = _matmul(_rows(input), False, weight, True, bias, relu)
    return output.reshape(*input.shape[:-1], weight.shape[0])


def linear_backward(
    grad_output: Array[Float], input: Array[Float], weight: Array[Float], *, needs_input_grad: bool = True
) -> tuple[GradInput[Float], Array[Float], Array[Float]]:
    """Gradients of `linear` with respect to its input, weight and bias.

    Parameters
    ----------
    grad_output : ndarray, (..., out_features)
    input, weight
        As they were passed to `linear`.
    needs_input_grad : bool
        False leaves the gradient of the input out.

    Returns
    -------
    grad_input : ndarray shaped like `input`, or None
        ``grad_output . weight``.
    grad_weight : ndarray shaped like `weight`
        ``grad_output^T . input``, summed over all leading axes.
    grad_bias : ndarray, (out_features,)

    Raises
    ------
    TypeError, ValueError
        As `linear`; also where `grad_output` does not have the shape of its output.
    """
    return gradients(grad_output, input, weight, needs_input_grad, None)


def gradients(
    grad_output: Array[Float],
    input: Array[Float],
    weight: Array[Float],
    needs_input_grad: bool,
    grad_weight: Array[Float] | None,
) -> tuple[GradInput[Float], Array[Float], Array[Float]]:
    """`linear_backward`; the gradient of the weight fills `grad_weight`, an array like `weight`, where there is one."""
    name = "linear_backward"
    grad_output, input, weight = _checks.arrays(name, grad_output=grad_output, input=input, weight=weight)
    _checks.linear_shapes(name, input, weight, None)
    shape = (*input.shape[:-1], weight.shape[0])
    _checks.same_shape(name, "grad_output", grad_output, shape, "the output of the forward pass")
    grad_rows = _rows(grad_output)
    _checks.linear_rows(name, len(grad_rows))
    grad_input = None
    if _checks.flag(name, "needs_input_grad", needs_input_grad):
        grad_input = _matmul(grad_rows, False, weight, False).reshape(input.shape)
    if grad_weight is not None and any(np.may_share_memory(grad_weight, a) for a in (grad_rows, input)):
        grad_weight = None  # what is read may not be written
    grad_weight = _matmul(grad_rows, True, _rows(input), False, output=grad_weight)
    return grad_input, grad_weight, grad_rows.sum(axis=0)


def _rows(array: Array[Float]) -> Array[Float]:
    """(..., features) -> (rows, features)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _matmul(
    a: Array[Float],
    transpose_a: bool,
    b: Array[Float],
    transpose_b: bool,
    bias: Array[Float] | None = None,
    relu: bool = False,
    output: Array[Float] | None = None,
) -> Array[Float]:
    """``op(a) . op(b) + bias`` of two matrices by the backend's gemm; with `relu` ``max(0, that)``."""
    if output is None:
        rows = a.shape[1] if transpose_a else a.shape[0]
        columns = b.shape[0] if transpose_b else b.shape[1]
        output = np.empty((rows, columns), a.dtype)
    _backend.kernels.matmul(a, transpose_a, b, transpose_b, bias, relu, output)
    return output


def relu(input: Array[Float]) -> Array[Float]:
    """``max(0, input)``, of an array of any shape; NaN stays NaN.

    Parameters
    ----------
    input : ndarray
        float32 or float64.

    Returns
    -------
    ndarray shaped like `input`

    Raises
    ------
    TypeError
        Not a float32 or float64 array.
    """
    (input,) = _checks.arrays("relu", input=input)
    output = np.empty(input.shape, input.dtype)
    _backend.kernels.relu_forward(input, output)
    return output


def relu_backward(grad_output: Array[Float], output: Array[Float]) -> Array[Float]:
    """Gradient of `relu`: `grad_output` where the output is positive (or NaN), else 0.

    Parameters
    ----------
    grad_output, output : ndarray
        Of one shape and dtype; `output` is what `relu` returned.

    Returns
    -------
    ndarray of the same shape

    Raises
    ------
    TypeError, ValueError
        Wrong kinds or dtypes, or two shapes.
    """
    grad_output, output = _checks.arrays("relu_backward", grad_output=grad_output, output=output)
    _checks.same_shape("relu_backward", "grad_output", grad_output, output.shape, "that of output")
    grad_input = np.empty(output.shape, output.dtype)
    _backend.kernels.relu_backward(grad_output, output, grad_input)
    return grad_input
