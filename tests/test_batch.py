"""The batch axis of every function: empty, absent, or of many images that do not see each other."""

import numpy as np
import pytest
from geometries import Geometry
from helpers import LAYOUTS, as_tuple, assert_same, cases, dtypes, whole
from operators import OPERATORS, operands

from cyconv import functional as F

BATCHED = [name for name, operator in OPERATORS.items() if operator.batched]


def on_batch(name, arrays, select):
    """The operator `name` with `select` applied to the arrays that start with the batch."""
    operator = OPERATORS[name]
    given = [select(array) if k < operator.batched else array for k, array in enumerate(arrays)]
    return as_tuple(operator.call(*given))


@pytest.mark.parametrize("name", BATCHED)
@dtypes
def test_empty_batch(backend, name, dtype):
    """An empty batch gives empty images of the right shape, and gradients of parameters that are 0."""
    arrays = operands(name, dtype)
    N = len(arrays[0])
    full = on_batch(name, arrays, lambda array: array)
    for a, b in zip(on_batch(name, arrays, lambda array: array[:0]), full, strict=True):
        assert a.dtype == b.dtype
        if b.shape[0] == N:
            assert a.shape == (0, *b.shape[1:])
        else:
            assert a.shape == b.shape
            assert not a.any()


@pytest.mark.parametrize("name", BATCHED)
@dtypes
def test_single_image(backend, name, dtype):
    """Without the batch axis: the result of a batch of one, without the batch axis."""
    arrays = operands(name, dtype)
    batch = on_batch(name, arrays, lambda array: array[:1])
    single = on_batch(name, arrays, lambda array: array[0])
    for a, b in zip(single, batch, strict=True):
        assert a.shape in (b.shape, b.shape[1:])
        assert_same(a, b.reshape(a.shape))
    assert single[0].ndim == batch[0].ndim - 1


@pytest.mark.parametrize("name", BATCHED)
@dtypes
def test_images_do_not_see_each_other(backend, name, dtype):
    """Result n depends on image n alone; gradients of parameters add up."""
    arrays = operands(name, dtype)
    N = len(arrays[0])
    full = on_batch(name, arrays, lambda array: array)
    parts = [on_batch(name, arrays, lambda array, n=n: array[n : n + 1]) for n in range(N)]
    for k, result in enumerate(full):
        images = [part[k] for part in parts]
        assert_same(np.concatenate(images) if result.shape[0] == N else sum(images), result)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 64])
def test_batches_of_any_size(backend, count):
    """Small images share tiles; however many do, each gets its own result."""
    geometry = Geometry((64, 3, 5, 6), 7, (2, 3), 1, (1, 0))
    _, input, weight, bias = geometry.arrays(np.float32)
    expected = F.conv2d(input, weight, bias, *geometry.arguments)
    assert_same(F.conv2d(input[:count], weight, bias, *geometry.arguments), expected[:count])


# ---------------------------------------------------------------- kinds of arrays


@pytest.mark.parametrize("name", OPERATORS)
@cases("layout", LAYOUTS)
@dtypes
def test_layouts(backend, name, layout, dtype):
    """An array's strides, byte order, alignment, flags and subclass make no difference."""
    arrays = operands(name, dtype)
    expected = as_tuple(OPERATORS[name].call(*arrays))
    result = as_tuple(OPERATORS[name].call(*map(layout, arrays)))
    assert_same(result, expected)
    for array in result:
        assert type(array) is np.ndarray
        assert array.dtype.isnative
        assert array.flags.writeable


@cases("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_layouts_of_indices(backend, layout, dtype):
    input, grad_output = whole((2, 3, 6, 8)), whole((2, 3, 3, 4), seed=1)
    _, indices = F.max_pool2d(input, 2, return_indices=True)
    expected = F.max_pool2d_backward(grad_output, indices, input.shape)
    assert_same(F.max_pool2d_backward(grad_output, layout(indices.astype(dtype)), input.shape), expected)
