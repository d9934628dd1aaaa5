"""The cases of each section, and how one case is checked and timed."""

from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from typing import NamedTuple

import numpy as np
from peers import conv_data, pool_data
from shapes import CONV_GROUPS, POOL_GROUPS, SIZE_GROUPS
from timing import Contestant, interleave

TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


class Case(NamedTuple):
    """One line of a table: what it is, how a peer computes it, and how its results are compared."""

    head: dict
    make: Callable  # peer, threads -> function without arguments, or None
    plane: int = 1  # H_in * W_in of indices: some peers count them through the whole array
    tolerance: float | None = None


def wanted(groups, pattern):
    """The (group, shape) pairs whose group, name or ``group/name`` matches a shell pattern."""
    return [
        (group, shape)
        for group, shapes in groups.items()
        for shape in shapes
        if any(fnmatch(text, pattern) for text in (group, shape.name, f"{group}/{shape.name}"))
    ]


def conv_cases(section, dtype, threads, pattern, groups=CONV_GROUPS):
    """Convolutions, forward or (``section="conv-backward"``) all three gradients."""
    backward = section == "conv-backward"
    for group, shape in wanted(groups, pattern):
        data = conv_data(shape, dtype)
        head = _head(section, group, shape, dtype, threads, (2 if backward else 1) * shape.gflop(), "GF/s")
        yield Case(head, partial(_make_conv, shape, data, backward))


def _make_conv(shape, data, backward, peer, threads):
    method = peer.conv_backward if backward else peer.conv_forward
    return method(shape, data, threads)


def pool_cases(dtype, threads, pattern):
    """Max pooling: forward, forward with indices, backward."""
    itemsize = np.dtype(dtype).itemsize
    for kind, indices in (("forward", False), ("forward with indices", True), ("backward", True)):
        for group, shape in wanted(POOL_GROUPS, pattern):
            data = pool_data(shape, dtype)
            work = shape.gbyte(itemsize, indices)
            head = _head(f"max-pool {kind}", group, shape, dtype, threads, work, "GB/s")
            yield Case(head, partial(_make_pool, shape, data, kind), shape.H * shape.W)


def _make_pool(shape, data, kind, peer, threads):
    if kind == "backward":
        return peer.pool_backward(shape, data, threads)
    return peer.pool_forward(shape, data, threads, kind == "forward with indices")


def size_cases(dtype, threads, pattern):
    """One 3x3 layer with growing batch and growing image."""
    return conv_cases("sizes", dtype, threads, pattern, SIZE_GROUPS)


def scaling_cases(dtype, pattern):
    """The suite's forward convolutions, to be timed with one thread and with all."""
    return conv_cases("scaling", dtype, None, pattern, {"suite": CONV_GROUPS["suite"]})


def _head(section, group, shape, dtype, threads, work, unit):
    return {
        "section": section, "group": group, "case": shape.name, "geometry": shape.describe(),
        "dtype": dtype, "threads": threads, "work": work, "unit": unit,
    }


def time_case(case, peers, seconds, problems):
    """Check and time one case; its row, or None where no contestant is left."""
    threads = case.head["threads"]
    contestants, differences = admitted(case, peers, threads, problems)
    timings = interleave(contestants, seconds)
    if not timings:
        return None
    return case.head | {
        "milliseconds": {name: 1e3 * timing.best for name, timing in timings.items()},
        "median": {name: 1e3 * timing.median for name, timing in timings.items()},
        "calls": {name: timing.calls for name, timing in timings.items()},
        "difference": differences,
    }


def time_scaling(case, peers, thread_counts, seconds, problems):
    """Time one case with each number of threads, interleaved; its row holds a list for each contestant."""
    contestants = []
    for threads in thread_counts:
        found, _ = admitted(case, peers, threads, problems)
        contestants += [each._replace(name=(each.name, threads)) for each in found]
    timings = interleave(contestants, seconds)
    names = dict.fromkeys(name for name, _ in timings)
    times = {name: [1e3 * timings[name, threads].best for threads in thread_counts] for name in names}
    return case.head | {"threads": thread_counts, "milliseconds": times} if times else None


def admitted(case, peers, threads, problems):
    """The contestants that can compute a case and agree on its result.

    The reference is the first rival, or the first peer where there is none.

    Returns
    -------
    contestants : list of Contestant
    differences : dict of str to float
        Largest difference from the reference, relative to the reference's largest value.
    """
    calls, differences, reference = {}, {}, None
    for peer in sorted(peers, key=lambda peer: peer.name.startswith("cyconv")):
        name = f"{case.head['section']} {case.head['case']} {case.head['dtype']} {threads}: {peer.name}"
        try:
            peer.prepare(threads)
            call = case.make(peer, threads)
            result = None if call is None else _arrays(call(), case.plane)
        except Exception as error:
            if not (":" in peer.name and isinstance(error, ValueError)):  # an algorithm that does not apply
                problems.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if result is None:
            continue
        reference = reference or result
        difference = differences[peer.name] = _difference(result, reference)
        if difference <= (case.tolerance or TOLERANCE[case.head["dtype"]]):
            calls[peer.name] = call
        else:
            problems.append(f"{name}: differs from the reference by {difference:.2g} of its scale")
    contestants = [
        Contestant(peer.name, calls[peer.name], partial(peer.prepare, threads))
        for peer in peers
        if peer.name in calls
    ]
    return contestants, differences


def _arrays(result, plane):
    """A peer's result as a list of copies: NumPy arrays, indices counted within one plane."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    arrays = [np.array(part) for part in parts]
    return [array % plane if array.dtype == np.int64 else array for array in arrays]


def _difference(result, reference):
    """Largest difference relative to the scale, infinite where shape or dtype differ or NaN appears.

    Of indices, the fraction that differ beyond one in a million: ties are rare in random images.
    """
    worst = 0.0
    if len(result) != len(reference):
        return float("inf")
    for array, expected in zip(result, reference, strict=True):
        if array.shape != expected.shape or array.dtype != expected.dtype:
            return float("inf")
        if array.dtype == np.int64:
            wrong = np.mean(array != expected)
            difference = float(wrong) if wrong > 1e-6 else 0.0
        else:
            difference = float(np.abs(array - expected).max() / np.abs(expected).max())
        worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    return worst
