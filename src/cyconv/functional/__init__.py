"""Convolution, pooling and their gradients as pure functions: check, allocate, call the kernel.

Arrays are NCHW, float32 or float64, all of one call alike; a single image (C, H, W) gives a result
without the batch axis; an empty batch gives an empty result. Nothing but ``out=`` is written.
Semantics are those of PyTorch's functions of the same names. Bad arguments are a `TypeError` or `ValueError`,
before any work; arrays, or workspace of the kernels, for which there is no memory are a `MemoryError`.
"""

from .columns import col2im, im2col, output_size
from .convolution import conv2d, conv2d_backward, conv_transpose2d, conv_transpose2d_backward, convolve
from .dense import linear, linear_backward, relu, relu_backward
from .pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "col2im",
    "conv2d",
    "conv2d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "convolve",
    "im2col",
    "linear",
    "linear_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "output_size",
    "relu",
    "relu_backward",
]
