"""Every kernel in NumPy: the readable specification, and the backend where nothing is compiled.

The functions have the names and arguments of the compiled kernels, and stand in rooms like theirs. All
arrays are C-contiguous and of one float dtype; outputs are allocated by the caller and only filled here. Work goes
in pieces of a bounded size: some rows of one image, or some whole images.
"""

from .conv import col2im, conv2d_backward_input, conv2d_backward_weight, conv2d_forward, im2col
from .dense import matmul
from .elementwise import dropout, relu_backward, relu_forward
from .norm import batch_norm_backward, batch_norm_forward, batch_norm_statistics, sum_channels
from .plan import conv2d_plan, matmul_plan
from .pool import avg_pool2d_backward, avg_pool2d_forward, max_pool2d_backward, max_pool2d_forward
from .softmax import softmax_cross_entropy
from .update import adam_update, sgd_update

__all__ = [
    "OPENMP",
    "OWN_GEMM",
    "adam_update",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_statistics",
    "c_table",
    "col2im",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_forward",
    "conv2d_plan",
    "dropout",
    "im2col",
    "matmul",
    "matmul_plan",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "relu_backward",
    "relu_forward",
    "sgd_update",
    "softmax_cross_entropy",
    "sum_channels",
]

c_table = None  # compiled kernels have a capsule here, for callers in C: cyconv.capi
OPENMP = OWN_GEMM = False  # as the compiled kernels say it of themselves
