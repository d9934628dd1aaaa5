"""cyconv: convolution and pooling layers, forward and backward, for NumPy arrays on the CPU."""

from typing import TYPE_CHECKING

from . import _backend, convert, functional, models
from ._config import package_version as _package_version
from ._config import show_config
from ._threads import get_num_threads, num_threads, set_num_threads
from .capi import get_include
from .explain import explain
from .layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from .losses import softmax_cross_entropy
from .optim import SGD, Adam, AdamW
from .serialization import load, save
from .summary import summary

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
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
    "backend",
    "convert",
    "explain",
    "functional",
    "get_include",
    "get_num_threads",
    "load",
    "models",
    "num_threads",
    "save",
    "set_num_threads",
    "show_config",
    "softmax_cross_entropy",
    "summary",
]

if TYPE_CHECKING:
    __version__: str
    backend: str
else:

    def __getattr__(name):
        if name == "backend":  # the backend can be switched, so its name is looked up each time
            return _backend.name
        if name == "__version__":
            return _package_version("cyconv")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
