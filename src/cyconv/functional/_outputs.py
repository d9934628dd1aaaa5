"""Where results are allocated, and how gradients are matched to them."""

from collections.abc import Sequence

import numpy as np

from .. import _checks
from .._types import Array, Float, Shape


def target(
    function: str,
    shape: Shape,
    like: Array[Float],
    out: Array[Float] | None,
    inputs: Sequence[Array[Float] | None],
) -> Array[Float]:
    """The array of `shape` that the kernel fills: a new one, or `out`.

    `out` is filled directly where it is C-contiguous, native, aligned and shares no memory with an input.
    `shape` has a batch axis; `out` has one where `like`, the caller's input, has one.
    """
    if out is None:
        return np.empty(shape, like.dtype)
    _checks.out_array(function, out, shape[-like.ndim :], like.dtype)
    flags = out.flags
    direct = flags.c_contiguous and flags.aligned and out.dtype.isnative
    if direct and not any(np.may_share_memory(out, array) for array in inputs if array is not None):
        return np.asarray(out).reshape(shape)
    return np.empty(shape, like.dtype)


def result(filled: Array[Float], single: bool, out: Array[Float] | None) -> Array[Float]:
    """What the caller gets of the `target`, once it is filled."""
    if out is None:
        return filled[0] if single else filled
    if not np.may_share_memory(filled, out):
        out[...] = filled.reshape(out.shape)
    return out


def like_output(
    function: str, grad_output: Array[Float], shape: Shape, single: bool
) -> Array[Float]:
    """`grad_output` as (N, C, H, W), after a check against the forward pass's output shape."""
    if grad_output.shape == shape and not single:
        return grad_output
    _checks.same_shape(
        function, "grad_output", grad_output, shape[1:] if single else shape, "the output of the forward pass"
    )
    return grad_output.reshape(shape)
