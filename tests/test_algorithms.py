"""Each algorithm of a convolution against a float64 direct sum: everywhere equal but for rounding."""

import functools

import numpy as np
import pytest
from geometries import Geometry
from helpers import LEVELS, cases, dtypes, real, using, whole
from test_bits import assert_same_bits

from cyconv import _backend, _window
from cyconv import functional as F

# Tiles of 5x5 (2x2 kernels) to 2x2 (5x5) outputs: whole, partial and single tiles, several blocks, groups, filters and
# channels that do not fill a panel; strides, with phases of as many taps and of fewer, of few channels and of many; one
# axis, with kernels in one part and in several, whole and short.
WINOGRAD = {
    "one-tile": Geometry((1, 1, 6, 6), 1, 3),
    "one-output": Geometry((2, 3, 3, 3), 2, 3),
    "partial-tiles": Geometry((2, 3, 9, 11), 5, 3, 1, 1),
    "tall": Geometry((1, 2, 50, 3), 9, 3, 1, (0, 1)),
    "wide": Geometry((1, 4, 5, 2300), 8, 3, 1, 1),
    "asymmetric": Geometry((3, 20, 17, 14), 33, 3, 1, ((2, 0), (1, 2))),
    "groups": Geometry((2, 24, 13, 20), 36, 3, 1, 1, 1, 3),
    "groups-in-batches": Geometry((2, 300, 24, 21), 240, 3, 1, 1, 1, 3),  # weights of two groups, then of one
    "several-blocks": Geometry((3, 70, 60, 52), 12, 3, 1, 1),
    "images-share-blocks": Geometry((30, 16, 7, 7), 40, 3, 1, 1),
    "blocks-of-channels-and-filters": Geometry((1, 270, 9, 13), 150, 3, 1, 1),
    "parts-of-filters": Geometry((1, 40, 43, 41), 170, 3, 1, 1),
    "blocks-by-filters": Geometry((1, 270, 50, 58), 150, 3, 1, 1),
    "five": Geometry((2, 5, 12, 9), 7, 5, 1, 2),
    "five-asymmetric": Geometry((1, 18, 31, 27), 20, 5, 1, ((4, 0), (1, 3))),
    "two": Geometry((2, 7, 23, 26), 9, 2, 1, ((1, 0), (0, 1))),
    "four": Geometry((2, 6, 17, 40), 10, 4, 1, (1, 2)),
    "stride": Geometry((3, 5, 19, 46), 7, 3, 2, 1),
    "stride-many-channels": Geometry((1, 40, 21, 26), 21, 3, 2, ((0, 2), (1, 0))),
    "stride-vectors": Geometry((2, 32, 33, 29), 21, 3, 2, 1),
    "strides-vectors": Geometry((1, 48, 26, 37), 40, (5, 7), (2, 3), ((1, 4), (6, 2))),
    "stride-whole-phases": Geometry((2, 34, 20, 24), 12, 4, 2, 1),
    "stride-groups": Geometry((2, 66, 15, 13), 10, 5, 2, 2, 1, 2),
    "stride-h": Geometry((1, 33, 24, 31), 6, (5, 3), (2, 1), (3, 1)),
    "strides": Geometry((1, 35, 37, 40), 6, (5, 7), (2, 3), ((1, 4), (6, 2))),
    "stride-4": Geometry((2, 3, 47, 51), 9, 11, 4, ((2, 1), (3, 0))),
    "stride-blocks": Geometry((2, 140, 40, 60), 70, (7, 8), 2, (3, 1)),
    "stride-parts": Geometry((1, 70, 60, 55), 130, 3, 2, 1),
    "stride-rest": Geometry((1, 2, 12, 15), 3, 8, (4, 4)),
    "dilation": Geometry((2, 5, 33, 40), 7, 3, 1, 6, 6),
    "dilations": Geometry((1, 18, 23, 37), 20, 4, 1, ((3, 0), (2, 5)), (2, 3)),
    "dilation-past-image": Geometry((2, 3, 9, 11), 5, 2, 1, (40, 3), (50, 4)),
    "dilation-and-stride": Geometry((1, 36, 19, 30), 6, (3, 2), (2, 1), (1, 2), (1, 3)),
    "row-2": Geometry((2, 3, 4, 21), 5, (1, 2), 1, (0, 1)),
    "row-3": Geometry((3, 20, 5, 17), 33, (1, 3), 1, (0, 1)),
    "row-4": Geometry((1, 7, 9, 40), 10, (1, 4), 1, ((0, 0), (0, 3))),
    "row-7": Geometry((2, 35, 17, 17), 21, (1, 7), 1, (0, 3)),
    "row-16": Geometry((1, 3, 2, 50), 6, (1, 16), 1, (0, 9)),
    "row-one-output": Geometry((2, 3, 1, 5), 2, (1, 5)),
    "row-blocks": Geometry((2, 70, 3, 2300), 12, (1, 9), 1, (0, 4)),
    "row-groups-dilation": Geometry((2, 24, 6, 40), 36, (1, 6), 1, (0, 5), (1, 3), 3),
    "column-3": Geometry((3, 20, 8, 13), 33, (3, 1), 1, (1, 0)),
    "column-5": Geometry((1, 9, 30, 3), 7, (5, 1), 1, ((4, 0), (0, 0))),
    "column-7": Geometry((4, 35, 17, 17), 21, (7, 1), 1, (3, 0)),
    "column-10": Geometry((1, 140, 61, 40), 70, (10, 1), 1, (2, 0)),
    "column-dilation": Geometry((2, 5, 33, 40), 7, (3, 1), 1, (6, 0), (6, 1)),
}

# Lines of padded rows: rows wider and narrower than a block, several strips, passes and blocks of filters, strides
# (phases), gaps between taps, padding that rows share or that is wider than the kernel.
IMPLICIT = {
    "one-output": Geometry((1, 1, 3, 2), 1, (3, 2)),
    "few-channels": Geometry((2, 3, 40, 37), 12, 3, 1, 1),
    "wide-rows": Geometry((1, 2, 7, 300), 20, (2, 3), 1, (1, 1)),
    "narrow-rows": Geometry((3, 5, 30, 4), 18, (3, 2), 1, (1, 0)),
    "passes-and-blocks": Geometry((1, 70, 13, 19), 150, 3, 1, 1),
    "large-kernel": Geometry((1, 16, 23, 44), 36, (10, 7), 1, ((2, 1), (1, 0))),
    "stride": Geometry((2, 9, 31, 45), 7, 3, 2, 1),
    "strides": Geometry((1, 6, 37, 50), 21, (5, 4), (3, 4), ((2, 0), (1, 3))),
    "stride-beyond-kernel": Geometry((1, 4, 20, 21), 5, (1, 2), (3, 5)),
    "dilation": Geometry((1, 8, 33, 29), 24, 3, 1, 4, 4),
    "dilation-and-stride": Geometry((1, 8, 33, 29), 24, (3, 4), (2, 3), 2, (2, 3)),
    "groups": Geometry((2, 12, 17, 15), 18, (3, 5), 1, (1, 2), 1, 3),
    "more-padding-than-kernel": Geometry((1, 3, 9, 8), 4, 2, 1, 5),
}

# Filters as vectors: one, several and a lone one of them, with a part that is empty; several images in a tile, parts
# of a row; lines that blocks of filters share, weights that are packed for all tiles, some channels at a time, or by
# each task; strides (phases) of which one has fewer columns or none; several parts of the batch, blocks of channels and
# of filters (wrt the weight).
DIRECT = {
    "one-filter": Geometry((1, 1, 5, 4), 1, (3, 2), (2, 1)),
    "lone-vector": Geometry((2, 9, 14, 15), 70, 3, 2, 1),
    "panels": Geometry((1, 5, 19, 18), 140, (2, 3), (1, 2), 1),
    "images": Geometry((23, 16, 6, 8), 40, (3, 2), 2, (1, 0)),
    "parts-of-a-row": Geometry((1, 6, 5, 1300), 20, (2, 3), (1, 2), 1),
    "weights-by-task": Geometry((1, 120, 15, 13), 200, 3, 2, 1),
    "channels-in-passes": Geometry((7, 300, 17, 19), 520, 3, 2, 1),
    "groups-in-passes": Geometry((4, 260, 19, 17), 520, 5, (2, 1), 2, 1, 2),
    "odd-columns": Geometry((2, 5, 13, 9), 37, 3, 2, 1),
    "one-column": Geometry((2, 5, 9, 1), 20, (3, 1), 2, (1, 0)),
    "stride-3": Geometry((2, 6, 17, 23), 18, (4, 5), 3, 2),
    "parts-of-the-batch": Geometry((3, 4, 60, 61), 24, 3, 2, 1),
    "large-kernel": Geometry((2, 40, 25, 30), 36, (17, 9), 2, (8, 4)),
    "far-strides": Geometry((2, 3, 60, 52), 40, (12, 10), (12, 9)),
    "dilation-and-stride": Geometry((2, 8, 33, 29), 49, (3, 4), (2, 3), 2, (2, 3)),
    # planes that are read where they lie, and such as would collide there
    "in-place": Geometry((3, 33, 13, 11), 70, (2, 3), (2, 1)),
    "in-place-1x1": Geometry((3, 130, 7, 9), 50, 1),
    "in-place-tiles": Geometry((2, 70, 29, 31), 120, 1, 1, 0, 1, 2),
    "colliding": Geometry((2, 40, 16, 16), 72, 2, 2),
}

# Direct convolution that leaves out taps in the padding: dilations of less and of more than half the image, of one
# axis, of groups with other taps and padding in each axis and side; several images in a tile; channels in passes;
# outputs that no tap reaches.
CUT = {
    "cut": Geometry((2, 40, 45, 44), 70, 3, 1, 16, 16),
    "cut-far": Geometry((4, 60, 25, 33), 60, 3, 1, 20, 20),
    "cut-one-axis": Geometry((2, 64, 1, 1000), 70, (1, 3), 1, (0, 400), (1, 400)),
    "cut-groups": Geometry((3, 96, 40, 35), 100, (2, 3), 1, ((0, 19), (12, 9)), (19, 12), 2),
    "cut-images": Geometry((80, 24, 4, 4), 22, 3, 1, 1),
    "cut-passes": Geometry((1, 700, 1, 300), 510, (1, 3), 1, (0, 100), (1, 100)),
    "cut-beyond": Geometry((1, 140, 20, 20), 20, 3, 1, 30, 9),
}

# Blocks of output channels that share the columns of their tile: images in one product, columns made in several
# passes, in one piece of a plane and for each group; a 1x1 kernel's, which are the image itself.
SHARED = {
    "images-in-passes": Geometry((8, 500, 7, 6), 130, 3, 1, 1),
    "plane-in-passes": Geometry((1, 600, 15, 13), 140, 3, 1, 1),
    "groups-in-passes": Geometry((3, 4200, 9, 10), 280, 1, groups=2),
    "stride": Geometry((1, 300, 15, 26), 140, (3, 2), 2, (1, 0)),
    "image": Geometry((1, 400, 13, 15), 270, 1),
}


def passes(geometry, arrays, algorithm):
    grad_output, input, weight, bias = arrays
    output = F.conv2d(input, weight, bias, *geometry.arguments, algorithm=algorithm)
    return (
        output,
        *F.conv2d_backward(grad_output, input, weight, *geometry.arguments, algorithm=algorithm)[:2],
    )


@pytest.mark.parametrize("algorithm", ["auto", "im2col", "winograd"])
@pytest.mark.parametrize("groups", [1, 8])
def test_empty_batch(backend, algorithm, groups):
    input, weight = np.empty((0, 8, 9, 9)), np.ones((8, 8 // groups, 3, 3))
    output = F.conv2d(input, weight, padding=1, groups=groups, algorithm=algorithm)
    assert output.shape == (0, 8, 9, 9)
    grad_input, grad_weight, grad_bias = F.conv2d_backward(
        output, input, weight, padding=1, groups=groups, algorithm=algorithm
    )
    assert grad_input.shape == input.shape
    assert not grad_weight.any()
    assert not grad_bias.any()


@cases("geometry", WINOGRAD)
@dtypes
def test_winograd(geometry, dtype):
    arrays = geometry.arrays(dtype, real)
    with using("numpy"):
        expected = passes(geometry, [array.astype(np.float64) for array in arrays], "auto")
    for level in LEVELS:
        with using(level):
            for result, exact in zip(passes(geometry, arrays, "winograd"), expected, strict=True):
                # the transforms multiply rounding errors by 15 or so (test_accuracy), sums add a few
                assert np.abs(result - exact).max() <= 60 * np.finfo(dtype).eps * np.abs(exact).max(), level


@cases(
    "geometry",
    {
        name: WINOGRAD[name]
        for name in ("asymmetric", "several-blocks", "parts-of-filters", "blocks-by-filters", "groups",
                     "groups-in-batches", "five-asymmetric",
                     "strides", "stride-blocks", "stride-parts", "strides-vectors", "dilations",
                     "row-7", "row-blocks", "column-10")
    },
)
@dtypes
def test_winograd_same_bits(backend, geometry, dtype):
    arrays = geometry.arrays(dtype, real)
    assert_same_bits(lambda: passes(geometry, arrays, "winograd"))


def products(geometry, arrays, algorithm):
    """Forward pass and both gradients by one algorithm of the kernels, whatever the cost model says."""
    grad_output, input, weight, bias = arrays
    kernels = _backend.kernels
    window = _window.parse("products", input.shape[2:], *geometry.window)
    output, grad_input, grad_weight = (np.full_like(array, np.nan) for array in (grad_output, input, weight))
    kernels.conv2d_forward(input, weight, bias, window, geometry.groups, algorithm, False, output)
    kernels.conv2d_backward_input(grad_output, weight, window, geometry.groups, algorithm, grad_input)
    kernels.conv2d_backward_weight(grad_output, input, window, geometry.groups, algorithm, grad_weight)
    return output, grad_input, grad_weight


@cases("geometry", IMPLICIT | DIRECT | CUT)
@dtypes
@pytest.mark.parametrize("algorithm", ["columns", "implicit", "direct"])
def test_products(geometry, dtype, algorithm):
    """Each way, exactly: sums of integers have no rounding."""
    arrays = geometry.arrays(dtype, whole)
    with using("numpy"):
        expected = products(geometry, arrays, "auto")
    for level in LEVELS:
        with using(level):
            for result, exact in zip(products(geometry, arrays, algorithm), expected, strict=True):
                np.testing.assert_array_equal(result, exact, err_msg=level)


@cases("geometry", {name: IMPLICIT[name] for name in ("passes-and-blocks", "strides", "groups")})
def test_implicit_same_bits(backend, geometry):
    arrays = geometry.arrays(np.float32, real)
    assert_same_bits(lambda: products(geometry, arrays, "implicit"))


@cases("geometry", DIRECT | CUT)
@dtypes
def test_direct_same_bits(backend, geometry, dtype):
    arrays = geometry.arrays(dtype, real)
    assert_same_bits(lambda: products(geometry, arrays, "direct"))


@cases("geometry", DIRECT | CUT)
@dtypes
def test_direct_applies(backend, geometry, dtype):
    """To each of these, where products are our own: no other algorithm hides behind the tests above."""
    window = _window.parse("direct", geometry.image[2:], *geometry.window)
    grad_output, input, _, _ = geometry.arrays(dtype)
    for which in ("forward", "input", "weight"):
        sizes = input.shape, grad_output.shape, dtype().itemsize, window, geometry.groups
        plan = _backend.kernels.conv2d_plan(*sizes, "direct", which)
        # 1x1 wrt the input is forward with weight^T; many phases have columns instead
        many = max(window.stride_h, window.stride_w) > 8
        other = which == "input" and (many or window.kernel_h * window.kernel_w == 1)
        assert (plan["algorithm"] == "direct") == (_backend.kernels.OWN_GEMM and not other)


@cases("geometry", CUT)
def test_tiles_are_cut(backend, geometry):
    """Short products forward and wrt the input; wrt the weight as many tiles as the pixels of taps begin or end."""
    if not _backend.kernels.OWN_GEMM:
        pytest.skip("products are BLAS's")
    window = _window.parse("direct", geometry.image[2:], *geometry.window)
    grad_output, input, _, _ = geometry.arrays(np.float32)
    sizes = input.shape, grad_output.shape, 4, window, geometry.groups
    plans = {which: _backend.kernels.conv2d_plan(*sizes, "direct", which) for which in ("forward", "input", "weight")}
    assert plans["forward"]["gemm"][2] <= 96
    if geometry != CUT["cut-beyond"]:  # whose gradient has 20 filters: too few products
        assert plans["input"]["gemm"][2] <= 96
    parts = dict(zip(CUT, (9, 9, 3, 6, 9, 3, 49), strict=True))  # in the order of CUT
    assert plans["weight"]["tiles"] == parts[next(name for name in CUT if CUT[name] == geometry)]


def forward_of(geometry, arrays, algorithm):
    """With bias and ReLU."""
    grad_output, input, weight, bias = arrays
    window = _window.parse("forward", input.shape[2:], *geometry.window)
    output = np.full_like(grad_output, np.nan)
    _backend.kernels.conv2d_forward(input, weight, bias, window, geometry.groups, algorithm, True, output)
    return output


@cases("geometry", DIRECT | CUT | SHARED)
@dtypes
@pytest.mark.parametrize("algorithm", ["columns", "direct"])
def test_bias_and_relu(geometry, dtype, algorithm):
    """Exactly, after the last pass: sums of integers have no rounding."""
    arrays = geometry.arrays(dtype, whole)
    with using("numpy"):
        expected = forward_of(geometry, arrays, algorithm)
    assert 0 < np.count_nonzero(expected) < expected.size
    for level in LEVELS:
        with using(level):
            np.testing.assert_array_equal(forward_of(geometry, arrays, algorithm), expected, err_msg=level)


@cases("geometry", SHARED)
@dtypes
def test_columns_are_shared(backend, geometry, dtype):
    window = _window.parse("columns", geometry.image[2:], *geometry.window)
    output = geometry.arrays(dtype, whole)[0]
    sizes = geometry.image, output.shape, output.itemsize, window, geometry.groups
    plan = _backend.kernels.conv2d_plan(*sizes, "columns", "forward")
    panels = plan["gemm"][1] * plan["gemm"][2] * output.itemsize  # of one product
    assert (plan["shared"] >= panels) == _backend.kernels.OWN_GEMM


@cases("geometry", SHARED)
@dtypes
def test_shared_columns_same_bits(backend, geometry, dtype):
    arrays = geometry.arrays(dtype, real)
    assert_same_bits(lambda: forward_of(geometry, arrays, "columns"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("k", [0, 1, 2], ids=["grad_output", "input", "weight"])
@pytest.mark.parametrize("name", ["few-channels", "strides", "cut", "cut-groups"])
@pytest.mark.parametrize("algorithm", ["implicit", "direct"])
def test_products_not_finite(backend, algorithm, value, k, name):
    """Zeros around rows meet a value that is not finite: where the direct sum has such a term, and only there."""
    geometry = (IMPLICIT | CUT)[name]
    for place in (0, 5, -1):
        arrays = geometry.arrays(np.float32, real)
        arrays[k].flat[place] = value
        with np.errstate(invalid="ignore"):
            direct, chosen = (products(geometry, arrays, algorithm) for algorithm in ("columns", algorithm))
        for a, b in zip(direct, chosen, strict=True):
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize("k", [0, 1, 2], ids=["grad_output", "input", "weight"])
@pytest.mark.parametrize("name", ["asymmetric", "stride", "stride-rest", "dilation", "row-7", "column-10"])
def test_not_finite(backend, value, k, name):
    """NaN, infinity and what the transforms would overflow: exactly where the direct sum has them."""
    geometry = WINOGRAD[name]
    arrays = geometry.arrays(np.float32, real)
    arrays[k].flat[arrays[k].size // 2] = value
    with np.errstate(invalid="ignore", over="ignore"):
        results = [passes(geometry, arrays, algorithm) for algorithm in ("im2col", "winograd")]
    for direct, chosen in zip(*results, strict=True):
        np.testing.assert_array_equal(np.isfinite(chosen), np.isfinite(direct))
        np.testing.assert_array_equal(np.isnan(chosen), np.isnan(direct))


@pytest.mark.parametrize("value", [np.nan, 1e30])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((5, 7), (2, 3)), ((8, 8), (4, 4))])
def test_unread_pixels(backend, value, kernel, stride):
    """What a stride leaves at the bottom and at the right does not even round a result."""
    read = kernel[0] + 11 * stride[0], kernel[1] + 14 * stride[1]
    geometry = Geometry((2, 35, read[0] + stride[0] - 1, read[1] + 1), 9, kernel, stride)
    arrays = geometry.arrays(np.float32, real)
    expected = passes(geometry, arrays, "winograd")
    arrays[1][:, :, read[0] :] = value
    arrays[1][:, :, :, read[1] :] = value
    for result, exact in zip(passes(geometry, arrays, "winograd"), expected, strict=True):
        assert result.tobytes() == exact.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("k", [0, 1, 2], ids=["grad_output", "input", "weight"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "filters"), [(3, 6), (19, 19)])
def test_depthwise_not_finite(backend, value, k, stride, channels, filters):
    """Zeros around rows meet a value that is not finite: only where the direct sum has such a term."""
    geometry = Geometry((2, channels, 9, 7), filters, (3, 2), stride, ((1, 1), (1, 0)), 1, channels)
    for place in (0, 1, 6, -1):
        arrays = geometry.arrays(np.float32, real)
        arrays[k].flat[place] = value
        with np.errstate(invalid="ignore"):
            direct, chosen = (passes(geometry, arrays, algorithm) for algorithm in ("im2col", "auto"))
        for a, b in zip(direct, chosen, strict=True):
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@functools.cache  # for every backend and algorithm the same
def exact_products(kernel, stride):
    padding = tuple(size // 2 for size in kernel)
    geometry = Geometry((1, 256, 28 * stride, 28 * stride), 32, kernel, stride, padding)
    arrays = geometry.arrays(np.float32, real)
    with using("numpy"):
        return geometry, arrays, products(geometry, [array.astype(np.float64) for array in arrays], "auto")


@pytest.mark.parametrize("algorithm", ["columns", "implicit", "direct", "winograd"])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((2, 2), 1), ((3, 3), 1), ((4, 4), 1), ((5, 5), 1), ((3, 3), 2), ((1, 3), 1), ((7, 1), 1)]
)
def test_accuracy(backend, kernel, stride, algorithm):
    """256 channels of unit-normal data: the largest and the rms error of float32 results, of the results' rms.

    docs/accuracy.md has the errors that this measures.
    """
    geometry, arrays, exact = exact_products(kernel, stride)
    weight = arrays[2]
    for result, expected in zip(products(geometry, arrays, algorithm), exact, strict=True):
        error = np.abs(result - expected) / np.sqrt(np.mean(expected**2))
        # the gradient of the weight sums 784 positions here, with tiles of 2x2 for 5x5 kernels; tiles of 5x5 outputs,
        # of 3x3 kernels at stride 2, err most in their corners: docs/accuracy.md
        assert error.max() <= (2e-5 if result.shape == weight.shape else 1.5e-5 if stride == 2 else 1e-5)
        assert np.sqrt(np.mean(error**2)) <= 2e-6
