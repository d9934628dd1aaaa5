"""Layers, models, losses and optimizers: what they are made of, given, and asked to do in which order."""

import functools
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

from .._types import AnyArray, Shape
from .arrays import arrays, index_array, plain, same_shape

T = TypeVar("T")


def layer(function: str, value: object, layer_type: type[T]) -> T:
    """`value` must be a layer object."""
    if not isinstance(value, layer_type):
        remedy = (
            f"; write {value.__name__}(...)"
            if isinstance(value, type) and issubclass(value, layer_type)
            else ""
        )
        raise TypeError(f"{function}: expected a layer, got {value!r}{remedy}")
    return value


def explained(function: str, value: object, layer_type: type, functions: Collection[object]) -> None:
    """`value` must be a layer, or a partial call of one of `functions` that lacks its first argument alone."""
    if isinstance(value, layer_type):
        return
    if not isinstance(value, functools.partial) or value.func not in functions or value.args:
        raise TypeError(
            f"{function}: expected a layer, or functools.partial of a function of cyconv.functional with all arguments "
            f"but the first, by name, got {value!r:.80}"
        )


def assigned(name: str, value: object, array: AnyArray) -> None:
    """What is assigned to the name of an `array` of a layer is written into it, so it must fit."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name!r}: expected a NumPy array to write into that of the layer, got {value!r:.80}")
    if value.shape != array.shape:
        raise ValueError(f"{name!r}: expected an array of shape {array.shape}, got {value.shape}")
    if not np.can_cast(value.dtype, array.dtype, "same_kind"):
        raise TypeError(f"{name!r}: expected an array of dtype {array.dtype}, got {value.dtype}")


def names_of_layers(*name: object) -> ValueError:
    """The error for a name that is added to, or taken from, the arrays collected from several layers."""
    got = f", got {name[0]!r}" if name else ""
    return ValueError(f"Sequential: its arrays have the names of its layers, none can be added or removed{got}")


def kept(function: str, training: bool, saved: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """What a forward pass kept for backward; an error where there was none, or it kept nothing."""
    if saved is None:
        remedy = (
            "call forward(input) first"
            if training
            else "in eval mode forward keeps nothing for it; call train() and forward(input) first"
        )
        raise RuntimeError(f"{function}.backward: no forward pass to go back through; {remedy}")
    return saved


def volume(function: str, layer: object, input_shape: Shape, expected: Shape) -> None:
    """The (C, H, W) or (features,) that a layer is applied to must be what it was made for."""
    if tuple(input_shape[: len(expected)]) != tuple(expected):
        raise ValueError(
            f"{function}: {layer!r} expects {expected[0]} channels or features, got volume {input_shape}"
        )


def image_volume(function: str, shape: Shape) -> tuple[int, int, int]:
    """A volume that a layer slides over must be (C, H, W)."""
    if len(shape) != 3:
        raise ValueError(f"{function}: expected a volume (C, H, W), got {shape}")
    return shape


def features(function: str, in_features: int, shape: Shape) -> None:
    """A volume must have as many elements as a fully connected layer has inputs."""
    if int(np.prod(shape)) != in_features:
        raise ValueError(
            f"{function}: a volume of {shape} has {int(np.prod(shape))} elements, not {in_features}"
        )


def not_convertible(function: str, layer: object, shape: Shape) -> ValueError:
    """The error for a fully connected layer that does not look at a flattened (C, H, W) volume."""
    return ValueError(
        f"{function}: {layer!r} on {shape} can't become a convolution; put Flatten before the first Linear layer"
    )


def batch_statistics(function: str, count: int) -> None:
    """Batch normalisation in training needs two values per channel."""
    if count < 2:
        raise ValueError(
            f"{function}: training needs at least 2 values per channel, got {count}; use a larger batch or eval()"
        )


def norm_channels(function: str, array: AnyArray, num_features: int) -> None:
    """The channels of a normalised array."""
    if array.shape[1] != num_features:
        raise ValueError(
            f"{function}: expected {num_features} channels, got {array.shape[1]} (shape {array.shape})"
        )


def targets(function: str, logits: AnyArray, array: Any) -> Any:
    """Class indices, (N,), or probabilities, (N, K), checked against (N, K) `logits`."""
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"{function}: logits must have shape (N, K) with K > 0, got {logits.shape}")
    array = plain(function, "targets", array)
    if array.dtype.kind == "f":
        _, array = arrays(function, logits=logits, targets=array)
        same_shape(function, "targets", array, logits.shape, "probabilities, that of logits")
        return array
    array = index_array(function, "targets", array)
    same_shape(function, "targets", array, logits.shape[:1], "one class index for each row of logits")
    if array.size and (array.min() < 0 or array.max() >= logits.shape[1]):
        raise ValueError(
            f"{function}: targets must be class indices in 0..{logits.shape[1] - 1}, got {array.min()}..{array.max()}"
        )
    return array


def nesterov(wanted: bool, momentum: float) -> None:
    """Nesterov's step looks ahead along the momentum."""
    if wanted and not momentum:
        raise ValueError("SGD: nesterov needs momentum above 0")
