# mypy: disallow-untyped-defs=false, disallow-untyped-calls=false, disallow-untyped-decorators=false
"""`cyconv.functional` for programs that HIPS autograd differentiates.

The functions here take what their namesakes in `cyconv.functional` take (but `out`) and give the same values; autograd
knows their derivatives, forward and reverse, of any order. `input`, `weight` and `bias` may be arrays or autograd's
boxes. A fully connected layer needs no function of its own: ``autograd.numpy.dot(input, weight.T) + bias``.

Examples
--------
>>> import autograd.numpy as np
>>> from autograd import grad
>>> from cyconv.ext import autograd as F
>>> def loss(weight, images):
...     return np.sum(F.max_pool2d(F.relu(F.conv2d(images, weight, padding=1)), 2) ** 2)
>>> grad(loss)(np.ones((4, 3, 3, 3)), np.ones((2, 3, 8, 8))).shape
(4, 3, 3, 3)

Notes
-----
Convolution is linear in its input and in its weight, and so are its two gradients: three primitives that are each
other's derivatives. Pooling and im2col are linear (the maximum: where its places stay the same), each with its adjoint.
Autograd: https://github.com/HIPS/autograd.
"""

from typing import Any, NamedTuple

import numpy

from .. import _backend, _checks, _window
from .. import functional as F

try:
    import autograd.numpy as np
    from autograd.extend import Box, defjvp, defvjp, primitive
except ModuleNotFoundError as error:
    raise ImportError("cyconv.ext.autograd needs autograd; write pip install 'cyconv[autograd]'") from error

__all__ = ["avg_pool2d", "col2im", "conv2d", "conv_transpose2d", "im2col", "max_pool2d", "relu"]

# An ndarray, or autograd's box around one.
Traced = Any


# ---------------------------------------------------------------- convolution


class _Convolution(NamedTuple):
    """Which convolution: shapes are those of its input, weight and output, with or without the batch axis."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]
    window: _window.Window
    groups: int
    algorithm: Any


def _filled(kernel, first, second, conv, shape):
    """What `kernel` makes of two arrays, which autograd may hand over in any layout."""
    first, second = _checks.arrays(kernel.__name__, first=first, second=second)
    result = numpy.empty(shape, first.dtype)
    first, second, target = (array.reshape((1, *array.shape)[-4:]) for array in (first, second, result))
    if kernel is _backend.kernels.conv2d_forward:
        kernel(first, second, None, conv.window, conv.groups, conv.algorithm, False, target)
    else:
        kernel(first, second, conv.window, conv.groups, conv.algorithm, target)
    return result


@primitive
def _forward(input, weight, conv):
    """output = weight * input."""
    return _filled(_backend.kernels.conv2d_forward, input, weight, conv, conv.output)


@primitive
def _backward_input(grad_output, weight, conv):
    """The adjoint of `_forward` in its input."""
    return _filled(_backend.kernels.conv2d_backward_input, grad_output, weight, conv, conv.input)


@primitive
def _backward_weight(grad_output, input, conv):
    """The adjoint of `_forward` in its weight."""
    return _filled(_backend.kernels.conv2d_backward_weight, grad_output, input, conv, conv.weight)


defvjp(
    _forward,
    lambda ans, x, w, conv: lambda g: _backward_input(g, w, conv),
    lambda ans, x, w, conv: lambda g: _backward_weight(g, x, conv),
)
defvjp(
    _backward_input,
    lambda ans, g, w, conv: lambda x: _forward(x, w, conv),
    lambda ans, g, w, conv: lambda x: _backward_weight(g, x, conv),
)
defvjp(
    _backward_weight,
    lambda ans, g, x, conv: lambda w: _forward(x, w, conv),
    lambda ans, g, x, conv: lambda w: _backward_input(g, w, conv),
)
for _bilinear in (_forward, _backward_input, _backward_weight):
    defjvp(_bilinear, "same", "same")


def _sum_channels(grad_output):
    """The gradient of a bias."""
    axes = (0, 2, 3) if np.ndim(grad_output) == 4 else (1, 2)
    return np.sum(grad_output, axis=axes)


def _spread(bias, output):
    """A bias at every position: the derivative of the output by it."""
    return np.reshape(bias, (-1, 1, 1)) + numpy.zeros(output.shape, output.dtype)


@primitive
def _conv2d(input, weight, bias, stride, padding, dilation, groups, algorithm):
    return F.conv2d(input, weight, bias, stride, padding, dilation, groups, algorithm=algorithm)


def _of_conv2d(output, input, weight, bias, stride, padding, dilation, groups, algorithm):
    window = _window.parse("conv2d", input.shape[-2:], weight.shape[2:], stride, padding, dilation)
    return _Convolution(input.shape, weight.shape, output.shape, window, groups, algorithm)


defvjp(
    _conv2d,
    lambda ans, x, w, *rest: lambda g: _backward_input(g, w, _of_conv2d(ans, x, w, *rest)),
    lambda ans, x, w, *rest: lambda g: _backward_weight(g, x, _of_conv2d(ans, x, w, *rest)),
    lambda ans, x, w, *rest: _sum_channels,
)
defjvp(
    _conv2d,
    lambda dx, ans, x, w, *rest: _forward(dx, w, _of_conv2d(ans, x, w, *rest)),
    lambda dw, ans, x, w, *rest: _forward(x, dw, _of_conv2d(ans, x, w, *rest)),
    lambda db, ans, x, w, *rest: _spread(db, ans),
)


def conv2d(
    input: Traced,
    weight: Traced,
    bias: Traced = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Traced:
    """`cyconv.functional.conv2d`, differentiable in `input`, `weight` and `bias`."""
    return _conv2d(input, weight, bias, stride, padding, dilation, groups, algorithm)


@primitive
def _conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation):
    return F.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)


def _of_conv_transpose2d(output, input, weight, bias, stride, padding, output_padding, groups, dilation):
    """The convolution whose `_backward_input` it is: input and output change sides."""
    window = _window.parse("conv_transpose2d", input.shape[-2:], weight.shape[2:], stride, padding, dilation)
    return _Convolution(output.shape, weight.shape, input.shape, window, groups, "auto")


defvjp(
    _conv_transpose2d,
    lambda ans, x, w, *rest: lambda g: _forward(g, w, _of_conv_transpose2d(ans, x, w, *rest)),
    lambda ans, x, w, *rest: lambda g: _backward_weight(x, g, _of_conv_transpose2d(ans, x, w, *rest)),
    lambda ans, x, w, *rest: _sum_channels,
)
defjvp(
    _conv_transpose2d,
    lambda dx, ans, x, w, *rest: _backward_input(dx, w, _of_conv_transpose2d(ans, x, w, *rest)),
    lambda dw, ans, x, w, *rest: _backward_input(x, dw, _of_conv_transpose2d(ans, x, w, *rest)),
    lambda db, ans, x, w, *rest: _spread(db, ans),
)


def conv_transpose2d(
    input: Traced,
    weight: Traced,
    bias: Traced = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Traced:
    """`cyconv.functional.conv_transpose2d`, differentiable in `input`, `weight` and `bias`."""
    return _conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups, dilation)


# ---------------------------------------------------------------- pooling


@primitive
def _maxima(input, indices, output):
    """The maxima `output` of `input`, which lie at `indices`."""
    return output


@primitive
def _gather(input, indices):
    """The values of `input` at `indices`, 0 where there is no pixel (-1)."""
    planes = input.reshape(*input.shape[:-2], -1)
    values = numpy.take_along_axis(planes, indices.reshape(*indices.shape[:-2], -1), -1).reshape(indices.shape)
    return numpy.where(indices < 0, 0, values)


@primitive
def _scatter(grad_output, indices, input_shape):
    """The adjoint of `_gather`."""
    return F.max_pool2d_backward(grad_output, indices, input_shape)


defvjp(_maxima, lambda ans, x, indices, output: lambda g: _scatter(g, indices, x.shape))
defjvp(_maxima, lambda dx, ans, x, indices, output: _gather(dx, indices))
defvjp(_gather, lambda ans, x, indices: lambda g: _scatter(g, indices, x.shape))
defvjp(_scatter, lambda ans, g, indices, input_shape: lambda x: _gather(x, indices))


def max_pool2d(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Traced:
    """`cyconv.functional.max_pool2d`, differentiable in `input`: its places are held fixed."""
    return_indices = _checks.flag("max_pool2d", "return_indices", return_indices)
    array = input
    while isinstance(array, Box):  # nested derivatives box a box
        array = array._value
    output, indices = F.max_pool2d(array, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    output = _maxima(input, indices, output)
    return (output, indices) if return_indices else output


@primitive
def _avg_pool2d(input, *arguments):
    return F.avg_pool2d(input, *arguments)


@primitive
def _avg_pool2d_backward(grad_output, input_shape, *arguments):
    return F.avg_pool2d_backward(grad_output, input_shape, *arguments)


defvjp(_avg_pool2d, lambda ans, x, *arguments: lambda g: _avg_pool2d_backward(g, x.shape, *arguments))
defvjp(_avg_pool2d_backward, lambda ans, g, input_shape, *arguments: lambda x: _avg_pool2d(x, *arguments))


def avg_pool2d(
    input: Traced,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Traced:
    """`cyconv.functional.avg_pool2d`, differentiable in `input`."""
    return _avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad)


# ---------------------------------------------------------------- columns and the rectifier


@primitive
def _im2col(input, *window):
    return F.im2col(input, *window)


@primitive
def _col2im(columns, output_size, *window):
    return F.col2im(columns, output_size, *window)


defvjp(_im2col, lambda ans, x, *window: lambda g: _col2im(g, x.shape[-2:], *window))
defvjp(_col2im, lambda ans, columns, output_size, *window: lambda g: _im2col(g, *window))


def im2col(input: Traced, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Traced:
    """`cyconv.functional.im2col`, differentiable in `input`."""
    return _im2col(input, kernel_size, stride, padding, dilation)


def col2im(
    columns: Traced, output_size: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> Traced:
    """`cyconv.functional.col2im`, differentiable in `columns`."""
    return _col2im(columns, output_size, kernel_size, stride, padding, dilation)


@primitive
def _relu(input):
    return F.relu(input)


@primitive
def _relu_backward(grad_output, output):
    return F.relu_backward(grad_output, output)


defvjp(_relu, lambda ans, x: lambda g: _relu_backward(g, ans))
defjvp(_relu, lambda dx, ans, x: _relu_backward(dx, ans))
defvjp(_relu_backward, lambda ans, g, output: lambda x: _relu_backward(x, output), None)
defjvp(_relu_backward, "same", None)


def relu(input: Traced) -> Traced:
    """`cyconv.functional.relu`, differentiable in `input`; its derivative at 0 is 0."""
    return _relu(input)


for _linear in (_gather, _scatter, _avg_pool2d, _avg_pool2d_backward, _im2col, _col2im):
    defjvp(_linear, "same")
