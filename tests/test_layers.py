"""Every layer: shapes, gradients by finite differences, what it keeps, the order of calls."""

import weakref

import numpy as np
import pytest
from layer_cases import LAYERS, build, fix_dropout, forward_backward, leaves

import cyconv
from cyconv import functional
from cyconv.layers import AvgPool2d, Conv2d, MaxPool2d, ReLU, Sequential

every_layer = pytest.mark.parametrize("name", LAYERS)


# ---------------------------------------------------------------- shapes


@every_layer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtype(name, dtype):
    layer, input = build(name, dtype)
    _, volume, output_volume = LAYERS[name]
    output, grad_input = forward_backward(layer, input)
    assert layer.output_shape(volume) == output_volume
    assert output.shape == (2, *output_volume) and output.dtype == dtype
    assert grad_input.shape == input.shape and grad_input.dtype == dtype
    assert set(layer.params) == set(layer.grads)
    for key, grad in layer.grads.items():
        assert grad.shape == layer.params[key].shape and grad.dtype == dtype
        assert np.any(grad != 0), key


@every_layer
def test_parameters_have_the_dtypes_that_checks_pass_at_once(name):
    layer, _ = build(name, np.float32)
    for key, array in {**layer.params, **layer.grads}.items():
        assert array.dtype is np.dtype(array.dtype.type), key  # an equal one costs 2.5 us in each call


@every_layer
def test_a_single_image_has_no_batch_axis(name):
    layer, input = build(name)
    output, grad_input = forward_backward(layer, input[0])
    assert output.shape == LAYERS[name][2]
    assert grad_input.shape == input.shape[1:]
    layer.eval()  # in training the batch has its say in BatchNorm2d and Dropout
    # the same sums of at most 36 terms, perhaps in another order: some units of 2**-53
    np.testing.assert_allclose(layer(input[1]), layer(input)[1], rtol=1e-12, atol=1e-13)


@every_layer
def test_an_empty_batch(name):
    layer, input = build(name)
    for grad in layer.grads.values():
        grad[...] = np.nan
    output, grad_input = forward_backward(layer, input[:0])
    assert output.shape == (0, *LAYERS[name][2])
    assert grad_input.shape == (0, *LAYERS[name][1])
    for grad in layer.grads.values():
        assert not grad.any()


def test_conv_layers_are_their_functions():
    for name, function in (("Conv2d", functional.conv2d), ("ConvTranspose2d", functional.conv_transpose2d)):
        layer, input = build(name)
        arguments = {key: getattr(layer, key) for key in ("stride", "padding", "dilation", "groups")}
        if name == "ConvTranspose2d":
            arguments["output_padding"] = layer.output_padding
        expected = function(input, layer.params["weight"], layer.params["bias"], **arguments)
        np.testing.assert_array_equal(layer(input), expected)


def test_pool_layers_are_their_functions():
    # padding on one side, hanging windows, and a divisor that leaves the padding out: each argument counts
    image = np.random.default_rng(0).standard_normal((2, 3, 9, 7))
    shared = {"kernel_size": (3, 4), "stride": (2, 3), "padding": ((1, 0), (0, 2)), "ceil_mode": True}
    dilated = shared | {"dilation": (2, 1)}
    divided = shared | {"count_include_pad": False}
    np.testing.assert_array_equal(MaxPool2d(**dilated)(image), functional.max_pool2d(image, **dilated))
    np.testing.assert_array_equal(AvgPool2d(**divided)(image), functional.avg_pool2d(image, **divided))
    assert AvgPool2d(**divided)(image).shape == (2, 3, 5, 3)
    assert AvgPool2d(**divided | {"ceil_mode": False})(image).shape == (2, 3, 4, 2)
    assert np.any(functional.avg_pool2d(image, **shared) != functional.avg_pool2d(image, **divided))


def test_an_image_that_does_not_fit_is_an_error_of_output_shape_too():
    for name, volume in (("Conv2d", (3, 7, 6)), ("ConvTranspose2d", (3, 3, 5)), ("BatchNorm2d", (4, 4, 5))):
        with pytest.raises(ValueError, match=r"expects . channels or features, got volume"):
            build(name)[0].output_shape(volume)
    with pytest.raises(ValueError, match="does not fit"):
        Conv2d(1, 1, 3).output_shape((1, 2, 3))
    with pytest.raises(ValueError, match=r"Linear: Linear\(7, 4, bias=True\) expects 7"):
        build("Linear")[0].output_shape((7, 2, 2))  # forward multiplies the last axis
    with pytest.raises(ValueError, match=r"expected a volume \(C, H, W\)"):
        MaxPool2d(2).output_shape((8,))


# ---------------------------------------------------------------- gradients


def directional_error(loss, array, grad, rng):
    """|numeric - analytic| derivative of `loss` along a random direction through `array`, and its size."""
    direction = rng.standard_normal(array.shape)
    saved, step = array.copy(), 1e-5
    array += step * direction
    above = loss()
    array[...] = saved - step * direction
    below = loss()
    array[...] = saved
    analytic = np.sum(grad * direction)
    return abs((above - below) / (2 * step) - analytic), abs(analytic)


def check_gradients(layer, input, loss, grad_input):
    """Three random directions through the input and each parameter: a wrong element shows in all of them."""
    rng = np.random.default_rng(2)
    gradients = {"input": (input, grad_input.copy())}
    gradients |= {key: (param, layer.grads[key].copy()) for key, param in layer.params.items()}
    for key, (array, grad) in gradients.items():
        for _ in range(3):
            error, size = directional_error(loss, array, grad, rng)
            # rounding of the loss over the step, 2**-53 / 1e-5 = 1e-11, and the step squared, 1e-10,
            # times the losses and third derivatives here, below 1000
            assert error < 1e-7 * (1 + size), key


@every_layer
def test_finite_differences_of_each_layer(name):
    layer, input = build(name)
    fix_dropout(layer)
    output = layer(input)
    grad_output = np.random.default_rng(1).standard_normal(output.shape)
    grad_input = layer.backward(grad_output, needs_input_grad=True)

    def loss():
        fix_dropout(layer)
        return np.sum(layer(input) * grad_output)

    check_gradients(layer, input, loss, grad_input)


def test_finite_differences_of_a_whole_network_with_its_loss():
    model, input = build("Sequential")
    types = {type(leaf).__name__ for leaf in leaves(model)} | {"Sequential"}
    assert types == set(cyconv.layers.__all__) - {"Layer"}
    targets = np.array([3, 0])

    def loss():
        fix_dropout(model)
        return cyconv.softmax_cross_entropy(model(input), targets)[0]

    fix_dropout(model)
    _, grad_logits = cyconv.softmax_cross_entropy(model(input), targets)
    grad_input = model.backward(grad_logits, needs_input_grad=True)
    check_gradients(model, input, loss, grad_input)


@every_layer
def test_backward_overwrites_grads_in_place(name):
    layer, input = build(name)
    params, grads = dict(layer.params), dict(layer.grads)
    output = layer(input)
    layer.backward(np.full_like(output, 7))
    for grad in grads.values():
        grad[...] = np.nan
    layer.backward(np.ones_like(output))
    once = {key: grad.copy() for key, grad in grads.items()}
    layer.backward(np.ones_like(output))  # a second time: the same, not the double
    cyconv.SGD(layer, 0.1, momentum=0.9).step()
    layer.load_state_dict(layer.state_dict())
    for key in params:
        assert layer.params[key] is params[key] and layer.grads[key] is grads[key]
        assert np.isfinite(grads[key]).all()
        np.testing.assert_array_equal(grads[key], once[key])


def test_nothing_that_the_caller_passed_is_written():
    for name in LAYERS:
        layer, input = build(name)
        input.flags.writeable = False
        output = layer(input)
        grad_output = np.ones_like(output)
        grad_output.flags.writeable = False
        layer.backward(grad_output)  # a write raises


# name in torch.nn, arguments; the same as LAYERS builds
TORCH = {
    "Conv2d 1x1": lambda nn: nn.Conv2d(3, 2, 1),
    "Conv2d depthwise": lambda nn: nn.Conv2d(3, 6, (1, 3), groups=3, bias=False),
    "MaxPool2d": lambda nn: nn.MaxPool2d((3, 2), (2, 1), (1, 0)),
    "MaxPool2d dilated": lambda nn: nn.MaxPool2d(2, dilation=(1, 2), ceil_mode=True),
    "AvgPool2d": lambda nn: nn.AvgPool2d((2, 3), (1, 2), (1, 1)),
    "GlobalAvgPool2d": lambda nn: nn.AdaptiveAvgPool2d(1),
    "Linear": lambda nn: nn.Linear(7, 4),
    "ReLU": lambda nn: nn.ReLU(),
    "Flatten": lambda nn: nn.Flatten(),
    "BatchNorm2d": lambda nn: nn.BatchNorm2d(3),
}


@pytest.mark.parametrize("name", TORCH)
def test_forward_backward_and_state_of_torch(name):
    torch = pytest.importorskip("torch")
    layer, input = build(name)
    module = TORCH[name](torch.nn).double()
    module.load_state_dict({key: torch.from_numpy(array) for key, array in layer.state_dict().items()})
    leaf = torch.from_numpy(input.copy()).requires_grad_()
    expected = module(leaf)
    output, grad_input = forward_backward(layer, input)
    expected.backward(torch.from_numpy(np.random.default_rng(1).standard_normal(output.shape)))
    close = {"rtol": 1e-12, "atol": 1e-13}  # float64 sums of at most 40 terms, in another order
    np.testing.assert_allclose(output, expected.detach().numpy(), **close)
    np.testing.assert_allclose(grad_input, leaf.grad.numpy(), **close)
    for key, param in module.named_parameters():
        np.testing.assert_allclose(layer.grads[key], param.grad.numpy(), **close)
    assert list(layer.state_dict()) == list(module.state_dict())
    for key, value in module.state_dict().items():
        np.testing.assert_allclose(layer.state_dict()[key], value.numpy(), **close)


# ---------------------------------------------------------------- what is kept, and the order of calls


@every_layer
def test_eval_keeps_nothing(name):
    layer, input = build(name)
    layer.eval()
    output = layer(input)
    alive = [weakref.ref(input), weakref.ref(output)]
    del input, output
    assert [ref() for ref in alive] == [None, None]


def test_training_keeps_the_input_until_eval():
    layer, input = build("Conv2d")
    alive = weakref.ref(input)
    layer(input)
    del input
    assert alive() is not None
    assert layer.eval() is layer
    assert alive() is None


@every_layer
def test_backward_needs_a_forward_in_training(name):
    layer, input = build(name)
    grad_output = np.ones((2, *LAYERS[name][2]))
    with pytest.raises(RuntimeError, match=r"\w\.backward: no forward pass .* call forward\(input\) first"):
        layer.backward(grad_output)
    layer(input)
    layer.eval()
    with pytest.raises(RuntimeError, match=r"in eval mode forward keeps nothing .* call train\(\)"):
        layer.backward(grad_output)
    layer(input)
    with pytest.raises(RuntimeError, match="in eval mode"):
        layer.backward(grad_output)
    assert layer.train() is layer and layer.training
    with pytest.raises(RuntimeError, match="no forward pass"):
        layer.backward(grad_output)
    layer(input)
    assert layer.backward(grad_output, needs_input_grad=True).shape == input.shape


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear", "MaxPool2d", "BatchNorm2d"])
def test_a_forward_that_fails_is_no_forward(name):
    layer, input = build(name)
    with pytest.raises(ValueError):
        layer(input[..., np.newaxis])
    with pytest.raises(RuntimeError, match="no forward pass"):
        layer.backward(np.ones((2, *LAYERS[name][2])))


@every_layer
def test_a_gradient_of_the_wrong_shape(name):
    layer, input = build(name)
    wrong = np.ones((2, *LAYERS[name][2]))[:1]
    layer(input)
    with pytest.raises(ValueError, match=r"grad_output") as error:
        layer.backward(wrong)
    assert str(wrong.shape) in str(error.value) and "(2, " in str(error.value)  # what came, what was expected


def test_mode_must_be_a_bool():
    for layer in (ReLU(), Sequential(ReLU())):
        with pytest.raises(TypeError, match=r"\.train: mode must be True or False, got int \(1\)"):
            layer.train(1)
