"""Whole training steps of small networks: forward, loss, backward, optimizer, cyconv against PyTorch.

The PyTorch twin is built from cyconv's model, layer by layer, and starts from the same weights; after
three steps on the same images both must have the same loss.
"""

from functools import partial

import numpy as np
from cases import Case, wanted
from peers import Cyconv, Torch
from shapes import TRAINING_GROUPS

LEARNING_RATE, MOMENTUM = 0.01, 0.9
STEPS_BEFORE = 3


def training_cases(dtype, threads, pattern):
    """One case for each network; only cyconv and PyTorch can take part."""
    for group, shape in wanted(TRAINING_GROUPS, pattern):
        draw = np.random.default_rng(1)
        images = draw.standard_normal((shape.N, *shape.image), dtype=dtype)
        labels = draw.integers(0, 10, shape.N)
        head = {
            "section": "training step", "group": group, "case": shape.name, "geometry": shape.describe(),
            "dtype": dtype, "threads": threads, "work": shape.N, "unit": "images/s",
        }
        yield Case(head, partial(_make_step, shape.name, images, labels))


def _make_step(network, images, labels, peer, threads):
    """A function that makes one step and returns its loss, after some steps already made."""
    if isinstance(peer, Cyconv):
        step = cyconv_step(network, images, labels)
    elif isinstance(peer, Torch):
        step = torch_step(peer, network, images, labels)
    else:
        return None
    for _ in range(STEPS_BEFORE):
        step()
    return step


def cyconv_model(network, images):
    """A network of ``cyconv.models`` with the weights that every contestant starts from."""
    from cyconv import models

    build = getattr(models, network)
    return build(images.shape[1:], num_classes=10, dtype=images.dtype, rng=np.random.default_rng(0))


def cyconv_step(network, images, labels):
    """A training step of cyconv, as its users write it."""
    import cyconv

    model = cyconv_model(network, images)
    optimizer = cyconv.SGD(model, LEARNING_RATE, momentum=MOMENTUM)

    def step():
        loss, grad_logits = cyconv.softmax_cross_entropy(model(images), labels)
        model.backward(grad_logits)
        optimizer.step()
        return loss

    return step


def torch_step(peer, network, images, labels):
    """The same step in PyTorch; its fused and its plain SGD were measured at the same speed."""
    torch = peer.torch
    model = peer.place(torch_twin(torch, cyconv_model(network, images)))
    images, labels = peer.place(torch.from_numpy(images)), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_twin(torch, model):
    """The ``nn.Sequential`` with the layers and the weights of a cyconv `Sequential`."""
    twin = torch.nn.Sequential(*(_twin_layer(torch.nn, layer) for layer in model))
    state = {name: torch.from_numpy(array) for name, array in model.state_dict().items()}
    twin = twin.to(next(iter(state.values())).dtype)
    twin.load_state_dict(state)
    return twin


def _twin_layer(nn, layer):
    name = type(layer).__name__
    if name == "Conv2d":
        C_out, depth, *kernel = layer.params["weight"].shape
        return nn.Conv2d(
            depth * layer.groups, C_out, kernel, layer.stride, layer.padding, layer.dilation, layer.groups,
            bias="bias" in layer.params,
        )
    if name == "MaxPool2d":
        return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    if name == "Linear":
        out_features, in_features = layer.params["weight"].shape
        return nn.Linear(in_features, out_features, bias="bias" in layer.params)
    return {"ReLU": nn.ReLU, "Flatten": nn.Flatten}[name]()
