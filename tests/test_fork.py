"""A child of fork: it runs on one thread, and BLAS is as the parent had it."""

import os

import pytest
from helpers import COMPILED_OR_NUMPY, environment_of, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

FORK = """
import os, signal, warnings
import numpy as np
import cyconv
from cyconv import _threads, functional as F

x, w = np.ones((8, 32, 32, 32), np.float32), np.ones((32, 32, 3, 3), np.float32)
cyconv.set_num_threads(2)
expected = F.conv2d(x, w)  # the parent's team is awake

def child():
    status = 0
    if not (F.conv2d(x, w) == expected).all() or cyconv.get_num_threads() != 1:
        status = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cyconv.set_num_threads(1)
        if caught:
            status = 2
        cyconv.set_num_threads(4)  # which libgomp would not survive
    if [str(warning.message) for warning in caught] != [
        "set_num_threads: a child of fork stays on one thread, 4 were asked for; start it by spawn instead"
    ]:
        status = 3
    if not (F.conv2d(x, w) == expected).all() or cyconv.get_num_threads() != 1:
        status = 4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with cyconv.num_threads(3):
            if cyconv.get_num_threads() != 1 or not (F.conv2d(x, w) == expected).all():
                status = 5
    if [str(warning.message)[:50] for warning in caught] != ["num_threads: a child of fork stays on one thread, "]:
        status = 6
    F.conv2d_backward(expected, x, w)
    F.max_pool2d(x, 2)
    return status

with cyconv.num_threads(2):  # which the child is inside of, too
    pid = os.fork()
if pid == 0:
    signal.alarm(60)  # a child that hangs does not outlive its test
    status = 99
    try:
        status = child()
    finally:
        os._exit(status)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert cyconv.get_num_threads() == 2  # the parent goes on as before
assert (F.conv2d(x, w) == expected).all()
"""

# Another thread is inside a kernel, holding the lock or BLAS, when the process forks.
FORK_INSIDE = """
import os, signal, threading, warnings
from cyconv import _backend, _threads, _window
warnings.simplefilter("ignore")  # Python's about threads and fork, which are the point here

libraries = _threads.blas_controllers()
for library in libraries:
    library.set_num_threads(2)
count = {library.get_num_threads() for library in libraries}
entered, leave = threading.Event(), threading.Event()

def hold():
    with _threads.single_threaded_blas:
        if LOCKED:
            with _threads._lock:
                entered.set()
                leave.wait(60)
        entered.set()
        leave.wait(60)

other = threading.Thread(target=hold)
other.start()
entered.wait(60)
pid = os.fork()
if pid == 0:
    signal.alarm(60)  # a child that hangs does not outlive its test
    status = 99
    try:
        threads = [{library.get_num_threads() for library in libraries}]
        with _threads.single_threaded_blas:
            threads.append({library.get_num_threads() for library in libraries})
        threads.append({library.get_num_threads() for library in libraries})
        status = 0 if threads == [count, {1} if libraries else set(), count] else 1
    finally:
        os._exit(status)
_, status = os.waitpid(pid, 0)
leave.set()
other.join()
assert status == 0, status
assert {library.get_num_threads() for library in libraries} == count
"""


def test_child_of_fork_runs_on_one_thread():
    """It neither hangs (a hang is a timeout here) nor takes the parent's threads for its own."""
    run_python(FORK, **environment_of(COMPILED_OR_NUMPY[-1]))


@pytest.mark.parametrize("locked", [False, True])
def test_fork_while_a_kernel_runs(locked):
    run_python(f"LOCKED = {locked}\n{FORK_INSIDE}", CYCONV_BACKEND="numpy")
