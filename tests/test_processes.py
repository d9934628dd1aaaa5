"""Beside others: worker processes of every kind, many threads at once, interrupts, torch and scikit-learn.

Each case is a process of its own with a time limit, so that a hang or a crash is a failure of one test.
"""

import importlib.util
import itertools
import multiprocessing
import os
import subprocess
import sys

import pytest
from helpers import (
    COMPILED_OR_NUMPY,
    LEVELS,
    VARIANTS,
    environment_of,
    needs_compiled,
    run_command,
    run_python,
)

BACKEND, _ = VARIANTS[COMPILED_OR_NUMPY[-1]]
# the worst and the best of the compiled ones: BLAS or our own products
VARIANT_ENDS = dict.fromkeys([COMPILED_OR_NUMPY[0], COMPILED_OR_NUMPY[-1]])


def run_script(tmp_path, code, *arguments, **environment):
    """Run `code` as a file, which spawned children can import; what it prints."""
    path = tmp_path / "script.py"
    path.write_text(code, encoding="utf-8")
    try:
        return run_command([str(path), *arguments], **environment).stdout
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it hangs, after {error.output}")


# ---------------------------------------------------------------- worker processes

# The parent has a team of two awake, then children compute: by fork on one thread, else on their default.
WORKERS = """
import concurrent.futures
import multiprocessing
import sys
import numpy as np
import cyconv
from cyconv import _config, functional as F

rng = np.random.default_rng(0)
x, w = rng.integers(-4, 5, (4, 32, 30, 31)).astype("f"), rng.integers(-4, 5, (32, 32, 3, 3)).astype("f")
a = rng.integers(-4, 5, (600, 500)).astype("f")

def results():
    y = F.conv2d(x, w, algorithm="im2col")  # exact
    pooled, indices = F.max_pool2d(y, 2, return_indices=True)
    arrays = (y, *F.conv2d_backward(y % 5, x, w, algorithm="im2col"), F.linear(a, a),
              F.max_pool2d_backward(pooled, indices, y.shape))
    return [array.tobytes() for array in arrays]

def work(k):
    info = next(line for line in _config.config_text().splitlines() if line.startswith("threads"))
    return results(), cyconv.get_num_threads(), info

def through(kind):
    kind, _, method = kind.partition("-")
    if kind == "pool":
        processes = 2 if method == "fork" else 1  # others share nothing, and import everything
        with multiprocessing.get_context(method).Pool(processes) as pool:
            return pool.map(work, range(4), chunksize=1)
    if kind == "futures":
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            return list(pool.map(work, range(4)))
    import joblib
    inner = {"inner_max_num_threads": 5} if method == "loky" else {}  # the OMP_NUM_THREADS of its workers
    with joblib.parallel_config(backend=method, n_jobs=2, **inner):
        return joblib.Parallel()(joblib.delayed(work)(k) for k in range(4))

if __name__ == "__main__":
    cyconv.set_num_threads(2)
    expected = results()
    for kind in sys.argv[1:]:
        print(kind, end="", flush=True)  # the last one printed is the one that hangs
        found = through(kind)
        assert [result for result, _, _ in found] == [expected] * 4, kind
        print("", *{(threads, "fork" in info) for _, threads, info in found})
        assert results() == expected and cyconv.get_num_threads() == 2, kind
"""


def test_workers_after_use_in_the_parent(tmp_path):
    """No hang, the same numbers; children of fork run on one thread and say so in `info`, others on their default."""
    kinds = [*(f"pool-{method}" for method in multiprocessing.get_all_start_methods()), "futures"]
    if importlib.util.find_spec("joblib"):
        kinds += ["joblib-loky", "joblib-multiprocessing"]
    forking = {"pool-fork", "joblib-multiprocessing"} if sys.platform == "linux" else {"pool-fork"}
    if multiprocessing.get_start_method() == "fork":
        forking.add("futures")
    lines = run_script(tmp_path, WORKERS, *kinds, CYCONV_BACKEND=BACKEND, OMP_NUM_THREADS="3").splitlines()
    for kind, line in zip(kinds, lines, strict=True):
        default = 5 if kind == "joblib-loky" else 3
        noted = kind in forking and BACKEND == "cython"  # the NumPy backend's threads are those of BLAS
        assert line == f"{kind} {(1 if kind in forking else default, noted)}"


# ---------------------------------------------------------------- many threads at once

CROWD = """
import sys, threading
import numpy as np
import cyconv
from cyconv import _threads, functional as F

cyconv.set_num_threads(4)
libraries = _threads.blas_controllers()
for library in libraries:
    library.set_num_threads(2)
before = [library.get_num_threads() for library in libraries]
rng = np.random.default_rng(0)
a, b = rng.standard_normal((600, 50)), rng.standard_normal((1200, 50))  # five tasks: a team of four
x, w = rng.standard_normal((4, 24, 20, 20)), rng.standard_normal((24, 24, 3, 3))
y = F.conv2d(x, w)
calls = (lambda: (F.linear(a, b),), lambda: F.conv2d_backward(y, x, w), lambda: (F.conv2d(x, w),))
expected = [[array.tobytes() for array in call()] for call in calls]
start, wrong = threading.Barrier(64), []

def work(k):
    start.wait()
    for _ in range(2):
        with cyconv.num_threads(1 + k % 4):  # same bits for any number
            if [array.tobytes() for array in calls[k % 3]()] != expected[k % 3]:
                wrong.append(k)

threads = [threading.Thread(target=work, args=(k,)) for k in range(64)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong
assert [library.get_num_threads() for library in libraries] == before
assert cyconv.get_num_threads() == 4
"""


@needs_compiled
@pytest.mark.parametrize("level", LEVELS)
def test_64_threads_at_once(level):
    """64 teams of up to four, all in BLAS: its buffers suffice, each result is right, its setting comes back."""
    process = run_python(CROWD, CYCONV_BACKEND="cython", CYCONV_LEVEL=level)
    assert process.stderr == ""  # where OpenBLAS complains of too many memory regions


# ---------------------------------------------------------------- interrupts

INTERRUPT = """
import os, signal, threading, time
import numpy as np
import cyconv
from cyconv import _threads, functional as F

# two calls of 10 ms or more, next to which the rest of the loop is short
x, w, out = np.ones((8, 64, 50, 50), "f"), np.ones((64, 64, 3, 3), "f"), np.zeros((8, 64, 48, 48), "f")
a = np.ones((700, 1200), "f")
CALLS = {
    "conv2d": (lambda: F.conv2d(x, w, out=out, algorithm="im2col"), 576),
    "linear": (lambda: F.linear(a, a), 1200),
}
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored from the start
libraries = _threads.blas_controllers()
for library in libraries:
    library.set_num_threads(2)
before = [library.get_num_threads() for library in libraries]

def press():
    for i in range(5):
        time.sleep(0.03)
        os.kill(os.getpid(), signal.SIGINT)
        while count <= i:  # two signals in one long call would be one interrupt
            time.sleep(0.002)

for name, (call, expected) in CALLS.items():
    count, whole = 0, 0
    presses = threading.Thread(target=press, daemon=True)  # an error here must end the process
    presses.start()
    while count < 5:
        inside = False
        try:
            while True:
                out.fill(0)
                inside = True
                call()
                inside = False
        except KeyboardInterrupt:
            count += 1
            if inside and name == "conv2d":
                assert (out == expected).all() or not out.any()  # the kernel went on to its end, or had not begun
                whole += out.any()
    presses.join()
    assert [library.get_num_threads() for library in libraries] == before
    assert (call() == expected).all()
    assert [library.get_num_threads() for library in libraries] == before
    assert name == "linear" or whole  # most of the time passes in the kernel
    print(name, count)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("variant", VARIANT_ENDS)
def test_interrupt_during_a_call(variant):
    """Ctrl-C waits for the call's end; its output is whole, BLAS has its threads back, the next call works."""
    if variant == "numpy":
        pytest.skip("the NumPy backend stops where NumPy does")
    assert run_python(INTERRUPT, **environment_of(variant)).stdout == "conv2d 5\nlinear 5\n"


# ---------------------------------------------------------------- torch and scikit-learn

NEIGHBOURS = """
import sys, warnings
import numpy as np
for name in sys.argv[1:]:
    __import__(name)
import cyconv
from cyconv import functional as F

rng = np.random.default_rng(0)
x, w = rng.integers(-4, 5, (4, 16, 30, 31)).astype("f"), rng.integers(-4, 5, (16, 16, 3, 3)).astype("f")
points = rng.standard_normal((3000, 8)) + 20 * np.arange(3).repeat(1000)[:, np.newaxis]
y = F.conv2d(x, w, algorithm="im2col")
for _ in range(3):
    assert (F.conv2d(x, w, algorithm="im2col") == y).all()
    if "torch" in sys.modules:
        import torch
        theirs = torch.tensor(x, requires_grad=True)
        product = torch.nn.functional.conv2d(theirs, torch.tensor(w))
        product.backward(torch.tensor(y))
        assert np.allclose(product.detach().numpy(), y, atol=0.01)
        ours = F.conv2d_backward(y, x, w)[0]
        assert np.allclose(theirs.grad.numpy(), ours, atol=1e-5 * abs(ours).max())
    if "sklearn" in sys.modules:
        from sklearn.cluster import KMeans
        labels = KMeans(3, n_init=1, random_state=0).fit(points).labels_.reshape(3, 1000)
        assert (labels == labels[:, :1]).all()
    assert (F.linear(y[:, 0, 0], y[:, 0, 0]) == y[:, 0, 0] @ y[:, 0, 0].T).all()
print("done")
"""
ORDERS = list(itertools.permutations(("cyconv", "torch", "sklearn")))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_neighbours_in_any_order(order):
    """cyconv, torch and scikit-learn in one process, each with threads of its own."""
    for name in order:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    process = run_python(NEIGHBOURS, *order, CYCONV_BACKEND=BACKEND, CYCONV_NUM_THREADS="2")
    assert process.stdout == "done\n"
