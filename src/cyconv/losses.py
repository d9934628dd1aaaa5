"""Loss functions: value and gradient in one call."""

import numpy as np

from . import _checks

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(logits, targets):
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
    classes, targets = _checks.targets(name, logits, targets)
    N = len(logits)
    if N == 0:
        return 0.0, np.empty_like(logits)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    grad_logits = exponentials / total
    if classes:
        rows = np.arange(N)
        loss = np.log(total[:, 0]) - shifted[rows, targets]
        grad_logits[rows, targets] -= 1
    else:
        mass = targets.sum(axis=1, keepdims=True)
        # a class of probability 0 adds nothing, even where its log is -inf
        surprise = np.log(total) - shifted
        loss = np.multiply(targets, surprise, out=np.zeros_like(logits), where=targets != 0).sum(axis=1)
        grad_logits = grad_logits * mass - targets
    grad_logits /= N
    return float(loss.mean(dtype=np.float64)), grad_logits
