"""A program as a type checker sees it: `mypy --strict tests/typed_use.py` must find nothing.

float32 stays float32 through functions and layers; what may be None is known to be.
"""

import functools
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import cyconv
from cyconv import functional as F

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def functions(x: Float32, w: Float32, z: Float64) -> None:
    assert_type(F.conv2d(x, w, stride=(2, 1), padding=((0, 1), (0, 0)), algorithm="im2col"), Float32)
    assert_type(F.conv_transpose2d(z, z, padding=1), Float64)
    assert_type(F.max_pool2d(x, 2), Float32)
    assert_type(F.max_pool2d(x, 2, return_indices=True), tuple[Float32, npt.NDArray[np.int64]])
    assert_type(F.max_pool2d(x, 2, 2, 0, 1, False, True)[1], npt.NDArray[np.int64])
    assert_type(F.output_size(227, 11, stride=4), int)
    grad_input, grad_weight, grad_bias = F.conv2d_backward(x, x, w, padding="same")
    assert_type(grad_weight, Float32)
    assert_type(grad_bias, Float32)
    grad_input *= 2  # no test for None is asked of those who did not turn it off
    F.conv2d(x, w, padding="full")  # type: ignore[arg-type]
    cyconv.conv2d  # type: ignore[attr-defined]  # noqa: B018


def training(images: Float32, labels: npt.NDArray[np.int64]) -> float:
    model = cyconv.Sequential(
        cyconv.Conv2d(3, 8, 3, padding="same", rng=np.random.default_rng(0)),
        cyconv.BatchNorm2d(8),
        cyconv.ReLU(),
        cyconv.GlobalAvgPool2d(),
        cyconv.Flatten(),
        cyconv.Linear(8, 10),
    ).train()
    assert_type(model[0], cyconv.Layer)
    assert_type(model[1:], cyconv.Sequential)
    optimizer = cyconv.AdamW(model, lr=1e-3, betas=(0.9, 0.99))
    loss, grad_logits = cyconv.softmax_cross_entropy(model(images), labels)
    assert_type(model.backward(grad_logits), Float32 | None)
    optimizer.step()
    layer = cyconv.Linear(2, 3)
    for key in layer.params:
        layer.params[key] -= 0.1 * layer.grads[key]
    cyconv.save(model.state_dict(), "weights.npz")
    model.load_state_dict(cyconv.load("weights.npz"))
    assert_type(cyconv.summary(model, (3, 32, 32)).rows[0].parameters, int)
    assert_type(cyconv.explain(model, (4, 3, 32, 32)).steps[0].predicted, float | None)
    cyconv.explain(functools.partial(F.relu), (3,), measure=False)
    assert_type(cyconv.backend, str)
    assert_type(cyconv.convert.fully_convolutional(cyconv.models.vgg16(), (3, 224, 224)), cyconv.Sequential)
    return loss


class Square(cyconv.Layer):
    """A layer of one's own."""

    def forward(self, input: npt.NDArray[Any]) -> npt.NDArray[Any]:
        output: npt.NDArray[Any] = input * input
        return output
