"""Calls whose arguments do not fit each other, by the whole text of the error."""

import numpy as np

from cyconv import _checks
from cyconv import functional as F

HUGE = 2**31 - 1


def z(*shape, dtype=np.float64):
    return np.zeros(shape, dtype)


X, W, B, G = z(2, 4, 5, 6), z(6, 4, 2, 3), z(6), z(2, 6, 4, 4)  # of conv2d; G is its grad_output
U, V = z(4, 3, 2, 3), z(2, 3, 6, 8)  # the weight and grad_output of conv_transpose2d over X
POOLED, INDICES = z(2, 4, 2, 3), np.zeros((2, 4, 2, 3), np.int64)  # of 2x2 windows over X

INPUT = "input must have shape (N, C, H, W) or (C, H, W), got input.shape="
EMPTY = "input may be empty only along the batch, got input.shape="
WEIGHT = "weight must have shape (C_out, C_in/groups, kernel_h, kernel_w), none of them 0, got weight.shape="
FIT = "and does not fit input of size"
NOT_ALL_FIT = (
    f"kernel_size 2x7 with dilation 1x1 covers 2x7 {FIT} 5x6 with padding (top 0, bottom 0, left 0, right 0)"
)
DILATED = (
    f"kernel_size 3x2 with dilation 4x1 covers 9x2 {FIT} 5x6 with padding (top 1, bottom 2, left 0, right 0)"
)
MORE = "; increase padding"
SIZE = "as large as the other along every axis, got f.shape="
OUTSIDE = "pass the indices that max_pool2d(..., return_indices=True) gave for an input of input_shape"
FORWARD = "(the output of the forward pass)"

# text: call. The text starts with the function's name; ValueError, except in TYPE_ERRORS.
VALUE_ERRORS = {
    # images
    f"conv2d: {INPUT}(5, 6)": lambda: F.conv2d(X[0, 0], W),
    f"conv2d: {INPUT}(1, 2, 4, 5, 6)": lambda: F.conv2d(X[np.newaxis], W),
    f"conv2d: {EMPTY}(2, 0, 5, 6)": lambda: F.conv2d(X[:, :0], W),
    f"conv2d: {EMPTY}(4, 5, 0)": lambda: F.conv2d(X[0, ..., :0], W),
    f"conv2d_backward: {INPUT}(5, 6)": lambda: F.conv2d_backward(G, X[0, 0], W),
    f"conv_transpose2d: {INPUT}(6,)": lambda: F.conv_transpose2d(X[0, 0, 0], U),
    f"conv_transpose2d: {EMPTY}(0, 5, 6)": lambda: F.conv_transpose2d(X[0, :0], U),
    f"conv_transpose2d_backward: {INPUT}()": lambda: F.conv_transpose2d_backward(V, z(), U),
    f"im2col: {INPUT}(5, 6)": lambda: F.im2col(X[0, 0], 2),
    f"im2col: {EMPTY}(2, 4, 0, 6)": lambda: F.im2col(X[:, :, :0], 2),
    f"max_pool2d: {INPUT}(5, 6)": lambda: F.max_pool2d(X[0, 0], 2),
    f"max_pool2d: {EMPTY}(2, 4, 0, 6)": lambda: F.max_pool2d(X[:, :, :0], 2),
    f"avg_pool2d: {INPUT}(5, 6)": lambda: F.avg_pool2d(X[0, 0], 2),
    f"avg_pool2d: {EMPTY}(2, 4, 5, 0)": lambda: F.avg_pool2d(X[..., :0], 2),
    # weight and bias
    f"conv2d: {WEIGHT}(6, 4, 2)": lambda: F.conv2d(X, W[..., 0]),
    f"conv2d: {WEIGHT}(0, 4, 2, 3)": lambda: F.conv2d(X, W[:0]),
    f"conv2d: {WEIGHT}(6, 4, 0, 3)": lambda: F.conv2d(X, W[:, :, :0]),
    f"conv2d_backward: {WEIGHT}(24,)": lambda: F.conv2d_backward(G, X, z(24)),
    "conv_transpose2d: weight must have shape (C_in, C_out/groups, kernel_h, kernel_w), none of them 0, got "
    "weight.shape=(4, 0, 2, 3)": lambda: F.conv_transpose2d(X, U[:, :0]),
    "conv2d: weight.shape[0]=6 must be a multiple of groups=4": lambda: F.conv2d(X, W[:, :1], groups=4),
    "conv2d: weight expects 3 input channels (weight.shape[1]=3, groups=1) but input has 4 "
    "(input.shape=(2, 4, 5, 6))": lambda: F.conv2d(X, W[:, :3]),
    "conv2d: weight expects 8 input channels (weight.shape[1]=4, groups=2) but input has 4 "
    "(input.shape=(2, 4, 5, 6))": lambda: F.conv2d(X, W, groups=2),
    "conv2d: weight expects 3 input channels (weight.shape[1]=3, groups=1) but input has 4 "
    "(input.shape=(4, 5, 6))": lambda: F.conv2d(X[0], W[:, :3]),
    "conv2d_backward: weight expects 3 input channels (weight.shape[1]=3, groups=1) but input has 4 "
    "(input.shape=(4, 5, 6))": lambda: F.conv2d_backward(G[0], X[0], W[:, :3]),
    "conv_transpose2d: weight.shape[0]=4 must be a multiple of groups=3": lambda: F.conv_transpose2d(
        X, U, groups=3
    ),
    "conv_transpose2d: weight expects 3 input channels (weight.shape[0]=3) but input has 4 "
    "(input.shape=(2, 4, 5, 6))": lambda: F.conv_transpose2d(X, U[:3]),
    "conv_transpose2d_backward: weight expects 3 input channels (weight.shape[0]=3) but input has 4 "
    "(input.shape=(4, 5, 6))": lambda: F.conv_transpose2d_backward(V[0], X[0], U[:3]),
    "conv2d: bias must have shape (6,) to match weight, got bias.shape=(5,)": lambda: F.conv2d(X, W, B[:5]),
    "conv2d: bias must have shape (6,) to match weight, got bias.shape=(6, 1)": lambda: F.conv2d(
        X, W, z(6, 1)
    ),
    "conv_transpose2d: bias must have shape (6,) to match weight, got bias.shape=(3,)": (
        lambda: F.conv_transpose2d(X, U, z(3), groups=2)
    ),
    f"conv2d: weight has 2147483648 elements per channel, more than BLAS can count ({HUGE})": (
        # through conv2d this weight would take 8 GiB
        lambda: _checks.conv_weight("conv2d", (2, 1, 5, 6), (1, 1, 2**15, 2**16), None, 1)
    ),
    f"conv_transpose2d: weight.shape[0]=4294967296 in 2 groups is more than BLAS can count ({HUGE})": (
        lambda: _checks.conv_weight(
            "conv_transpose2d",
            (1, 2**32, 1, 1),
            (2**32, 1, 1, 1),
            None,
            2,
            transposed=True,
        )
    ),
    # the window
    f"conv2d: {NOT_ALL_FIT}{MORE}": lambda: F.conv2d(X, z(1, 4, 2, 7)),
    f"conv2d_backward: {DILATED}{MORE}": lambda: F.conv2d_backward(
        G, X, z(6, 4, 3, 2), 1, ((1, 2), (0, 0)), (4, 1)
    ),
    f"im2col: {NOT_ALL_FIT}{MORE}": lambda: F.im2col(X, (2, 7)),
    f"col2im: {NOT_ALL_FIT}{MORE}": lambda: F.col2im(z(2, 14, 1), (5, 6), (2, 7)),
    f"max_pool2d: {DILATED}{MORE}": lambda: F.max_pool2d(X, (3, 2), 1, ((1, 2), (0, 0)), (4, 1)),
    f"avg_pool2d: {NOT_ALL_FIT}{MORE}": lambda: F.avg_pool2d(X, (2, 7)),
    f"avg_pool2d_backward: {NOT_ALL_FIT}{MORE}": lambda: F.avg_pool2d_backward(POOLED, X.shape, (2, 7)),
    f"output_size: {NOT_ALL_FIT}{MORE}": lambda: F.output_size((5, 6), (2, 7)),
    f"output_size: kernel_size 8x8 with dilation 1x1 covers 8x8 {FIT} 5x5 with padding (top 0, bottom 0, left 0, "
    f"right 0){MORE}": lambda: F.output_size(5, 8, 3, ceil_mode=True),
    # pooling's padding, on each side
    **{
        f"max_pool2d: padding must be at most half of the kernel, but {side} padding is {pad} and the kernel "
        f"covers {covered}": lambda padding=padding, dilation=dilation: F.max_pool2d(
            X, (3, 2), 1, padding, dilation
        )
        for side, pad, covered, padding, dilation in (
            ("top", 2, 3, 2, 1),
            ("bottom", 2, 3, ((0, 2), (0, 0)), 1),
            ("left", 2, 2, ((1, 1), (2, 0)), 1),
            ("right", 3, 4, ((1, 1), (2, 3)), 3),
        )
    },
    "avg_pool2d: padding must be at most half of the kernel, but left padding is 2 and the kernel covers 3": (
        lambda: F.avg_pool2d(X, (2, 3), 1, (1, 2))
    ),
    "avg_pool2d_backward: padding must be at most half of the kernel, but top padding is 1 and the kernel covers 1": (
        lambda: F.avg_pool2d_backward(POOLED, X.shape, 1, 1, 1)
    ),
    # the transposed window
    "conv_transpose2d: output_padding must be smaller than stride or dilation, got output_padding 2 with stride 1 "
    "and dilation 2": lambda: F.conv_transpose2d(X, U, None, (2, 1), 0, (1, 2), 1, (1, 2)),
    "conv_transpose2d_backward: output_padding must be smaller than stride or dilation, got output_padding 1 with "
    "stride 1 and dilation 1": lambda: F.conv_transpose2d_backward(V, X, U, output_padding=1),
    "conv_transpose2d: input of size 5x6 with kernel_size 2x3 and padding (top 2, bottom 4, left 1, right 1) gives "
    "output of size 0x6; decrease padding": lambda: F.conv_transpose2d(X, U, padding=((2, 4), (1, 1))),
    "conv_transpose2d_backward: input of size 5x6 with kernel_size 2x3 and padding (top 0, bottom 0, left 5, right "
    "5) gives output of size 6x-2; decrease padding": lambda: F.conv_transpose2d_backward(
        V, X, U, padding=(0, 5)
    ),
    # gradients
    f"conv2d_backward: grad_output must have shape (2, 6, 4, 4) {FORWARD}, got (2, 6, 4, 3)": (
        lambda: F.conv2d_backward(G[..., :3], X, W)
    ),
    f"conv2d_backward: grad_output must have shape (6, 4, 4) {FORWARD}, got (2, 6, 4, 4)": (
        lambda: F.conv2d_backward(G, X[0], W)
    ),
    f"conv2d_backward: grad_output must have shape (2, 6, 4, 4) {FORWARD}, got (6, 4, 4)": (
        lambda: F.conv2d_backward(G[0], X, W)
    ),
    f"conv_transpose2d_backward: grad_output must have shape (2, 3, 6, 8) {FORWARD}, got (2, 3, 8, 6)": (
        lambda: F.conv_transpose2d_backward(V.swapaxes(2, 3), X, U)
    ),
    f"avg_pool2d_backward: grad_output must have shape (2, 4, 2, 3) {FORWARD}, got (2, 4, 3, 3)": (
        lambda: F.avg_pool2d_backward(z(2, 4, 3, 3), X.shape, 2)
    ),
    f"linear_backward: grad_output must have shape (5, 3) {FORWARD}, got (3, 5)": (
        lambda: F.linear_backward(z(3, 5), z(5, 4), z(3, 4))
    ),
    "relu_backward: grad_output must have shape (3, 4) (that of output), got (4, 3)": (
        lambda: F.relu_backward(z(4, 3), z(3, 4))
    ),
    # max pooling's indices
    "max_pool2d_backward: indices must have shape (2, 4, 2, 3) (that of grad_output), got (4, 2, 3)": (
        lambda: F.max_pool2d_backward(POOLED, INDICES[0], X.shape)
    ),
    f"max_pool2d_backward: 3 of the indices lie outside the plane of 5x6 pixels; {OUTSIDE}": (
        lambda: F.max_pool2d_backward(POOLED, with_indices(-2, 30, 10**12), X.shape)
    ),
    f"max_pool2d_backward: 1 of the indices lie outside the plane of 1x4 pixels; {OUTSIDE}": (
        lambda: F.max_pool2d_backward(POOLED[0], with_indices(4, -1)[0], (4, 1, 4))
    ),
    "max_pool2d_backward: grad_output must have the batch and channels of input_shape=(3, 4, 5, 6) and at least one "
    "pixel, got grad_output.shape=(2, 4, 2, 3)": lambda: F.max_pool2d_backward(POOLED, INDICES, (3, 4, 5, 6)),
    "max_pool2d_backward: grad_output must have the batch and channels of input_shape=(2, 5, 6) and at least one "
    "pixel, got grad_output.shape=(2, 4, 2, 3)": lambda: F.max_pool2d_backward(POOLED, INDICES, (2, 5, 6)),
    "max_pool2d_backward: grad_output must have the batch and channels of input_shape=(2, 4, 5, 6) and at least one "
    "pixel, got grad_output.shape=(2, 4, 2, 0)": (
        lambda: F.max_pool2d_backward(POOLED[..., :0], INDICES[..., :0], X.shape)
    ),
    "max_pool2d_backward: grad_output must have the batch and channels of input_shape=(4, 5, 6) and at least one "
    "pixel, got grad_output.shape=(6,)": lambda: F.max_pool2d_backward(
        z(6), INDICES[0, 0].ravel()[:6], (4, 5, 6)
    ),
    # shapes as arguments
    **{
        text: lambda function=function, shape=shape: function(shape)
        for name, function in (
            ("max_pool2d_backward", lambda shape: F.max_pool2d_backward(POOLED, INDICES, shape)),
            ("avg_pool2d_backward", lambda shape: F.avg_pool2d_backward(POOLED, shape, 2)),
        )
        for text, shape in {
            f"{name}: input_shape must be (N, C, H, W) or (C, H, W), got (5, 6)": (5, 6),
            f"{name}: input_shape must be (N, C, H, W) or (C, H, W), got (1, 2, 4, 5, 6)": (1, 2, 4, 5, 6),
            f"{name}: input_shape must be at least 1, got 0": (2, 0, 5, 6),
            f"{name}: input_shape must be at least 0, got -1": (-1, 4, 5, 6),
            f"{name}: input_shape must be at most {2**62}, got {2**62 + 1}": (1, 1, 1, 2**62 + 1),
            f"{name}: input_shape of shape (1, 1048576, 1048576, 1048576) is larger than any memory": (
                1,
                2**20,
                2**20,
                2**20,
            ),
        }.items()
    },
    # sizes past any memory
    f"conv2d: padded image of shape ({2**32 + 3}, {2**32 + 3}) is larger than any memory": (
        lambda: F.conv2d(X, W, padding=((HUGE, HUGE), (HUGE, HUGE - 1)), stride=HUGE)
    ),
    f"conv_transpose2d: padded image of shape ({HUGE + 2}, {HUGE + 3}) is larger than any memory": (
        lambda: F.conv_transpose2d(X[:, :, :2, :2], U, stride=HUGE)
    ),
    f"max_pool2d: padded image of shape ({HUGE}, {HUGE}) is larger than any memory": (
        lambda: F.max_pool2d(X, HUGE, padding="same")
    ),
    f"conv2d: output of shape (2, 6, {2**31 + 4}, {2**28 + 4}) is larger than any memory": (
        lambda: F.conv2d(X, W, padding=((HUGE, 1), (2**28, 0)))
    ),
    f"conv2d: output of shape (0, 6, {2**31 + 4}, {2**28 + 4}) is larger than any memory": (
        lambda: F.conv2d(X[:0], W, padding=((HUGE, 1), (2**28, 0)))
    ),
    f"im2col: columns of shape (2, 4, {(2**31 + 5) * (2**28 + 6)}) is larger than any memory": (
        lambda: F.im2col(X, 1, padding=((HUGE, 1), (2**28, 0)))
    ),
    f"col2im: output of shape (1, 20, {HUGE}, {2**27}) is larger than any memory": (
        lambda: F.col2im(z(1, 20, 1), (HUGE, 2**27), 1, stride=HUGE)
    ),
    # columns
    **{
        f"col2im: columns must have shape (N, C*6, 16) or (C*6, 16) for kernel_size 2x3 and 4x4 windows, got "
        f"columns.shape={shape}": lambda shape=shape: F.col2im(z(*shape), (5, 6), (2, 3))
        for shape in ((2, 24, 15), (2, 25, 16), (2, 0, 16), (24, 17), (16,), (1, 2, 24, 16))
    },
    # linear
    "linear: weight must have shape (out_features, in_features), got (4,)": lambda: F.linear(z(5, 4), z(4)),
    "linear_backward: weight must have shape (out_features, in_features), got (3, 4, 1)": (
        lambda: F.linear_backward(z(5, 3), z(5, 4), z(3, 4, 1))
    ),
    "linear: weight expects 4 input features (weight.shape=(3, 4)) but the last axis of input has 3 "
    "(input.shape=(5, 3))": lambda: F.linear(z(5, 3), z(3, 4)),
    "linear: weight expects 4 input features (weight.shape=(3, 4)) but the last axis of input has no "
    "(input.shape=())": lambda: F.linear(z(), z(3, 4)),
    "linear_backward: weight expects 4 input features (weight.shape=(3, 4)) but the last axis of input has 5 "
    "(input.shape=(4, 5))": lambda: F.linear_backward(z(4, 3), z(4, 5), z(3, 4)),
    "linear: bias must have shape (3,), got (4,)": lambda: F.linear(z(5, 4), z(3, 4), z(4)),
    f"linear: weight.shape=(2147483648, 0) is more than BLAS can count ({HUGE})": (
        lambda: F.linear(z(5, 0), z(HUGE + 1, 0))
    ),
    f"linear_backward: input has 4294967296 rows, more than BLAS can count ({HUGE}); pass fewer": (
        lambda: F.linear_backward(z(2, 2**31, 0), z(2, 2**31, 0), z(0, 0))
    ),
    # convolve
    "convolve: f and g must both be 1-D or both 2-D, got f.shape=(3,), g.shape=(2, 2)": (
        lambda: F.convolve(z(3), z(2, 2))
    ),
    "convolve: f and g must both be 1-D or both 2-D, got f.shape=(3, 1, 1), g.shape=(2, 1, 1)": (
        lambda: F.convolve(z(3, 1, 1), z(2, 1, 1))
    ),
    "convolve: f and g must both be 1-D or both 2-D, got f.shape=(), g.shape=()": lambda: F.convolve(
        z(), z()
    ),
    "convolve: f and g must not be empty, got f.shape=(0,), g.shape=(2,)": lambda: F.convolve(z(0), z(2)),
    "convolve: f and g must not be empty, got f.shape=(2, 3), g.shape=(2, 0)": lambda: F.convolve(
        z(2, 3), z(2, 0)
    ),
    f"convolve: mode 'valid' needs one array at least {SIZE}(3, 2), g.shape=(2, 3)": (
        lambda: F.convolve(z(3, 2), z(2, 3), "valid")
    ),
    "convolve: mode must be one of 'full', 'same', 'valid', got 'circular'": lambda: F.convolve(
        z(3), z(2), "circular"
    ),
    "conv2d: algorithm must be one of 'auto', 'im2col', 'winograd', got 'fft'": lambda: F.conv2d(
        X, W, algorithm="fft"
    ),
    "conv2d_backward: algorithm must be one of 'auto', 'im2col', 'winograd', got 'fft'": (
        lambda: F.conv2d_backward(G, X, W, algorithm="fft")
    ),
    "conv2d: algorithm 'winograd' needs a kernel of 2 to 5 times the stride, rounded up, the same number in both "
    "directions, or of 2 to 16 along one axis at stride 1, stride 4 or less, stride or dilation 1 and less padding "
    "than the kernel covers, got kernel_size 3x3, stride (2, 1), dilation (1, 1), padding (0, 0, 0, 0); write "
    "algorithm='auto'": (
        lambda: F.conv2d(z(1, 1, 8, 8), z(1, 1, 3, 3), stride=(2, 1), algorithm="winograd")
    ),
}

TYPE_ERRORS = {
    "conv2d: algorithm must be one of 'auto', 'im2col', 'winograd', got None": lambda: F.conv2d(
        X, W, algorithm=None
    ),
    "convolve: mode must be one of 'full', 'same', 'valid', got 0": lambda: F.convolve(z(3), z(2), 0),
    "max_pool2d_backward: grad_output must be a NumPy array, got float; write numpy.asarray(grad_output)": (
        lambda: F.max_pool2d_backward(1.0, INDICES, X.shape)
    ),
    "max_pool2d_backward: indices must be a NumPy array, got list; write numpy.asarray(indices)": (
        lambda: F.max_pool2d_backward(POOLED, INDICES.tolist(), X.shape)
    ),
    **{
        f"max_pool2d_backward: indices must be an array of int64, got dtype {dtype}": (
            lambda dtype=dtype: F.max_pool2d_backward(POOLED, INDICES.astype(dtype), X.shape)
        )
        for dtype in ("float64", "uint64", "bool", "object")
    },
    "max_pool2d_backward: input_shape must be a tuple of ints, got int": (
        lambda: F.max_pool2d_backward(POOLED, INDICES, 240)
    ),
    "max_pool2d_backward: input_shape must be an int, got float (5.0)": (
        lambda: F.max_pool2d_backward(POOLED, INDICES, (2, 4, 5.0, 6))
    ),
    "avg_pool2d_backward: input_shape must be a tuple of ints, got ndarray": (
        lambda: F.avg_pool2d_backward(POOLED, np.array(X.shape), 2)
    ),
}


def with_indices(*wrong):
    """Indices of which the first few are `wrong`."""
    indices = INDICES.copy()
    indices.flat[: len(wrong)] = wrong
    return indices
