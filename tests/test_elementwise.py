"""The kernels of batch normalisation, losses, optimizers, bias gradients and dropout: every level against NumPy."""

import functools
import math

import numpy as np
import pytest
from helpers import assert_same, cases, dtypes, eps, everywhere, real, using
from test_bits import assert_same_bits

import cyconv
from cyconv import _backend

# (N, C, H, W). A block is a group of channels of some images, 4096 elements in a row and 32768 together, or a piece of
# 32768 elements of one plane.
IMAGES = {
    "images-in-blocks": (9, 5, 70, 61),
    "channels-in-groups": (40, 300, 7, 9),
    "plane-in-pieces": (2, 3, 190, 201),
    "one-plane": (1, 1, 300, 333),
    "points": (70, 131, 1, 1),
    "one-pixel": (2, 1, 1, 1),
    "rows": (3, 2, 1, 37),
    "empty-batch": (0, 3, 4, 5),
}
SPECIAL = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.fixture(autouse=True)
def three_threads(thread_count):
    cyconv.set_num_threads(3)


def assert_close(call, tolerance):
    """`call()` on every level, within `tolerance` (absolute, of each result) of NumPy."""
    results = everywhere(call)
    for variant in results:
        for a, b, t in zip(results[variant], results["numpy"], tolerance, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=0, atol=t, err_msg=variant)


def exact(values):
    """The sum of an array, rounded once."""
    return math.fsum(values.ravel().tolist())


@functools.cache  # for every backend the same
def exact_sums(shape, dtype):
    """Of each channel of `real(shape, dtype)`: its sum, and the sum of the sizes of its numbers."""
    channels = real(shape, dtype).swapaxes(0, 1)
    return [exact(channel) for channel in channels], [exact(abs(channel)) for channel in channels]


@functools.cache
def exact_statistics(shape, dtype, offset):
    """Of each channel of `real(shape, dtype) + offset`: mean and variance in extended precision."""
    channels = (real(shape, dtype) + dtype(offset)).swapaxes(0, 1).reshape(shape[1], -1).astype(np.longdouble)
    means = channels.mean(axis=1)
    return means.astype(float), ((channels - means[:, np.newaxis]) ** 2).mean(axis=1).astype(float)


# ---------------------------------------------------------------- sums over channels


def sum_channels(input):
    total = np.full(input.shape[1], np.nan, input.dtype)
    _backend.kernels.sum_channels(input, total)
    return total


@cases("shape", IMAGES)
@dtypes
def test_sum_channels(backend, shape, dtype):
    input = real(shape, dtype)
    expected, sizes = exact_sums(shape, dtype)
    # 16 terms in a lane and as many lanes, then double: 24 roundings at most, of sums below that of the sizes
    bound = 24 * eps(dtype) * max(sizes) / 2
    np.testing.assert_allclose(sum_channels(input), expected, rtol=0, atol=bound)
    assert_same_bits(lambda: sum_channels(input))


def test_sums_of_many_float32():
    """Each sum of 3 million terms is right to its last digit but one: lanes are closed in double."""
    input = np.full((2, 1, 1500, 1000), 0.1, np.float32)
    for variant, (total,) in everywhere(lambda: sum_channels(input)).items():
        assert total[0] == pytest.approx(3e6 * float(np.float32(0.1)), rel=4e-7), variant


@cases("value", SPECIAL)
def test_special_values_stay_in_their_channel(backend, value):
    input = real((3, 4, 5, 9), np.float32)
    input[1, 2, 3, 4] = value
    total = sum_channels(input)
    np.testing.assert_array_equal(total[2], np.float32(value))
    assert np.isfinite(np.delete(total, 2)).all()


# ---------------------------------------------------------------- batch normalisation


def statistics(input):
    mean, var = np.full((2, input.shape[1]), np.nan, input.dtype)
    _backend.kernels.batch_norm_statistics(input, mean, var)
    return mean, var


@cases("shape", {name: shape for name, shape in IMAGES.items() if shape[0]})
@dtypes
@pytest.mark.parametrize("offset", [0, 1000])
def test_statistics(backend, shape, dtype, offset):
    """Against sums in exact arithmetic; a large mean takes nothing from the variance."""
    input = real(shape, dtype) + dtype(offset)
    mean, var = statistics(input)
    if input.size == shape[1]:
        return
    expected_mean, expected_var = exact_statistics(shape, dtype, offset)
    assert (abs(mean - expected_mean) <= 12 * eps(dtype) * (1 + offset)).all()
    # differences to a mean that is rounded to the dtype; NumPy also rounds while it adds up that mean
    slack = 16 * eps(dtype) * offset if backend == "numpy" else (eps(dtype) * (offset + 4)) ** 2
    assert (abs(var - expected_var) <= np.maximum(24 * eps(dtype) * expected_var, slack)).all()
    assert_same_bits(lambda: statistics(input))


def norm_passes(x, g, weight, bias, needs_input_grad=True):
    norm = cyconv.BatchNorm2d(x.shape[1], dtype=x.dtype)
    norm.params["weight"][:], norm.params["bias"][:] = weight, bias
    output = norm(x)
    grad_input = norm.backward(g, needs_input_grad=needs_input_grad)
    running = norm.buffers["running_mean"], norm.buffers["running_var"]
    evaluated = norm.eval()(x)
    return output, evaluated, grad_input, norm.grads["weight"], norm.grads["bias"], *running


@cases("shape", IMAGES)
@dtypes
def test_batch_norm(shape, dtype):
    x, g = real(shape, dtype, 1) * dtype(3) + dtype(2), real(shape, dtype, 2)
    weight, bias = real(shape[1:2], dtype, 3), real(shape[1:2], dtype, 4)
    # numbers of size 10; sums of `size` of them by channel, whose roundings are independent
    count = max(1, x.size // shape[1])
    one, sums = 200 * eps(dtype), 200 * eps(dtype) * math.sqrt(count)
    # a channel of two values may have a variance near 0, and divides by it
    factor = 1 if count > 2 else 1e4
    assert_close(
        lambda: norm_passes(x, g, weight, bias),
        [one * factor, one, one * factor**2, sums * factor, sums, one, one * 5],
    )
    assert_same_bits(lambda: norm_passes(x, g, weight, bias))


def test_batch_norm_without_input_grad(backend):
    x, g = real((4, 3, 5, 6), np.float32, 1), real((4, 3, 5, 6), np.float32, 2)
    full, part = (norm_passes(x, g, 1, 0, needs) for needs in (True, False))
    assert part[2] is None
    assert_same(part[3], full[3])
    assert_same(part[4], full[4])


@cases("value", SPECIAL)
def test_special_values_in_batch_norm(value):
    x, g = real((3, 4, 5, 9), np.float32, 1), real((3, 4, 5, 9), np.float32, 2)
    x[1, 2, 3, 4] = value
    with np.errstate(invalid="ignore"):
        results = everywhere(lambda: norm_passes(x, g, np.float32(2), np.float32(1)))
    for variant, arrays in results.items():
        for a, b in zip(arrays, results["numpy"], strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=variant)
            np.testing.assert_array_equal(np.isinf(a), np.isinf(b), err_msg=variant)
        assert np.isnan(arrays[0][:, 2]).all()
        assert np.isfinite(np.delete(arrays[0], 2, axis=1)).all()


# ---------------------------------------------------------------- softmax

LOGITS = {"digits": (64, 10), "one": (3, 1), "two": (5, 2), "many": (3, 5003), "rows": (1200, 33)}


@cases("shape", LOGITS)
@dtypes
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
def test_softmax(shape, dtype, kind):
    N, K = shape
    logits = real(shape, dtype) * dtype(5)
    rng = np.random.default_rng(0)
    targets = rng.integers(K, size=N) if kind == "classes" else rng.dirichlet(np.ones(K), N).astype(dtype)

    def loss():
        value, grad_logits = cyconv.softmax_cross_entropy(logits, targets)
        return np.array(value), grad_logits

    # losses below 60; probabilities below 1, over N
    assert_close(loss, [60 * 8 * eps(dtype), 8 * eps(dtype) / N])
    assert_same_bits(loss)


@dtypes
def test_exponentials(backend, dtype):
    """Softmax of (0, x) is e^x / (1 + e^x): e^x within two units in the last place."""
    x = -np.concatenate([np.linspace(0, 1, 5001), np.geomspace(1e-30, 70 if dtype is np.float32 else 690, 20001)])
    logits = np.stack([np.zeros_like(x), x], axis=1).astype(dtype)
    _, grad_logits = cyconv.softmax_cross_entropy(logits, np.zeros(len(x), int))
    e = np.exp(logits[:, 1].astype(np.longdouble))
    softmax = grad_logits[:, 1].astype(np.longdouble) * len(x)
    np.testing.assert_allclose(softmax, e / (1 + e), rtol=4 * eps(dtype))


@cases("value", SPECIAL)
@pytest.mark.parametrize("place", [0, 7, 18])
@pytest.mark.parametrize("kind", ["classes", "probabilities"])
def test_special_values_in_softmax(value, place, kind):
    """NaN and +inf spoil their row; -inf is a class of probability 0."""
    logits = real((3, 19), np.float32)
    logits[1, place] = value
    targets = np.array([0, 3, 5]) if kind == "classes" else np.full((3, 19), 1 / 19, np.float32)
    with np.errstate(invalid="ignore"):
        results = everywhere(lambda: tuple(map(np.asarray, cyconv.softmax_cross_entropy(logits, targets))))
    for variant, (loss, grad_logits) in results.items():
        np.testing.assert_allclose(loss, results["numpy"][0], rtol=1e-6, err_msg=variant)
        np.testing.assert_allclose(grad_logits, results["numpy"][1], rtol=0, atol=1e-6, err_msg=variant)
        assert np.isnan(grad_logits[1]).all() == (value != -np.inf)


def test_a_row_of_nothing_but_minus_infinity(backend):
    with np.errstate(invalid="ignore"):
        loss, grad_logits = cyconv.softmax_cross_entropy(np.full((1, 40), -np.inf), np.array([3]))
    assert np.isnan(loss) and np.isnan(grad_logits).all()


# ---------------------------------------------------------------- optimizers


class Model:
    def __init__(self, shape, dtype):
        self.params = {"w": real(shape, dtype, 1)}
        self.grads = {"w": real(shape, dtype, 2)}


OPTIMIZERS = {
    "sgd": lambda model: cyconv.SGD(model, 0.1),
    "decay": lambda model: cyconv.SGD(model, 0.1, weight_decay=0.2),
    "momentum": lambda model: cyconv.SGD(model, 0.1, momentum=0.9, weight_decay=0.2),
    "nesterov": lambda model: cyconv.SGD(model, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda model: cyconv.Adam(model, 0.1),
    "adam-decay": lambda model: cyconv.Adam(model, 0.1, betas=(0.8, 0.95), weight_decay=0.2),
    "adamw": lambda model: cyconv.AdamW(model, 0.1, weight_decay=0.2),
}


def steps(make, shape, dtype):
    model = Model(shape, dtype)
    optimizer = make(model)
    for _ in range(3):
        optimizer.step()
    return model.params["w"], *optimizer.state_dict().values()


@cases("make", OPTIMIZERS)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (3, 5, 7), (32768,), (3, 70_001)], ids=str)
@dtypes
def test_optimizers(make, shape, dtype):
    """Three steps of numbers below 10: a few roundings of each."""
    results = everywhere(lambda: steps(make, shape, dtype))
    for variant, arrays in results.items():
        for a, b in zip(arrays, results["numpy"], strict=True):
            np.testing.assert_allclose(a, b, rtol=100 * eps(dtype), atol=100 * eps(dtype), err_msg=variant)
    assert_same_bits(lambda: steps(make, shape, dtype))


@cases("make", OPTIMIZERS)
def test_arrays_that_only_numpy_can_update(backend, make):
    """Parameters with gaps, of another type, or whose gradient has another: they are updated where they lie."""
    expected = steps(make, (4, 5), np.float64)[0]

    def step(param, grad):
        model = Model((1,), np.float64)
        model.params["w"], model.grads["w"] = param, grad
        optimizer = make(model)
        for _ in range(3):
            optimizer.step()
        return model.params["w"]

    param, grad = real((4, 5), np.float64, 1), real((4, 5), np.float64, 2)
    gaps = np.zeros((8, 10))[::2, ::2]
    gaps[...] = param
    np.testing.assert_allclose(step(gaps, grad), expected, rtol=1e-12)
    np.testing.assert_allclose(step(np.asfortranarray(param), grad), expected, rtol=1e-12)
    np.testing.assert_allclose(step(param.astype(">f8"), grad), expected, rtol=1e-12)
    np.testing.assert_allclose(step(param.astype(np.float32), grad), expected, rtol=1e-5)
    np.testing.assert_allclose(step(param.astype(np.float16), grad), expected, rtol=0.2, atol=0.02)
    np.testing.assert_allclose(step(param.copy(), np.asfortranarray(grad)), expected, rtol=1e-12)
    frozen = grad.copy()
    frozen.flags.writeable = False
    np.testing.assert_allclose(step(param.copy(), frozen), expected, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_special_values_in_updates(backend, value):
    """A parameter that is not finite spoils no other; without decay infinity stays, as in PyTorch."""
    for name, make in OPTIMIZERS.items():
        model = Model((40,), np.float32)
        model.params["w"][17] = value
        with np.errstate(invalid="ignore", over="ignore"):
            make(model).step()
        assert np.isfinite(np.delete(model.params["w"], 17)).all()
        if name in ("sgd", "nesterov", "adam"):
            np.testing.assert_array_equal(model.params["w"][17], np.float32(value))


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("size", [0, 1, 7, 255, 256, 257, 32768 * 3 + 5, 2**19 + 3])
@dtypes
def test_the_same_mask_everywhere(size, dtype):
    input = real((size,), dtype)

    def masked():
        output = np.full_like(input, np.nan)
        _backend.kernels.dropout(input, 2**64 - 5, 0.3, output)
        return output

    results = everywhere(masked)
    for variant, result in results.items():
        assert_same(result, results["numpy"], variant)
    assert_same_bits(masked)


def test_the_bits_are_splitmix64s():
    """Its first number from seed 0 is 0xE220A8397B1DCDAF (the test value of its published code)."""
    for p, kept in ((0x7B1DCDAF / 2**32, [1, 1]), (0x7B1DCDB0 / 2**32, [0, 1]), (0xE220A83A / 2**32, [0, 0])):
        for variant in everywhere(lambda: ()):
            with using(variant):
                output = np.empty(2)
                _backend.kernels.dropout(np.ones(2), 0, p, output)
                np.testing.assert_array_equal(output != 0, kept)


def test_masks_are_even_and_independent(backend):
    """10**6 draws: shares and correlations have a standard deviation of 0.0005 and 0.001."""
    layer = cyconv.Dropout(0.5, rng=np.random.default_rng(0))
    input = np.ones(10**6, np.float32)
    first, second = layer(input) != 0, layer(input) != 0
    assert abs(first.mean() - 0.5) < 5 * 0.0005
    for a, b in ((first, second), (first[1:], first[:-1]), (first[2:], first[:-2]), (first[256:], first[:-256])):
        assert abs(np.mean((a - 0.5) * (b - 0.5)) * 4) < 5 * 0.001


def test_dropout_keeps_no_mask_and_repeats_it_backward(backend):
    layer = cyconv.Dropout(0.3, rng=np.random.default_rng(0))
    input = real((3, 4, 50, 60), np.float32)
    output = layer(input)
    assert all(np.size(saved) < 10 for saved in layer._saved)
    grad_input = layer.backward(np.ones_like(input))
    np.testing.assert_array_equal(output, input * grad_input)


@cases("value", SPECIAL)
def test_special_values_in_dropout(backend, value):
    """Infinity and NaN times 0 are NaN, as in PyTorch."""
    input = np.full(1000, value, np.float32)
    output = np.empty_like(input)
    with np.errstate(invalid="ignore"):
        _backend.kernels.dropout(input, 3, 0.5, output)
    kept = np.empty_like(input)
    _backend.kernels.dropout(np.ones_like(input), 3, 0.5, kept)
    np.testing.assert_array_equal(output, np.where(kept != 0, np.float32(value), np.float32(np.nan)))
