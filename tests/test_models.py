"""The networks by name: their layers, volumes, parameters and arguments."""

import numpy as np
import pytest

import cyconv
from cyconv import models
from cyconv.layers import Conv2d, Dropout, Linear, MaxPool2d, ReLU

SMALL = {
    "cifar10_convnet": (models.cifar10_convnet, (3, 32, 32)),
    "lenet": (models.lenet, (1, 28, 28)),
    "small_vgg": (models.small_vgg, (3, 32, 32)),
}


def volumes(model, shape, kinds):
    """The volumes after each layer of `kinds`."""
    after = []
    for layer in model:
        shape = layer.output_shape(shape)
        if isinstance(layer, kinds):
            after.append(shape)
    return after


def parameters(model):
    return sum(param.size for param in model.params.values())


# ---------------------------------------------------------------- the large ones


def test_vgg16_volumes(vgg16):
    assert volumes(vgg16, (3, 224, 224), MaxPool2d) == [
        (64, 112, 112),
        (128, 56, 56),
        (256, 28, 28),
        (512, 14, 14),
        (512, 7, 7),
    ]
    assert volumes(vgg16, (3, 224, 224), Linear) == [(4096,), (4096,), (1000,)]
    convolutions = [layer for layer in vgg16 if isinstance(layer, Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    for layer in convolutions:  # F = 3, S = 1, P = 1
        assert layer.kernel_size == (3, 3) and layer.stride == (1, 1) and layer.padding == 1


def test_vgg16_has_138_million_parameters(vgg16):
    assert parameters(vgg16) == 138_357_544
    assert sum(isinstance(layer, Dropout) for layer in vgg16) == 2
    names = list(vgg16.params)
    # torchvision's "features.0.weight" ... "features.28.bias"; then the three FC layers
    assert names[0] == "0.weight" and names[25] == "28.bias" and names[-1] == "38.bias"
    assert vgg16.params["32.weight"].shape == (4096, 25088)


def test_vgg16_as_convolutions(vgg16):
    converted = cyconv.convert.fully_convolutional(vgg16, (3, 224, 224))
    assert converted.output_shape((3, 224, 224)) == (1000, 1, 1)
    assert converted[:31].output_shape((3, 384, 384)) == (512, 12, 12)
    assert converted.output_shape((3, 384, 384)) == (1000, 6, 6)
    filters = [layer for layer in converted if isinstance(layer, Conv2d)][-3:]
    assert [layer.kernel_size for layer in filters] == [(7, 7), (1, 1), (1, 1)]
    assert parameters(converted) == 138_357_544


def test_alexnet_volumes(alexnet):
    assert volumes(alexnet, (3, 227, 227), (Conv2d, MaxPool2d)) == [
        (96, 55, 55),
        (96, 27, 27),
        (256, 27, 27),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
    ]
    assert volumes(alexnet, (3, 227, 227), Linear) == [(4096,), (4096,), (1000,)]
    assert parameters(alexnet) == 62_378_344
    pools = [layer for layer in alexnet if isinstance(layer, MaxPool2d)]
    assert {(layer.kernel_size, layer.stride) for layer in pools} == {((3, 3), (2, 2))}  # overlapping


def test_alexnet_runs(alexnet):
    alexnet.eval()
    alexnet.params["20.bias"][...] = np.arange(1000)  # all weights are 0, so these are the scores
    scores = alexnet(np.ones((2, 3, 227, 227), np.float32))
    np.testing.assert_array_equal(scores, np.tile(np.arange(1000, dtype=np.float32), (2, 1)))


def test_an_image_of_another_size_is_refused(alexnet):
    with pytest.raises(ValueError, match=r"Linear\(9216, 4096, bias=True\) expects 9216"):
        alexnet.output_shape((3, 195, 195))
    with pytest.raises(ValueError, match="expects 3 channels"):
        alexnet.output_shape((1, 227, 227))


# ---------------------------------------------------------------- the small ones


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_networks_run_and_go_down_their_slope(name, dtype):
    make, shape = SMALL[name]
    rng = np.random.default_rng(0)
    model = make(dtype=dtype, rng=rng)
    images, labels = rng.standard_normal((4, *shape)).astype(dtype), np.array([3, 1, 4, 1])
    scores = model(images)
    assert scores.shape == (4, 10) and scores.dtype == dtype
    loss, grad_logits = cyconv.softmax_cross_entropy(scores, labels)
    assert model.backward(grad_logits) is None
    for key, grad in model.grads.items():
        assert grad.any() and np.isfinite(grad).all() and grad.dtype == dtype, key
    if dtype is np.float64:
        cyconv.SGD(model, 1e-7).step()
        after, _ = cyconv.softmax_cross_entropy(model(images), labels)
        slope = sum(np.sum(grad**2) for grad in model.grads.values())
        # the curvature takes 0.03 % off at this rate (and ten times that at ten times the rate)
        assert (loss - after) / 1e-7 == pytest.approx(slope, rel=0.002)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cifar10_convnet", 3 * 9 * 12 + 12 + 12 * 16 * 16 * 10 + 10),
        ("lenet", 156 + 2416 + (784 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)),
        ("small_vgg", 896 + 9248 + 18496 + 36928 + (4096 * 128 + 128) + (128 * 10 + 10)),
    ],
)
def test_parameters_of_small_networks(name, count):
    assert parameters(SMALL[name][0]()) == count


@pytest.mark.parametrize("name", SMALL)
def test_other_images_and_classes(name):
    model = SMALL[name][0]((2, 13, 20), num_classes=7, rng=np.random.default_rng(0))
    assert model(np.ones((3, 2, 13, 20), np.float32)).shape == (3, 7)
    assert models.cifar10_convnet(num_filters=5)[0].out_channels == 5


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_weights(name):
    first, second, third = (SMALL[name][0](rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    for key, param in first.params.items():
        np.testing.assert_array_equal(second.params[key], param)
        if key.endswith("weight"):
            assert np.any(third.params[key] != param)
            assert param.std() > 0
        else:
            assert not param.any()


def test_every_layer_but_the_last_has_a_relu():
    for make, _ in SMALL.values():
        layers = list(make())
        weighted = [i for i, layer in enumerate(layers) if layer.params]
        assert weighted[-1] == len(layers) - 1
        assert all(isinstance(layers[i + 1], ReLU) for i in weighted[:-1])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: models.lenet((28, 28)), ValueError, r"lenet: input_shape must be \(C, H, W\)"),
        (lambda: models.lenet((784,)), ValueError, r"lenet: expected a volume \(C, H, W\), got \(784,\)"),
        (lambda: models.lenet(28), TypeError, "lenet: input_shape must be a tuple of ints"),
        (
            lambda: models.small_vgg((0, 32, 32)),
            ValueError,
            "small_vgg: input_shape must be at least 1, got 0",
        ),
        (lambda: models.small_vgg((3, 2, 2)), ValueError, "MaxPool2d: .* does not fit input of size 1x1"),
        (lambda: models.lenet(num_classes=0), ValueError, "Linear: out_features must be at least 1, got 0"),
        (lambda: models.vgg16(rng=5), TypeError, r"vgg16: rng must be a numpy\.random\.Generator, got int"),
        (lambda: models.alexnet(dtype=int), TypeError, r"Conv2d: dtype must be numpy\.float32"),
    ],
)
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=f"^{text}"):
        make()
