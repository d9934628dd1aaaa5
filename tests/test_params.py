"""params, grads and buffers: dicts of arrays that are filled in place, of a layer and of a whole network."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from layer_cases import LAYERS, build, forward_backward

from cyconv import functional
from cyconv.layers import BatchNorm2d, Conv2d, Linear, ReLU, Sequential


def trained(name, dtype=np.float32):
    """A layer of LAYERS after one forward and backward pass."""
    layer, input = build(name, dtype)
    forward_backward(layer, input)
    return layer


def arrays_of(layer):
    """The arrays themselves, by their place in the network, not through the dicts of a Sequential."""
    if isinstance(layer, Sequential):
        return [array for child in layer for array in arrays_of(child)]
    return list(dict(layer.params).values())


@pytest.mark.parametrize("name", LAYERS)
def test_an_optimizer_of_ones_own(backend, name):
    model = trained(name)
    own = arrays_of(model)
    expected = [param - np.float32(0.5) * grad for param, grad in zip(own, model.grads.values(), strict=True)]
    for k in model.params:
        model.params[k] -= np.float32(0.5) * model.grads[k]
    assert isinstance(model.params, dict) and isinstance(model.grads, dict)
    for array, value, named in zip(own, expected, model.params.values(), strict=True):
        np.testing.assert_array_equal(array, value)
        assert named is array


@pytest.mark.parametrize("write", ["assign", "update", "or"])
def test_an_assigned_array_is_written_in_place(write):
    model = trained("Sequential")
    own, before = arrays_of(model), dict(model.params)
    new = {key: np.full(array.shape, i, np.float64) for i, (key, array) in enumerate(before.items())}
    if write == "assign":
        for key, value in new.items():
            model.params[key] = value
    elif write == "update":
        model.params.update(new)
    else:
        params = model.params
        params |= new
    for i, array in enumerate(own):
        assert (array == i).all() and array.dtype == np.float32
    model.grads["0.bias"] = np.ones_like(model.grads["0.bias"])
    model.buffers["1.running_mean"] = np.ones_like(model.buffers["1.running_mean"])
    assert (model[0].grads["bias"] == 1).all() and (model[1].buffers["running_mean"] == 1).all()
    layer = Linear(3, 2)
    weight = layer.params["weight"]
    layer.params["weight"] = np.ones((2, 3), np.float32)
    assert layer.params["weight"] is weight and (weight == 1).all()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (np.zeros(3, np.float32), ValueError, r"'(0\.)?bias': expected an array of shape \(2,\), got \(3,\)"),
        (np.zeros(2, complex), TypeError, r"'(0\.)?bias': expected an array of dtype float32, got complex128"),
        (0.0, TypeError, r"'(0\.)?bias': expected a NumPy array to write into that of the layer, got 0.0"),
    ],
)
def test_what_does_not_fit_is_an_error(value, error, text):
    layer = Linear(3, 2)
    for params, key in ((layer.params, "bias"), (Sequential(layer).params, "0.bias")):
        with pytest.raises(error, match=text):
            params[key] = value
    assert (layer.params["bias"] == 0).all() and layer.params["bias"].shape == (2,)


def test_names_come_and_go_in_layers_alone():
    layer = Linear(3, 2)
    model = Sequential(ReLU(), layer)
    array = np.zeros(2)
    for lost in (
        lambda p: p.__setitem__("1.scale", array),
        lambda p: p.update({"1.scale": array}),
        lambda p: p.setdefault("1.scale", array),
        lambda p: p.__delitem__("1.bias"),
        lambda p: p.pop("1.bias"),
        lambda p: p.popitem(),
        lambda p: p.clear(),
    ):
        with pytest.raises(ValueError, match="Sequential: its arrays have the names of its layers"):
            lost(model.params)
    del layer.params["bias"]
    layer.params["scale"] = array
    assert list(model.params) == ["1.weight", "1.scale"] and model.params["1.scale"] is array


def test_copies_stand_alone():
    model = Sequential(Conv2d(1, 2, 3))
    weight = model.params["0.weight"].copy()
    for clone in (copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        params, twin = clone(model.params), clone(model)
        params["0.weight"][...] = 7
        params["more"] = weight
        twin.params["0.weight"] = weight + 1
        np.testing.assert_array_equal(twin[0].params["weight"], weight + 1)
    assert model.params.copy()["0.weight"] is model[0].params["weight"]
    np.testing.assert_array_equal(model.params["0.weight"], weight)


def test_the_gradient_of_a_large_weight_is_made_where_it_stays(backend):
    layer, input = Linear(600, 500), np.ones((3, 600), np.float32)
    grad_output = np.arange(1500, dtype=np.float32).reshape(3, 500)
    expected = functional.linear_backward(grad_output, input, layer.params["weight"])[1]
    layer(input)
    own = layer.grads["weight"]
    layer.backward(grad_output)
    tracemalloc.start()
    layer.backward(grad_output)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert layer.grads["weight"] is own and peak < own.nbytes / 2
    np.testing.assert_array_equal(own, expected)
    for odd in (np.zeros((500, 600), np.float32, order="F"), np.zeros((500, 600)), np.zeros((500, 600), ">f4")):
        del layer.grads["weight"]
        layer.backward(grad_output)
        layer.grads["weight"] = odd
        layer.backward(grad_output)
        assert layer.grads["weight"] is odd
        np.testing.assert_array_equal(odd, expected)


def test_a_gradient_that_is_read_is_not_written(backend):
    """An input, or a gradient, that lies in `grads`: the product is made apart."""
    layer = Linear(64, 64)
    rng = np.random.default_rng(0)
    layer.grads["weight"][:] = rng.standard_normal((64, 64))
    grad_output = rng.standard_normal((64, 64), dtype=np.float32)
    expected = grad_output.T @ layer.grads["weight"]
    layer(layer.grads["weight"])
    layer.backward(grad_output)
    np.testing.assert_allclose(layer.grads["weight"], expected, atol=1e-4)  # 64 products of about 1


def test_batch_norm_with_eps_of_another_dtype(backend):
    layer, input = BatchNorm2d(3), np.random.default_rng(0).standard_normal((2, 3, 4, 5), dtype=np.float32)
    expected = layer(input)
    layer.eps = np.float64(layer.eps)
    assert layer(input).tobytes() == expected.tobytes()
