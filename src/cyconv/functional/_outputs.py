"""Where results are allocated, and how gradients are matched to them."""

from collections.abc import Callable, Sequence

import numpy as np

from .. import _checks
from .._types import Array, Float, Shape


def result(
    function: str,
    shape: Shape,
    like: Array[Float],
    single: bool,
    out: Array[Float] | None,
    inputs: Sequence[Array[Float] | None],
) -> tuple[Array[Float], Callable[[], Array[Float]]]:
    """Where the kernel writes, and how what it wrote becomes the caller's result.

    Without `out` the kernel fills a new array. `out` is filled directly where it is C-contiguous,
    native, aligned and shares no memory with an input, else through a copy.
    """
    _checks.allocatable(function, "output", shape, like.dtype)
    public_shape = shape[1:] if single else shape
    if out is None:
        target = np.empty(shape, like.dtype)
        return target, lambda: target[0] if single else target
    _checks.out_array(function, out, public_shape, like.dtype)
    flags = out.flags
    direct = flags.c_contiguous and flags.aligned and out.dtype.isnative
    if direct and not any(np.may_share_memory(out, array) for array in inputs if array is not None):
        return np.asarray(out).reshape(shape), lambda: out
    target = np.empty(shape, like.dtype)

    def copy_out() -> Array[Float]:
        out[...] = target.reshape(public_shape)
        return out

    return target, copy_out


def like_output(function: str, grad_output: Array[Float], shape: Shape, single: bool) -> Array[Float]:
    """`grad_output` as (N, C, H, W), after a check against the forward pass's output shape."""
    _checks.same_shape(
        function, "grad_output", grad_output, shape[1:] if single else shape, "the output of the forward pass"
    )
    return grad_output.reshape(shape)
