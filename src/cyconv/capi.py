"""cyconv's kernels for C and Cython: where the header is, and the table of functions behind it.

Programs call `get_include` when they are built. `table` is called by ``cyconv_import()`` of the header, in a
module that was compiled against it; see docs/abi.md.
"""

import os

from . import _backend, _config

__all__ = ["get_include", "table"]

ABI = 1  # CYCONV_ABI of the header: raised with every change of it
OLDEST_ABI = 1  # modules compiled against headers from this one on still run


def get_include() -> str:
    """Folder of ``cyconv/capi.h``, for the `include_dirs` of an extension that calls cyconv's kernels.

    Returns
    -------
    str
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def table(abi: int) -> object:
    """Capsule of the functions at the instruction-set level in use.

    Parameters
    ----------
    abi : int
        Version of the header that the caller was compiled against.

    Raises
    ------
    ImportError
        A version that this cyconv does not serve, or no compiled kernels in use.
    """
    if not OLDEST_ABI <= abi <= ABI:
        remedy = (
            "upgrade cyconv"
            if abi > ABI
            else "compile the module again, against this cyconv, or install an older cyconv"
        )
        raise ImportError(
            f"cyconv: this module was compiled against version {abi} of cyconv's C interface, but cyconv "
            f"{_config.package_version('cyconv')} serves versions {OLDEST_ABI} to {ABI}; {remedy}"
        )
    functions: object = _backend.kernels.c_table
    if functions is None:
        raise ImportError(
            f"cyconv: this module calls cyconv's compiled kernels, but the backend in use is {_backend.name}; "
            "install a binary wheel of cyconv, and leave CYCONV_BACKEND unset or at auto"
        )
    return functions
