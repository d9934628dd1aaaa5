"""Fully connected layers as convolutions: one layer, a model, VGG's classifier, a network over a larger image."""

import itertools

import numpy as np
import pytest
from layer_cases import NoDraws, fill_whole, run_exactly

from cyconv import functional
from cyconv.convert import fully_convolutional
from cyconv.layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)


def windows(volume, size, stride=1):
    """All square windows of a (C, H, W) volume, row by row: (n*n, C, size, size)."""
    starts = range(0, volume.shape[1] - size + 1, stride)
    return np.stack([volume[:, y : y + size, x : x + size] for y in starts for x in starts])


def by_position(scores):
    """(K, H, W) -> (H*W, K), the order of `windows`."""
    return scores.reshape(len(scores), -1).T


# ---------------------------------------------------------------- one layer


@pytest.mark.parametrize("bias", [False, True])
def test_linear_to_conv2d(bias):
    rng = np.random.default_rng(0)
    fc = Linear(3 * 4 * 5, 7, bias=bias, dtype=np.float64, rng=rng)
    fill_whole(fc, rng)
    conv = fc.to_conv2d((3, 4, 5))
    assert isinstance(conv, Conv2d)
    assert conv.params["weight"].shape == (7, 3, 4, 5) and set(conv.params) == set(fc.params)
    images = rng.integers(-9, 10, (2, 3, 4, 5)).astype(float)  # whole numbers: equal, not close
    np.testing.assert_array_equal(conv(images)[:, :, 0, 0], fc(images.reshape(2, 60)))
    large = rng.integers(-9, 10, (3, 6, 6)).astype(float)
    assert conv(large).shape == (7, 3, 2)
    for y, x in np.ndindex(3, 2):
        crop = large[:, y : y + 4, x : x + 5].reshape(60)
        np.testing.assert_array_equal(conv(large)[:, y, x], fc(crop))


def test_the_convolution_shares_the_weights_and_the_mode():
    fc = Linear(12, 7)
    conv = fc.to_conv2d((3, 2, 2))
    for key, param in fc.params.items():
        assert np.shares_memory(conv.params[key], param)
        assert not np.shares_memory(conv.grads[key], fc.grads[key])
    assert conv.training and not fc.eval().to_conv2d((3, 2, 2)).training


def test_gradients_of_the_convolution_are_those_of_the_layer():
    rng = np.random.default_rng(0)
    fc = Linear(12, 7, dtype=np.float64, rng=rng)
    conv = fc.to_conv2d((3, 2, 2))
    images, grad_output = rng.integers(-9, 10, (4, 3, 2, 2)) * 1.0, rng.integers(-9, 10, (4, 7)) * 1.0
    fc(images.reshape(4, 12))
    conv(images)
    fc.backward(grad_output)
    conv.backward(grad_output.reshape(4, 7, 1, 1))
    for key, grad in fc.grads.items():
        np.testing.assert_array_equal(conv.grads[key].reshape(grad.shape), grad)


@pytest.mark.parametrize(
    ("shape", "error", "text"),
    [
        ((3, 2, 3), ValueError, r"to_conv2d: a volume of \(3, 2, 3\) has 18 elements, not 12"),
        ((12,), ValueError, r"to_conv2d: expected a volume \(C, H, W\), got \(12,\)"),
        ((3, 4), ValueError, r"to_conv2d: input_shape must be \(C, H, W\)"),
        ((3, -2, -2), ValueError, "to_conv2d: input_shape must be at least 1, got -2"),
        (12, TypeError, r"to_conv2d: input_shape must be a tuple of ints \(C, H, W\), got int"),
        ((3, 2, 2.0), TypeError, "to_conv2d: input_shape must be an int, got float"),
    ],
)
def test_shapes_that_a_layer_does_not_look_at(shape, error, text):
    with pytest.raises(error, match=f"^{text}"):
        Linear(12, 7).to_conv2d(shape)


# ---------------------------------------------------------------- a model


def small_network(rng):
    """Nested, with everything that may stand between; for volumes of (2, 8, 6)."""
    a = {"dtype": np.float64, "rng": rng}
    return Sequential(
        Sequential(Conv2d(2, 4, 3, **a), BatchNorm2d(4, dtype=np.float64), ReLU(), MaxPool2d(2)),
        Sequential(
            Flatten(),
            Dropout(0.5, rng=rng),
            Sequential(Linear(4 * 3 * 2, 5, **a), ReLU()),
            Dropout(0.5),
            Flatten(),
        ),
        Linear(5, 3, **a),
    )


def test_a_nested_model():
    rng = np.random.default_rng(0)
    model = small_network(rng).eval()
    converted = fully_convolutional(model, (2, 8, 6))
    assert [type(layer).__name__ for layer in converted] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "MaxPool2d",
        "Dropout",
        "Conv2d",
        "ReLU",
        "Dropout",
        "Conv2d",
    ]
    assert converted[5].kernel_size == (3, 2) and converted[8].kernel_size == (1, 1)
    assert converted.output_shape((2, 8, 6)) == (3, 1, 1)
    assert converted.output_shape((2, 12, 14)) == (3, 3, 5)
    images = rng.standard_normal((3, 2, 8, 6))
    # float64 sums of at most 24 terms, in another order
    np.testing.assert_allclose(converted(images)[:, :, 0, 0], model(images), rtol=1e-13, atol=1e-13)


def test_the_converted_model_shares_layers_weights_and_mode():
    model = small_network(np.random.default_rng(0))
    converted = fully_convolutional(model, (2, 8, 6))
    assert converted[0] is model[0][0] and converted[1] is model[0][1] and converted[4] is model[1][1]
    model[2].params["bias"][...] = 7
    np.testing.assert_array_equal(converted[8].params["bias"], 7)
    assert converted.training and converted[8].training
    again = fully_convolutional(model.eval(), (2, 8, 6))
    assert not again.training and not any(layer.training for layer in again)


def test_a_model_without_fully_connected_layers_stays():
    model = Sequential(Conv2d(1, 2, 3), ReLU())
    assert list(fully_convolutional(model, (1, 5, 5))) == list(model)


def test_models_that_can_not_be_converted():
    conv = Conv2d(1, 2, 3)
    for model, shape in (
        (Sequential(conv, Linear(3, 4)), (1, 5, 5)),  # torch's Linear would take the last axis
        (Sequential(Linear(3, 4)), (3,)),
    ):
        with pytest.raises(
            ValueError, match=r"can't become a convolution; put Flatten before the first Linear"
        ):
            fully_convolutional(model, shape)
    model = Sequential(conv, Flatten(), Linear(18, 4))
    with pytest.raises(ValueError, match=r"to_conv2d: a volume of \(2, 4, 4\) has 32 elements, not 18"):
        fully_convolutional(model, (1, 6, 6))
    with pytest.raises(ValueError, match="expects 1 channels or features, got volume"):
        fully_convolutional(model, (3, 5, 5))
    with pytest.raises(TypeError, match=r"fully_convolutional: expected a layer, got Linear\(3, 4"):
        fully_convolutional(Linear(3, 4), (3, 1, 1))
    with pytest.raises(TypeError, match="fully_convolutional: input_shape must be a tuple of ints"):
        fully_convolutional(model, 5)


# ---------------------------------------------------------------- VGG's classifier, in its size


def test_vggs_classifier_on_all_36_windows_of_12x12x512():
    rng = np.random.default_rng(0)
    model = Sequential(
        Flatten(),
        Linear(7 * 7 * 512, 4096, rng=NoDraws()),
        ReLU(),
        Dropout(0.5),
        Linear(4096, 4096, rng=NoDraws()),
        ReLU(),
        Dropout(0.5),
        Linear(4096, 1000, rng=NoDraws()),
    ).eval()
    for layer in (model[1], model[4]):
        fill_whole(layer, rng)
    fill_whole(model[7], rng, density=0.25)
    converted = fully_convolutional(model, (512, 7, 7))
    assert [layer.kernel_size for layer in converted if isinstance(layer, Conv2d)] == [(7, 7), (1, 1), (1, 1)]
    volume = rng.integers(0, 2, (512, 12, 12)).astype(np.float32)
    crops = windows(volume, 7)
    assert crops.shape == (36, 512, 7, 7)

    # whole numbers, of which no sum reaches 2**24: equal bit by bit, in any order of summation
    one_by_one = run_exactly(model, crops)
    scores = run_exactly(converted, volume)
    assert scores.shape == (1000, 6, 6)
    np.testing.assert_array_equal(by_position(scores), one_by_one)
    assert len(np.unique(one_by_one)) > 1000 and np.unique(one_by_one, axis=0).shape == (36, 1000)

    # and with weights of the size that He's has, where sums are rounded
    for layer in (model[1], model[4], model[7]):
        layer.params["weight"] *= np.float32(np.sqrt(3 / layer.in_features))
    one_by_one, scores = model(crops), converted(volume)
    # rounding walks: sqrt(25088) * 2**-24 = 1e-5 of the sums' size, less because both add in blocks
    assert np.abs(by_position(scores) - one_by_one).max() < 1e-5 * np.abs(one_by_one).max()


# ---------------------------------------------------------------- a whole network, 36 crops at stride 32


def unpadded_network():
    """CONV 3x3 without padding - RELU - POOL five times: 286 -> 7 and so 446 -> 12; whole weights."""
    rng = np.random.default_rng(1)
    layers, channels = [], 3
    for filters in (4, 4, 6, 6, 8):
        layers += [Conv2d(channels, filters, 3, dtype=np.float64, rng=rng), ReLU(), MaxPool2d(2)]
        channels = filters
    layers += [Flatten(), Linear(8 * 7 * 7, 16, dtype=np.float64, rng=rng), ReLU()]
    model = Sequential(*layers, Linear(16, 10, dtype=np.float64, rng=rng)).eval()
    fill_whole(model, rng)
    return model, rng.integers(0, 256, (3, 446, 446)).astype(float)


def test_without_padding_one_pass_equals_36_crops():
    model, image = unpadded_network()
    converted = fully_convolutional(model, (3, 286, 286))
    assert model[:15].output_shape((3, 286, 286)) == (8, 7, 7)
    assert model[:15].output_shape((3, 446, 446)) == (8, 12, 12)
    crops = windows(image, 286, stride=32)
    assert len(crops) == 36
    # whole numbers below 2**53: sums are exact, but for the rounding of Winograd's filtering
    one_by_one = run_exactly(model, crops)
    scores = run_exactly(converted, image)
    assert scores.shape == (10, 6, 6)
    np.testing.assert_allclose(by_position(scores), one_by_one, rtol=0, atol=1e-13 * np.abs(one_by_one).max())
    assert len(np.unique(one_by_one.round())) > 100

    averaged = Sequential(*converted, GlobalAvgPool2d(), Flatten()).eval()(image)
    # the mean of 36 numbers, added in two orders
    np.testing.assert_allclose(averaged, one_by_one.mean(axis=0), rtol=1e-13)
    sliding = functional.avg_pool2d(scores, 6)[:, 0, 0]
    np.testing.assert_allclose(averaged, sliding, rtol=1e-13)


def padded_network():
    """VGG-16's thirteen padded convolutions and three FC layers, with fewer filters: 224 -> 7, 384 -> 12."""
    rng = np.random.default_rng(2)
    layers, channels = [], 3
    for filters, count in ((2, 2), (4, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [Conv2d(channels, filters, 3, padding=1, rng=rng), ReLU()]
            channels = filters
        layers.append(MaxPool2d(2))
    layers += [Flatten(), Linear(8 * 7 * 7, 32, rng=rng), ReLU(), Linear(32, 32, rng=rng), ReLU()]
    model = Sequential(*layers, Linear(32, 10, rng=rng)).eval()
    return model, rng.standard_normal((3, 384, 384), dtype=np.float32)


def test_with_padding_one_pass_is_close_to_36_crops_and_not_equal():
    model, image = padded_network()
    converted = fully_convolutional(model, (3, 224, 224))
    trunk, classifier = model[:31], model[31:]
    assert isinstance(model[31], Flatten)
    volume = trunk(image)
    assert volume.shape == (8, 12, 12)
    volumes = trunk(windows(image, 224, stride=32))  # (36, 8, 7, 7)

    # the classifier by itself is exact to rounding: sums of 392 terms in float32
    scores = by_position(converted(image))
    on_windows = classifier(windows(volume, 7))
    np.testing.assert_allclose(scores, on_windows, rtol=0, atol=1e-5 * np.abs(on_windows).max())

    # The field of position i of a crop's 7 is [32i - 90, 32i + 121]: inside [0, 223] for i = 3 alone. Where
    # it leaves the crop but not the image, the crop has zeros and the image has pixels.
    size = np.abs(volume).max()
    for (y, x), crop in zip(itertools.product(range(6), repeat=2), volumes, strict=True):
        difference = np.abs(crop - volume[:, y : y + 7, x : x + 7]).max(axis=0)
        first_y, last_y = 0 if y == 0 else 3, 6 if y == 5 else 3
        first_x, last_x = 0 if x == 0 else 3, 6 if x == 5 else 3
        same = np.zeros((7, 7), bool)
        same[first_y : last_y + 1, first_x : last_x + 1] = True
        # the same sums of at most 72 terms, thirteen times over
        assert difference[same].max() < 1e-5 * size
        border = np.ones((7, 7), bool)
        border[1:-1, 1:-1] = False
        assert difference[border & ~same].mean() > 1e-3 * size

    one_by_one = model(windows(image, 224, stride=32))

    def relative_difference(a, b):
        return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)

    # Measured, weights and image being seeded: 0.07 to 0.37 over the windows, 0.18 on average, and 0.076
    # for the scores averaged over the positions. Rounding is a thousandth of that.
    relative = relative_difference(scores, one_by_one)
    assert relative.shape == (36,)
    assert relative.min() > 0.05 and 0.1 < relative.mean() < 0.3 and relative.max() < 0.5
    assert 0.05 < relative_difference(scores.mean(axis=0), one_by_one.mean(axis=0)) < 0.1
