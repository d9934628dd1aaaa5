"""Optimizers: they change a model's parameters in place from its gradients.

A model is anything with `params` and `grads`, two mappings of arrays with the same keys.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from . import _backend, _checks, _reference, serialization
from ._types import AnyArray, Arrays

__all__ = ["SGD", "Adam", "AdamW"]


class Model(Protocol):
    """What an optimizer needs: arrays by name, filled in place."""

    @property
    def params(self) -> Mapping[str, AnyArray]: ...
    @property
    def grads(self) -> Mapping[str, AnyArray]: ...


def _kernels(param: AnyArray, *others: AnyArray | None) -> Any:
    """The kernels that update `param` and arrays that should be like it; NumPy's where only NumPy can."""
    dtype, shape = param.dtype, param.shape
    plain = dtype.type in (np.float32, np.float64) and dtype.isnative
    for array in (param, *others):
        if array is not None:
            flags = array.flags
            plain &= flags.c_contiguous and flags.aligned and array.dtype == dtype and array.shape == shape
    return _backend.kernels if plain else _reference


class _Optimizer:
    """What optimizers share: a memory, `_state`, of arrays by name."""

    def _state(self) -> Arrays:
        raise NotImplementedError

    def state_dict(self) -> Arrays:
        """What `step` remembers, as a flat dict of arrays (copies)."""
        return {key: array.copy() for key, array in self._state().items()}

    def load_state_dict(self, state: Mapping[str, AnyArray]) -> None:
        """Take over what `state_dict` gave; an error lists every mismatch and loads nothing."""
        serialization.fill(type(self).__name__, self._state(), state)


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum.

    ``g = grad + weight_decay * param``; ``velocity = momentum * velocity + g``;
    ``param -= lr * velocity``, or with `nesterov` ``param -= lr * (g + momentum * velocity)``.

    Parameters
    ----------
    model : Layer
        Whose `params` are changed by `step` from its `grads`.
    lr : float
        Learning rate; may be set again at any time.
    momentum, weight_decay : float
    nesterov : bool

    Raises
    ------
    TypeError, ValueError
        Negative or non-finite numbers; `nesterov` without momentum.

    Notes
    -----
    Definition: ``torch.optim.SGD``.
    """

    def __init__(
        self,
        model: Model,
        lr: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.model = model
        self.lr = _checks.number("SGD", "lr", lr, 0)
        self.momentum = _checks.number("SGD", "momentum", momentum, 0)
        self.weight_decay = _checks.number("SGD", "weight_decay", weight_decay, 0)
        self.nesterov = _checks.flag("SGD", "nesterov", nesterov)
        _checks.nesterov(self.nesterov, self.momentum)
        self.velocity = {key: np.zeros_like(param) for key, param in model.params.items()} if momentum else {}

    def step(self) -> None:
        """Change every parameter once."""
        grads = self.model.grads
        for key, param in self.model.params.items():
            arrays = param, grads[key], self.velocity.get(key)
            _kernels(*arrays).sgd_update(
                *arrays, self.lr, self.momentum, self.nesterov, self.weight_decay
            )

    def _state(self) -> Arrays:
        return {f"velocity.{key}": array for key, array in self.velocity.items()}


class Adam(_Optimizer):
    """Adam: steps scaled by running moments of the gradient.

    ``g = grad + weight_decay * param``; ``m = b1*m + (1 - b1)*g``; ``v = b2*v + (1 - b2)*g*g``;
    ``param -= lr * m/(1 - b1^t) / (sqrt(v/(1 - b2^t)) + eps)``.

    Parameters
    ----------
    model : Layer
        Whose `params` are changed by `step` from its `grads`.
    lr : float
        Learning rate; may be set again at any time.
    betas : (float, float)
        Decay of the first and second moment, in [0, 1).
    eps, weight_decay : float

    Raises
    ------
    TypeError, ValueError
        Numbers of the wrong kind or out of range.

    Notes
    -----
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014; details as ``torch.optim.Adam``.
    """

    decoupled = False  # AdamW: the decay shrinks the weight itself, apart from the moments

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.model = model
        self.lr = _checks.number(name, "lr", lr, 0)
        self.betas = tuple(
            _checks.number(name, "betas", beta, 0, 1) for beta in _checks.two(name, "betas", betas)
        )
        self.eps = _checks.number(name, "eps", eps, 0)
        self.weight_decay = _checks.number(name, "weight_decay", weight_decay, 0)
        self.steps = np.zeros((), np.int64)
        self.first = {key: np.zeros_like(param) for key, param in model.params.items()}
        self.second = {key: np.zeros_like(param) for key, param in model.params.items()}

    def step(self) -> None:
        """Change every parameter once."""
        self.steps += 1
        t, (b1, b2) = int(self.steps), self.betas
        step_size = self.lr / (1 - b1**t)
        root = math.sqrt(1 - b2**t)
        shrink, decay = 1.0, self.weight_decay
        if self.decoupled:
            shrink, decay = 1 - self.lr * decay, 0.0
        grads = self.model.grads
        for key, param in self.model.params.items():
            arrays = param, grads[key], self.first[key], self.second[key]
            _kernels(*arrays).adam_update(*arrays, b1, b2, step_size, root, self.eps, shrink, decay)

    def _state(self) -> Arrays:
        return {
            "steps": self.steps,
            **{f"first.{key}": array for key, array in self.first.items()},
            **{f"second.{key}": array for key, array in self.second.items()},
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: ``param *= 1 - lr*weight_decay``, then Adam's step without decay.

    Parameters and errors as `Adam`.

    Notes
    -----
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2017; details as ``torch.optim.AdamW``.
    """

    decoupled = True

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(model, lr, betas=betas, eps=eps, weight_decay=weight_decay)
