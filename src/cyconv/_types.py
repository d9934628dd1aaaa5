"""The types that the annotations share."""

from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

Float = TypeVar("Float", bound=np.floating[Any])  # float32 or float64: one for all arrays of a call
Array: TypeAlias = npt.NDArray[Float]
GradInput: TypeAlias = npt.NDArray[Float] | Any  # None without needs_input_grad; Any spares callers that test
Indices: TypeAlias = npt.NDArray[np.int64]
AnyArray: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = dict[str, AnyArray]  # parameters, gradients, state: by name

Pair: TypeAlias = tuple[int, int]  # height and width
IntOrPair: TypeAlias = int | Pair
Padding: TypeAlias = IntOrPair | tuple[Pair, Pair] | Literal["valid", "same"]
Shape: TypeAlias = tuple[int, ...]
Algorithm: TypeAlias = Literal["auto", "im2col", "winograd"]


class Plan(TypedDict):
    """How kernels would compute something: see `cyconv.explain.Step`; bytes of all threads together, and of each."""

    algorithm: str
    cycles: dict[str, float]
    gemm: tuple[int, int, int] | None
    products: int
    tiles: int
    tasks: int
    threads: int
    shared: int
    workspace: int
