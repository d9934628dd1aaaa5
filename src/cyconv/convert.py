"""Fully connected layers as convolutions, so that a classifier slides over larger images."""

from collections.abc import Iterator

from . import _checks
from ._types import Shape
from .layers import Flatten, Layer, Linear, Sequential

__all__ = ["fully_convolutional"]


def fully_convolutional(model: Sequential, input_shape: Shape) -> Sequential:
    """The same network with every fully connected layer as a convolution.

    The first FC layer, on a volume C x H x W, becomes a convolution of F = H, P = 0, S = 1; those after it
    become 1x1 convolutions; Flatten disappears. On an image of `input_shape` the result computes the same
    scores, as a 1x1 volume. On a larger image it computes the scores of every window in one pass: VGG-16
    reduces by 32, so a 384x384 image gives 6x6x1000.

    That equals running the original on crops exactly where nothing pads. Where convolutions pad, a crop has
    zeros beyond its border and the whole image has pixels, so the two agree only approximately.

    Parameters
    ----------
    model : Sequential
        Of layers with `Linear` ones behind a `Flatten`; nested ones are flattened out.
    input_shape : (int, int, int)
        Volume (C, H, W) that `model` was made for.

    Returns
    -------
    Sequential
        It shares layers with `model`, and the converted layers are views of the original weights.

    Raises
    ------
    TypeError
        `model` is no Sequential.
    ValueError
        A `Linear` layer on something else than a flattened volume.
    """
    name = "fully_convolutional"
    _checks.layer(name, model, Sequential)
    shape = _checks.volume_shape(name, "input_shape", input_shape)
    layers: list[Layer] = []
    volume = shape  # what the original has at this point: (C, H, W), or (features,) once flattened
    unflattened = None  # the volume that stands behind (features,)
    for layer in _leaves(model):
        if isinstance(layer, Flatten):
            unflattened = volume if len(volume) == 3 else unflattened
        elif isinstance(layer, Linear):
            if len(volume) != 1 or unflattened is None:
                raise _checks.not_convertible(name, layer, volume)
            layers.append(layer.to_conv2d(unflattened))
            unflattened = (layer.out_features, 1, 1)
        else:
            layers.append(layer)
        volume = layer.output_shape(volume)
    converted = Sequential(*layers)
    converted.training = model.training
    return converted


def _leaves(layer: Layer) -> Iterator[Layer]:
    """The layers of nested Sequentials, in order."""
    if isinstance(layer, Sequential):
        for child in layer:
            yield from _leaves(child)
    else:
        yield layer
