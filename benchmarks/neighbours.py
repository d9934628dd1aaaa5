"""Does sharing a process cost anything? Times of each library alone and in company.

    python benchmarks/neighbours.py [--seconds 75]

A process for each library alone (cyconv, torch, scikit-learn, and scipy.linalg, whose BLAS cyconv shares), and two
with all of them, imported with cyconv first and last; each library is used before anything is timed, cyconv from
64 Python threads at once. Then the processes take turns at each call, one of them awake at a time, in rounds until
the seconds are over. The ratio of a round is the time in company over the time alone a moment before or after (1.10:
10 % slower); their median counts, and the exit status is 1 where it is past 1.10. In brackets, the ratio of the best
times of all rounds: on a machine that is not quiet it is the less certain one.

Every process keeps the memory that it frees (glibc's thresholds, in its environment). Otherwise the times are those of
the heap: torch alone needs 21 to 25 ms for its convolution where its output is mapped anew at each call (7000 page
faults), and 11 ms where an earlier allocation of any library left room for it.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
from timing import settle, time_block

LIBRARIES = ("cyconv", "torch", "sklearn", "scipy.linalg")
THREADS = 64
BLOCK = 0.1  # seconds of successive calls, whose best counts
LIMIT = 1.10
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}  # bytes; of glibc, for `Process`


def calls_of(library):
    """{name: call} of typical work of a few milliseconds."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((16, 32, 56, 56), "f"), rng.standard_normal((64, 32, 3, 3), "f")
    a = rng.standard_normal((1000, 1000))
    module = importlib.import_module(library)
    if library == "cyconv":
        F = module.functional
        y, square = F.conv2d(x, w), a.astype("f")
        return {
            "conv2d": lambda: F.conv2d(x, w),
            "conv2d_backward": lambda: F.conv2d_backward(y, x, w),
            "max_pool2d": lambda: F.max_pool2d(x, 2),
            "linear": lambda: F.linear(square, square),
        }
    if library == "torch":
        images, weight = module.tensor(x), module.tensor(w)
        return {"conv2d": lambda: module.nn.functional.conv2d(images, weight)}
    if library == "sklearn":
        cluster = importlib.import_module("sklearn.cluster")
        points = rng.standard_normal((20_000, 16))
        return {
            "KMeans": lambda: cluster.KMeans(8, init=points[:8], n_init=1, max_iter=10, tol=0).fit(points)
        }
    spd = a @ a.T + 1000 * np.eye(1000)
    return {"lu_factor": lambda: module.lu_factor(a), "cholesky": lambda: module.cholesky(spd)}


def use(library, calls):
    """Every call once; those of cyconv from many threads at once."""
    for call in calls.values():
        crowd = [threading.Thread(target=call) for _ in range(THREADS if library == "cyconv" else 1)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()


def child(libraries):
    """Print the names of all calls of `libraries`; then, for each name that is read, its least seconds."""
    for library in libraries:
        importlib.import_module(library)
    calls = {}
    for library in libraries:
        new = calls_of(library)
        use(library, new)
        calls |= {f"{library} {name}": call for name, call in new.items()}
    print(json.dumps([*calls]), flush=True)
    for name in sys.stdin:
        settle()
        print(min(time_block(calls[name.strip()], BLOCK)), flush=True)


class Process:
    """A child that sleeps unless it is asked for a time."""

    def __init__(self, *libraries):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", *libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **KEPT},
        )
        self.names = json.loads(self.process.stdout.readline())

    def time(self, name):
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=75, help="in all; at least three rounds are made")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    end = time.perf_counter() + options.seconds
    present = [name for name in LIBRARIES if importlib.util.find_spec(name.split(".")[0])]
    alone = {name: Process(name) for name in present}
    first, last = Process(*present), Process(*present[1:], present[0])
    times = {name: [] for name in first.names}
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for name in times:
            processes = alone[name.split(" ")[0]], first, last
            turn = rounds % 3  # each goes first as often
            order = [*range(turn, 3), *range(turn)]
            found = {k: processes[k].time(name) for k in order}
            times[name].append([found[k] for k in range(3)])
        rounds += 1
    for process in (*alone.values(), first, last):
        process.close()

    print(f"{rounds} rounds, with {', '.join(present)}")
    print(f"{'':24} {'alone':>9}  {'cyconv first':>25}  {'cyconv last':>25}")
    slow = []
    for name, found in times.items():
        best = [min(column) for column in zip(*found, strict=True)]
        line = f"{name:24} {best[0] * 1e3:6.2f} ms"
        for k in (1, 2):
            ratio = statistics.median(turn[k] / turn[0] for turn in found)
            line += f"  {best[k] * 1e3:6.2f} ms {ratio:5.2f} ({best[k] / best[0]:5.2f})"
            if ratio > LIMIT:
                slow.append(f"{name} {ratio:.2f}")
        print(line)
    print(f"past {LIMIT}: {', '.join(slow) or 'none'}")
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main())
