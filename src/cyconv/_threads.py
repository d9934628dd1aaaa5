"""How many threads the kernels use, and single-threaded BLAS while they run.

One OpenMP team calls single-threaded BLAS: a multithreaded BLAS inside or between OpenMP regions
spins against the team. The process's own OpenMP settings are never touched.
"""

import os
import threading
import warnings

from . import _checks

forked = False  # a child of fork: libgomp's team did not survive, so kernels stay on one thread


def _cgroup_cores():
    """CPU quota of this process's control group in cores (v2, then v1); infinite where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read().strip()
        except OSError:
            return float("inf")
    if quota in ("max", "-1"):
        return float("inf")
    return int(quota) / int(period)


def default_num_threads():
    """CYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the cores that affinity and control group allow."""
    for variable in ("CYCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _cgroup_cores())))


num_threads = default_num_threads()


def set_num_threads(n):
    """Set how many threads the compiled kernels may use in this process.

    Parameters
    ----------
    n : int
        At least 1. Results have the same bits for any number.

    Raises
    ------
    TypeError, ValueError
        Not an int, or less than 1.

    Warns
    -----
    RuntimeWarning
        More than one in a child of fork, where the kernels stay on one thread.
    """
    global num_threads
    n = _checks.integer("set_num_threads", "n", n, 1, 1024)
    if forked and n > 1:
        warnings.warn(
            f"set_num_threads: a child of fork stays on one thread, {n} were asked for; start it by spawn instead",
            RuntimeWarning,
            stacklevel=2,
        )
        n = 1
    num_threads = n


def get_num_threads():
    """Number of threads that the compiled kernels may use in this process."""
    return num_threads


def _after_fork():
    global num_threads, forked, _lock, _users
    num_threads, forked = 1, True
    _lock = threading.Lock()
    if _users:  # another thread was inside a kernel, and is not in this process
        _users = 0
        _restore_blas()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ---------------------------------------------------------------- BLAS

_lock = threading.Lock()
_users = 0
_restore = ()
_controllers = None


def blas_controllers():
    """threadpoolctl's controllers of the BLAS that SciPy calls; built once (milliseconds), on first use."""
    global _controllers
    if _controllers is None:
        import scipy.linalg
        import threadpoolctl

        folder = os.path.dirname(os.path.dirname(scipy.linalg.__file__))
        libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
        # wheels carry a BLAS of SciPy's own (scipy.libs, scipy/.dylibs); elsewhere it is a shared one
        _controllers = [lib for lib in libraries if lib.filepath.startswith(folder)] or libraries
    return _controllers


def _set_blas(lib, threads):
    # newer threadpoolctl lets one thread alone set OpenBLAS and ignores all others, until it is
    # released; kernels run in any thread, and take their turns under _lock
    release = getattr(lib, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    lib.set_num_threads(threads)
    if release is not None:
        release(force=True)


def _restore_blas():
    for lib, threads in _restore:
        if threads != 1:
            _set_blas(lib, threads)


class SingleThreadedBlas:
    """Context in which BLAS runs on one thread; nested and concurrent uses restore it after the last."""

    def __enter__(self):
        global _users, _restore
        with _lock:
            if _users == 0:
                _restore = [(lib, lib.get_num_threads()) for lib in blas_controllers()]
                for lib, threads in _restore:
                    if threads != 1:
                        _set_blas(lib, 1)
            _users += 1

    def __exit__(self, *exception):
        global _users
        with _lock:
            _users -= 1
            if _users == 0:
                _restore_blas()


single_threaded_blas = SingleThreadedBlas()
