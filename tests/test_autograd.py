"""cyconv.ext.autograd: the functional API's values, and derivatives checked by autograd's own checker."""

import doctest
import inspect

import numpy as np
import pytest
from geometries import DILATED_POOLINGS, GEOMETRIES, POOLINGS, TRANSPOSED
from helpers import cases, dtypes, real, run_python

from cyconv import functional as F

autograd = pytest.importorskip("autograd", reason="autograd is not installed")

import autograd.numpy as anp  # noqa: E402
from autograd.test_util import check_grads  # noqa: E402

from cyconv.ext import autograd as A  # noqa: E402


def check(function, arguments=0):
    """Both modes, first and second derivatives."""
    np.random.seed(0)  # noqa: NPY002 - the checker draws its directions from NumPy's global generator
    return check_grads(function, arguments, modes=["fwd", "rev"], order=2)


def only(table, *names):
    """The cases whose derivatives are worth the time, and differentiable: those that are not empty."""
    return {name: case for name, case in table.items() if name in names}


CONVOLUTIONS = only(
    GEOMETRIES, "1x1", "kernel-3x2-stride-3x1", "dilation-2x3", "sides", "same", "valid", "groups", "depthwise-twice",
    "windows-in-padding",
)  # fmt: skip
TRANSPOSES = only(
    TRANSPOSED, "plain", "1x1-shifted", "stride", "output-padding", "output-padding-by-dilation", "groups", "depthwise"
)
MAXIMA = only(POOLINGS, "3-stride-2", "2x3-stride-3x1", "sides", "same", "ceil-hangs-over-padding")
MEANS = only(POOLINGS, "3-stride-2", "sides", "same", "ceil-hangs-over-padding")


def assert_bits(result, expected):
    assert (result.dtype, result.tobytes()) == (expected.dtype, expected.tobytes())


@cases("case", CONVOLUTIONS)
def test_conv2d(backend, case):
    _, input, weight, bias = case.arrays(np.float64, real)

    def conv2d(input, weight, bias):
        return A.conv2d(input, weight, bias, *case.arguments)

    assert_bits(conv2d(input, weight, bias), F.conv2d(input, weight, bias, *case.arguments))
    check(conv2d, (0, 1, 2))(input, weight, bias)
    check(lambda input: A.conv2d(input, weight, None, *case.arguments))(input[0])


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
def test_algorithm(backend, algorithm):
    input, weight = real((2, 3, 5, 6)), real((2, 3, 3, 3))
    check(lambda x, w: A.conv2d(x, w, padding=1, algorithm=algorithm), (0, 1))(input, weight)


@cases("case", TRANSPOSES)
def test_conv_transpose2d(backend, case):
    _, weight, bias = case.arrays(np.float64)
    input, weight, bias = real(case.image), real(weight.shape, seed=1), real(bias.shape, seed=2)

    def conv_transpose2d(input, weight, bias):
        return A.conv_transpose2d(input, weight, bias, *case.arguments)

    assert_bits(conv_transpose2d(input, weight, bias), F.conv_transpose2d(input, weight, bias, *case.arguments))
    check(conv_transpose2d, (0, 1, 2))(input, weight, bias)
    check(lambda input: A.conv_transpose2d(input, weight, None, *case.arguments))(input[0])


@cases("case", {**MAXIMA, **DILATED_POOLINGS})
def test_max_pool2d(backend, case):
    input = real(case.image)
    expected, places = F.max_pool2d(input, *case.max_arguments, return_indices=True)
    output, indices = A.max_pool2d(input, *case.max_arguments, return_indices=True)
    assert_bits(output, expected)
    assert_bits(indices, places)
    inside = np.isfinite(expected)  # a dilated window with no pixel of the image gives -inf
    check(lambda input: A.max_pool2d(input, *case.max_arguments)[inside])(input)
    check(lambda input: A.max_pool2d(input, *case.max_arguments)[inside[0]])(input[0])
    _, slope = autograd.make_jvp(lambda input: A.max_pool2d(input, *case.max_arguments))(input)(np.ones(input.shape))
    np.testing.assert_array_equal(slope, inside)  # each output follows its one pixel, -inf none


@cases("case", MEANS)
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d(backend, case, count_include_pad):
    input, arguments = real(case.image), (*case.avg_arguments, count_include_pad)
    assert_bits(A.avg_pool2d(input, *arguments), F.avg_pool2d(input, *arguments))
    check(lambda input: A.avg_pool2d(input, *arguments))(input)
    check(lambda input: A.avg_pool2d(input, *arguments))(input[0])


def test_columns(backend):
    window = ((2, 3), (2, 1), (1, 0), (1, 2))
    input = real((2, 3, 5, 7))
    columns = A.im2col(input, *window)
    assert_bits(columns, F.im2col(input, *window))
    assert_bits(A.col2im(columns, (5, 7), *window), F.col2im(columns, (5, 7), *window))
    check(lambda input: A.im2col(input, *window))(input)
    check(lambda columns: A.col2im(columns, (5, 7), *window))(columns)


def test_relu(backend):
    input = real((3, 4, 5))
    assert_bits(A.relu(input), F.relu(input))
    check(A.relu)(input)
    assert autograd.elementwise_grad(A.relu)(np.zeros(3)).tolist() == [0, 0, 0]


@dtypes
def test_network(backend, dtype):
    """A stack of all of them, in both types; its gradient is that of the functional API, step by step."""
    images, weight, bias, up = (real(shape, dtype) for shape in ((2, 3, 8, 9), (4, 3, 3, 3), (4,), (4, 2, 2, 2)))

    def loss(weight, bias, up):
        hidden = A.max_pool2d(A.relu(A.conv2d(images, weight, bias, padding=1)), 2)
        return anp.sum(A.avg_pool2d(A.conv_transpose2d(hidden, up, stride=2), 2) ** 2)

    gradients = autograd.grad(loss, (0, 1, 2))(weight, bias, up)

    conv = F.conv2d(images, weight, bias, padding=1)
    active = F.relu(conv)
    hidden, indices = F.max_pool2d(active, 2, return_indices=True)
    wide = F.conv_transpose2d(hidden, up, stride=2)
    grad = F.avg_pool2d_backward(2 * F.avg_pool2d(wide, 2), wide.shape, 2)
    grad, grad_up, _ = F.conv_transpose2d_backward(grad, hidden, up, stride=2)
    grad = F.relu_backward(F.max_pool2d_backward(grad, indices, active.shape), active)
    _, grad_weight, grad_bias = F.conv2d_backward(grad, images, weight, padding=1)
    for gradient, expected in zip(gradients, (grad_weight, grad_bias, grad_up), strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, expected, rtol=1e-5 if dtype is np.float32 else 1e-12)


def test_errors_are_those_of_the_functional_api():
    """Inside a derivative too."""
    with pytest.raises(ValueError, match="conv2d: weight expects 4 input channels"):
        autograd.grad(lambda w: anp.sum(A.conv2d(np.ones((2, 3, 5, 5)), w)))(np.ones((2, 4, 3, 3)))
    with pytest.raises(TypeError, match="conv2d: all arrays must be float32 or all float64"):
        autograd.grad(lambda w: anp.sum(A.conv2d(np.ones((2, 3, 5, 5), "f"), w)))(np.ones((2, 3, 3, 3)))


def test_signatures():
    """Those of the functional API, without out."""
    for name in A.__all__:
        expected = [p for p in inspect.signature(getattr(F, name)).parameters.values() if p.name != "out"]
        found = inspect.signature(getattr(A, name)).parameters.values()
        assert [(p.name, p.default, p.kind) for p in found] == [(p.name, p.default, p.kind) for p in expected], name


def test_examples():
    assert doctest.testmod(A).failed == 0


WITHOUT = """
import sys
sys.modules["autograd"] = None  # as if it were not installed
try:
    import cyconv.ext.autograd
except ImportError as error:
    print(error)
"""


def test_without_autograd():
    printed = run_python(WITHOUT, CYCONV_BACKEND="numpy").stdout.strip()
    assert printed == "cyconv.ext.autograd needs autograd; write pip install 'cyconv[autograd]'"
