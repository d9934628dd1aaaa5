"""Every function of the functional API as a call on arrays alone: for what holds of all of them."""

from typing import NamedTuple

from helpers import whole

from cyconv import functional as F


class Operator(NamedTuple):
    """A call of one function: the shapes of its arrays, how they are passed, how many start with the batch."""

    shapes: list
    call: object
    batched: int = 1


def _max_pool2d_backward(grad_output, input):
    _, indices = F.max_pool2d(input, (2, 3), (2, 1), (1, 0), return_indices=True)
    return F.max_pool2d_backward(grad_output, indices, input.shape)


_CONV = ((2, 1), (1, 0), 1, 2)  # stride, padding, dilation, groups
_TRANSPOSED = ((2, 1), (1, 0), (1, 0), 2)  # stride, padding, output_padding, groups
_POOL = ((2, 3), (2, 1), (1, 0))  # kernel, stride, padding

_IMAGE, _POOLED = (3, 4, 7, 6), (3, 4, 4, 4)
_WEIGHT, _OUTPUT = (6, 2, 2, 3), (3, 6, 4, 4)
_TRANSPOSED_WEIGHT, _TRANSPOSED_OUTPUT = (4, 3, 2, 3), (3, 6, 13, 8)

OPERATORS = {
    "conv2d": Operator([_IMAGE, _WEIGHT, (6,)], lambda x, w, b: F.conv2d(x, w, b, *_CONV)),
    "conv2d_backward": Operator(
        [_OUTPUT, _IMAGE, _WEIGHT], lambda g, x, w: F.conv2d_backward(g, x, w, *_CONV), 2
    ),
    "conv_transpose2d": Operator(
        [_IMAGE, _TRANSPOSED_WEIGHT, (6,)], lambda x, w, b: F.conv_transpose2d(x, w, b, *_TRANSPOSED)
    ),
    "conv_transpose2d_backward": Operator(
        [_TRANSPOSED_OUTPUT, _IMAGE, _TRANSPOSED_WEIGHT],
        lambda g, x, w: F.conv_transpose2d_backward(g, x, w, *_TRANSPOSED),
        2,
    ),
    "im2col": Operator([_IMAGE], lambda x: F.im2col(x, *_POOL)),
    "col2im": Operator([(3, 24, 16)], lambda columns: F.col2im(columns, (7, 6), *_POOL)),
    "max_pool2d": Operator([_IMAGE], lambda x: F.max_pool2d(x, *_POOL, return_indices=True)),
    "max_pool2d_backward": Operator([_POOLED, _IMAGE], _max_pool2d_backward, 2),
    "avg_pool2d": Operator([_IMAGE], lambda x: F.avg_pool2d(x, *_POOL)),
    "avg_pool2d_backward": Operator(
        [_POOLED], lambda g: F.avg_pool2d_backward(g, (*g.shape[:-2], 7, 6), *_POOL)
    ),
    "linear": Operator([(5, 4), (3, 4), (3,)], F.linear),
    "linear_backward": Operator([(5, 3), (5, 4), (3, 4)], F.linear_backward, 2),
    "relu": Operator([_IMAGE], F.relu),
    "relu_backward": Operator([_IMAGE, _IMAGE], F.relu_backward, 2),
    "convolve": Operator([(7, 6), (2, 3)], F.convolve, 0),
}
# avg_pool2d_backward divides: 12 is a multiple of each divisor of a 2x3 window, so that it stays exact
_SCALE = {"avg_pool2d_backward": 12}


def operands(name, dtype):
    """Arrays for the operator `name` whose result is exact in any order of summation."""
    return [
        whole(shape, dtype, seed) * dtype(_SCALE.get(name, 1))
        for seed, shape in enumerate(OPERATORS[name].shapes)
    ]
