"""Chooses the kernel module, once, at import: compiled (at the best level of the CPU) or NumPy.

``CYCONV_BACKEND=auto|cython|numpy`` chooses, ``CYCONV_LEVEL=base|v3|v4`` forces a level. "auto" falls
back to NumPy only where nothing is compiled; kernels that are present but broken raise.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from types import ModuleType

from . import _blas, _reference

NAMES = ("auto", "cython", "numpy")
LEVELS = ("base", "v3", "v4")  # x86-64, x86-64-v3 (AVX2, FMA), x86-64-v4 (AVX-512); elsewhere base alone

kernels = _reference
name = "numpy"
level: str | None = None


def cpu() -> ModuleType:
    """The compiled module that knows the CPU."""
    from ._kernels import cpu

    return cpu


def compiled_levels() -> list[str]:
    """The levels whose kernels are installed and run on this CPU, lowest first."""
    if importlib.util.find_spec("cyconv._kernels.cpu") is None:
        return []
    return [
        level
        for level in LEVELS[: LEVELS.index(cpu().level()) + 1]
        if importlib.util.find_spec(f"cyconv._kernels.kernels_{level}") is not None
    ]


def use(backend: str, wanted_level: str | None = None) -> ModuleType:
    """Switch to a backend for all later calls of this process, and return its kernel module.

    Parameters
    ----------
    backend : {"auto", "cython", "numpy"}
    wanted_level : {"base", "v3", "v4"}, optional
        Instruction-set level of the compiled kernels; the best that the CPU runs where not given.

    Raises
    ------
    ValueError
        An unknown name, or a level that is not compiled or not supported by the CPU.
    ImportError
        "cython" without compiled kernels, or compiled kernels that do not load.
    """
    global kernels, name, level
    if backend not in NAMES:
        raise ValueError(
            f"cyconv: the backend (CYCONV_BACKEND) must be one of {', '.join(NAMES)}, got {backend!r}"
        )
    levels = [] if backend == "numpy" else compiled_levels()
    if backend == "cython" and not levels:
        raise ImportError(
            "cyconv: the backend cython was asked for but this installation has no compiled kernels; "
            "install a binary wheel, or build with a C compiler and CYCONV_REQUIRE_EXTENSIONS=1"
        )
    if backend == "auto" and not levels:
        warnings.warn(
            "cyconv: no compiled kernels are installed, so the slower NumPy backend is in use "
            "(CYCONV_BACKEND=numpy silences this)",
            RuntimeWarning,
            stacklevel=2,
        )
    if levels:
        if wanted_level is not None and wanted_level not in levels:
            raise ValueError(
                f"cyconv: the level (CYCONV_LEVEL) must be one of {', '.join(levels)} here, got {wanted_level!r}"
            )
        best = wanted_level or levels[-1]
        # the kernels import scipy.linalg, which loads SciPy's BLAS
        loaded, library = "scipy.linalg" in sys.modules, _blas.bundled_openblas()
        with _blas.core(_blas.wanted_core(cpu().level(), cpu().vendor(), os.environ, loaded, library)):
            kernels = importlib.import_module(f"cyconv._kernels.kernels_{best}")
        name, level = "cython", best
    else:
        kernels, name, level = _reference, "numpy", None
    return kernels


use(os.environ.get("CYCONV_BACKEND", "auto") or "auto", os.environ.get("CYCONV_LEVEL") or None)
