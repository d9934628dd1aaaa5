"""A caller of the C interface by ctypes, as a compiled module calls it: without the GIL."""

import ctypes
import re
from pathlib import Path

import numpy as np

import cyconv
from cyconv import _window, capi

HEADER = Path(cyconv.get_include(), "cyconv", "capi.h").read_text(encoding="utf-8")
STATUS = re.findall(r"CYCONV_\w+", re.search(r"enum cyconv_status \{(.*?)\}", HEADER, re.DOTALL)[1])
SIZES = ["N", "C_in", "H_in", "W_in", "C_out", "groups", *_window.Window._fields]
FUNCTIONS = [
    "conv2d_forward",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "max_pool2d_forward",
    "max_pool2d_backward",
    "im2col",
    "col2im",
]
ALGORITHMS = {"auto": 0, "im2col": 1, "winograd": 2}


class Geometry(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_ssize_t) for name in SIZES),
        ("algorithm", ctypes.c_int),
        ("ceil_mode", ctypes.c_int),
        ("threads", ctypes.c_int),
    )


def geometry(image, window, C_out=1, groups=1, **other):
    """The struct of `image` (N, C, H, W) under a `Window`."""
    sizes = dict(zip(("N", "C_in", "H_in", "W_in"), image, strict=True), C_out=C_out, groups=groups)
    return Geometry(**{"size": ctypes.sizeof(Geometry), "threads": 1, **sizes, **window._asdict(), **other})


class Table:
    """The functions behind the capsule of the level in use."""

    def __init__(self):
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        address = get(capi.table(capi.ABI), b"cyconv.capi")
        names = [f"{name}_{real}" for real in ("float32", "float64") for name in FUNCTIONS]
        slots = (ctypes.c_void_p * (2 + len(names))).from_address(address)
        self._message = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)(slots[0])
        self._functions = dict(zip(["output_size", *names], slots[1:], strict=True))

    def message(self, status):
        return self._message(status).decode()

    def output_size(self, g):
        sizes = ctypes.c_ssize_t(), ctypes.c_ssize_t()
        function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(self._functions["output_size"])
        return function(ctypes.byref(g), *map(ctypes.byref, sizes)), tuple(size.value for size in sizes)

    def call(self, name, dtype, g, *arrays):
        """The status of a function; it is called without the GIL."""
        function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * (1 + len(arrays)))
        pointers = [None if array is None else array.ctypes.data for array in arrays]
        status = function(self._functions[f"{name}_{np.dtype(dtype).name}"])(
            None if g is None else ctypes.byref(g), *pointers
        )
        return STATUS[status]
