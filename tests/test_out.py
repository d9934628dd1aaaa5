"""out=: any strides, any overlap with an input; and that nothing else of the caller's is ever written."""

import numpy as np
import pytest
from helpers import LAYOUTS, as_tuple, assert_same, cases, dtypes, misaligned, strided, whole
from operators import OPERATORS, operands

from cyconv import functional as F

# Calls with out=, by name: the arrays, then out. The first array is the input.
CALLS = {
    "conv2d": lambda x, w, b, out: F.conv2d(x, w, b, (2, 1), (1, 0), 1, 2, out=out),
    "conv2d-1x1": lambda x, w, b, out: F.conv2d(x, w, b, out=out),
    "conv2d-no-bias": lambda x, w, out: F.conv2d(x, w, out=out),
    "conv_transpose2d": lambda x, w, b, out: F.conv_transpose2d(x, w, b, (2, 1), (1, 0), (1, 0), 2, out=out),
    "conv_transpose2d-1x1": lambda x, w, b, out: F.conv_transpose2d(x, w, b, out=out),
    "max_pool2d": lambda x, out: F.max_pool2d(x, (2, 3), (2, 1), (1, 0), out=out),
    "max_pool2d-1x1": lambda x, out: F.max_pool2d(x, 1, out=out),
    "avg_pool2d": lambda x, out: F.avg_pool2d(x, (2, 3), (2, 1), (1, 0), out=out),
    "avg_pool2d-same": lambda x, out: F.avg_pool2d(x, 3, 1, 1, out=out),
}
SHAPES = {
    "conv2d-1x1": [(3, 4, 7, 6), (4, 4, 1, 1), (4,)],
    "conv2d-no-bias": [(3, 4, 7, 6), (6, 4, 2, 3)],
    "conv_transpose2d-1x1": [(3, 4, 7, 6), (4, 4, 1, 1), (4,)],
    "max_pool2d-1x1": [(3, 4, 7, 6)],
    "avg_pool2d-same": [(3, 4, 7, 6)],
}


def arrays_of(name, dtype):
    shapes = SHAPES[name] if name in SHAPES else OPERATORS[name].shapes
    return [whole(shape, dtype, seed) for seed, shape in enumerate(shapes)]


def window_of_larger(array):
    """A view in the middle of a larger array, which must stay as it is around the view."""
    return np.full([size + 2 for size in array.shape], 7, array.dtype)[
        tuple(slice(1, -1) for _ in array.shape)
    ]


OUTS = {
    "contiguous": np.empty_like,
    "strided": strided,
    "fortran": np.asfortranarray,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": misaligned,
    "window": window_of_larger,
    "subclass": lambda array: array.copy().view(type("Subclass", (np.ndarray,), {})),
}


@pytest.mark.parametrize("name", CALLS)
@cases("make", OUTS)
@dtypes
def test_out(backend, name, make, dtype):
    """The very array that was passed comes back, with the values that a call without it gives."""
    arrays = arrays_of(name, dtype)
    expected = CALLS[name](*arrays, None)
    out = make(expected)
    out[...] = np.nan
    assert CALLS[name](*arrays, out) is out
    np.testing.assert_array_equal(out, expected)
    if make is window_of_larger:
        around = out.base.copy()
        around[tuple(slice(1, -1) for _ in around.shape)] = 7
        assert (around == 7).all()


@pytest.mark.parametrize("name", CALLS)
@cases("make", OUTS)
def test_out_of_a_single_image_and_of_none(backend, name, make):
    input, *rest = arrays_of(name, np.float32)
    expected = CALLS[name](input, *rest, None)
    for select in (lambda array: array[0], lambda array: array[:0]):
        out = make(select(expected))
        out[...] = np.nan
        assert CALLS[name](select(input), *rest, out) is out
        np.testing.assert_array_equal(out, select(expected))


@pytest.mark.parametrize("name", [name for name in CALLS if name.endswith(("1x1", "same"))])
def test_out_is_the_input(backend, name):
    """In place, where the sizes allow it."""
    input, *rest = arrays_of(name, np.float64)
    expected = CALLS[name](input, *rest, None)
    assert expected.shape == input.shape
    assert CALLS[name](input, *rest, input) is input
    np.testing.assert_array_equal(input, expected)


@pytest.mark.parametrize(
    "name, k", [(name, k) for name in CALLS for k in range(len(arrays_of(name, np.float64)))]
)
@pytest.mark.parametrize("offset", [0, 3, -3])
def test_out_overlaps_an_array(backend, name, k, offset):
    """`out` and array k share memory, not in the same places; the result is as without."""
    arrays = arrays_of(name, np.float64)
    expected = CALLS[name](*arrays, None)
    buffer = np.full(max(arrays[k].size, expected.size) + 2 * abs(offset), np.nan)
    given, out = buffer[max(0, offset) :][: arrays[k].size], buffer[max(0, -offset) :][: expected.size]
    given, out = given.reshape(arrays[k].shape), out.reshape(expected.shape)
    given[...] = arrays[k]
    assert np.shares_memory(given, out)
    CALLS[name](*arrays[:k], given, *arrays[k + 1 :], out)
    np.testing.assert_array_equal(out, expected)


def test_indices_come_with_out(backend):
    input = whole((2, 3, 6, 7))
    output, indices = F.max_pool2d(input, 2, return_indices=True)
    out = np.empty_like(output)
    result = F.max_pool2d(input, 2, return_indices=True, out=out)
    assert result[0] is out
    assert_same(result, (output, indices))


def test_a_rejected_call_leaves_out_alone(backend):
    input, weight = whole((2, 3, 6, 7)), whole((4, 3, 2, 2))
    out = np.full((2, 4, 5, 6), 7.0)
    with pytest.raises(ValueError, match="stride"):
        F.conv2d(input, weight, stride=0, out=out)
    with pytest.raises(ValueError, match="out must have shape"):
        F.conv2d(input, weight, padding=1, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("name", OPERATORS)
@cases("layout", {"plain": np.copy, **LAYOUTS})
@dtypes
def test_nothing_passed_is_written(backend, name, layout, dtype):
    arrays = [layout(array) for array in operands(name, dtype)]
    before = [array.copy() for array in arrays]
    result = as_tuple(OPERATORS[name].call(*arrays))
    for array, copy in zip(arrays, before, strict=True):
        assert array.tobytes() == copy.tobytes()
    for array in result:  # nor would writing the result reach an argument
        assert not any(np.shares_memory(array, given) for given in arrays)
