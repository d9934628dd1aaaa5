"""Which core SciPy's OpenBLAS runs. It is chosen once, from OPENBLAS_CORETYPE, as the library is loaded.

OpenBLAS knows Intel's CPUs with AVX-512, but takes newer ones of others (Zen 5, until its version 0.3.34)
for Haswell, whose products take twice the time.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
WIDE_CORE = "SkylakeX"  # needs AVX-512 F, CD, BW, DQ and VL: level v4


def bundled_openblas() -> Path | None:
    """Path of the OpenBLAS that SciPy's wheel carries; None where SciPy uses another BLAS, or is absent."""
    spec = importlib.util.find_spec("scipy")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    folders = package.parent / "scipy.libs", package / ".dylibs"  # of auditwheel and delvewheel, of delocate
    return next((path for folder in folders for path in sorted(folder.glob("*openblas*"))), None)


def wanted_core(
    level: str, vendor: str, environ: Mapping[str, str], loaded: bool, library: Path | None
) -> str | None:
    """The core to load SciPy's BLAS with; None leaves the choice to OpenBLAS, or to the user.

    Parameters
    ----------
    level, vendor : str
        Of the CPU, as `cyconv._kernels.cpu` gives them.
    environ : mapping
        The environment.
    loaded : bool
        Whether scipy.linalg has been imported, and its BLAS with it.
    library : path or None
        As `bundled_openblas` gives it.
    """
    if level != "v4" or vendor == "GenuineIntel" or loaded or library is None or VARIABLE in environ:
        return None
    return WIDE_CORE


@contextlib.contextmanager
def core(name: str | None) -> Iterator[None]:
    """Context in which a library that is loaded takes the core `name`; None changes nothing."""
    if name is None:
        yield
        return
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)  # `wanted_core` found it unset
