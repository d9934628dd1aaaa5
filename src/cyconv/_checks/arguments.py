"""Numbers, pairs, flags and names: the arguments that are no arrays."""

import operator
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from .._types import Pair

FLOATS = (np.float32, np.float64)
# The kernels keep sizes in Py_ssize_t and products of two of these parameters must fit as well.
LARGEST = 2**31 - 1


def integer(function: str, name: str, value: Any, minimum: int, maximum: int = LARGEST) -> int:
    """`value` as an int within [minimum, maximum]."""
    if type(value) is not int:
        try:
            if isinstance(value, (bool, np.bool_, np.ndarray)):
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{function}: {name} must be an int, got {type(value).__name__} ({value!r})"
            ) from None
    if not minimum <= value <= maximum:
        bound = f"at least {minimum}" if value < minimum else f"at most {maximum}"
        raise ValueError(f"{function}: {name} must be {bound}, got {value}")
    return cast(int, value)


def pair(function: str, name: str, value: Any, minimum: int, maximum: int = LARGEST) -> Pair:
    """`value`, an int or a pair of ints, as ``(height, width)``."""
    if type(value) is int and minimum <= value <= maximum:
        return value, value
    if type(value) is tuple and len(value) == 2:
        height, width = value
        exact = type(height) is int and type(width) is int
        if exact and minimum <= height <= maximum and minimum <= width <= maximum:
            return value
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(
                f"{function}: {name} must be an int or a pair (height, width), got {len(value)} values: {value!r}"
            )
        return integer(function, name, value[0], minimum, maximum), integer(
            function, name, value[1], minimum, maximum
        )
    if not hasattr(type(value), "__index__"):
        raise TypeError(
            f"{function}: {name} must be an int or a pair of ints, got {type(value).__name__} ({value!r})"
        )
    value = integer(function, name, value, minimum, maximum)
    return value, value


def padding(function: str, value: Any) -> tuple[int, int, int, int]:
    """`value` as ``(top, bottom, left, right)``; "same" is the caller's business."""
    if type(value) is int and 0 <= value <= LARGEST:
        return value, value, value, value
    if isinstance(value, str):
        if value == "valid":
            return 0, 0, 0, 0
        raise ValueError(
            f"{function}: padding must be an int, a pair (h, w), ((top, bottom), (left, right)), "
            f"'valid' or 'same', got {value!r}"
        )
    listed = (tuple, list)
    if isinstance(value, listed) and len(value) == 2 and isinstance(value[0], listed) and isinstance(value[1], listed):
        return pair(function, "padding", value[0], 0) + pair(function, "padding", value[1], 0)
    height, width = pair(function, "padding", value, 0)
    return height, height, width, width


def flag(function: str, name: str, value: object) -> bool:
    """`value` as a bool."""
    if type(value) is bool:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{function}: {name} must be True or False, got {type(value).__name__} ({value!r})")


def number(
    function: str,
    name: str,
    value: Any,
    minimum: float | None = None,
    below: float | None = None,
    maximum: float | None = None,
) -> float:
    """`value` as a finite float, at least `minimum`, less than `below` and at most `maximum`."""
    if isinstance(value, (bool, str, np.ndarray)) or not hasattr(value, "__float__"):
        raise TypeError(f"{function}: {name} must be a number, got {type(value).__name__} ({value!r})")
    value = float(value)
    too_small = minimum is not None and value < minimum
    too_large = (below is not None and value >= below) or (maximum is not None and value > maximum)
    if not np.isfinite(value) or too_small or too_large:
        wanted = ["finite"]
        wanted += [f"at least {minimum}"] if minimum is not None else []
        wanted += [f"below {below}"] if below is not None else []
        wanted += [f"at most {maximum}"] if maximum is not None else []
        raise ValueError(f"{function}: {name} must be {', '.join(wanted)}, got {value}")
    return cast(float, value)


def choice(function: str, name: str, value: object, choices: Sequence[str]) -> str:
    """`value`, which must be one of the strings `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise (ValueError if isinstance(value, str) else TypeError)(
            f"{function}: {name} must be one of {listed}, got {value!r}"
        )
    return value


def two(function: str, name: str, value: Any) -> tuple[Any, Any]:
    """`value` as two things."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{function}: {name} must be a pair, got {value!r}")
    return value[0], value[1]


def generator(function: str, rng: object) -> np.random.Generator:
    """`rng`, or a new generator where it is None."""
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{function}: rng must be a numpy.random.Generator, got {type(rng).__name__}; write "
            "numpy.random.default_rng(seed)"
        )
    return rng


def float_dtype(function: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as the NumPy dtype float32 or float64."""
    parsed: np.dtype[Any] | None
    try:
        parsed = np.dtype(dtype)
    except TypeError:
        parsed = None
    if parsed is None or parsed.type not in FLOATS:
        raise TypeError(f"{function}: dtype must be numpy.float32 or numpy.float64, got {dtype!r}")
    return np.dtype(parsed.type)  # NumPy's own object, native: arrays of it pass `arrays` at once
