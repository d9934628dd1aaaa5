"""functional.convolve against NumPy in one dimension and SciPy in two, and against the definition."""

import itertools

import numpy as np
import oracle
import pytest
import scipy.signal
from helpers import dtypes, eps, real, whole

from cyconv import functional as F

MODES = ("full", "same", "valid")
SIZES = (1, 2, 3, 4, 7, 10)
SHAPES = [(1, 1), (1, 4), (3, 1), (2, 3), (3, 2), (4, 4), (5, 7), (8, 6)]


def holds(a, b):
    return all(x >= y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("mode", MODES)
@dtypes
def test_one_dimension(backend, mode, dtype):
    """numpy.convolve of all sizes, the longer first or second."""
    for m, n in itertools.product(SIZES, SIZES):
        f, g = whole((m,), dtype, 1), whole((n,), dtype, 2)
        output = F.convolve(f, g, mode)
        assert output.dtype == dtype
        np.testing.assert_array_equal(output, np.convolve(f, g, mode), err_msg=f"{m} * {n}")


@pytest.mark.parametrize("mode", MODES)
@dtypes
def test_two_dimensions(backend, mode, dtype):
    """scipy.signal.convolve2d of all shapes."""
    for f_shape, g_shape in itertools.product(SHAPES, SHAPES):
        if mode == "valid" and not holds(f_shape, g_shape) and not holds(g_shape, f_shape):
            continue
        f, g = whole(f_shape, dtype, 1), whole(g_shape, dtype, 2)
        output = F.convolve(f, g, mode)
        assert output.dtype == dtype
        expected = scipy.signal.convolve2d(f, g, mode)
        np.testing.assert_array_equal(output, expected, err_msg=f"{f_shape} * {g_shape}")


def test_definition(backend):
    """Every product f[t] g[s] lands at t + s."""
    f, g = whole((4, 3)), whole((2, 5), seed=1)
    np.testing.assert_array_equal(F.convolve(f, g), oracle.convolve(f, g))


def test_two_dice(backend):
    """The sum of two dice: the convolution of their distributions."""
    die = np.full(6, 1 / 6)
    ways = np.array([1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1])
    # each of up to 6 products is rounded, and each of their sums
    np.testing.assert_allclose(F.convolve(die, die), ways / 36, rtol=12 * eps(np.float64))


def test_it_flips_and_conv2d_does_not(backend):
    f, g = whole((5, 6)), whole((2, 3), seed=1)
    flipped = F.conv2d(f[np.newaxis], g[np.newaxis, np.newaxis, ::-1, ::-1])[0]
    np.testing.assert_array_equal(F.convolve(f, g, "valid"), flipped)
    assert not np.array_equal(
        F.convolve(f, g, "valid"), F.conv2d(f[np.newaxis], g[np.newaxis, np.newaxis])[0]
    )


@pytest.mark.parametrize("m, n", [(3000, 700), (700, 3000)])
def test_long(backend, m, n):
    """700 products to a sum, cut into several matrix products: rounding within that of 700 additions."""
    f, g = real((m,)), real((n,), seed=1)
    scale = np.convolve(abs(f), abs(g))
    assert (abs(F.convolve(f, g) - np.convolve(f, g)) <= 2 * 700 * eps(np.float64) * scale).all()


def test_arguments_stay_as_they_were(backend):
    f, g = whole((7,)), whole((3,), seed=1)
    before = f.copy(), g.copy()
    F.convolve(g, f, "same")
    np.testing.assert_array_equal((f, g)[0], before[0])
    np.testing.assert_array_equal((f, g)[1], before[1])
