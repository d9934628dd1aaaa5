"""Sums over channels, and batch normalisation."""

import numpy as np

from .._types import Array, Float


def sum_channels(input: Array[Float], total: Array[Float]) -> None:
    """total[c] = the sum of input over images and positions."""
    # along the plane, then over the batch: NumPy sums a last axis pairwise
    N, C, H, W = input.shape
    total[...] = input.reshape(N, C, H * W).sum(axis=2).sum(axis=0)


def batch_norm_statistics(input: Array[Float], mean: Array[Float], var: Array[Float]) -> None:
    """Mean and (biased) variance of each channel over images and positions."""
    input.mean(axis=(0, 2, 3), out=mean)
    input.var(axis=(0, 2, 3), out=var)


def batch_norm_forward(
    input: Array[Float], mean: Array[Float], scale: Array[Float], bias: Array[Float], output: Array[Float]
) -> None:
    """output = (input - mean) * scale + bias, channel by channel."""
    np.subtract(input, _per_channel(mean), out=output)
    output *= _per_channel(scale)
    output += _per_channel(bias)


def batch_norm_backward(
    grad_output: Array[Float],
    input: Array[Float],
    mean: Array[Float],
    inverse: Array[Float],
    weight: Array[Float],
    grad_input: Array[Float] | None,
    grad_weight: Array[Float],
    grad_bias: Array[Float],
) -> None:
    """Gradients of (input - mean) * inverse * weight + bias, where mean and inverse are those of the input.

    grad_bias = sum of grad_output; grad_weight = sum of grad_output * normalised; and, unless it is None,
    grad_input = inverse * weight * (grad_output - grad_bias/count - normalised * grad_weight/count).
    """
    normalised = (input - _per_channel(mean)) * _per_channel(inverse)
    grad_output.sum(axis=(0, 2, 3), out=grad_bias)
    (grad_output * normalised).sum(axis=(0, 2, 3), out=grad_weight)
    if grad_input is not None:
        count = max(1, input.size // input.shape[1])
        # the mean and the variance depend on the input too: their two shares are taken off
        normalised *= _per_channel(grad_weight / count)
        np.subtract(grad_output, _per_channel(grad_bias / count), out=grad_input)
        grad_input -= normalised
        grad_input *= _per_channel(inverse * weight)


def _per_channel(values: Array[Float]) -> Array[Float]:
    """(C,) -> (C, 1, 1), to broadcast over (N, C, H, W)."""
    return values[:, np.newaxis, np.newaxis]
