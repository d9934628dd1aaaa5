"""Sequential: the gradient that it leaves out, names, modes, parts."""

import numpy as np
import pytest
from layer_cases import build, forward_backward, leaves

from cyconv import _backend
from cyconv.layers import BatchNorm2d, Conv2d, Dropout, MaxPool2d, ReLU, Sequential


class Counting:
    """A kernel module that counts the calls of each kernel."""

    def __init__(self, kernels):
        self.kernels, self.calls = kernels, []

    def __getattr__(self, name):
        self.calls.append(name)
        return getattr(self.kernels, name)


@pytest.mark.parametrize("nested", [False, True])
def test_sequential_leaves_the_gradient_of_its_input_out(nested, monkeypatch):
    rng = np.random.default_rng(0)
    first, second = Conv2d(2, 3, 3, rng=rng), Conv2d(3, 4, 3, rng=rng)
    model = Sequential(Sequential(first, ReLU()), second) if nested else Sequential(first, ReLU(), second)
    output = model(rng.standard_normal((2, 2, 8, 8), dtype=np.float32))
    counting = Counting(_backend.kernels)
    monkeypatch.setattr(_backend, "kernels", counting)
    assert model.backward(np.ones_like(output)) is None
    assert counting.calls.count("conv2d_backward_input") == 1  # the second layer's
    assert counting.calls.count("conv2d_backward_weight") == 2
    without = {key: grad.copy() for key, grad in model.grads.items()}
    grad_input = model.backward(np.ones_like(output), needs_input_grad=True)
    assert counting.calls.count("conv2d_backward_input") == 3
    assert grad_input.shape == (2, 2, 8, 8)
    for key, grad in model.grads.items():
        np.testing.assert_array_equal(grad, without[key])


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_a_layer_without_the_gradient_of_its_input(name):
    layer, input = build(name)
    output, _ = forward_backward(layer, input)
    with_it = {key: grad.copy() for key, grad in layer.grads.items()}
    grad_output = np.random.default_rng(1).standard_normal(output.shape)
    assert layer.backward(grad_output, needs_input_grad=False) is None
    for key, grad in layer.grads.items():
        np.testing.assert_array_equal(grad, with_it[key])


def test_sequential_is_a_sequence_with_names_of_pytorch():
    rng = np.random.default_rng(0)
    model = Sequential(
        Conv2d(1, 2, 3, rng=rng), ReLU(), Sequential(BatchNorm2d(2), Conv2d(2, 2, 1, bias=False))
    )
    assert len(model) == 3
    assert list(model) == [model[0], model[1], model[2]]
    assert model[-1] is model[2]
    assert list(model.params) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias", "2.1.weight"]
    assert list(model.grads) == list(model.params)
    assert list(model.buffers) == ["2.0.running_mean", "2.0.running_var", "2.0.num_batches_tracked"]
    assert model.params["2.1.weight"] is model[2][1].params["weight"]
    with pytest.raises(IndexError):
        model[3]


def test_modes_reach_every_layer_and_part():
    model, _ = build("Sequential")
    model.eval()
    assert not any(leaf.training for leaf in leaves(model)) and not model.training
    part = model[1:5]
    assert isinstance(part, Sequential) and len(part) == 4 and part[0] is model[1]
    assert not part.training
    model.train()
    assert all(leaf.training for leaf in leaves(model)) and model[:2].training


def test_a_sequential_without_layers_is_the_identity():
    model, input = Sequential(), np.ones((2, 3))
    assert model(input) is input
    assert model.backward(input) is None
    assert model.backward(input, needs_input_grad=True) is input
    assert model.output_shape((3, 4, 5)) == (3, 4, 5)
    assert dict(model.params) == {} and model.state_dict() == {}


def test_reprs():
    model = Sequential(Conv2d(1, 2, 3, padding="same"), Sequential(MaxPool2d(2)), Dropout(0.25))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding='same', dilation=(1, 1), groups=1, "
        "bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=0, dilation=(1, 1), ceil_mode=False)\n"
        "  )\n"
        "  (2): Dropout(p=0.25)\n"
        ")"
    )
