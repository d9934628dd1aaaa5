"""The compiled kernels, at every level of this CPU, against the NumPy backend.

Whole numbers make sums exact in any order, so results are compared bit by bit; one test takes real
numbers, and says how far rounding may carry them.
"""

import numpy as np
import pytest
from geometries import DILATED_POOLINGS, GEOMETRIES, POOLINGS, TRANSPOSED, Geometry, Pooling, Transposed
from helpers import (
    LEVELS,
    VARIANTS,
    assert_agree,
    assert_same,
    cases,
    dtypes,
    eps,
    everywhere,
    needs_compiled,
    real,
    spiky,
    using,
    whole,
)
from operators import OPERATORS, operands

import cyconv
from cyconv import _backend
from cyconv import functional as F

# One for each branch of the tilings in _kernels/tiling.pyx. A tile holds 1 MiB of columns: 2**18 numbers
# in float32, 2**17 in float64; 192 positions or some fewer; work is divided into up to 16 tasks of 2**20
# multiply-adds. Forward, where columns are read from lines, tiles are whole rows, products whole channels.
TILED = {
    # several images in one tile, the last tile with fewer
    "images-share-tiles": Geometry((23, 16, 6, 8), 24, (3, 2), 1, (1, 0)),
    "images-share-tiles-groups": Geometry((9, 8, 5, 6), 12, (2, 3), 1, 1, 1, 4),
    "images-share-tiles-1x1": Geometry((9, 32, 7, 5), 48, 1),
    "large-batch": Geometry((150, 3, 8, 9), 8, (2, 3), 1, 1),
    # tiles of one image, that begin and end within a row
    "image-in-tiles": Geometry((2, 3, 40, 61), 16, (3, 5), 1, (1, 2)),
    "image-in-tiles-1x1": Geometry((2, 64, 30, 41), 70, 1),
    "image-in-tiles-strided": Geometry((2, 3, 90, 61), 32, (2, 3), (2, 1), 1, (3, 2)),
    "wide": Geometry((1, 4, 5, 901), 40, (2, 3), 1, 1),
    "one-long-row": Geometry((1, 2, 1, 5003), 3, (1, 7), (1, 2), (0, 3)),
    "one-long-column": Geometry((1, 2, 5003, 1), 3, (7, 1), (2, 1), (3, 0)),
    # so many taps that a tile is several products, cut within a channel
    "taps-split": Geometry((2, 71, 12, 16), 5, (7, 3), 1, (3, 1)),
    "taps-split-images-share-tiles": Geometry((6, 71, 4, 8), 5, (7, 3), 1, (3, 1)),
    "taps-split-1x1": Geometry((1, 1500, 10, 19), 6, 1),
    "taps-split-large-kernel": Geometry((1, 1, 60, 50), 2, (47, 38)),
    "whole-image": Geometry((5, 3, 40, 41), 4, (40, 41)),
    "whole-image-fully-connected": Geometry((130, 20, 5, 6), 300, (5, 6)),
    "whole-image-one": Geometry((1, 70, 4, 3), 600, (4, 3)),
    "whole-image-pixel": Geometry((40, 65, 1, 1), 33, 1, 2),
    "whole-image-padded": Geometry((9, 8, 3, 4), 20, (4, 4), 1, ((1, 0), (0, 0))),
    "whole-image-groups": Geometry((9, 8, 3, 4), 20, (3, 4), 1, 0, 1, 4),
    # few positions, so output channels (forward) and input channels (wrt input) are divided
    "channels-divided": Geometry((1, 47, 7, 9), 200, (3, 2), 1, (1, 0)),
    "channels-divided-images-share-tiles": Geometry((3, 47, 7, 9), 200, (3, 2), 1, (1, 0)),
    # few tiles and taps: filters are divided (wrt the weight)
    "filters-divided": Geometry((2, 40, 15, 13), 290, 1),
    # tiles are parts of the only row
    "parts-of-a-row": Geometry((1, 66, 2, 1500), 37, (2, 5), (1, 2), ((0, 0), (3, 1)), (1, 3)),
    # one image of few channels: input rows are divided (wrt input)
    "rows-divided": Geometry((1, 3, 50, 41), 150, (3, 2)),
    "rows-divided-strided": Geometry((1, 2, 61, 40), 200, (3, 4), (2, 1), ((3, 0), (2, 2)), (2, 3)),
    "rows-divided-with-gaps": Geometry((1, 2, 83, 40), 300, (2, 3), (3, 1)),
    "rows-divided-images-share-tiles": Geometry((2, 7, 40, 12), 1200, (3, 2), (8, 2)),
    # partial sums (wrt weight): over images, over tiles of an image, of blocks of taps
    "partial-sums": Geometry((7, 3, 20, 31), 64, (3, 2)),
    "partial-sums-of-tiles": Geometry((1, 3, 60, 71), 64, (3, 2)),
    "partial-sums-of-groups": Geometry((6, 4, 31, 30), 96, (2, 3), 1, 1, 1, 2),
    "partial-sums-of-tap-blocks": Geometry((3, 45, 21, 25), 30, (2, 3)),
    # blocks of taps (wrt weight): for tasks, and because columns of all taps would not fit
    "tap-blocks": Geometry((4, 33, 9, 12), 40, (4, 3)),
    "tap-blocks-by-size": Geometry((1, 71, 12, 16), 1, (7, 3), 1, (3, 1)),
    # so many channels on both sides that a tile has fewer than 192 positions
    "channels-many": Geometry((1, 1500, 9, 10), 1500, 1),
    "depthwise": Geometry((2, 40, 30, 33), 40, (3, 5), 1, (1, 2), 1, 40),
    # tiles of seven rows of sums, which overlap at the ends; several strips
    "depthwise-3": Geometry((3, 20, 7, 7), 20, 3, 1, 1, 1, 20),
    "depthwise-3-multiplied": Geometry((2, 5, 9, 6), 15, (3, 2), 1, ((2, 0), (1, 0)), 1, 5),
    "depthwise-3-strips": Geometry((1, 4, 101, 83), 4, 3, 1, 1, 1, 4),
    "depthwise-3-stride-2": Geometry((2, 6, 29, 37), 12, 3, 2, 1, 1, 6),
    "depthwise-5-stride-2": Geometry((1, 3, 12, 11), 3, (5, 4), 2, ((2, 1), (1, 3)), 1, 3),
    "depthwise-7-far": Geometry((1, 2, 5, 3), 4, (7, 3), 1, ((8, 3), (0, 5)), 1, 2),
    "depthwise-5": Geometry((2, 6, 14, 13), 12, 5, 1, 2, 1, 6),
    "depthwise-5-wide": Geometry((1, 3, 6, 700), 3, (5, 3), 1, (2, 0), 1, 3),
    "depthwise-7": Geometry((2, 5, 23, 30), 5, (7, 4), 1, (3, 1), 1, 5),
    "depthwise-2": Geometry((2, 5, 15, 20), 10, (2, 3), 1, 1, 1, 5),
    "depthwise-6-stride-2": Geometry((2, 5, 22, 19), 5, 6, 2, (2, 3), 1, 5),
    "depthwise-13": Geometry((2, 6, 23, 18), 6, (13, 11), 1, (6, 5), 1, 6),
    "depthwise-31": Geometry((1, 3, 26, 37), 3, (31, 29), 1, (15, 14), 1, 3),
    "depthwise-9-narrow": Geometry((1, 20, 40, 5), 40, (9, 13), 1, (4, 8), 1, 20),
    "depthwise-whole-image": Geometry((2, 5, 7, 6), 5, (7, 6), 1, 0, 1, 5),
    "groups-divided": Geometry((1, 90, 14, 9), 280, (2, 3), 1, 1, 1, 2),
}

TILED_TRANSPOSED = {  # no kernels for Winograd's filtering, which some level might choose: it rounds
    "images-share-tiles": Transposed((3, 70, 7, 6), 24, (2, 3), (2, 1), (1, 0), (1, 0)),
    "tiles": Transposed((2, 24, 31, 40), 16, (3, 4), (1, 2), 1, (0, 1)),
}

LARGE_POOLINGS = {
    "team": Pooling((2, 7, 61, 50), (2, 3), (2, 1), (1, 0)),
    "team-large-kernel": Pooling((3, 3, 40, 41), (13, 12), (2, 3), (6, 5)),
    "one-plane": Pooling((1, 1, 200, 301), 3, 2),
    # windows taken a vector at a time: each width and stride, whole vectors and not, padding on one side and on both
    "vectors-2": Pooling((2, 3, 8, 64), 2),
    "vectors-2-odd": Pooling((2, 2, 9, 75), 2, 2, ((1, 0), (0, 1))),
    "vectors-2-stride-1": Pooling((1, 3, 7, 49), 2, 1, 1),
    "vectors-2x3-stride-1": Pooling((1, 2, 7, 50), (2, 3), 1),
    "vectors-3": Pooling((2, 3, 13, 83), 3, 2, 1),
    "vectors-3-stride-1": Pooling((2, 2, 9, 41), 3, (2, 1), 1),
    "vectors-5x3": Pooling((1, 2, 14, 70), (5, 3), (3, 2), (2, 1)),
    "vectors-ceil": Pooling((1, 2, 10, 76), 3, 2, 1, 1, True),
    "vectors-long": Pooling((1, 1, 5, 1107), 3, 2, 1),
    "vectors-long-stride-1": Pooling((1, 1, 4, 521), 2, 1),
    # others: along lines, and in more than one piece
    "lines-stride-3": Pooling((1, 2, 12, 90), 3, 3, 1),
    "lines-5": Pooling((2, 2, 11, 61), 5, 2, 2),
    "lines-long": Pooling((1, 1, 3, 7001), (2, 4), (1, 3)),
    "global": Pooling((3, 40, 7, 7), 7),
    "whole-plane": Pooling((3, 40, 9, 13), (9, 13)),
    "whole-column": Pooling((4, 50, 46, 1), (46, 1)),
    "whole-row": Pooling((4, 50, 1, 70), (1, 70)),
    "whole-rows-padded": Pooling((2, 30, 20, 5), (9, 7), (4, 3), ((4, 2), (1, 1))),
    "wide": Pooling((2, 3, 9, 130), (3, 50), (2, 40), (1, 20)),
    "wide-rows": Pooling((2, 3, 9, 40), (3, 40), (2, 1)),
    "wider-than-a-line": Pooling((1, 1, 4, 6001), (2, 2100), (2, 300), (0, 1000)),
}
DILATED_LARGE_POOLINGS = {
    "dilated-rows": Pooling((1, 2, 15, 47), 3, (1, 2), 1, (3, 1)),
    "dilated": Pooling((1, 2, 12, 55), 3, 2, 2, 2),
    "dilated-wide": Pooling((1, 1, 5, 5000), (1, 3), 2, (0, 1500), (1, 1501)),
}
HUGE_POOLINGS = {
    "same": Pooling((2, 2, 5, 7), 10**6, 1, "same"),
    "rows": Pooling((2, 2, 5, 7), (2 * 10**9, 3), 2, "same"),
    "columns": Pooling((1, 2, 6, 9), (2, 10**9), (1, 2), ((1, 0), (5 * 10**8, 5 * 10**8))),
    "dilated": Pooling((1, 2, 8, 9), (3, 10**6), 1, "same", (2, 1000)),
}

SPECIAL = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}

pytestmark = needs_compiled


@pytest.fixture(autouse=True)
def three_threads():
    cyconv.set_num_threads(3)


# ---------------------------------------------------------------- every kernel


@cases("geometry", GEOMETRIES | TILED)
@dtypes
def test_conv2d(geometry, dtype):
    _, input, weight, bias = geometry.arrays(dtype)
    (output,) = assert_agree(lambda: F.conv2d(input, weight, bias, *geometry.arguments))
    for variant, results in everywhere(lambda: F.conv2d(input, weight, None, *geometry.arguments)).items():
        assert_same(results, output - bias.reshape(-1, 1, 1), variant)


@cases("geometry", GEOMETRIES | TILED)
@dtypes
def test_conv2d_backward(geometry, dtype):
    grad_output, input, weight, _ = geometry.arrays(dtype)
    assert_agree(lambda: F.conv2d_backward(grad_output, input, weight, *geometry.arguments))


@dtypes
def test_partial_sums_too_large_to_have_several(dtype):
    """The weight's gradient alone is more than all partial sums may be."""
    _, input, weight, _ = Geometry((30, 25, 8, 8), 2650, (4, 2)).arrays(dtype)
    grad_output = whole((30, 2650, 5, 7), dtype)
    assert_agree(lambda: F.conv2d_backward(grad_output, input, weight, needs_input_grad=False)[1])


@cases("case", TRANSPOSED | TILED_TRANSPOSED)
@dtypes
def test_conv_transpose2d(case, dtype):
    input, weight, bias = case.arrays(dtype)
    (output,) = assert_agree(lambda: F.conv_transpose2d(input, weight, bias, *case.arguments))
    gradient = whole(output.shape, dtype, 5)
    assert_agree(lambda: F.conv_transpose2d_backward(gradient, input, weight, *case.arguments))


@cases("geometry", GEOMETRIES | TILED)
@dtypes
def test_im2col_and_col2im(geometry, dtype):
    input = geometry.arrays(dtype)[1]
    (columns,) = assert_agree(lambda: F.im2col(input, *geometry.window))
    assert_agree(lambda: F.col2im(columns, geometry.image[2:], *geometry.window))


@cases("pooling", POOLINGS | DILATED_POOLINGS | LARGE_POOLINGS | DILATED_LARGE_POOLINGS)
@dtypes
@pytest.mark.parametrize("make", [whole, spiky])
def test_max_pool2d(pooling, dtype, make):
    input = make(pooling.image, dtype)
    output, indices = assert_agree(lambda: F.max_pool2d(input, *pooling.max_arguments, return_indices=True))
    assert_agree(lambda: F.max_pool2d(input, *pooling.max_arguments))
    grad_output = whole(output.shape, dtype)
    assert_agree(lambda: F.max_pool2d_backward(grad_output, indices, pooling.image))


@dtypes
def test_max_pool2d_of_narrow_rows(dtype):
    """Rows of outputs below, at and above a vector's length: indices too, and nothing written beyond the planes."""
    for columns, stride in ((2, 1), (2, 2), (3, 1), (3, 2)):
        for W_out in range(1, 18):
            for H_out, padding in ((1, 0), (2, 0), (3, 0), (4, 1)):
                size = ((H_out - 1) * 2 + 3 - 2 * padding, (W_out - 1) * stride + columns - 2 * padding)
                if min(size) < 1 + padding:
                    continue
                input = spiky((2, 2, *size), dtype)
                call = lambda: F.max_pool2d(input, (3, columns), (2, stride), padding, return_indices=True)  # noqa: B023,E731
                output, _ = assert_agree(call)
                for variant in VARIANTS:
                    with using(variant):
                        guarded = np.full(output.size + 64, 7, dtype)
                        inside = guarded[32:-32].reshape(output.shape)
                        F.max_pool2d(input, (3, columns), (2, stride), padding, out=inside)
                        assert_same(inside, output, variant)
                        assert (guarded[:32] == 7).all() and (guarded[-32:] == 7).all()


@dtypes
def test_streamed_gradients_of_poolings(dtype):
    """Arrays of 32 MiB and more are made in cache and written past it; one image at a time none is."""
    shape = (7, 37, 203, 171 if dtype == np.float32 else 87)
    input = spiky(shape, dtype)
    output, indices = F.max_pool2d(input, 3, 2, 1, return_indices=True)
    grad_output = real(output.shape, dtype)
    assert input.nbytes > 32 * 2**20 > 2 * input[:1].nbytes
    for level in LEVELS:
        with using(level):
            parts = [F.max_pool2d_backward(grad_output[n], indices[n], shape[1:]) for n in range(len(input))]
            assert_same(F.max_pool2d_backward(grad_output, indices, shape), np.stack(parts), level)
            parts = [F.avg_pool2d_backward(each, shape[1:], 3, 2, 1) for each in grad_output]
            assert_same(F.avg_pool2d_backward(grad_output, shape, 3, 2, 1), np.stack(parts), level)


@cases("pooling", HUGE_POOLINGS)
@dtypes
def test_huge_kernels_cost_no_more_than_the_image(pooling, dtype):
    """Every tap visited, 10**9 of them would take hours."""
    for make in (whole, spiky):
        input = make(pooling.image, dtype)
        assert_agree(lambda input=input: F.max_pool2d(input, *pooling.max_arguments, return_indices=True))
        assert_agree(lambda input=input: F.max_pool2d(input, *pooling.max_arguments))
    if pooling.dilation == 1:
        input = whole(pooling.image, dtype)
        for padded in (True, False):
            arguments = (*pooling.avg_arguments, padded)
            output = assert_close(lambda arguments=arguments: F.avg_pool2d(input, *arguments))
            assert_close(
                lambda output=output, arguments=arguments: F.avg_pool2d_backward(
                    output, pooling.image, *arguments
                )
            )


def assert_close(call):
    """One result of all variants, the same but for rounding."""
    results = {variant: result for variant, (result,) in everywhere(call).items()}
    expected = results["numpy"]
    for variant, result in results.items():
        np.testing.assert_allclose(result, expected, 8 * eps(result.dtype), err_msg=str(variant))
    return expected


@cases("pooling", POOLINGS | LARGE_POOLINGS)
@dtypes
@pytest.mark.parametrize("count_include_pad", [True, False], ids=["count-pad", "skip-pad"])
def test_avg_pool2d(pooling, dtype, count_include_pad):
    arguments = (*pooling.avg_arguments, count_include_pad)
    for make in (whole, spiky):
        input = make(pooling.image, dtype)
        with np.errstate(invalid="ignore"):  # inf - inf
            (output,) = assert_agree(lambda input=input: F.avg_pool2d(input, *arguments))
    if pooling.multiple > 10**6:
        return  # no multiple of all its divisors leaves sums exact in float32
    grad_output = whole(output.shape, dtype) * dtype(pooling.multiple)
    assert_agree(lambda: F.avg_pool2d_backward(grad_output, pooling.image, *arguments))


@dtypes
@pytest.mark.parametrize("m, n, k", [(1, 1, 1), (3, 5, 7), (2100, 4, 30), (4, 600, 30), (1025, 257, 3), (0, 3, 4),
                                     (3, 0, 4), (3, 4, 0), (5, 6, 3000), (5, 250, 259),
                                     (24, 250, 131), (37, 301, 160), (70, 5, 131)])  # fmt: skip
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(m, n, k, transpose_a, transpose_b, dtype):
    """Blocks of 1024 rows and 240 columns; dot products of few rows; panels."""
    a = whole((k, m) if transpose_a else (m, k), dtype, 1)
    b = whole((n, k) if transpose_b else (k, n), dtype, 2)

    def product():
        output = np.full((m, n), np.nan, dtype)
        _backend.kernels.matmul(a, transpose_a, b, transpose_b, None, False, output)
        return output

    assert_agree(product)


@dtypes
@pytest.mark.parametrize("k", [7, 300, 1024])  # within one pass; two; rows of A pages apart
@pytest.mark.parametrize("transpose_a", [False, True])
def test_last_columns(k, transpose_a, dtype):
    """Whole panels and any columns after them, of groups of rows and some more: tall blocks, dot products."""
    for n in range(1, 100):
        a = whole((k, 61) if transpose_a else (61, k), dtype, n)
        b = whole((k, n), dtype, 2)

        def product(a=a, b=b, n=n):
            output = np.full((61, n), np.nan, dtype)
            _backend.kernels.matmul(a, transpose_a, b, False, None, False, output)
            return output

        assert_agree(product)


# ---------------------------------------------------------------- real numbers


@cases("geometry", {name: TILED[name] for name in TILED if name != "channels-many"})  # which takes a second
@dtypes
def test_rounding(geometry, dtype):
    """A sum of n products, in any order, is within n roundings of the sum of their sizes (Higham, 3.1)."""
    grad_output, input, weight, bias = geometry.arrays(dtype, real)
    absolute = [abs(array).astype(np.float64) for array in (grad_output, input, weight, bias)]
    arguments = geometry.arguments
    taps = weight[0].size
    counts = (taps + 1, weight.size, grad_output.size, grad_output.size)  # products of one sum, at most

    def passes(grad_output, input, weight, bias):
        output = F.conv2d(input, weight, bias, *arguments)
        return (output, *F.conv2d_backward(grad_output, input, weight, *arguments))

    results = everywhere(lambda: passes(grad_output, input, weight, bias))
    with using("numpy"):
        scales = passes(*absolute)
    for variant in results:
        for a, b, scale, count in zip(results[variant], results["numpy"], scales, counts, strict=True):
            # two results; rounding errors are independent enough for the square root, with 4 of them in hand
            assert (abs(a - b) <= 2 * 4 * np.sqrt(count) * eps(dtype) * scale).all(), variant


# ---------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("name", OPERATORS)
@cases("value", SPECIAL)
def test_special_values(name, value):
    """One NaN or infinity, in each array in turn, reaches the same elements."""
    for k in range(len(OPERATORS[name].shapes)):
        arrays = operands(name, np.float32)
        arrays[k].flat[arrays[k].size // 2] = value
        with np.errstate(invalid="ignore"):  # inf - inf, 0*inf
            assert_agree(lambda arrays=arrays: OPERATORS[name].call(*arrays))


@cases("geometry", {name: geometry for name, geometry in (GEOMETRIES | TILED).items() if name.startswith("depthwise")})
@cases("value", SPECIAL)
def test_special_values_depthwise(geometry, value):
    """Depthwise kernels lay zeros between and around rows, which must not meet a weight that is not finite."""
    for k in range(4):
        arrays = geometry.arrays(np.float32)
        arrays[k].flat[arrays[k].size // 2] = value
        grad_output, input, weight, bias = arrays
        with np.errstate(invalid="ignore"):
            assert_agree(lambda x=input, w=weight, b=bias: F.conv2d(x, w, b, *geometry.arguments))
            assert_agree(
                lambda g=grad_output, x=input, w=weight: F.conv2d_backward(g, x, w, *geometry.arguments)
            )


@cases("value", SPECIAL)
def test_special_value_stays_in_its_windows(value):
    """A pixel of 2x3 windows: 2x3 outputs see it, in every output channel."""
    input, weight = whole((1, 2, 6, 7), np.float32), np.ones((3, 2, 2, 3), np.float32)
    input[0, 1, 3, 4] = value
    with np.errstate(invalid="ignore"):
        (output,) = assert_agree(lambda: F.conv2d(input, weight))
    seen = np.zeros(output.shape, bool)
    seen[:, :, 2:4, 2:5] = True
    np.testing.assert_array_equal(np.isfinite(output), ~seen)
