"""BLAS is on one thread while kernels run and restored after; the GIL is released."""

import sys
import threading
import time

import numpy as np
import pytest
import threadpoolctl
from helpers import LEVELS, needs_compiled, real, using
from test_seam import functions_of

import cyconv
from cyconv import _backend, _threads, _window
from cyconv import functional as F


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
                patience = time.monotonic() + 30  # on a busy machine the other thread is slow to wake
                while not ran.is_set() and time.monotonic() < patience:
                    kernel(*arguments)
                assert ran.is_set(), name
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        go.set()
        other.join()
