"""explain: the plan of what kernels do, its times, its text, its errors."""

import functools
import importlib
import types

import numpy as np
import pytest
from helpers import needs_compiled, using

import cyconv
from cyconv import _backend, _window, explain, models
from cyconv import functional as F
from cyconv.explain import Step
from cyconv.layers import BatchNorm2d, Conv2d, ConvTranspose2d, Flatten, Linear, MaxPool2d, ReLU, Sequential

STEPS = ["forward", "grad_input", "grad_weight"]

module = importlib.import_module("cyconv.explain")  # cyconv.explain is the function


@pytest.fixture(autouse=True)
def measured_once(monkeypatch):
    monkeypatch.setattr(module, "LEAST_CALLS", 1)
    monkeypatch.setattr(module, "SECONDS", 0.0)


def test_the_measured_time_is_the_least_of_several(monkeypatch):
    """Of three calls, or of as many as fill the time."""
    monkeypatch.undo()
    now = 0.0
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: now))
    for times in ([0.2, 0.1, 0.3], [0.02, 0.01, 0.015, 0.02]):
        left = iter(times)

        def run():
            nonlocal now
            now += next(left)  # noqa: B023

        assert module._measured(run) == pytest.approx(min(times))
        assert not list(left)


def test_a_network(backend):
    model = Sequential(
        Conv2d(3, 8, 3, stride=2),
        Sequential(BatchNorm2d(8), ReLU()),
        ConvTranspose2d(8, 4, 3),
        MaxPool2d(2),
        Flatten(),
        Linear(4 * 5 * 5, 6),
    )
    result = explain(model, (2, 3, 19, 18))
    names = ["0"] * 3 + ["1.0", "1.1"] + ["2"] * 3 + ["3", "4"] + ["5"] * 3
    assert [step.name for step in result.steps] == names
    assert [step.step for step in result.steps if step.name in "025"] == STEPS * 3
    shapes = {step.name: (step.input_shape, step.output_shape) for step in result.steps}
    assert shapes["0"] == ((2, 3, 19, 18), (2, 8, 9, 8))
    assert shapes["2"] == ((2, 8, 9, 8), (2, 4, 11, 10))
    assert shapes["3"] == ((2, 4, 11, 10), (2, 4, 5, 5))
    assert model.training
    assert shapes["5"] == ((2, 100), (2, 6))
    for step in result.steps:
        assert isinstance(step, Step) and step.measured > 0
        assert (step.gemm is None) == (step.algorithm in ("", "depthwise"))
        if step.algorithm and backend != "numpy":
            assert step.predicted > 0 and step.algorithm in step.cycles and step.workspace_bytes > 0
            assert 1 <= step.threads <= min(step.tasks, cyconv.get_num_threads())
        else:
            assert step.predicted is None and step.cycles == {}
    text = str(result)
    assert text.startswith(f"backend {'numpy' if backend == 'numpy' else 'cython, level ' + backend}")
    assert "0 Conv2d  (2, 3, 19, 18) -> (2, 8, 9, 8)" in text and "predicted" in text and "1.1 ReLU" in text
    if backend == "numpy":
        assert "the NumPy backend has one way" in text and "NumPy's own BLAS" in text
    elif backend == "base":
        assert "openblas" in text or "micro-kernel" in text
    assert max(map(len, text.splitlines())) < 160


@pytest.mark.parametrize("shape", [(3, 8, 9), (1, 3, 8, 9)])
def test_one_image_with_and_without_a_batch(backend, shape):
    steps = explain(Conv2d(3, 4, (3, 2)), shape).steps
    assert [step.step for step in steps] == STEPS
    assert steps[0].input_shape == shape and steps[0].output_shape == (*shape[:-3], 4, 6, 8)
    assert explain(Linear(3, 4), (3,)).steps[0].output_shape == (4,)
    assert explain(Linear(3, 4), (5, 3)).steps[0].output_shape == (5, 4)


def test_calls(backend):
    weight = np.ones((4, 3, 3, 3))
    by_call = explain(functools.partial(F.conv2d, weight=weight, padding="same", stride=2), (2, 3, 20, 21)).steps
    by_layer = explain(Conv2d.from_weight(weight, padding="same", stride=2), (2, 3, 20, 21)).steps
    for call, layer in zip(by_call, by_layer, strict=True):
        assert call.layer == "conv2d" and layer.layer == "Conv2d"
        assert call._replace(layer="", predicted=0, measured=0) == layer._replace(layer="", predicted=0, measured=0)
    transposed = explain(functools.partial(F.conv_transpose2d, weight=np.ones((3, 2, 2, 3)), stride=2), (3, 5, 6))
    assert transposed.steps[0].output_shape == (2, 10, 13)
    (pooled,) = explain(functools.partial(F.max_pool2d, kernel_size=2, return_indices=True), (2, 3, 8, 9)).steps
    assert pooled.output_shape == (2, 3, 4, 4) and pooled.algorithm == "" and pooled.measured > 0
    (linear, *_) = explain(functools.partial(F.linear, weight=np.ones((4, 3), np.float32)), (7, 5, 3, 3)).steps
    assert linear.output_shape == (7, 5, 3, 4)
    assert explain(functools.partial(F.relu), (5,), measure=False).steps[0].measured is None


@needs_compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plan_is_what_kernels_do(dtype):
    """An algorithm that was asked for is planned; the chosen one is that, bit for bit."""
    rng = np.random.default_rng(0)
    for image, shape, stride, groups in (
        ((2, 16, 30, 31), (24, 16, 3, 3), 1, 1),
        ((1, 3, 40, 41), (8, 3, 5, 3), 2, 1),
        ((2, 6, 20, 20), (6, 1, 3, 3), 1, 6),
        ((64, 1, 28, 28), (32, 1, 5, 5), 1, 1),
    ):
        x, w = rng.standard_normal(image).astype(dtype), rng.standard_normal(shape).astype(dtype)
        call = functools.partial(F.conv2d, weight=w, stride=stride, padding=1, groups=groups)
        chosen, *gradients = explain(call, image, measure=False).steps
        assert chosen.algorithm in chosen.cycles and (chosen.algorithm == "depthwise") == (groups == 6)
        if chosen.algorithm in ("winograd", "im2col"):
            y = F.conv2d(x, w, stride=stride, padding=1, groups=groups)
            asked = F.conv2d(x, w, stride=stride, padding=1, groups=groups, algorithm=chosen.algorithm)
            assert y.tobytes() == asked.tobytes()
        if shape[2:] == (3, 3):
            asked = explain(functools.partial(call, algorithm="winograd"), image, measure=False).steps
            assert {step.algorithm for step in asked} == {"winograd"}
            assert asked[0].reason.startswith("algorithm='winograd'")
        for step in (chosen, *gradients):
            least = min(step.cycles.values())
            assert step.cycles[step.algorithm] == least or step.algorithm == "depthwise"


@needs_compiled
def test_threads_and_summary():
    layer = Conv2d(32, 32, 3, padding=1)
    steps = {}
    for threads in (1, 3):
        with cyconv.num_threads(threads):
            steps[threads] = explain(layer, (4, 32, 40, 40), measure=False).steps
    for one, three in zip(steps[1], steps[3], strict=True):
        assert (one.threads, three.threads) == (1, 3) and one.tasks == three.tasks
        assert one.workspace_bytes < three.workspace_bytes < 3 * one.workspace_bytes + 1
        assert three.predicted == pytest.approx(one.predicted / 3, rel=1e-6)
    with cyconv.num_threads(1):
        (row,) = cyconv.summary(layer, (32, 40, 40)).rows
        assert row.workspace_bytes == explain(layer, (32, 40, 40), measure=False).steps[0].workspace_bytes


@needs_compiled
@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
@pytest.mark.parametrize(("image", "filters"), [((8, 3, 4), 20), ((50, 1, 1), 64)])
def test_a_window_of_the_whole_image_is_one_product(image, filters, algorithm):
    """(m, n, k) of each pass; and no output has a product with padding."""
    weight = np.ones((filters, *image), np.float32)
    taps, call = weight[0].size, functools.partial(F.conv2d, weight=weight, algorithm=algorithm)
    steps = explain(call, (30, *image), measure=False).steps
    products = [(30, filters, taps), (30, taps, filters), (filters, taps, 30)]
    assert [(step.algorithm, step.gemm) for step in steps] == [("gemm", product) for product in products]
    padded = functools.partial(call, padding=(1, 0))
    assert all(step.algorithm != "gemm" for step in explain(padded, (30, *image), measure=False).steps)


@needs_compiled
def test_few_multiply_adds_are_plain_sums():
    """Winograd's filtering, which rounds more, is for those alone that it makes faster."""
    layer = Conv2d(16, 16, 3, padding=1)
    for size, thought_of in ((8, False), (40, True)):
        for step in explain(layer, (1, 16, size, size), measure=False).steps:
            assert ("winograd" in step.cycles) == thought_of, (size, step)


def test_blocks_of_channels_are_even(backend):
    """Where they are all that two threads can divide: neither has more than a block of ROWS (8) more."""
    window = _window.parse("test", (14, 14), 1, 1, 0, 1)
    for channels in (160, 256, 384, 512, 960, 1152):
        plan = _backend.kernels.conv2d_plan((1, 512, 14, 14), (1, channels, 14, 14), 4, window, 1, "columns", "forward")
        if _backend.kernels.OWN_GEMM:
            rows = plan["gemm"][0] * -(-plan["tasks"] // 2)
            assert plan["tiles"] == 1 and rows <= channels / 2 + 8, channels


def test_plans_of_every_geometry(backend):
    """A plan exists wherever a convolution does, with numbers that fit each other."""
    for image, shape, arguments in (
        ((0, 4, 5, 6), (6, 2, 2, 3), (1, 1, 1, 2)),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 0, 1, 1)),
        ((70, 8, 7, 7), (12, 8, 3, 3), (1, 1, 1, 1)),
        ((1, 300, 20, 30), (5, 300, 6, 7), (1, 3, 1, 1)),
        ((2, 8, 60, 50), (16, 1, 5, 3), (2, 1, 2, 8)),
    ):
        window = _window.parse("test", image[2:], shape[2:], *arguments[:3])
        output = (image[0], shape[0], *window.output_size(*image[2:]))
        for algorithm in ("auto", "im2col", "columns", "implicit", "direct"):
            for which in ("forward", "input", "weight"):
                plan = _backend.kernels.conv2d_plan(image, output, 4, window, arguments[3], algorithm, which)
                assert set(plan) == set(cyconv._types.Plan.__annotations__)
                assert plan["threads"] >= 1 and plan["workspace"] > 0 and plan["shared"] >= 0
                if plan["gemm"] and image[0]:
                    m, n, k = plan["gemm"]
                    work = image[0] * np.prod(shape) * output[2] * output[3]
                    if plan["algorithm"] in ("im2col", "implicit", "direct"):
                        assert m * n * k * plan["products"] >= work  # products at the ends may be smaller
    for m, n, k in ((1, 1, 1), (0, 3, 4), (3, 0, 4), (3, 4, 0), (2000, 500, 300)):
        plan = _backend.kernels.matmul_plan(m, n, k, False, True, 8)
        assert plan["gemm"][2] == k and plan["threads"] >= 1


@pytest.mark.parametrize(
    ("what", "shape", "error", "text"),
    [
        (3, (1, 5, 5), TypeError, "explain: expected a layer, or functools.partial of a function"),
        (F.conv2d, (1, 5, 5), TypeError, "explain: expected a layer, or functools.partial"),
        (functools.partial(np.sum), (1, 5, 5), TypeError, "explain: expected a layer, or functools.partial"),
        (functools.partial(F.conv2d, np.ones(3)), (1, 5, 5), TypeError, "explain: expected a layer"),
        (functools.partial(F.conv2d, weigth=3), (1, 5, 5), TypeError, "missing a required argument: 'weight'"),
        (functools.partial(F.conv2d, weight=np.ones((1, 2, 3, 3))), (1, 5, 5), ValueError, "conv2d: weight expects 2"),
        (Conv2d(1, 1, 3), "1x5x5", TypeError, "explain: input_shape must be a tuple of ints, got str"),
        (Conv2d(1, 1, 3), (1, 1, 1, 5, 5), ValueError, r"explain: input_shape must be \(N, C, H, W\), \(C, H, W\)"),
        (Conv2d(1, 1, 3), (1, 5, 5.0), TypeError, "explain: input_shape must be an int, got float"),
        (Conv2d(1, 1, 3), (0, 1, 5, 5), ValueError, "explain: input_shape must be at least 1, got 0"),
        (Conv2d(1, 1, 3), (2, 5, 5), ValueError, "conv2d: weight expects 1 input channels"),
        (Linear(3, 2), (1, 4), ValueError, "linear: weight expects 3 input features"),
    ],
)
def test_errors(what, shape, error, text):
    with pytest.raises(error, match=text):
        explain(what, shape)
    with pytest.raises(TypeError, match="explain: measure must be True or False"):
        explain(ReLU(), (3,), measure=1)


def test_models_and_the_numpy_backend():
    with using("numpy"):
        steps = explain(models.lenet(), (1, 28, 28), measure=False).steps
    assert steps[0].algorithm == "im2col" and steps[0].predicted is None and steps[-1].gemm[1:] != (0, 0)
