"""What a measurement depends on besides the code: processor, memory, versions, BLAS, allocator."""

import ctypes
import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import threadpoolctl

PACKAGES = ("cyconv", "numpy", "scipy", "torch", "onnxruntime", "openvino")


def describe():
    """The machine as a dict for the JSON file; nothing in it names a user, a host or a path."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "caches": caches(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(),
        "blas": blas(),
        "cyconv": cyconv_build(),
    }


def cpu_model():
    """Name of the processor; family and model number too, because virtual machines hide the name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    return name


def usable_cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def caches():
    """Sizes of the first core's caches, as ``{"L1d": "32K", "L2": "1024K", ...}``."""
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = (index / "type").read_text().strip()
        name = "L" + (index / "level").read_text().strip() + {"Data": "d", "Instruction": "i"}.get(kind, "")
        found[name] = (index / "size").read_text().strip()
    return found


def versions():
    """Versions of the contestants that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def blas():
    """The BLAS libraries loaded, with the core whose kernels they run."""
    keys = ("prefix", "version", "architecture", "num_threads")
    return [
        {key: library.get(key) for key in keys}
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]


def cyconv_build():
    """Version and best instruction-set level of the cyconv under test; empty where there is none."""
    try:
        import cyconv._backend
    except ImportError:
        return {}
    levels = cyconv._backend.compiled_levels()
    return {"version": getattr(cyconv, "__version__", "?"), "level": levels[-1] if levels else None}


def keep_pages():
    """Tell glibc's allocator to keep freed memory; True where that is possible.

    A freed array of many megabytes goes back to the system, and its successor is made of fresh pages,
    which cost more than many convolutions: PyTorch's own 3x3 layer on (32, 64, 56, 56) took 86 ms with
    fresh pages and 39 ms with kept ones. Kept pages measure the kernels, and are the better case for
    every contestant that returns a new array.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    return bool(mallopt(mmap_max, 0)) and bool(mallopt(trim_threshold, -1))
