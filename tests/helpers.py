"""What test modules share: every backend in turn, processes, exact arrays, layouts."""

import contextlib
import functools
import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

from cyconv import _backend

# ---------------------------------------------------------------- backends

# The levels that this CPU runs; none where only the NumPy backend is asked for, or nothing is compiled.
LEVELS = [] if os.environ.get("CYCONV_BACKEND") == "numpy" else _backend.compiled_levels()
VARIANTS = {"numpy": ("numpy", None), **{level: ("cython", level) for level in LEVELS}}

# What is tested in processes of its own, which take long: NumPy only where it is all that is tested.
COMPILED_OR_NUMPY = LEVELS or ["numpy"]

needs_compiled = pytest.mark.skipif(not LEVELS, reason="no compiled kernels, or CYCONV_BACKEND=numpy")


@contextlib.contextmanager
def using(variant):
    """The backend and level called `variant` inside, what was in use before afterwards."""
    before = _backend.name, _backend.level
    switch_to(VARIANTS[variant])
    try:
        yield
    finally:
        switch_to(before)


_modules = {}


def switch_to(wanted):
    """`_backend.use`, which looks for modules and libraries each time, but once: later the module that it gave."""
    if wanted not in _modules:
        _modules[wanted] = _backend.use(*wanted)
    _backend.kernels = _modules[wanted]
    _backend.name, _backend.level = wanted


def everywhere(call):
    """{variant: tuple of what `call()` returns there}."""
    results = {}
    for variant in VARIANTS:
        with using(variant):
            results[variant] = as_tuple(call())
    return results


def environment_of(variant):
    """The variables that choose a variant."""
    name, level = VARIANTS[variant]
    return {"CYCONV_BACKEND": name, "CYCONV_LEVEL": level or ""}


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def assert_same(result, expected, where=""):
    """Equal shapes, dtypes and values (NaN is NaN), of an array or of each of a tuple."""
    for k, (a, b) in enumerate(zip(as_tuple(result), as_tuple(expected), strict=True)):
        if a is None or b is None:
            assert a is b, where
            continue
        assert (a.shape, a.dtype) == (b.shape, b.dtype), where
        if a.tobytes() != b.tobytes():  # the same bytes are the usual case, and soon compared
            np.testing.assert_array_equal(a, b, err_msg=f"{where}[{k}]")


def assert_agree(call):
    """`call()` gives the same under every compiled level as under NumPy; returns that."""
    results = everywhere(call)
    for variant in results:
        assert_same(results[variant], results["numpy"], variant)
    return results["numpy"]


def run_python(code, *arguments, check=True, **environment):
    """Run `code` in a new Python with the given variables, and no other switch of cyconv: the process."""
    return run_command(["-c", code, *arguments], check, **environment)


def run_command(arguments, check=True, **environment):
    """A new Python with these arguments and variables, and no other switch of cyconv: the process."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CYCONV_", "OMP_", "OPENBLAS_", "MKL_"))
    }
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=100,  # a hang is a failure
    )
    assert not check or process.returncode == 0, process.stdout + process.stderr
    return process


# ---------------------------------------------------------------- arrays

DTYPES = (np.float32, np.float64)
# Whole numbers up to these, so that sums of up to 2**16 products are exact in any order: results are
# compared bit by bit, without a tolerance. In float64 they are too large for float32 to hold.
LARGEST = {np.float32: 4, np.float64: 2**17}


def drawn_once(draw):
    """Copies of the array that `draw` gave for the same arguments a moment ago: to draw takes longer."""
    remembered = functools.lru_cache(maxsize=16)(draw)

    @functools.wraps(draw)
    def copied(shape, dtype=np.float64, seed=0):
        return remembered(tuple(shape), dtype, seed).copy()

    return copied


@drawn_once
def whole(shape, dtype=np.float64, seed=0):
    """Random whole numbers, whose sums of products are exact in any order."""
    largest = LARGEST[dtype]
    return np.random.default_rng((seed, *shape)).integers(-largest, largest + 1, shape).astype(dtype)


@drawn_once
def real(shape, dtype=np.float64, seed=0):
    """Random numbers from the normal distribution."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def eps(dtype):
    return float(np.finfo(dtype).eps)


def spiky(shape, dtype=np.float64, seed=0):
    """-1, 0 and 1, so that windows have ties; NaN, -inf often enough to fill a window, inf."""
    rng = np.random.default_rng((seed, *shape))
    array = rng.integers(-1, 2, shape).astype(dtype)
    place = rng.random(shape)
    array[place < 0.4] = -np.inf
    array[place > 0.9] = np.nan
    array[(place > 0.86) & (place < 0.9)] = np.inf
    return array


def cases(names, table):
    """Parametrise over a dict of named cases."""
    return pytest.mark.parametrize(names, list(table.values()), ids=list(table))


def dtypes(test):
    """Run the test for each dtype in turn: as one test, because pytest's work for a test is that of many calls."""

    @functools.wraps(test)
    def for_each(**arguments):
        for dtype in DTYPES:
            try:
                test(dtype=dtype, **arguments)
            except BaseException as error:
                error.add_note(f"with dtype {dtype.__name__}")
                raise

    signature = inspect.signature(test)  # the fixtures that pytest is to give
    rest = [parameter for name, parameter in signature.parameters.items() if name != "dtype"]
    for_each.__signature__ = signature.replace(parameters=rest)
    return for_each


# Layouts of an array that are not what a kernel takes; each gives an array of equal values.


def strided(array):
    """Every second element of a larger array along every axis, the last one backwards."""
    large = np.zeros([2 * size for size in array.shape], array.dtype)
    view = large[tuple(slice(None, None, 2) for _ in array.shape)][..., ::-1]
    view[...] = array
    return view


def misaligned(array):
    """One byte off its alignment."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = buffer.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


class Subclass(np.ndarray):
    pass


LAYOUTS = {
    "strided": strided,
    "transposed": lambda array: np.asfortranarray(array),
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read-only": read_only,
    "subclass": lambda array: array.view(Subclass),
}
