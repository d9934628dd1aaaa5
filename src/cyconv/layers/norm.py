"""BatchNorm2d."""

import numpy as np
import numpy.typing as npt

from .. import _backend, _checks
from .._types import Array, Float, GradInput, Shape
from .base import Layer


class BatchNorm2d(Layer):
    """Normalise each channel over batch and positions, then scale and shift it.

    ``output = (input - mean) / sqrt(var + eps) * weight + bias``; in training with the batch's own mean
    and (biased) variance, in eval mode with the running ones, which training moves by
    ``running = (1 - momentum) * running + momentum * batch`` (the variance unbiased).

    Parameters
    ----------
    num_features : int
        Channels.
    eps, momentum : float
    dtype : numpy.float32 or numpy.float64

    Attributes
    ----------
    params : dict
        "weight" and "bias", (C,), starting at 1 and 0.
    buffers : dict
        "running_mean", "running_var", (C,), and "num_batches_tracked".

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind or value; in training, fewer than two values per channel.

    Notes
    -----
    Ioffe and Szegedy, "Batch Normalization", 2015; details as ``torch.nn.BatchNorm2d``.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.num_features = _checks.integer("BatchNorm2d", "num_features", num_features, 1)
        self.eps = _checks.number("BatchNorm2d", "eps", eps, 0)
        self.momentum = _checks.number("BatchNorm2d", "momentum", momentum, 0)
        dtype = _checks.float_dtype("BatchNorm2d", dtype)
        self._parameter("weight", np.ones(num_features, dtype))
        self._parameter("bias", np.zeros(num_features, dtype))
        self.buffers["running_mean"] = np.zeros(num_features, dtype)
        self.buffers["running_var"] = np.ones(num_features, dtype)
        self.buffers["num_batches_tracked"] = np.zeros((), np.int64)

    def __repr__(self) -> str:
        return f"BatchNorm2d({self.num_features}, eps={self.eps}, momentum={self.momentum})"

    def output_shape(self, input_shape: Shape) -> Shape:
        _checks.volume(
            "BatchNorm2d", self, _checks.image_volume("BatchNorm2d", input_shape), (self.num_features,)
        )
        return tuple(input_shape)

    def forward(self, input: Array[Float]) -> Array[Float]:
        mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        input, weight, bias, mean, var = _checks.arrays(
            "BatchNorm2d",
            input=input,
            weight=self.params["weight"],
            bias=self.params["bias"],
            running_mean=mean,
            running_var=var,
        )
        images, single = _checks.images("BatchNorm2d", "input", input)
        _checks.norm_channels("BatchNorm2d", images, self.num_features)
        if self.training and len(images):
            mean, var = self._batch_statistics(images)
        inverse = 1 / np.sqrt(var + float(self.eps))  # a NumPy scalar would decide the dtype
        output = np.empty_like(images)
        _backend.kernels.batch_norm_forward(images, mean, inverse * weight, bias, output)
        self._keep(images, mean, inverse, single)
        return output[0] if single else output

    def _batch_statistics(self, images: Array[Float]) -> tuple[Array[Float], Array[Float]]:
        """Mean and biased variance of this batch; the running ones move towards them."""
        count = images.size // images.shape[1]
        _checks.batch_statistics("BatchNorm2d", count)
        mean, var = np.empty((2, self.num_features), images.dtype)
        _backend.kernels.batch_norm_statistics(images, mean, var)
        for name, value in (("running_mean", mean), ("running_var", var * (count / (count - 1)))):
            running = self.buffers[name]
            running += self.momentum * (value - running)
        self.buffers["num_batches_tracked"] += 1
        return mean, var

    def backward(self, grad_output: Array[Float], *, needs_input_grad: bool = True) -> GradInput[Float]:
        images, mean, inverse, single = self._kept()
        grad_output, weight = _checks.arrays(
            "BatchNorm2d", grad_output=grad_output, weight=self.params["weight"]
        )
        shape = images.shape[1:] if single else images.shape
        _checks.same_shape("BatchNorm2d", "grad_output", grad_output, shape, "the output of forward")
        grad_input: GradInput[Float] = np.empty_like(images) if needs_input_grad else None
        grad_weight, grad_bias = np.empty((2, self.num_features), images.dtype)
        _backend.kernels.batch_norm_backward(
            grad_output.reshape(images.shape), images, mean, inverse, weight, grad_input, grad_weight, grad_bias
        )
        self._fill_grads(weight=grad_weight, bias=grad_bias)
        return grad_input[0] if single and needs_input_grad else grad_input
