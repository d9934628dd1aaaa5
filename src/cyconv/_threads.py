"""How many threads the kernels use, and single-threaded BLAS while they run.

One OpenMP team calls single-threaded BLAS: a multithreaded BLAS inside or between OpenMP regions
spins against the team. The process's own OpenMP settings are never touched.
"""

import contextlib
import contextvars
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from . import _checks

forked = False  # a child of fork: libgomp's team did not survive, so kernels stay on one thread

CGROUP = "/sys/fs/cgroup"


def _read(path: str) -> list[str]:
    """The words of a small file; none where it can't be read."""
    try:
        with open(path) as file:
            return file.read().split()
    except (OSError, ValueError):
        return []


def _cgroup_cores() -> float:
    """CPU quota of this process in cores: the least of its control group and those around it; inf for none.

    ``/proc/self/cgroup`` names the group in each hierarchy: ``0::/a/b`` in version 2, whose quota is in
    ``/sys/fs/cgroup/a/b/cpu.max``, ``4:cpu,cpuacct:/a/b`` in version 1 (cgroups(7)).
    """
    cores = float("inf")
    # in a container the path may be that of the host, and the root of the mount the container's own group
    for line in ["0::/", "0:cpu:/", *_read("/proc/self/cgroup")]:
        _, controllers, path = line.split(":", 2) if line.count(":") > 1 else ("", "none", "")
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part]
        if ".." in parts:  # outside this namespace
            continue
        for depth in range(len(parts) + 1):
            cores = min(cores, _quota("/".join(parts[:depth]), version_2=not controllers))
    return cores


def _quota(group: str, version_2: bool) -> float:
    """Quota of one control group in cores: microseconds of CPU time in each period / the period."""
    if version_2:
        words = _read(os.path.join(CGROUP, group, "cpu.max"))
    else:
        words = _read(os.path.join(CGROUP, "cpu", group, "cpu.cfs_quota_us"))
        words += _read(os.path.join(CGROUP, "cpu", group, "cpu.cfs_period_us"))
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):  # not "max", not -1
        return int(words[0]) / int(words[1])
    return float("inf")


def default_num_threads() -> int:
    """CYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the cores that affinity and control group allow."""
    for variable in ("CYCONV_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _cgroup_cores())))  # a fraction of a core more would be throttled


_of_process = default_num_threads()
_of_context: contextvars.ContextVar[int | None] = contextvars.ContextVar("cyconv.num_threads", default=None)


def set_num_threads(n: int) -> None:
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

    See Also
    --------
    num_threads : for one block of code, in one Python thread.
    """
    global _of_process
    _of_process = _accepted("set_num_threads", n)


def get_num_threads() -> int:
    """Number of threads that the compiled kernels may use, called from here."""
    if forked:
        return 1
    return _of_context.get() or _of_process


@contextlib.contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Context in which the compiled kernels may use `n` threads, in this Python thread (or task) alone.

    Other Python threads keep what they have: their own `num_threads`, else that of `set_num_threads`. So
    uses in several threads, however they overlap, restore what was. Inside, the number stands over
    `set_num_threads`. Uses may be nested, and an exception ends them like the end of the block.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        Not an int, or less than 1.

    Warns
    -----
    RuntimeWarning
        As `set_num_threads`.

    Examples
    --------
    >>> with num_threads(1):
    ...     get_num_threads()
    1
    """
    token = _of_context.set(_accepted("num_threads", n))
    try:
        yield
    finally:
        _of_context.reset(token)


def _accepted(function: str, n: int) -> int:
    n = _checks.integer(function, "n", n, 1, 1024)
    if forked and n > 1:
        warnings.warn(
            f"{function}: a child of fork stays on one thread, {n} were asked for; start it by spawn instead",
            RuntimeWarning,
            stacklevel=3 if function == "set_num_threads" else 4,
        )
        n = 1
    return n


def _after_fork() -> None:
    global forked, _lock, _users
    forked = True
    _lock = threading.Lock()
    if _users:  # another thread was inside a kernel, and is not in this process
        _users = 0
        _restore_blas()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# ---------------------------------------------------------------- BLAS

_lock = threading.Lock()
_users = 0
_restore: Sequence[tuple[Any, int]] = ()
_controllers: list[Any] | None = None


def blas_controllers() -> list[Any]:
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


def _set_blas(lib: Any, threads: int) -> None:
    # newer threadpoolctl lets one thread alone set OpenBLAS and ignores all others, until it is
    # released; kernels run in any thread, and take their turns under _lock
    release = getattr(lib, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)
    lib.set_num_threads(threads)
    if release is not None:
        release(force=True)


def _restore_blas() -> None:
    for lib, threads in _restore:
        if threads != 1:
            _set_blas(lib, threads)


class SingleThreadedBlas:
    """Context in which BLAS runs on one thread; nested and concurrent uses restore it after the last."""

    def __enter__(self) -> None:
        global _users, _restore
        with _lock:
            if _users == 0:
                _restore = [(lib, lib.get_num_threads()) for lib in blas_controllers()]
                try:
                    for lib, threads in _restore:
                        if threads != 1:
                            _set_blas(lib, 1)
                except BaseException:  # Ctrl-C: nobody would set it back
                    _restore_blas()
                    raise
            _users += 1

    def __exit__(self, *exception: object) -> None:
        global _users
        with _lock:
            _users -= 1
            if _users == 0:
                try:
                    _restore_blas()
                except BaseException:  # Ctrl-C, between two libraries
                    _restore_blas()
                    raise


single_threaded_blas = SingleThreadedBlas()
