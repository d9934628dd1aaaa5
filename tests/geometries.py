"""Convolutions and poolings of every kind, of which nothing is square: {name: case} for the tests to go through."""

import math
from typing import NamedTuple

from helpers import whole

from cyconv import functional as F

# ---------------------------------------------------------------- convolutions


class Geometry(NamedTuple):
    """One convolution; nothing about it is square."""

    image: tuple  # (N, C_in, H_in, W_in)
    C_out: int
    kernel: int | tuple
    stride: int | tuple = 1
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    groups: int = 1

    @property
    def arguments(self):
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def window(self):
        """The arguments of im2col."""
        return self.kernel, self.stride, self.padding, self.dilation

    def arrays(self, dtype, make=whole):
        """(grad_output, input, weight, bias)"""
        N, C_in, H_in, W_in = self.image
        kernel = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        size = F.output_size((H_in, W_in), *self.window)
        return (
            make((N, self.C_out, *size), dtype, 1),
            make(self.image, dtype, 2),
            make((self.C_out, C_in // self.groups, *kernel), dtype, 3),
            make((self.C_out,), dtype, 4),
        )


GEOMETRIES = {
    "1x1": Geometry((2, 3, 4, 5), 4, 1),
    "1x1-stride": Geometry((2, 3, 7, 5), 4, 1, (3, 2)),
    "1x1-stride-h": Geometry((1, 3, 7, 5), 4, 1, (3, 1)),
    "1x1-stride-w": Geometry((1, 3, 5, 7), 4, 1, (1, 3)),
    "1x1-padding": Geometry((1, 2, 3, 2), 3, 1, 1, (1, 2)),
    "1x1-dilation": Geometry((2, 2, 3, 4), 3, 1, 1, 0, (2, 3)),
    "1x1-groups": Geometry((2, 6, 3, 4), 4, 1, groups=2),
    "1x1-images": Geometry((9, 30, 3, 5), 21, 1, groups=3),  # planes of several images, weight^T first
    "tiny": Geometry((1, 1, 1, 1), 1, 1),
    "kernel-2x3": Geometry((2, 3, 6, 7), 4, (2, 3)),
    "kernel-3x2-stride-3x1": Geometry((2, 3, 8, 5), 4, (3, 2), (3, 1), (1, 0)),
    "stride-1x3": Geometry((1, 2, 5, 9), 3, (2, 3), (1, 3), (0, 1)),
    "stride-past-kernel": Geometry((2, 2, 9, 11), 3, (2, 1), (4, 5)),
    "dilation-2x3": Geometry((2, 2, 8, 11), 3, (3, 2), (1, 2), (2, 1), (2, 3)),
    "sides": Geometry((2, 2, 4, 5), 3, (2, 3), (2, 1), ((0, 3), (2, 1))),
    "same": Geometry((2, 2, 5, 6), 3, (2, 3), (2, 3), "same"),
    "valid": Geometry((1, 2, 5, 6), 3, (2, 3), 1, "valid"),
    "groups": Geometry((2, 6, 5, 4), 9, (2, 3), 1, 1, 1, 3),
    "depthwise": Geometry((2, 5, 6, 5), 5, (3, 2), (1, 2), (1, 0), 1, 5),
    "depthwise-twice": Geometry((1, 3, 5, 6), 6, (2, 3), 1, 1, (2, 1), 3),
    "depthwise-stride-2x3": Geometry((2, 3, 11, 14), 3, (2, 4), (2, 3), (1, 2), 1, 3),
    "depthwise-dilation-2x3": Geometry((1, 3, 13, 12), 6, (3, 2), (1, 4), ((5, 0), (0, 6)), (2, 3), 3),
    "depthwise-stride-9x10": Geometry((1, 2, 20, 21), 2, (3, 2), (9, 10), 0, 1, 2),
    "small-planes": Geometry((2, 37, 7, 6), 37, 3, 1, 1, 1, 37),  # depthwise, lanes are channels
    "small-planes-stride": Geometry((3, 21, 9, 8), 21, (5, 3), (2, 1), (2, 0), 1, 21),
    "small-planes-dilation": Geometry((1, 18, 9, 10), 18, (3, 2), (1, 2), ((2, 3), (4, 0)), (2, 3), 18),
    "small-planes-stride-past-kernel": Geometry((2, 16, 13, 14), 16, (2, 1), (3, 2), ((1, 2), (0, 3)), 1, 16),
    "one-channel": Geometry((2, 1, 9, 45), 5, (3, 2), (1, 2), (1, 0)),
    "whole-image": Geometry((3, 2, 4, 6), 5, (4, 6)),
    "kernel-past-image": Geometry((2, 2, 2, 3), 3, (4, 5), 1, (1, 1)),
    "windows-in-padding": Geometry((1, 2, 2, 2), 2, (2, 2), 1, 4),
    "long-rows": Geometry((1, 2, 7, 2263), 2, (6, 3), (1, 2), (1, 0)),  # too long for lines of whole rows
    "many-taps": Geometry((1, 2, 29, 27), 3, (25, 22), (2, 1), (1, 2)),  # of one channel, more than one product takes
    "many-channels": Geometry((1, 70, 13, 15), 37, (2, 3), (1, 2), (1, 0)),  # several products, several tiles
    "one-row": Geometry((2, 2, 1, 9), 3, (1, 4), (1, 2), (0, 2)),
    "one-column": Geometry((2, 2, 9, 1), 3, (4, 1), (2, 1), (2, 0)),
    "empty-batch": Geometry((0, 4, 5, 6), 6, (2, 3), 1, 1, 1, 2),
}


class Transposed(NamedTuple):
    """One transposed convolution."""

    image: tuple  # (N, C_in, H_in, W_in)
    C_out: int
    kernel: tuple
    stride: int | tuple = 1
    padding: int | tuple = 0
    output_padding: int | tuple = 0
    groups: int = 1
    dilation: int | tuple = 1

    @property
    def arguments(self):
        return self[3:]

    def arrays(self, dtype):
        """(input, weight, bias)"""
        weight = (self.image[1], self.C_out // self.groups, *self.kernel)
        return whole(self.image, dtype, 1), whole(weight, dtype, 2), whole((self.C_out,), dtype, 3)


TRANSPOSED = {
    "plain": Transposed((2, 3, 4, 5), 4, (2, 3)),
    "1x1": Transposed((2, 3, 4, 5), 2, (1, 1)),
    "1x1-shifted": Transposed(
        (1, 3, 4, 5), 2, (1, 1), 1, ((1, 0), (0, 0)), (1, 0), 1, (2, 1)
    ),  # as large as the image
    "stride": Transposed((2, 3, 4, 3), 4, (3, 2), (2, 3)),
    "padding": Transposed((2, 2, 4, 5), 3, (2, 3), (1, 2), ((1, 0), (0, 2))),
    "output-padding": Transposed((2, 2, 3, 4), 3, (2, 3), (3, 2), (1, 0), (2, 1)),
    "output-padding-by-dilation": Transposed((1, 2, 3, 4), 3, (2, 2), 1, 1, (2, 1), 1, (3, 2)),
    "output-padding-uncut": Transposed((2, 2, 3, 3), 2, (1, 1), (3, 4), 0, (2, 3)),
    "dilation": Transposed((2, 2, 4, 3), 3, (3, 2), (1, 2), (2, 1), 0, 1, (2, 3)),
    "groups": Transposed((2, 6, 3, 4), 9, (2, 3), (2, 1), 1, 0, 3),
    "depthwise": Transposed((2, 4, 3, 4), 4, (3, 2), 2, (1, 0), 1, 4),
    "empty-batch": Transposed((0, 2, 3, 4), 3, (2, 3), 2),
}


# ---------------------------------------------------------------- poolings


class Pooling(NamedTuple):
    image: tuple  # (N, C, H_in, W_in)
    kernel: int | tuple
    stride: int | tuple | None = None
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    ceil_mode: bool = False

    @property
    def max_arguments(self):
        return self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode

    @property
    def avg_arguments(self):
        return self.kernel, self.stride, self.padding, self.ceil_mode

    @property
    def multiple(self):
        """A multiple of every divisor of average pooling, so that quotients of its multiples are whole."""
        kernel_h, kernel_w = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        return math.lcm(*range(1, kernel_h + 1)) * math.lcm(*range(1, kernel_w + 1))


POOLINGS = {
    "2": Pooling((2, 3, 6, 8), 2),
    "3-stride-2": Pooling((2, 2, 9, 7), 3, 2),
    "2x3-stride-3x1": Pooling((2, 3, 8, 7), (2, 3), (3, 1), (1, 0)),
    "3x2-stride-1x3": Pooling((1, 2, 7, 8), (3, 2), (1, 3), (0, 1)),
    "sides": Pooling((2, 2, 5, 6), (4, 5), (2, 1), ((2, 0), (1, 2))),
    "same": Pooling((2, 2, 7, 5), (3, 2), 2, "same"),
    "stride-past-kernel": Pooling((2, 2, 9, 11), (2, 1), (4, 5)),
    "whole-image": Pooling((2, 3, 5, 4), (5, 4)),
    "1x1": Pooling((2, 2, 3, 4), 1),
    "tiny": Pooling((1, 1, 1, 1), 1),
    "ceil": Pooling((2, 2, 6, 8), (3, 3), 2, 0, 1, True),
    "ceil-starts-in-padding": Pooling((1, 2, 3, 5), 2, 2, 1, 1, True),
    "ceil-hangs-over-padding": Pooling((2, 2, 7, 6), (3, 4), (3, 5), (1, 2), 1, True),
    "ceil-larger-than-image": Pooling((2, 2, 2, 3), (3, 4), (2, 3), 0, 1, True),
    "empty-batch": Pooling((0, 2, 6, 8), (2, 3), 1, 1),
}
DILATED_POOLINGS = {
    "dilation-2x3": Pooling((2, 2, 8, 11), (3, 2), (1, 2), (2, 1), (2, 3)),
    "dilation-ceil": Pooling((2, 2, 7, 9), (2, 3), (3, 2), 1, (2, 2), True),
    "taps-around-image": Pooling((1, 2, 1, 3), (2, 2), 1, (2, 1), (4, 2)),  # some windows have no pixel
}
