"""One asymmetric case of each layer, for the tests of layers."""

import numpy as np

from cyconv.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)


def dropout(**arrays):
    return Dropout(0.4, rng=arrays["rng"])


def small_stack(**a):
    """Every type of layer, and a Sequential inside the Sequential; for volumes of (2, 9, 8)."""
    return Sequential(
        Conv2d(2, 4, (3, 2), stride=(1, 2), padding=((1, 0), (0, 2)), **a),
        BatchNorm2d(4, dtype=a["dtype"]),
        ReLU(),
        MaxPool2d((2, 3), stride=(2, 1), padding=(1, 1), ceil_mode=True),
        Sequential(
            ConvTranspose2d(4, 6, (2, 3), stride=(2, 1), output_padding=(1, 0), groups=2, **a), ReLU()
        ),
        AvgPool2d(2, stride=(1, 2), padding=1, count_include_pad=False),
        Dropout(0.3, rng=a["rng"]),
        Conv2d(6, 6, 3, padding="same", dilation=2, groups=6, bias=False, **a),
        GlobalAvgPool2d(),
        Flatten(),
        Linear(6, 5, **a),
    )


# name: (make(dtype=, rng=), input volume, output volume); every geometry is asymmetric
LAYERS = {
    "Conv2d": (
        lambda **a: Conv2d(
            4, 6, (3, 2), stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(1, 2), groups=2, **a
        ),
        (4, 7, 6),
        (6, 3, 6),
    ),
    "Conv2d depthwise": (lambda **a: Conv2d(3, 6, (1, 3), groups=3, bias=False, **a), (3, 4, 5), (6, 4, 3)),
    "Conv2d 1x1": (lambda **a: Conv2d(3, 2, 1, **a), (3, 4, 5), (2, 4, 5)),
    "ConvTranspose2d": (
        lambda **a: ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=((1, 0), (0, 1)), output_padding=(1, 2), groups=2, **a
        ),
        (4, 3, 5),
        (6, 7, 15),
    ),
    "MaxPool2d": (lambda **a: MaxPool2d((3, 2), stride=(2, 1), padding=(1, 0)), (3, 7, 5), (3, 4, 4)),
    "MaxPool2d dilated": (lambda **a: MaxPool2d(2, dilation=(1, 2), ceil_mode=True), (3, 7, 6), (3, 4, 3)),
    "AvgPool2d": (lambda **a: AvgPool2d((2, 3), stride=(1, 2), padding=(1, 1)), (3, 4, 6), (3, 5, 3)),
    "GlobalAvgPool2d": (lambda **a: GlobalAvgPool2d(), (3, 4, 5), (3, 1, 1)),
    "Linear": (lambda **a: Linear(7, 4, **a), (7,), (4,)),
    "Linear without bias": (lambda **a: Linear(7, 4, bias=False, **a), (7,), (4,)),
    "ReLU": (lambda **a: ReLU(), (3, 4, 5), (3, 4, 5)),
    "Flatten": (lambda **a: Flatten(), (3, 4, 5), (60,)),
    "Dropout": (dropout, (3, 4, 5), (3, 4, 5)),
    "BatchNorm2d": (lambda dtype, rng: BatchNorm2d(3, dtype=dtype), (3, 4, 5), (3, 4, 5)),
    "Sequential": (small_stack, (2, 9, 8), (5,)),
}


def build(name, dtype=np.float64, seed=0):
    """A layer with parameters that are nowhere 0 or 1 by default, and an input of two samples."""
    make, volume, _ = LAYERS[name]
    rng = np.random.default_rng(seed)
    layer = make(dtype=dtype, rng=rng)
    for key, param in layer.params.items():
        if param.ndim == 1:  # biases, and the scale of BatchNorm2d
            param[...] = rng.uniform(0.5, 1.5, param.shape) * (-1 if key.endswith("bias") else 1)
    return layer, rng.standard_normal((2, *volume)).astype(dtype)


def leaves(layer):
    if isinstance(layer, Sequential):
        for child in layer:
            yield from leaves(child)
    else:
        yield layer


def fix_dropout(layer):
    """The same mask at the next forward as at the last."""
    for leaf in leaves(layer):
        if isinstance(leaf, Dropout):
            leaf.rng = np.random.default_rng(99)


def forward_backward(layer, input, seed=1):
    output = layer(input)
    grad_output = np.random.default_rng(seed).standard_normal(output.shape).astype(output.dtype)
    return output, layer.backward(grad_output, needs_input_grad=True)


class NoDraws(np.random.Generator):
    """Zeros for weights, at once: where shapes alone count, or the test sets them (VGG-16 has 138 million)."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size, dtype):
        return np.zeros(size, dtype).view(Untouched)


class Untouched(np.ndarray):
    """Zeros, which a factor leaves as they are: their pages are not written, so they cost nothing yet."""

    def __imul__(self, factor):
        return self.view(np.ndarray)


def fill_whole(layer, rng, density=1.0):
    """Whole numbers from -1 to 1 for all parameters, so that sums have no rounding and no order."""
    for param in layer.params.values():
        param[...] = rng.integers(-1, 2, param.shape, dtype=np.int8)
        if density < 1:
            param *= rng.random(param.shape, dtype=np.float32) < density


def run_exactly(model, input):
    """Output of a model of whole numbers, after proof that no partial sum in it can be rounded."""
    for layer in leaves(model):
        if "weight" in layer.params:
            largest = max(np.abs(row).sum() for row in layer.params["weight"])
            bound = largest * np.abs(input).max() + np.abs(layer.params["bias"]).max()
            assert bound < 2 ** (np.finfo(input.dtype).nmant + 1)
        input = layer(input)
    return input
