"""The loss of a classifier."""

import numpy as np

from .._types import Array, Float, Indices


def softmax_cross_entropy(
    logits: Array[Float], targets: Array[Float] | Indices, losses: Array[Float], grad_logits: Array[Float]
) -> None:
    """losses[n] = -sum over k of t[n, k] * log(softmax(logits[n])[k]); grad_logits = that of their mean.

    targets: t, (N, K), or the classes where t is 1, (N,).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    np.divide(exponentials, total, out=grad_logits)
    if targets.ndim == 1:
        rows = np.arange(len(logits))
        np.subtract(np.log(total[:, 0]), shifted[rows, targets], out=losses)
        grad_logits[rows, targets] -= 1
    else:
        mass = targets.sum(axis=1, keepdims=True)
        # a class of probability 0 adds nothing, even where its log is -inf
        surprise = np.log(total) - shifted
        products = np.multiply(targets, surprise, out=np.zeros_like(logits), where=targets != 0)
        products.sum(axis=1, out=losses)
        grad_logits *= mass
        grad_logits -= targets
    grad_logits /= max(1, len(logits))
