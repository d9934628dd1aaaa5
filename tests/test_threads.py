"""How many threads kernels use: for the process, for one block of code, and by default."""

import os
import threading

import numpy as np
import pytest
from helpers import needs_compiled, run_python

import cyconv
from cyconv import _threads

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
