"""What is particular to one layer: BatchNorm2d, Dropout, initial weights, constructor arguments."""

import numpy as np
import pytest

from cyconv.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)

# ---------------------------------------------------------------- BatchNorm2d


def norm_and_images(N=3, momentum=0.3, eps=1e-3):
    rng = np.random.default_rng(0)
    norm = BatchNorm2d(2, eps=eps, momentum=momentum, dtype=np.float64)
    norm.params["weight"][:] = [2.0, -0.5]
    norm.params["bias"][:] = [0.25, 1.0]
    return norm, rng.normal(5, 3, (N, 2, 4, 5))


def test_batch_norm_in_training_uses_the_batch():
    norm, images = norm_and_images()
    output = norm(images)
    for c in range(2):
        values = images[:, c]
        expected = (values - np.mean(values)) / np.sqrt(np.var(values) + 1e-3)
        expected = expected * norm.params["weight"][c] + norm.params["bias"][c]
        # a few roundings of numbers below 10 each
        np.testing.assert_allclose(output[:, c], expected, rtol=0, atol=1e-13)


def test_batch_norm_moves_its_running_statistics():
    norm, images = norm_and_images()
    mean, var = np.zeros(2), np.ones(2)
    for step in range(1, 4):
        batch = images + step
        norm(batch)
        mean = 0.7 * mean + 0.3 * batch.mean(axis=(0, 2, 3))
        var = 0.7 * var + 0.3 * batch.var(axis=(0, 2, 3), ddof=1)  # unbiased
        # the layer adds 0.3 times the difference: the same up to a few roundings
        np.testing.assert_allclose(norm.buffers["running_mean"], mean, rtol=1e-14)
        np.testing.assert_allclose(norm.buffers["running_var"], var, rtol=1e-14)
        assert norm.buffers["num_batches_tracked"] == step
    assert norm.buffers["num_batches_tracked"].dtype == np.int64


def test_batch_norm_in_eval_uses_the_running_statistics_and_leaves_them():
    norm, images = norm_and_images()
    norm(images)
    norm.eval()
    before = {key: array.copy() for key, array in norm.buffers.items()}
    output = norm(images + 10)
    for c in range(2):
        mean, var = before["running_mean"][c], before["running_var"][c]
        expected = (images[:, c] + 10 - mean) / np.sqrt(var + 1e-3)
        expected = expected * norm.params["weight"][c] + norm.params["bias"][c]
        np.testing.assert_allclose(output[:, c], expected, rtol=1e-13)  # a few roundings
    for key, array in norm.buffers.items():
        np.testing.assert_array_equal(array, before[key])
    # one image, one pixel: fine in eval, where nothing is estimated
    assert norm(images[:1, :, :1, :1]).shape == (1, 2, 1, 1)


def test_batch_norm_keeps_float32():
    norm = BatchNorm2d(2)
    norm(np.random.default_rng(0).standard_normal((3, 2, 4, 5), dtype=np.float32))
    assert {array.dtype for array in norm.params.values()} == {np.dtype(np.float32)}
    assert norm.buffers["running_mean"].dtype == norm.buffers["running_var"].dtype == np.float32


def test_batch_norm_rejects():
    norm = BatchNorm2d(2, dtype=np.float64)
    with pytest.raises(ValueError, match="training needs at least 2 values per channel, got 1; use a larger"):
        norm(np.ones((1, 2, 1, 1)))
    assert norm.buffers["num_batches_tracked"] == 0
    with pytest.raises(ValueError, match="BatchNorm2d: expected 2 channels, got 3"):
        norm(np.ones((2, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"BatchNorm2d: input must have shape \(N, C, H, W\)"):
        norm(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"BatchNorm2d: .* input is float32, weight is float64"):
        norm(np.ones((2, 2, 4, 4), np.float32))


# ---------------------------------------------------------------- Dropout


def test_dropout_zeroes_and_scales():
    layer = Dropout(0.25, rng=np.random.default_rng(0))
    input = np.random.default_rng(1).uniform(1, 2, (100, 100))
    output = layer(input)
    kept = output != 0
    # 10,000 draws: the share kept has a standard deviation of 0.0043
    assert abs(kept.mean() - 0.75) < 5 * 0.0043
    np.testing.assert_allclose(output[kept], input[kept] / 0.75, rtol=1e-15)  # one rounding of 1/0.75
    grad_input = layer.backward(np.ones_like(input))
    np.testing.assert_array_equal(grad_input != 0, kept)
    np.testing.assert_array_equal(grad_input[kept], 1 / 0.75)
    assert np.any((layer(input) != 0) != kept)  # another mask each time


def test_dropout_in_eval_does_nothing():
    layer, input = Dropout(0.9).eval(), np.ones((2, 3))
    np.testing.assert_array_equal(layer(input), input)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_at_its_bounds(dtype):
    input = np.ones((3, 4, 5), dtype)
    np.testing.assert_array_equal(Dropout(0.0)(input), input)
    np.testing.assert_array_equal(Dropout(1.0)(input), np.zeros_like(input))
    assert Dropout(0.5)(input).dtype == dtype


def test_dropout_repeats_with_its_generator():
    input = np.ones((50, 50))
    first, second = (Dropout(0.5, rng=np.random.default_rng(4))(input) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# ---------------------------------------------------------------- Flatten, ReLU, GlobalAvgPool2d


def test_flatten_takes_any_number_of_axes():
    for shape, flat in (
        ((2, 3, 4, 5), (2, 60)),
        ((3, 4, 5), (60,)),
        ((2, 7), (2, 7)),
        ((7,), (7,)),
        ((), (1,)),
    ):
        layer, input = Flatten(), np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
        output = layer(input)
        assert output.shape == flat
        np.testing.assert_array_equal(output.ravel(), input.ravel())
        np.testing.assert_array_equal(layer.backward(output), input)


def test_values_of_relu_and_global_average():
    input = np.array([[[1.0, -2.0], [0.0, 5.0]]])
    relu = ReLU()
    np.testing.assert_array_equal(relu(input), [[[1, 0], [0, 5]]])
    np.testing.assert_array_equal(relu.backward(np.full_like(input, 3)), [[[3, 0], [0, 3]]])
    mean = GlobalAvgPool2d()
    np.testing.assert_array_equal(mean(input), [[[1.0]]])
    np.testing.assert_array_equal(mean.backward(np.array([[[8.0]]])), [[[2, 2], [2, 2]]])


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda rng: Conv2d(16, 64, 3, rng=rng), 16 * 9),
        (lambda rng: Conv2d(16, 512, (3, 5), groups=8, rng=rng), 2 * 15),
        (lambda rng: Linear(100, 100, rng=rng), 100),
        # 3x3 taps at stride 2: an output pixel is a sum over 9/4 of them, for each of 16 channels
        (lambda rng: ConvTranspose2d(16, 64, 3, stride=2, rng=rng), 16 * 9 / 4),
    ],
)
def test_he_initialisation(make, fan_in):
    layer = make(np.random.default_rng(3))
    weight, expected = layer.params["weight"], np.sqrt(2 / fan_in)
    assert weight.dtype == np.float32
    # n >= 9216 draws: the estimate of a standard deviation varies by 1/sqrt(2n) < 0.75 %, the mean by 1.1 %
    assert abs(weight.std() / expected - 1) < 5 * 0.0075
    assert abs(weight.mean() / expected) < 5 * 0.011
    assert not layer.params["bias"].any()
    assert not layer.grads["weight"].any()
    np.testing.assert_array_equal(make(np.random.default_rng(3)).params["weight"], weight)
    assert np.any(make(np.random.default_rng(4)).params["weight"] != weight)
    assert np.any(make(None).params["weight"] != make(None).params["weight"])


def test_conv2d_from_weight_shares_its_arrays():
    weight, bias = np.ones((4, 1, 3, 2)), np.zeros(4)
    layer = Conv2d.from_weight(weight, bias, stride=2, groups=2)
    assert (layer.in_channels, layer.out_channels, layer.kernel_size) == (2, 4, (3, 2))
    assert layer.params["weight"] is weight and layer.params["bias"] is bias
    assert layer(np.ones((2, 5, 4))).shape == (4, 2, 2)
    assert list(Conv2d.from_weight(weight).params) == ["weight"]
    with pytest.raises(ValueError, match=r"Conv2d: weight must have shape \(C_out, C_in/groups"):
        Conv2d.from_weight(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"Conv2d: bias must have shape \(4,\)"):
        Conv2d.from_weight(weight, np.zeros(3))
    with pytest.raises(TypeError, match="weight is float64, bias is float32"):
        Conv2d.from_weight(weight, bias.astype(np.float32))


# ---------------------------------------------------------------- constructor arguments

BAD = [
    (lambda: Conv2d(0, 4, 3), ValueError, r"Conv2d: in_channels must be at least 1, got 0"),
    (lambda: Conv2d(True, 4, 3), TypeError, r"Conv2d: in_channels must be an int, got bool \(True\)"),
    (lambda: Conv2d(3, 4.0, 3), TypeError, r"Conv2d: out_channels must be an int, got float \(4\.0\)"),
    (lambda: Conv2d(3, 4, 0), ValueError, r"Conv2d: kernel_size must be at least 1, got 0"),
    (lambda: Conv2d(3, 4, (3, 3, 3)), ValueError, r"Conv2d: kernel_size .* got 3 values: \(3, 3, 3\)"),
    (
        lambda: Conv2d(3, 4, "3"),
        TypeError,
        r"Conv2d: kernel_size must be an int or a pair .* got str \('3'\)",
    ),
    (lambda: Conv2d(3, 4, 3, stride=0), ValueError, r"Conv2d: stride must be at least 1, got 0"),
    (lambda: Conv2d(3, 4, 3, stride=(1, 0)), ValueError, r"Conv2d: stride must be at least 1, got 0"),
    (lambda: Conv2d(3, 4, 3, padding=-1), ValueError, r"Conv2d: padding must be at least 0, got -1"),
    (
        lambda: Conv2d(3, 4, 3, padding="full"),
        ValueError,
        r"Conv2d: padding .* 'valid' or 'same', got 'full'",
    ),
    (lambda: Conv2d(3, 4, 3, padding=0.5), TypeError, r"Conv2d: padding must be .* got float \(0\.5\)"),
    (lambda: Conv2d(3, 4, 3, dilation=1.5), TypeError, r"Conv2d: dilation must be .* got float \(1\.5\)"),
    (lambda: Conv2d(3, 4, 3, groups=2), ValueError, r"Conv2d: in_channels=3 must be a multiple of groups=2"),
    (lambda: Conv2d(4, 3, 3, groups=2), ValueError, r"Conv2d: out_channels=3 must be a multiple of groups=2"),
    (lambda: Conv2d(3, 4, 3, groups=0), ValueError, r"Conv2d: groups must be at least 1, got 0"),
    (lambda: Conv2d(3, 4, 3, bias=1), TypeError, r"Conv2d: bias must be True or False, got int \(1\)"),
    (
        lambda: Conv2d(3, 4, 3, dtype=np.float16),
        TypeError,
        r"Conv2d: dtype must be numpy\.float32 or numpy\.",
    ),
    (lambda: Conv2d(3, 4, 3, dtype="no type"), TypeError, r"Conv2d: dtype must be .* got 'no type'"),
    (
        lambda: Conv2d(3, 4, 3, rng=0),
        TypeError,
        r"Conv2d: rng .* got int; write numpy\.random\.default_rng\(seed\)",
    ),
    (lambda: ConvTranspose2d(3, 4, 0), ValueError, r"ConvTranspose2d: kernel_size must be at least 1, got 0"),
    (lambda: ConvTranspose2d(3, 4, 2, padding="same"), ValueError, r"ConvTranspose2d: padding .* got 'same'"),
    (
        lambda: ConvTranspose2d(3, 4, 2, padding=-1),
        ValueError,
        r"ConvTranspose2d: padding must be at least 0",
    ),
    (
        lambda: ConvTranspose2d(3, 4, 2, output_padding=-1),
        ValueError,
        r"ConvTranspose2d: output_padding must be",
    ),
    (
        lambda: ConvTranspose2d(3, 4, 2, groups=3),
        ValueError,
        r"ConvTranspose2d: out_channels=4 must be a mult",
    ),
    (lambda: ConvTranspose2d(3, 4, 2, bias=None), TypeError, r"ConvTranspose2d: bias must be True or False"),
    (
        lambda: ConvTranspose2d(3, 4, 2, rng=1),
        TypeError,
        r"ConvTranspose2d: rng must be a numpy\.random\.Gen",
    ),
    (lambda: MaxPool2d(0), ValueError, r"MaxPool2d: kernel_size must be at least 1, got 0"),
    (lambda: MaxPool2d(2, stride=0), ValueError, r"MaxPool2d: stride must be at least 1, got 0"),
    (
        lambda: MaxPool2d(2, padding=2),
        ValueError,
        r"MaxPool2d: padding must be at most half of the kernel, but top",
    ),
    (lambda: MaxPool2d(2, ceil_mode=1), TypeError, r"MaxPool2d: ceil_mode must be True or False"),
    (lambda: MaxPool2d(2, dilation=0), ValueError, r"MaxPool2d: dilation must be at least 1, got 0"),
    (
        lambda: AvgPool2d(2, padding=(0, 2)),
        ValueError,
        r"AvgPool2d: padding must be at most half .* left padding is 2",
    ),
    (
        lambda: AvgPool2d(2, count_include_pad=1),
        TypeError,
        r"AvgPool2d: count_include_pad must be True or False",
    ),
    (lambda: Linear(0, 4), ValueError, r"Linear: in_features must be at least 1, got 0"),
    (lambda: Linear(4, 1.0), TypeError, r"Linear: out_features must be an int, got float"),
    (lambda: Linear(4, 4, bias="no"), TypeError, r"Linear: bias must be True or False, got str"),
    (lambda: Linear(4, 4, dtype=int), TypeError, r"Linear: dtype must be numpy\.float32 or numpy\.float64"),
    (lambda: Dropout(1.5), ValueError, r"Dropout: p must be finite, at least 0, at most 1, got 1\.5"),
    (lambda: Dropout(-0.1), ValueError, r"Dropout: p must be finite, at least 0, at most 1, got -0\.1"),
    (lambda: Dropout(np.nan), ValueError, r"Dropout: p must be finite, .* got nan"),
    (lambda: Dropout("0.5"), TypeError, r"Dropout: p must be a number, got str \('0\.5'\)"),
    (
        lambda: Dropout(rng=np.random),
        TypeError,
        r"Dropout: rng must be a numpy\.random\.Generator, got module",
    ),
    (lambda: BatchNorm2d(0), ValueError, r"BatchNorm2d: num_features must be at least 1, got 0"),
    (lambda: BatchNorm2d(2, eps=-1), ValueError, r"BatchNorm2d: eps must be finite, at least 0, got -1\.0"),
    (
        lambda: BatchNorm2d(2, momentum=None),
        TypeError,
        r"BatchNorm2d: momentum must be a number, got NoneType",
    ),
    (lambda: BatchNorm2d(2, dtype=np.int32), TypeError, r"BatchNorm2d: dtype must be numpy\.float32"),
    (lambda: Sequential(ReLU), TypeError, r"Sequential: expected a layer, got .*; write ReLU\(\.\.\.\)"),
    (lambda: Sequential([ReLU()]), TypeError, r"Sequential: expected a layer, got \[ReLU\(\)\]"),
]


@pytest.mark.parametrize(("make", "error", "text"), BAD, ids=[text for _, _, text in BAD])
def test_bad_arguments(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_numpy_numbers_are_good_arguments():
    layer = Conv2d(
        np.int64(4), np.int32(6), (np.int64(3), 2), stride=np.int8(2), groups=np.int64(2), bias=np.True_
    )
    assert layer.params["weight"].shape == (6, 2, 3, 2)
    transposed = ConvTranspose2d(np.int64(4), np.int32(6), np.int8(3), groups=np.int64(2))
    assert transposed.params["weight"].shape == (4, 3, 3, 3)
    assert Dropout(np.float32(0.5)).p == 0.5
