"""The steps of optimizers."""

import numpy as np

from .._types import Array, Float


def sgd_update(
    param: Array[Float],
    grad: Array[Float],
    velocity: Array[Float] | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """g = grad + weight_decay * param; velocity (or None) = momentum * velocity + g; param -= lr * velocity.

    With nesterov param -= lr * (g + momentum * velocity), without a velocity param -= lr * g.
    """
    g = grad + weight_decay * param if weight_decay else grad
    if velocity is not None:
        velocity *= momentum
        velocity += g
        g = g + momentum * velocity if nesterov else velocity
    param -= lr * g


def adam_update(
    param: Array[Float],
    grad: Array[Float],
    first: Array[Float],
    second: Array[Float],
    beta1: float,
    beta2: float,
    step_size: float,
    root: float,
    eps: float,
    shrink: float,
    weight_decay: float,
) -> None:
    """param *= shrink; g = grad + weight_decay * param; first = beta1 * first + (1 - beta1) * g;
    second = beta2 * second + (1 - beta2) * g^2; param -= step_size * first / (sqrt(second) / root + eps).
    """
    param *= shrink
    g = grad + weight_decay * param if weight_decay else grad
    first *= beta1
    first += (1 - beta1) * g
    second *= beta2
    second += (1 - beta2) * np.square(g)
    param -= step_size * first / (np.sqrt(second) / root + eps)
