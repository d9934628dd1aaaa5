"""Each element by itself: ReLU and dropout."""

import numpy as np

from .._types import Array, Float
from .windows import at_once


def relu_forward(input: Array[Float], output: Array[Float]) -> None:
    """output = max(0, input); NaN stays NaN."""
    np.maximum(input, 0, out=output)


def relu_backward(grad_output: Array[Float], output: Array[Float], grad_input: Array[Float]) -> None:
    """grad_input = 0 where output <= 0, else grad_output."""
    grad_input[...] = np.where(output <= 0, grad_output.dtype.type(0), grad_output)


def dropout(input: Array[Float], seed: int, p: float, output: Array[Float]) -> None:
    """output = input / (1 - p), or input * 0 where the element's 32 bits are below p * 2**32.

    The bits are SplitMix64's (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    2014), two elements from each of its numbers.
    """
    least = min(int(p * 2**32 + 0.5), 2**32 - 1)
    scale = output.dtype.type(1 / (1 - p) if p < 1 else 0)
    piece = 2 * at_once(16)  # even, as a number has the bits of two elements
    for start in range(0, input.size, piece):
        stop = min(start + piece, input.size)
        word = np.arange(start // 2 + 1, (stop + 1) // 2 + 1, dtype=np.uint64)
        word = np.uint64(seed) + word * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(31)
        bits = np.stack([word & np.uint64(2**32 - 1), word >> np.uint64(32)], axis=1).reshape(-1)
        np.multiply(
            input[start:stop],
            np.where(bits[: stop - start] >= least, scale, scale.dtype.type(0)),
            out=output[start:stop],
        )
