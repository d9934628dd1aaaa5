"""Loss functions: value and gradient in one call."""

import numpy as np

from . import _backend, _checks
from ._types import Array, Float, Indices

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(
    logits: Array[Float], targets: Indices | Array[Float]
) -> tuple[float, Array[Float]]:
    """Cross-entropy of the softmax of `logits`, averaged over the batch, and its gradient.

    ``loss = mean over n of -sum over k of t[n, k] * log(softmax(logits[n])[k])`` and
    ``grad_logits = (softmax(logits) * sum over k of t - t) / N``.

    Parameters
    ----------
    logits : ndarray, (N, K)
        Unnormalised scores, float32 or float64.
    targets : ndarray of int, (N,), or ndarray, (N, K)
        Class indices in 0..K-1, or probabilities of the classes, of the dtype of `logits`.

    Returns
    -------
    loss : float
        0 for an empty batch.
    grad_logits : ndarray, (N, K)

    Raises
    ------
    TypeError, ValueError
        Wrong kinds, dtypes or shapes, or a class index out of range.

    Notes
    -----
    The softmax is shifted by its maximum, so no logit overflows. Definition:
    ``torch.nn.functional.cross_entropy``.
    """
    name = "softmax_cross_entropy"
    (logits,) = _checks.arrays(name, logits=logits)
    targets = _checks.targets(name, logits, targets)
    losses, grad_logits = np.empty(len(logits), logits.dtype), np.empty_like(logits)
    _backend.kernels.softmax_cross_entropy(logits, targets, losses, grad_logits)
    return float(losses.sum(dtype=np.float64)) / max(1, len(logits)), grad_logits
