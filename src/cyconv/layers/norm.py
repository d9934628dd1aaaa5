"""BatchNorm2d."""

import numpy as np

from .. import _checks
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

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, dtype=np.float32):
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

    def __repr__(self):
        return f"BatchNorm2d({self.num_features}, eps={self.eps}, momentum={self.momentum})"

    def output_shape(self, input_shape):
        _checks.volume(
            "BatchNorm2d", self, _checks.image_volume("BatchNorm2d", input_shape), (self.num_features,)
        )
        return tuple(input_shape)

    def forward(self, input):
        input, weight = _checks.arrays("BatchNorm2d", input=input, weight=self.params["weight"])
        images, single = _checks.images("BatchNorm2d", "input", input)
        _checks.norm_channels("BatchNorm2d", images, self.num_features)
        if self.training and len(images):
            mean, var = self._batch_statistics(images)
        else:
            mean, var = self.buffers["running_mean"], self.buffers["running_var"]
        inverse = 1 / np.sqrt(var + self.eps)
        normalised = (images - _per_channel(mean)) * _per_channel(inverse)
        self._keep(normalised, inverse, single)
        output = normalised * _per_channel(weight) + _per_channel(self.params["bias"])
        return output[0] if single else output

    def _batch_statistics(self, images):
        """Mean and biased variance of this batch; the running ones move towards them."""
        count = images.size // images.shape[1]
        _checks.batch_statistics("BatchNorm2d", count)
        mean = images.mean(axis=(0, 2, 3))
        var = images.var(axis=(0, 2, 3))
        for name, value in (("running_mean", mean), ("running_var", var * (count / (count - 1)))):
            running = self.buffers[name]
            running += self.momentum * (value - running)
        self.buffers["num_batches_tracked"] += 1
        return mean, var

    def backward(self, grad_output, *, needs_input_grad=True):
        normalised, inverse, single = self._kept()
        (grad_output,) = _checks.arrays("BatchNorm2d", grad_output=grad_output)
        shape = normalised.shape[1:] if single else normalised.shape
        _checks.same_shape("BatchNorm2d", "grad_output", grad_output, shape, "the output of forward")
        grad_output = grad_output.reshape(normalised.shape)
        grad_bias = grad_output.sum(axis=(0, 2, 3))
        grad_weight = (grad_output * normalised).sum(axis=(0, 2, 3))
        self._fill_grads(weight=grad_weight, bias=grad_bias)
        count = max(1, grad_output.size // grad_output.shape[1])
        # the mean and the variance depend on the input too: their two shares are taken off
        grad_input = (
            grad_output - _per_channel(grad_bias / count) - normalised * _per_channel(grad_weight / count)
        )
        grad_input *= _per_channel(inverse * self.params["weight"])
        return grad_input[0] if single else grad_input


def _per_channel(values):
    """(C,) -> (C, 1, 1), to broadcast over (N, C, H, W)."""
    return values[:, np.newaxis, np.newaxis]
