"""Denormal numbers (below 1e-38 in float32, 2e-308 in float64) are taken for zero inside the compiled kernels."""

import platform

import numpy as np
import pytest
from helpers import dtypes, needs_compiled, real

import cyconv
from cyconv import _backend
from cyconv import functional as F

pytestmark = [
    needs_compiled,
    pytest.mark.skipif(
        platform.machine().lower() not in ("x86_64", "amd64", "arm64", "aarch64"),
        reason="how this processor flushes is not known",
    ),
]

TINY = {np.float32: 1e-40, np.float64: 1e-310}


@pytest.fixture
def compiled(backend):
    if backend == "numpy":
        pytest.skip("NumPy computes with denormals")
    return backend


def caller_computes_with_denormals(dtype):
    return (np.full(64, TINY[dtype], dtype) * dtype(0.5)).all()


def filters(tiny):
    return tiny.reshape(-1)[: 4 * 4 * 9].reshape(4, 4, 3, 3)


def gradient(tiny, input, algorithm):
    return F.conv2d_backward(
        tiny.reshape(4, 25, 30, 40), input, real((25, 4, 3, 3), input.dtype), padding=1, algorithm=algorithm
    )[1]


# Calls that give zeros where `tiny`, (300, 400), is zero.
CALLS = {
    "conv2d-im2col": lambda tiny, d: F.conv2d(real((4, 4, 30, 30), d), filters(tiny), algorithm="im2col"),
    "conv2d-winograd": lambda tiny, d: F.conv2d(real((4, 4, 30, 30), d), filters(tiny), algorithm="winograd"),
    "conv2d-depthwise": lambda tiny, d: F.conv2d(real((4, 4, 30, 30), d), filters(tiny)[:, :1], groups=4),
    "gradient-im2col": lambda tiny, d: gradient(tiny, real((4, 4, 30, 40), d), "im2col"),
    "gradient-winograd": lambda tiny, d: gradient(tiny, real((4, 4, 30, 40), d), "winograd"),
    "linear": lambda tiny, d: F.linear(real((300, 400), d), tiny),
    "bias-gradient": lambda tiny, d: F.conv2d_backward(
        tiny.reshape(4, 25, 30, 40), real((4, 1, 30, 40), d), real((25, 1, 1, 1), d), needs_input_grad=False
    )[2],
    "batch-norm": lambda tiny, d: cyconv.BatchNorm2d(25, dtype=d).eval()(tiny.reshape(4, 25, 30, 40)),
    "avg-pool": lambda tiny, d: F.avg_pool2d(tiny[np.newaxis], 2),
    "avg-pool-wide": lambda tiny, d: F.avg_pool2d(tiny[np.newaxis], (5, 40)),
    "avg-pool-gradient": lambda tiny, d: F.avg_pool2d_backward(tiny[np.newaxis], (1, 601, 801), 3, 2),
    "col2im": lambda tiny, d: F.col2im(tiny[np.newaxis], (29, 49), (10, 30)),
    "dropout": lambda tiny, d: cyconv.Dropout(0.5, rng=np.random.default_rng(0))(tiny),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("threads", [1, 3])
@dtypes
def test_denormals_are_zero(compiled, name, threads, dtype):
    cyconv.set_num_threads(threads)
    tiny = np.full((300, 400), TINY[dtype], dtype)
    np.testing.assert_array_equal(CALLS[name](tiny, dtype), 0)
    assert caller_computes_with_denormals(dtype)


@pytest.mark.parametrize("threads", [1, 3])
@dtypes
def test_products_that_become_denormal_are_zero(compiled, threads, dtype):
    cyconv.set_num_threads(threads)
    small = dtype(TINY[dtype] ** 0.5)
    output = F.linear(np.full((300, 40), small), np.full((200, 40), small))
    np.testing.assert_array_equal(output, 0)
    assert caller_computes_with_denormals(dtype)


@pytest.mark.parametrize("threads", [1, 3])
@dtypes
def test_moments_fade_to_zero(compiled, threads, dtype):
    """Moments of a parameter that gets no gradient any more stay denormal for long otherwise."""
    cyconv.set_num_threads(threads)
    size = 100_000
    param, first, second = np.ones(size, dtype), *np.full((2, size), TINY[dtype], dtype)
    _backend.kernels.adam_update(
        param, np.zeros(size, dtype), first, second, 0.9, 0.99, 0.1, 1.0, 1e-8, 1.0, 0.0
    )
    assert not first.any() and not second.any()
    np.testing.assert_array_equal(param, 1)
    velocity = np.full(size, TINY[dtype], dtype)
    _backend.kernels.sgd_update(param, np.zeros(size, dtype), velocity, 0.1, 0.9, False, 0.0)
    assert not velocity.any()
    assert caller_computes_with_denormals(dtype)


@dtypes
def test_worker_threads_compute_with_denormals_again(compiled, dtype):
    """Max pooling, which flushes nothing, on the threads of the call before: comparisons would show their mode."""
    cyconv.set_num_threads(3)
    tiny = np.random.default_rng(0).permutation(240_000).reshape(6, 4, 100, 100).astype(dtype) * np.finfo(dtype).tiny
    tiny /= 2**20
    expected = tiny.reshape(6, 4, 50, 2, 50, 2).max(axis=(3, 5))
    assert expected.max() < np.finfo(dtype).tiny and (expected[1:] > expected[:-1]).any()
    for name, call in CALLS.items():
        call(np.ones((300, 400), dtype), dtype)
        np.testing.assert_array_equal(F.max_pool2d(tiny, 2), expected, err_msg=name)


@dtypes
def test_what_is_only_moved_or_compared_stays(compiled, dtype):
    """Copies and maxima do not compute, and so lose nothing."""
    tiny = np.full((2, 3, 40, 50), TINY[dtype], dtype)
    np.testing.assert_array_equal(F.relu(tiny), tiny)
    np.testing.assert_array_equal(F.relu_backward(tiny, np.ones_like(tiny)), tiny)
    np.testing.assert_array_equal(F.im2col(tiny, 1), tiny.reshape(2, 3, 2000))
    np.testing.assert_array_equal(F.max_pool2d(tiny, 2), tiny[..., ::2, ::2])


@dtypes
def test_numpy_keeps_them(dtype):
    """The two backends differ by less than the smallest normal number of each term, below any tolerance."""
    tiny = np.full((3, 4), TINY[dtype], dtype)
    before = _backend.name, _backend.level
    try:
        _backend.use("numpy")
        assert F.linear(np.ones((2, 4), dtype), tiny).all()
    finally:
        _backend.use(*before)
