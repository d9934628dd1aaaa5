"""Interleaved timing: all contestants of one case in one process, in turn, best of many calls.

The worker threads of a contestant keep spinning after its call returns (measured on two cores: ONNX
Runtime 50 ms, PyTorch's OpenMP 10 ms, NumPy's OpenBLAS 100 ms and more, OpenVINO 1 ms). Called in plain
alternation, each contestant is measured while its predecessor still burns a core, and seems up to twice
as slow as it is; and to forbid one the spinning would rob it of its own fast wake-up. So each contestant
gets a *block* of successive calls, and before the block the harness waits until the process burns no
more CPU time. Every contestant is then measured as it would run alone.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

ROUNDS = 5


class Contestant(NamedTuple):
    """A way to compute one case.

    `prepare` is called, untimed, before each block of calls: it sets threads and switches.
    """

    name: str
    call: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


class Timing(NamedTuple):
    """Seconds per call: the best, the median, and the number of calls."""

    best: float
    median: float
    calls: int


def settle(limit=2.0):
    """Sleep until no thread of this process burns CPU time, at most `limit` seconds.

    Each look lasts 12 ms: the system may count the time of a thread that runs on another core only at
    its clock's next tick, every 1 to 10 ms.
    """
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(0.012)
        if time.process_time() - before < 0.0005:
            return


def time_block(call, seconds):
    """Seconds of each call, for as many successive calls as fit into `seconds`, at least one.

    A first call comes before them, not timed: it finds cold caches and wakes sleeping threads.
    """
    durations = []
    clock = time.perf_counter
    call()
    end = clock() + seconds
    while not durations or clock() < end:
        start = clock()
        call()
        durations.append(clock() - start)
    return durations


def interleave(contestants, seconds, rounds=ROUNDS):
    """Time `contestants` in turn, `rounds` times.

    Parameters
    ----------
    contestants : list of Contestant
    seconds : float
        For each contestant. One that has used it up, after two rounds at least, sits out the rest.
    rounds : int

    Returns
    -------
    dict of str to Timing
    """
    durations = {contestant.name: [] for contestant in contestants}
    for turn in range(rounds):
        for contestant in contestants:
            spent = durations[contestant.name]
            if turn < 2 or sum(spent) < seconds:
                spent += _quiet_block(contestant, seconds / rounds)
    return {
        name: Timing(min(spent), statistics.median(spent), len(spent)) for name, spent in durations.items()
    }


def _quiet_block(contestant, seconds):
    """One block of calls in a quiet process, without the garbage collector."""
    contestant.prepare()
    settle()
    gc.disable()
    try:
        return time_block(contestant.call, seconds)
    finally:
        gc.enable()
