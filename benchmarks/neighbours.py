"""Does sharing a process cost anything? Times of each library alone and in company.

    python benchmarks/neighbours.py [--rounds 5] [--seconds 0.3]

Each measurement is a process of its own, which imports some libraries in the given order, uses all of them once
(cyconv from 64 Python threads at once), waits until their threads sleep, and times the calls of one: cyconv,
torch, scikit-learn, or scipy.linalg, whose BLAS cyconv shares. Processes alone and in company take turns; the
best of all rounds counts. A ratio of 1.10 is 10 % slower than alone.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import threading

import numpy as np
from timing import settle, time_block

COMPANY = ("cyconv", "torch", "sklearn", "scipy.linalg")
THREADS = 64


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


def use(library):
    """Every call once; those of cyconv from many threads at once."""
    for call in calls_of(library).values():
        crowd = [threading.Thread(target=call) for _ in range(THREADS if library == "cyconv" else 1)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()


def child(subject, libraries, seconds):
    """Least seconds per call of `subject`, as JSON, after the use of `libraries`."""
    for library in libraries:
        importlib.import_module(library)
    for library in libraries:
        if library != subject:
            use(library)
    times = {}
    for name, call in calls_of(subject).items():
        settle()
        times[name] = min(time_block(call, seconds))
    print(json.dumps(times))


def measure(subject, libraries, seconds):
    arguments = ["--child", subject, *libraries, "--seconds", str(seconds)]
    process = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{subject} with {libraries}: {process.stderr}")
    return json.loads(process.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each call in each process")
    parser.add_argument("--subject", choices=COMPANY, help="only this library")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1:], options.seconds)
        return
    present = [name for name in COMPANY if importlib.util.find_spec(name.split(".")[0])]
    print(f"{'':24} {'alone':>9}  {'last of all':>16}  {'first of all':>16}")
    for subject in [options.subject] if options.subject else present:
        others = [name for name in present if name != subject]
        orders = ([subject], [*others, subject], [subject, *others])
        rounds = [
            [measure(subject, order, options.seconds) for order in orders] for _ in range(options.rounds)
        ]
        for name in rounds[0][0]:
            alone, last, first = (min(turn[k][name] for turn in rounds) for k in range(3))
            print(
                f"{subject + ' ' + name:24} {alone * 1e3:6.2f} ms  {last * 1e3:6.2f} ms ({last / alone:4.2f})  "
                f"{first * 1e3:6.2f} ms ({first / alone:4.2f})"
            )


if __name__ == "__main__":
    main()
