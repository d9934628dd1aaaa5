"""A Sequential lets a convolution or fully connected layer apply the ReLU behind it, and max pooling go back through
the one before it: the same bits."""

import numpy as np
import pytest
from geometries import GEOMETRIES, Geometry
from helpers import assert_agree, cases, dtypes, real, using

import cyconv
from cyconv import _backend, _checks, _window
from cyconv import functional as F
from cyconv.functional.convolution import convolved
from cyconv.functional.dense import transformed
from cyconv.layers import BatchNorm2d, Conv2d, ConvTranspose2d, Flatten, Linear, MaxPool2d, ReLU, Sequential

WIDER = {  # every way a convolution is computed and divided
    "winograd-3x3": Geometry((2, 40, 30, 29), 37, 3, 1, 1),
    "winograd-5x5": Geometry((2, 20, 17, 18), 21, 5, 1, 2),
    "images-share-tiles": Geometry((40, 16, 6, 7), 24, (3, 3), 1, 1),
    "taps-in-parts": Geometry((1, 300, 20, 30), 5, (6, 7), 1, 3),
    "strided": Geometry((2, 3, 50, 41), 24, (7, 5), 2, 3),
    "1x1": Geometry((2, 64, 21, 20), 70, 1),
    "winograd-4x4": Geometry((2, 9, 21, 20), 13, 4, 1, 1),
    "winograd-stride": Geometry((2, 35, 21, 24), 13, 3, 2, 1),
    "winograd-dilation": Geometry((2, 8, 21, 20), 9, 2, 1, 1, 3),
}
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-42, -1e-42, -1.0]


def fused_and_not(input, weight, bias, arguments, algorithm="auto"):
    plain = F.conv2d(input, weight, bias, *arguments, algorithm=algorithm)
    return convolved(input, weight, bias, *arguments, algorithm, None, True), F.relu(plain)


def winograd_applies(geometry):
    try:
        window = _window.parse("test", geometry.image[2:], *geometry.window)
        _checks.algorithm_applies("test", "winograd", window)
    except ValueError:
        return False
    return True


@cases("geometry", {**GEOMETRIES, **WIDER})
@dtypes
@pytest.mark.parametrize("biased", [True, False])
def test_convolution(backend, geometry, dtype, biased):
    _, input, weight, bias = geometry.arrays(dtype, real)
    for algorithm in ("auto", "im2col", *(["winograd"] if winograd_applies(geometry) else [])):
        fused, plain = fused_and_not(input, weight, bias if biased else None, geometry.arguments, algorithm)
        assert fused.tobytes() == plain.tobytes()
        assert fused.size < 2 or not plain.all()


@dtypes
@pytest.mark.parametrize("algorithm", ["im2col", "winograd", "auto"])
@pytest.mark.parametrize("groups", [1, 3])
def test_special_values(backend, dtype, algorithm, groups):
    """NaN stays NaN; both zeros and all below become 0."""
    input = real((2, 3, 13, 14), dtype)
    weight = real((3, 3 // groups, 3, 3), dtype)
    for i, value in enumerate(SPECIAL):
        input[i % 2, i % 3, 3 + i, 4] = value
    for case in (input, np.where(np.isfinite(input), input, -0.0), np.zeros_like(input)):
        fused, plain = fused_and_not(case, weight, None, (1, 1, 1, groups), algorithm)
        np.testing.assert_array_equal(fused, plain)
        assert fused.tobytes() == plain.tobytes()
    assert np.isnan(fused_and_not(input, weight, None, (1, 1, 1, groups), algorithm)[0]).any()


@dtypes
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 1, 1), (3, 5, 7), (1, 500, 300), (32, 250, 256), (33, 250, 256), (40, 10, 300), (1100, 30, 20),
     (0, 3, 4), (3, 4, 0), (5, 0, 3)],
)  # fmt: skip
@pytest.mark.parametrize("biased", [True, False])
def test_fully_connected(backend, m, n, k, biased, dtype):
    input, weight = real((m, k), dtype, 1), real((n, k), dtype, 2)
    bias = real((n,), dtype, 3) if biased else None
    for value, place in zip(SPECIAL, range(m), strict=False):
        input[place, :1] = value
    plain = F.relu(F.linear(input, weight, bias))
    cyconv.set_num_threads(1)
    assert transformed(input, weight, bias, True).tobytes() == plain.tobytes()
    cyconv.set_num_threads(3)
    assert transformed(input, weight, bias, True).tobytes() == plain.tobytes()
    np.testing.assert_allclose(
        plain[len(SPECIAL) :],
        np.maximum(input[len(SPECIAL) :] @ weight.T + (0 if bias is None else bias), 0),
        rtol=0,
        atol=1e-4 if dtype == np.float32 else 1e-12,
    )


def model(dtype=np.float32):
    rng = np.random.default_rng(0)
    return Sequential(
        Conv2d(3, 8, 3, padding=1, dtype=dtype, rng=rng),
        ReLU(),
        ReLU(),
        Conv2d(8, 8, 3, padding=1, groups=8, dtype=dtype, rng=rng),
        ReLU(),
        MaxPool2d(2),
        Sequential(Conv2d(8, 6, 1, bias=False, dtype=dtype, rng=rng), BatchNorm2d(6, dtype=dtype), ReLU()),
        ConvTranspose2d(6, 4, 2, dtype=dtype, rng=rng),
        ReLU(),
        cyconv.Flatten(),
        Linear(4 * 7 * 8, 20, dtype=dtype, rng=rng),
        ReLU(),
        Linear(20, 5, dtype=dtype, rng=rng),
    )


def one_by_one(layer, input):
    if isinstance(layer, Sequential):
        for child in layer:
            input = one_by_one(child, input)
        return input
    return layer(input)


@dtypes
def test_a_network(backend, dtype, monkeypatch):
    network = model(dtype).eval()
    for shape in ((5, 3, 12, 14), (3, 12, 14), (0, 3, 12, 14)):
        input = real(shape, dtype)
        assert network(input).tobytes() == one_by_one(network, input).tobytes()
    calls = []
    relu = _backend.kernels.relu_forward
    monkeypatch.setattr(_backend.kernels, "relu_forward", lambda *arrays: calls.append(relu(*arrays)))
    network(real((1, 3, 12, 14), dtype))
    if backend != "numpy":
        assert len(calls) == 3  # behind the other ReLU, batch normalisation and the transposed convolution
    with pytest.raises(RuntimeError, match="in eval mode forward keeps nothing"):
        network[1].backward(input)


def back_one_by_one(layer, grad_output):
    if isinstance(layer, Sequential):
        for child in reversed(list(layer)):
            grad_output = back_one_by_one(child, grad_output)
        return grad_output
    return layer.backward(grad_output)


@dtypes
def test_training(backend, dtype):
    network, alone = model(dtype), model(dtype)
    for shape in ((5, 3, 12, 14), (1, 3, 12, 14), (0, 3, 12, 14))[: 3 if backend == "numpy" else 2]:
        input = real(shape, dtype)
        output = network(input)
        assert output.tobytes() == one_by_one(alone, input).tobytes()
        gradient = network.backward(output, needs_input_grad=True)
        assert gradient.tobytes() == back_one_by_one(alone, output).tobytes()
        assert all(grad.tobytes() == alone.grads[name].tobytes() for name, grad in network.grads.items())
        # each layer has kept what it needs to go back alone
        assert gradient.tobytes() == back_one_by_one(network, output).tobytes()


POOLS = {"2": (2,), "overlapping": (3, 1, 1), "strided": ((2, 3), (3, 2), (1, 0)), "dilated": (2, 2, 0, 2, True)}


@cases("pool", POOLS)
@dtypes
def test_max_pooling_goes_back_through_a_relu(backend, dtype, pool, monkeypatch):
    input = real((3, 4, 13, 14), dtype)
    for i, value in enumerate(SPECIAL):
        input[i % 3, i % 4, 3 + i : 6 + i, 4 : 4 + i] = value
    input[1] = -1  # every maximum is 0
    relu, pooling, flatten = ReLU(), MaxPool2d(*pool), Flatten()
    network = Sequential(relu, pooling, flatten)
    grad_output = real(network(input).shape, dtype, 5)
    grad_output[0, :4] = np.nan, np.inf, -0.0, 0.0
    expected = relu.backward(pooling.backward(flatten.backward(grad_output)))
    with monkeypatch.context() as patched:
        patched.setattr(ReLU, "backward", None)  # not called
        gradient = network.backward(grad_output, needs_input_grad=True)
    assert gradient.tobytes() == expected.tobytes()
    assert not gradient[1].any() and gradient[2].any()


def test_a_pooling_that_saw_something_else_goes_back_alone(backend):
    relu, pooling, flatten, input = ReLU(), MaxPool2d(2), Flatten(), real((2, 3, 6, 8), np.float32)
    network = Sequential(relu, pooling, flatten)
    network(input)
    relu(-input)  # the last forward pass of a layer counts
    grad_output = real((2, 36), np.float32, 2)
    gradient = network.backward(grad_output, needs_input_grad=True)
    np.testing.assert_array_equal(gradient, relu.backward(pooling.backward(flatten.backward(grad_output))))
    pooling.eval()
    with pytest.raises(RuntimeError, match=r"MaxPool2d\.backward: no forward pass"):
        network.backward(grad_output)
    network.eval().train()
    flatten(pooling(input))
    with pytest.raises(RuntimeError, match=r"ReLU\.backward: no forward pass"):
        network.backward(grad_output)


def test_the_pooled_output_belongs_to_the_caller(backend):
    network, input = Sequential(ReLU(), MaxPool2d(2)), real((2, 3, 6, 8), np.float32)
    grad_output = np.ones_like(network(input))
    expected = network.backward(grad_output, needs_input_grad=True)
    network(input)[:] = 0
    np.testing.assert_array_equal(network.backward(grad_output, needs_input_grad=True), expected)
    assert expected.any()


def test_layers_of_ones_own_are_left_alone(backend):
    input = real((2, 3, 12, 14), np.float32)

    class Twice(Conv2d):
        def forward(self, input):
            return 2 * super().forward(input)

    class Leaky(ReLU):
        def forward(self, input):
            return np.maximum(input, np.float32(0.1) * input)

    for layers in ((Twice(3, 4, 3), ReLU()), (Conv2d(3, 4, 3), Leaky())):
        network = Sequential(*layers).eval()
        np.testing.assert_array_equal(network(input), layers[1](layers[0](input)))
    network = Sequential(Conv2d(3, 4, 3), ReLU()).eval()
    network[1].train()  # keeps its output, though the convolution keeps nothing
    network(input)
    assert network[1].backward(np.ones((2, 4, 10, 12), np.float32)).any()


@dtypes
def test_backends_agree(dtype):
    rng = np.random.default_rng(1)
    input = rng.integers(-3, 4, (2, 3, 9, 8)).astype(dtype)
    weight = rng.integers(-3, 4, (4, 3, 3, 2)).astype(dtype)
    assert_agree(lambda: convolved(input, weight, None, 1, 1, 1, 1, "auto", None, True))
    with using("numpy"):
        assert (convolved(input, weight, None, 1, 1, 1, 1, "auto", None, True) == 0).any()
