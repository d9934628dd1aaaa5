"""What is in use: versions, backend, level, OpenMP, threads, BLAS. The text of ``cyconv info``."""

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _backend, _blas, _threads

# Cores of OpenBLAS that use AVX-512.
WIDE_CORES = ("SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")


def package_version(package: str) -> str:
    """The installed version of a package. What reads it is imported here, since that takes as long as all of cyconv."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown (not installed)"


def config_text() -> str:
    """A line for each fact, for reports of problems."""
    lines = [
        ("cyconv", package_version("cyconv")),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("numpy", np.__version__),
        ("backend", _backend.name),
    ]
    warnings = []
    if _backend.name == "cython":
        levels = _backend.compiled_levels()
        lines += [
            ("scipy", package_version("scipy")),
            ("level", f"{_backend.level} (runs here: {', '.join(levels)})"),
            ("openmp", "yes" if _backend.kernels.OPENMP else "no: the kernels run on one thread"),
            ("threads", _threads_text()),
        ]
        for library in _threads.blas_controllers():
            info = library.info()
            core = info.get("architecture") or "unknown"
            lines.append(("blas", f"{blas_text(info)}, {info['filepath']}"))
            if _narrow(info, core):
                warnings.append(
                    f"BLAS runs its {core} core though this CPU has AVX-512: import cyconv before scipy, or start "
                    f"Python with {_blas.VARIABLE}={_blas.WIDE_CORE}"
                )
    else:
        lines.append(("threads", "those of NumPy's own BLAS"))
    text = [f"{name:<8} {value}" for name, value in lines]
    return "\n".join(text + [f"warning: {warning}" for warning in warnings])


def blas_text(info: Mapping[str, Any]) -> str:
    """Name, version and core of a BLAS, from what threadpoolctl knows of it."""
    return f"{info['internal_api']} {info['version']}, core {info.get('architecture') or 'unknown'}"


def _narrow(info: Mapping[str, Any], core: str) -> bool:
    """Whether OpenBLAS leaves half of the CPU's vectors idle, and nobody asked it to."""
    return (
        _backend.cpu().level() == "v4"
        and info["internal_api"] == "openblas"
        and core.upper() not in WIDE_CORES
        and _blas.VARIABLE not in os.environ
    )


def _threads_text() -> str:
    note = (
        " (a child of fork: one thread, because OpenMP's team does not survive a fork)"
        if _threads.forked
        else ""
    )
    return f"{_threads.get_num_threads()}{note}"


def show_config() -> None:
    """Print versions, backend, instruction-set level, OpenMP, threads and BLAS in use."""
    sys.stdout.write(config_text() + "\n")
