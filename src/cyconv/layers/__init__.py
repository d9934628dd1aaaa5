"""The layers: each a forward/backward pair of `cyconv.functional` with its parameters."""

from .base import Layer
from .conv import Conv2d, ConvTranspose2d
from .elementwise import Dropout, ReLU
from .linear import Flatten, Linear
from .norm import BatchNorm2d
from .pool import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .sequential import Sequential

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "Layer",
    "Linear",
    "MaxPool2d",
    "ReLU",
    "Sequential",
]
