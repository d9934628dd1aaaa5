"""Networks by name; each function returns a `Sequential` with He-initialised weights.

All take ``dtype`` (numpy.float32 or numpy.float64) and ``rng``, a `numpy.random.Generator`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _checks
from ._types import IntOrPair, Padding, Shape
from .layers import Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential

__all__ = ["alexnet", "cifar10_convnet", "lenet", "small_vgg", "vgg16"]


def cifar10_convnet(
    input_shape: Shape = (3, 32, 32),
    num_filters: int = 12,
    num_classes: int = 10,
    *,
    dtype: npt.DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """INPUT - CONV - RELU - POOL - FC, the first example of every course.

    For CIFAR-10: [32x32x3] -> CONV 3x3, 12 filters [32x32x12] -> RELU -> POOL 2x2 [16x16x12] -> FC [10].

    Parameters
    ----------
    input_shape : (int, int, int)
        (C, H, W).
    num_filters, num_classes : int

    Returns
    -------
    Sequential
    """
    new = _Maker("cifar10_convnet", input_shape, dtype, rng)
    new.conv(num_filters, 3, padding=1)
    new.pool(2)
    return new.classifier(num_classes)


def lenet(
    input_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    *,
    dtype: npt.DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """Two 5x5 convolutions with pooling and three fully connected layers (LeCun et al., 1998, with ReLU).

    Parameters
    ----------
    input_shape : (int, int, int)
        (C, H, W).
    num_classes : int

    Returns
    -------
    Sequential
    """
    new = _Maker("lenet", input_shape, dtype, rng)
    new.conv(6, 5, padding=2)
    new.pool(2)
    new.conv(16, 5, padding=2)
    new.pool(2)
    return new.classifier(120, 84, num_classes)


def small_vgg(
    input_shape: Shape = (3, 32, 32),
    num_classes: int = 10,
    *,
    dtype: npt.DTypeLike = np.float32,
    rng: np.random.Generator | None = None,
) -> Sequential:
    """(CONV 3x3 - RELU) twice - POOL, with 32 and then 64 filters, and two fully connected layers.

    Parameters
    ----------
    input_shape : (int, int, int)
        (C, H, W).
    num_classes : int

    Returns
    -------
    Sequential
    """
    new = _Maker("small_vgg", input_shape, dtype, rng)
    for filters in (32, 64):
        new.conv(filters, 3, padding=1)
        new.conv(filters, 3, padding=1)
        new.pool(2)
    return new.classifier(128, num_classes)


def alexnet(*, dtype: npt.DTypeLike = np.float32, rng: np.random.Generator | None = None) -> Sequential:
    """AlexNet for 227x227x3 images: 55x55x96 -> 27x27x256 -> 13x13x256 -> 6x6x256 -> 4096 -> 4096 -> 1000.

    Krizhevsky, Sutskever and Hinton, 2012, on one device (no groups) and without the local response
    normalisation that later work dropped.

    Returns
    -------
    Sequential
    """
    new = _Maker("alexnet", (3, 227, 227), dtype, rng)
    new.conv(96, 11, stride=4)
    new.pool(3, stride=2)
    new.conv(256, 5, padding=2)
    new.pool(3, stride=2)
    new.conv(384, 3, padding=1)
    new.conv(384, 3, padding=1)
    new.conv(256, 3, padding=1)
    new.pool(3, stride=2)
    return new.classifier(4096, 4096, 1000, dropout=0.5)


def vgg16(*, dtype: npt.DTypeLike = np.float32, rng: np.random.Generator | None = None) -> Sequential:
    """VGG-16 for 224x224x3 images: five halvings to 7x7x512 -> 4096 -> 4096 -> 1000.

    Simonyan and Zisserman, 2014, configuration D. 138 million parameters: 553 MB in float32.

    Returns
    -------
    Sequential
    """
    new = _Maker("vgg16", (3, 224, 224), dtype, rng)
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            new.conv(filters, 3, padding=1)
        new.pool(2)
    return new.classifier(4096, 4096, 1000, dropout=0.5)


class _Maker:
    """Collects layers, and the volume that they have reached."""

    def __init__(
        self, function: str, input_shape: Shape, dtype: npt.DTypeLike, rng: np.random.Generator | None
    ) -> None:
        self.volume: Shape = _checks.image_volume(
            function, _checks.volume_shape(function, "input_shape", input_shape)
        )
        self.arrays: dict[str, Any] = {"dtype": dtype, "rng": _checks.generator(function, rng)}
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.volume = layer.output_shape(self.volume)

    def conv(self, filters: int, kernel_size: IntOrPair, stride: IntOrPair = 1, padding: Padding = 0) -> None:
        self.add(Conv2d(self.volume[0], filters, kernel_size, stride, padding, **self.arrays))
        self.add(ReLU())

    def pool(self, kernel_size: IntOrPair, stride: IntOrPair | None = None) -> None:
        self.add(MaxPool2d(kernel_size, stride))

    def classifier(self, *features: int, dropout: float = 0.0) -> Sequential:
        """The fully connected layers at the end, all but the last with ReLU; and the whole network."""
        self.add(Flatten())
        for out_features in features[:-1]:
            self.add(Linear(self.volume[0], out_features, **self.arrays))
            self.add(ReLU())
            if dropout:
                self.add(Dropout(dropout, rng=self.arrays["rng"]))
        self.add(Linear(self.volume[0], features[-1], **self.arrays))
        return Sequential(*self.layers)
