"""Calls of every public function with arguments good and bad, made up by hypothesis: each level against NumPy.

    python tests/fuzz.py --calls 100000 --seed 1 [--level v3] [--function conv2d]

Shapes, strides, dtypes, byte orders, subclasses, object arrays, values with NaN and infinity; negative, zero and
huge numbers; things of the wrong kind; `out` of any kind and over the memory of an input. Each call must give
the NumPy backend's answer or its TypeError or ValueError, word for word, and write nothing but `out`.
MemoryError is allowed where arrays of the sizes asked for can't be had. The tests run some hundred calls.
"""

import argparse
import collections
import faulthandler
import math
import sys
import time
from typing import NamedTuple

import hypothesis
import numpy as np
from fuzz_calls import BAD_ARRAYS, GENERATORS, LAYOUTS, Array, Bad, Indices, calls
from helpers import LEVELS, as_tuple, using

from cyconv import functional as F

try:
    import resource
except ImportError:  # Windows
    resource = None

MEMORY = 3 * 2**30  # bytes above which an array "can't be had", so that huge sizes fail at once


class Outcome(NamedTuple):
    result: tuple | None
    error: str = ""
    kind: type | None = None


def outcome(function, arguments):
    """Results, or the error; errors of other kinds than those that are allowed are a failure."""
    try:
        return Outcome(as_tuple(getattr(F, function)(**arguments)))
    except (TypeError, ValueError, MemoryError) as error:
        assert type(error) in (TypeError, ValueError) or isinstance(error, MemoryError), type(error)
        text = str(error)
        assert (
            isinstance(error, MemoryError)
            or text.startswith(f"{function}:")
            or "missing" in text
            or (function == "convolve" and text.startswith("conv2d:"))
        ), text
        return Outcome(None, text, MemoryError if isinstance(error, MemoryError) else type(error))


def made(call):
    """The arguments as they are passed, newly made."""
    return {k: v.make() if isinstance(v, Array | Bad | Indices) else v for k, v in call.arguments.items()}


def make_out(out, arguments, expected):
    """`out` as the call asks for it; and whether it must be accepted. May replace the input of `arguments`."""
    if out.kind == "over-input":
        input = arguments["input"]
        size = max(input.size, expected.size) + abs(out.offset)
        buffer = np.zeros(size, expected.dtype)
        given = buffer[max(0, out.offset) :][: input.size].reshape(input.shape)
        given[...] = input
        arguments["input"] = given
        return buffer[max(0, -out.offset) :][: expected.size].reshape(expected.shape)
    return {**LAYOUTS, **BAD_ARRAYS}[out.kind](np.zeros_like(expected))


def check(call, levels):
    """Compare the compiled call at each level with NumPy's; returns what came of it, for the counts."""
    with using("numpy"), np.errstate(all="ignore"):
        expected = outcome(call.function, made(call))
    with_out = call.out is not None and expected.result is not None
    expected_out = expected
    if with_out:
        with using("numpy"), np.errstate(all="ignore"):
            again = made(call)
            expected_out = outcome(
                call.function, again | {"out": make_out(call.out, again, expected.result[0])}
            )
    came = {check_level(call, level, expected, expected_out, with_out) for level in levels}
    return "MemoryError" if "MemoryError" in came else came.pop()


def check_level(call, level, expected, expected_out, with_out):
    """The compiled call, with `out` where the NumPy one had it; raises AssertionError where they differ."""
    arguments = made(call)
    copies = {k: v.copy() for k, v in arguments.items() if isinstance(v, np.ndarray)}
    if with_out:
        arguments["out"] = make_out(call.out, arguments, expected.result[0])
    with using(level), np.errstate(all="ignore"):
        found = outcome(call.function, arguments)
    if MemoryError in (found.kind, expected_out.kind):
        return "MemoryError"  # of one or both: they need different amounts
    assert (found.kind, found.error) == (expected_out.kind, expected_out.error), level
    for name, copy in copies.items():
        if "out" not in arguments or name != "input" or call.out.kind != "over-input":
            assert arguments[name].tobytes() == copy.tobytes(), f"{name} was written"
    if found.result is None:
        return found.kind.__name__
    if arguments.get("out") is not None:
        assert found.result[0] is arguments["out"]
    for result, other in zip(found.result, expected.result, strict=True):
        assert_close(call, result, other)
    return "answer"


def assert_close(call, result, expected):
    if not isinstance(expected, np.ndarray):
        assert result == expected and type(result) is type(expected)
        return
    assert isinstance(result, np.ndarray) and result.shape == expected.shape
    assert result.dtype.type is expected.dtype.type
    if result.dtype.kind == "i" or not any(name in call.function for name in ("pool", "conv")):
        np.testing.assert_array_equal(result, expected)
        return
    # whole numbers; only Winograd's filtering and the divisions of average pooling round
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 1.0
    epsilon = float(np.finfo(result.dtype).eps)
    np.testing.assert_allclose(result, expected, rtol=64 * epsilon, atol=256 * epsilon * max(1.0, scale))


def limit_memory():
    """Sizes past MEMORY fail at once, on any machine."""
    if resource is not None and sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def run(function, count, seed, levels):
    """`count` calls of one function; {what came of it: how often}."""
    counts = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(calls(function))
    def fuzz(call):
        counts[check(call, levels)] += 1

    fuzz()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, help="in all, divided over the functions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--level", choices=LEVELS, action="append", help="only these; else all of this CPU")
    parser.add_argument("--function", choices=GENERATORS, action="append", help="only these")
    options = parser.parse_args()
    levels = options.level or LEVELS
    if not levels:
        parser.error("no compiled kernels here")
    faulthandler.enable()
    limit_memory()
    functions = options.function or list(GENERATORS)
    total, start = collections.Counter(), time.perf_counter()
    for function in functions:
        counts = run(function, math.ceil(options.calls / len(functions)), options.seed, levels)
        print(
            f"{function:26} {', '.join(f'{count} {what}' for what, count in counts.most_common())}",
            flush=True,
        )
        total += counts
    print(
        f"{total.total()} calls, {' and '.join(levels)}, seed {options.seed}, {time.perf_counter() - start:.0f} s: "
        + ", ".join(f"{count} {what}" for what, count in total.most_common())
    )


if __name__ == "__main__":
    main()
