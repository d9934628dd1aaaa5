"""How many threads kernels use, BLAS on one thread while they run and restored after, and fork."""

import os
import sys
import threading

import numpy as np
import pytest
import threadpoolctl
from helpers import COMPILED_OR_NUMPY, LEVELS, environment_of, needs_compiled, real, run_python, using
from test_seam import functions_of

import cyconv
from cyconv import _backend, _threads, _window
from cyconv import functional as F

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

# ---------------------------------------------------------------- the number


@pytest.mark.parametrize("n", [1, 2, 7, 1024, np.int64(3)])
def test_set_and_get(n):
    cyconv.set_num_threads(n)
    assert cyconv.get_num_threads() == n
    assert type(cyconv.get_num_threads()) is int


def test_a_rejected_number_changes_nothing():
    cyconv.set_num_threads(5)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        cyconv.set_num_threads(0)
    assert cyconv.get_num_threads() == 5


# ---------------------------------------------------------------- num_threads, for one block


def test_num_threads_nests_and_restores():
    cyconv.set_num_threads(4)
    with cyconv.num_threads(3):
        assert cyconv.get_num_threads() == 3
        with cyconv.num_threads(np.int64(1)):
            assert cyconv.get_num_threads() == 1
        assert cyconv.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), cyconv.num_threads(2):
            _ = 1 / 0
        assert cyconv.get_num_threads() == 3
    assert cyconv.get_num_threads() == 4


def test_num_threads_stands_over_set_num_threads():
    with cyconv.num_threads(3):
        cyconv.set_num_threads(5)
        assert cyconv.get_num_threads() == 3
    assert cyconv.get_num_threads() == 5


def test_num_threads_rejects_and_changes_nothing():
    cyconv.set_num_threads(5)
    with pytest.raises(ValueError, match=r"^num_threads: n must be .*, got 0"), cyconv.num_threads(0):
        pass
    assert cyconv.get_num_threads() == 5


def test_num_threads_is_of_one_python_thread():
    """Overlapping blocks in two threads: each has its own number, and the process's own comes back."""
    cyconv.set_num_threads(4)
    entered, leave, seen = threading.Event(), threading.Event(), []

    def other():
        seen.append(cyconv.get_num_threads())
        with cyconv.num_threads(2):
            entered.set()
            leave.wait(10)
            seen.append(cyconv.get_num_threads())
        seen.append(cyconv.get_num_threads())

    thread = threading.Thread(target=other)
    with cyconv.num_threads(3):
        thread.start()
        assert entered.wait(10)
        assert cyconv.get_num_threads() == 3
    assert cyconv.get_num_threads() == 4
    leave.set()
    thread.join()
    assert seen == [4, 2, 4]


@needs_compiled
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in Linux's /proc")
def test_kernels_use_the_number_of_the_block():
    """OpenMP's threads of a process appear with the first team that needs them."""
    code = """
import os
import numpy as np
import cyconv
from cyconv import functional as F
x, w = np.ones((8, 32, 32, 32), np.float32), np.ones((32, 32, 3, 3), np.float32)
def count():
    return len(os.listdir("/proc/self/task"))
cyconv.set_num_threads(5)
before = count()
with cyconv.num_threads(1):
    F.conv2d(x, w)
    one = count()
with cyconv.num_threads(3):
    F.conv2d(x, w)
print(one - before, count() - before)
"""
    assert run_python(code, CYCONV_BACKEND="cython").stdout == "0 2\n"


# ---------------------------------------------------------------- the default

ENVIRONMENTS = {  # variables, and the default they give on 4 cores
    "none": ({}, 4),
    "ours": ({"CYCONV_NUM_THREADS": "3"}, 3),
    "ours-more-than-cores": ({"CYCONV_NUM_THREADS": "9"}, 9),
    "openmp": ({"OMP_NUM_THREADS": "2"}, 2),
    "openmp-nested": ({"OMP_NUM_THREADS": " 3,2"}, 3),
    "both": ({"CYCONV_NUM_THREADS": "5", "OMP_NUM_THREADS": "2"}, 5),
    "ours-empty": ({"CYCONV_NUM_THREADS": "", "OMP_NUM_THREADS": "2"}, 2),
    "ours-wrong": ({"CYCONV_NUM_THREADS": "many", "OMP_NUM_THREADS": "2"}, 2),
    "zero": ({"CYCONV_NUM_THREADS": "0", "OMP_NUM_THREADS": "-1"}, 4),
    "not-decimal": ({"CYCONV_NUM_THREADS": "²"}, 4),
}


@pytest.mark.parametrize("variables, expected", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_default_from_environment(monkeypatch, variables, expected):
    for name in ("CYCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_threads.os, "sched_getaffinity", lambda pid: {0, 2, 4, 6}, raising=False)
    monkeypatch.setattr(_threads, "_cgroup_cores", lambda: float("inf"))
    assert _threads.default_num_threads() == expected


@pytest.mark.parametrize("quota, expected", [(0.5, 1), (1.9, 1), (2.5, 2), (3, 3), (64, 4), (float("inf"), 4)])
def test_default_within_quota(monkeypatch, quota, expected):
    monkeypatch.delenv("CYCONV_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(_threads.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(_threads, "_cgroup_cores", lambda: quota)
    assert _threads.default_num_threads() == expected


INF = float("inf")
V1 = "/sys/fs/cgroup/cpu"
CGROUPS = {  # files of the control groups, and the cores they allow
    "v2": ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "v2-unlimited": ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, INF),
    "v2-nested": (
        {
            "/proc/self/cgroup": "0::/user.slice/job.scope\n",
            "/sys/fs/cgroup/user.slice/job.scope/cpu.max": "350000 100000\n",
            "/sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        },
        3.5,
    ),
    "v2-nested-parent-less": (
        {
            "/proc/self/cgroup": "0::/pods/a/b\n",
            "/sys/fs/cgroup/pods/a/b/cpu.max": "800000 100000\n",
            "/sys/fs/cgroup/pods/a/cpu.max": "50000 20000\n",
            "/sys/fs/cgroup/cpu.max": "400000 100000\n",
        },
        2.5,
    ),
    "v2-path-of-the-host": (
        {"/proc/self/cgroup": "0::/docker/f00\n", "/sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2,
    ),
    "v2-outside-the-namespace": (
        {"/proc/self/cgroup": "0::/../other\n", "/sys/fs/other/cpu.max": "1000 100000\n"},
        INF,
    ),
    "v1": ({f"{V1}/cpu.cfs_quota_us": "400000\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 4),
    "v1-unlimited": ({f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, INF),
    "v1-nested": (
        {
            "/proc/self/cgroup": "5:cpuset:/c\n4:cpu,cpuacct:/a/b\n0::/\n",
            f"{V1}/a/b/cpu.cfs_quota_us": "150000\n",
            f"{V1}/a/b/cpu.cfs_period_us": "50000\n",
            f"{V1}/c/cpu.cfs_quota_us": "50000\n",
            f"{V1}/c/cpu.cfs_period_us": "50000\n",
        },
        3,
    ),
    "damaged": ({"/proc/self/cgroup": "::\n\n0\n", "/sys/fs/cgroup/cpu.max": "1000 0\n"}, INF),
    "none": ({}, INF),
}


@pytest.mark.parametrize("files, expected", CGROUPS.values(), ids=CGROUPS)
def test_quota_of_the_control_group(monkeypatch, tmp_path, files, expected):
    def open_of(path):
        if path not in files:
            raise FileNotFoundError(path)
        copy = tmp_path / path.replace("/", "_")
        copy.write_text(files[path], encoding="utf-8")
        return open(copy, encoding="utf-8")

    monkeypatch.setattr(_threads, "open", open_of, raising=False)
    assert _threads._cgroup_cores() == expected


def test_default_is_read_at_import():
    code = "import cyconv; print(cyconv.get_num_threads())"
    assert run_python(code, CYCONV_BACKEND="numpy", CYCONV_NUM_THREADS="3").stdout == "3\n"
    assert run_python(code, CYCONV_BACKEND="numpy", OMP_NUM_THREADS="6").stdout == "6\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_default_from_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "import cyconv; print(cyconv.get_num_threads())"
    )
    assert run_python(code, CYCONV_BACKEND="numpy").stdout == "1\n"


# ---------------------------------------------------------------- BLAS


@pytest.fixture
def blas():
    """BLAS set to 3 threads; a call gives the number that each of its libraries has now."""
    libraries = _threads.blas_controllers()
    if not libraries:
        pytest.skip("threadpoolctl knows no BLAS here")
    before = [library.get_num_threads() for library in libraries]
    for library in libraries:
        library.set_num_threads(3)
    if {library.get_num_threads() for library in libraries} != {3}:
        pytest.skip("this BLAS has one thread alone")
    yield lambda: {library.get_num_threads() for library in libraries}
    for library, threads in zip(libraries, before, strict=True):
        library.set_num_threads(threads)


def kernels():
    """Calls of every kernel that multiplies matrices."""
    x, w, u = real((2, 8, 20, 21)), real((6, 8, 3, 2)), real((8, 6, 3, 2))
    y = F.conv2d(x, w)
    v = F.conv_transpose2d(x, u)
    a, b = real((50, 40)), real((30, 40))
    return {
        "conv2d": lambda: F.conv2d(x, w),
        "conv2d_backward": lambda: F.conv2d_backward(y, x, w),
        "conv_transpose2d": lambda: F.conv_transpose2d(x, u),
        "conv_transpose2d_backward": lambda: F.conv_transpose2d_backward(v, x, u),
        "linear": lambda: F.linear(a, b),
        "linear_backward": lambda: F.linear_backward(real((50, 30)), a, b),
        "convolve": lambda: F.convolve(a, b),
    }


@needs_compiled
def test_kernels_run_blas_on_one_thread(blas, monkeypatch):
    inside = []

    class Watched(_threads.SingleThreadedBlas):
        def __exit__(self, *exception):
            inside.append(blas())  # just after the kernel's work
            super().__exit__(*exception)

    monkeypatch.setattr(_threads, "single_threaded_blas", Watched())
    for level in LEVELS:
        with using(level):
            for name, call in kernels().items():
                inside.clear()
                call()
                # above base the products are not BLAS's
                assert set(map(frozenset, inside)) == ({frozenset({1})} if level == "base" else set()), name
                assert blas() == {3}, name


def test_numpy_backend_leaves_blas_alone(blas, monkeypatch):
    monkeypatch.setattr(_threads, "single_threaded_blas", None)
    with using("numpy"):
        for call in kernels().values():
            call()
            assert blas() == {3}


def test_nested(blas):
    with _threads.single_threaded_blas:
        with _threads.single_threaded_blas:
            assert blas() == {1}
        assert blas() == {1}
    assert blas() == {3}


def test_restored_after_an_exception(blas):
    with pytest.raises(ZeroDivisionError), _threads.single_threaded_blas:
        assert blas() == {1}
        _ = 1 / 0
    assert blas() == {3}


def test_one_thread_stays_one(blas):
    for library in _threads.blas_controllers():
        library.set_num_threads(1)
    with _threads.single_threaded_blas:
        assert blas() == {1}
    assert blas() == {1}


def test_what_is_set_later_is_restored_later(blas):
    """The number is looked up at each use, not once."""
    with _threads.single_threaded_blas:
        pass
    for library in _threads.blas_controllers():
        library.set_num_threads(2)
    with _threads.single_threaded_blas:
        assert blas() == {1}
    assert blas() == {2}


def test_overlapping_threads_restore_after_the_last(blas):
    """A enters, B enters, A leaves: BLAS stays on one thread until B leaves."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with _threads.single_threaded_blas:
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with _threads.single_threaded_blas:
        other.start()
        assert entered.wait(10)
    assert blas() == {1}
    leave.set()
    other.join()
    assert blas() == {3}


def test_any_thread_may_be_the_one(blas):
    """threadpoolctl lets one thread set OpenBLAS and ignores all others; kernels must not be ignored."""
    seen, leave = [], threading.Event()

    def work(done):
        with _threads.single_threaded_blas:
            seen.append(blas())
        seen.append(blas())
        done.set()
        leave.wait(10)  # alive, and so still the one, if it were

    done = [threading.Event() for _ in range(2)]
    others = [threading.Thread(target=work, args=(event,)) for event in done]
    for other, event in zip(others, done, strict=True):
        other.start()
        assert event.wait(10)
    with threadpoolctl.threadpool_limits(2, "blas"):  # other people's limits work as before
        seen.append(blas())
    seen.append(blas())
    with _threads.single_threaded_blas:
        seen.append(blas())
    leave.set()
    for other in others:
        other.join()
    assert seen == [{1}, {3}, {1}, {3}, {2}, {3}, {1}]


def in_threads(count, work):
    """Run `work(k)` in `count` Python threads at once; raise what any of them raised."""
    start, errors = threading.Barrier(count), []

    def run(k):
        try:
            start.wait(10)
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_many_threads_restore_exactly(blas):
    def enter_and_leave(k):
        for _ in range(300):
            with _threads.single_threaded_blas:
                assert blas() == {1}

    in_threads(6, enter_and_leave)
    assert blas() == {3}
    assert _threads._users == 0


def test_kernels_in_many_threads(backend, blas):
    """Python threads that call kernels at once: each its own result, and BLAS as it was."""
    cyconv.set_num_threads(2)
    x, w = real((4, 8, 20, 21), np.float32), real((6, 8, 3, 2), np.float32)
    images = [x + np.float32(k) for k in range(4)]
    expected = [F.conv2d_backward(F.conv2d(image, w), image, w) for image in images]

    def work(k):
        for _ in range(8):
            result = F.conv2d_backward(F.conv2d(images[k], w), images[k], w)
            for a, b in zip(result, expected[k], strict=True):
                assert a.tobytes() == b.tobytes()

    in_threads(4, work)
    assert blas() == {3}


@needs_compiled
def test_the_gil_is_released(backend):
    """While a kernel runs in one thread, Python runs in another."""
    if backend == "numpy":
        pytest.skip("NumPy's own business")
    x, w = np.ones((4, 32, 40, 40), np.float32), np.ones((32, 32, 3, 3), np.float32)
    y, columns = F.conv2d(x, w), F.im2col(x, 3)
    pooled, indices = F.max_pool2d(x, 3, 1, return_indices=True)
    window, matrix = _window.parse("test", (40, 40), 3, 1, 0, 1), np.ones((300, 300), np.float32)
    grad_input, grad_weight, product = np.empty_like(x), np.empty_like(w), np.empty_like(matrix)
    flat, other_flat, moments = x.reshape(-1), np.ones(x.size, np.float32), np.ones(x.size, np.float32)
    channels = np.ones(32, np.float32)
    calls = {  # of every kernel: the functional API also fills by NumPy, which gives up the GIL
        "im2col": (x, window, columns),
        "col2im": (columns, window, grad_input),
        "conv2d_forward": (x, w, None, window, 1, "auto", False, y),
        "conv2d_backward_input": (y, w, window, 1, "auto", grad_input),
        "conv2d_backward_weight": (y, x, window, 1, "auto", grad_weight),
        "max_pool2d_forward": (x, window, pooled, indices),
        "max_pool2d_backward": (pooled, indices, grad_input),
        "avg_pool2d_forward": (x, window, True, pooled),
        "avg_pool2d_backward": (pooled, window, True, grad_input),
        "matmul": (matrix, False, matrix, True, None, False, product),
        "relu_forward": (flat, other_flat),
        "relu_backward": (flat, flat, other_flat),
        "dropout": (flat, 1, 0.5, other_flat),
        "sum_channels": (x, channels),
        "batch_norm_statistics": (x, channels, channels.copy()),
        "batch_norm_forward": (x, channels, channels, channels, grad_input),
        "batch_norm_backward": (x, x, channels, channels, channels, grad_input, channels.copy(), channels.copy()),
        "softmax_cross_entropy": (matrix, np.zeros(300, np.int64), np.empty(300, np.float32), product),
        "sgd_update": (flat, other_flat, None, 0.0, 0.0, False, 0.0),
        "adam_update": (flat, other_flat, moments, moments.copy(), 0.9, 0.99, 0.0, 1.0, 1.0, 1.0, 0.0),
    }
    assert set(calls) == {name for name in functions_of(_backend.kernels) if not name.endswith("_plan")}
    cyconv.set_num_threads(1)
    stop, go, ran = threading.Event(), threading.Event(), threading.Event()

    def answer():
        while not stop.is_set():
            go.wait()
            ran.set()
            go.clear()

    other = threading.Thread(target=answer)
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # nobody has to give up the GIL: `answer` runs only where a kernel does
    try:
        with _threads.single_threaded_blas:  # setting BLAS gives up the GIL too; now it is set
            for name, arguments in calls.items():
                kernel = getattr(_backend.kernels, name)
                ran.clear()
                go.set()
                assert not ran.is_set()  # not yet: this thread has the GIL
                for _ in range(100):  # the other thread may be slow to wake
                    kernel(*arguments)
                    if ran.is_set():
                        break
                assert ran.is_set(), name
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        go.set()
        other.join()


# ---------------------------------------------------------------- fork

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


@fork
def test_child_of_fork_runs_on_one_thread():
    """It neither hangs (a hang is a timeout here) nor takes the parent's threads for its own."""
    run_python(FORK, **environment_of(COMPILED_OR_NUMPY[-1]))


@fork
@pytest.mark.parametrize("locked", [False, True])
def test_fork_while_a_kernel_runs(locked):
    run_python(f"LOCKED = {locked}\n{FORK_INSIDE}", CYCONV_BACKEND="numpy")
