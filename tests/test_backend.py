"""Which kernels are chosen: CYCONV_BACKEND, CYCONV_LEVEL, what is installed, and what is broken.

Copies of the package with stand-ins for its compiled modules show every case on any machine.
"""

import importlib.machinery
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import LEVELS, needs_compiled, run_python

import cyconv
from cyconv import _backend
from cyconv import functional as F

REPORT = "import cyconv; from cyconv import _backend as b; print(cyconv.backend, b.level, b.kernels.__name__)"

NOT_COMPILED = "cyconv: the backend cython was asked for but this installation has no compiled kernels; "
SLOWER = (
    "RuntimeWarning: cyconv: no compiled kernels are installed, so the slower NumPy backend is in use "
    "(CYCONV_BACKEND=numpy silences this)"
)


class Installation:
    """A copy of the package without compiled modules, in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        self.kernels = directory / "cyconv" / "_kernels"
        binaries = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
        shutil.copytree(Path(cyconv.__file__).parent, directory / "cyconv", ignore=binaries)

    def add(self, name, code=""):
        """A module that stands for a compiled one."""
        (self.kernels / f"{name}.py").write_text(code, encoding="utf-8")

    def add_levels(self, cpu, *levels):
        self.add("cpu", f"def level(): return {cpu!r}\ndef vendor(): return 'AuthenticAMD'")
        for level in levels:
            self.add(f"kernels_{level}")

    def run(self, code=REPORT, **environment):
        """(status, printed, last line of the errors)"""
        process = run_python(code, check=False, PYTHONPATH=str(self.directory), **environment)
        errors = process.stderr.strip().splitlines()
        return process.returncode, process.stdout.strip(), errors[-1] if errors else "", process.stderr


@pytest.fixture
def installation(tmp_path):
    return Installation(tmp_path)


# ---------------------------------------------------------------- nothing compiled


def test_auto_falls_back_with_one_warning(installation):
    status, printed, _, errors = installation.run()
    assert (status, printed) == (0, "numpy None cyconv._reference")
    assert errors.count("Warning") == 1
    assert SLOWER in errors


@pytest.mark.parametrize("backend", ["auto", ""])
def test_auto_by_name(installation, backend):
    status, printed, _, errors = installation.run(CYCONV_BACKEND=backend, CYCONV_LEVEL="")
    assert (status, printed) == (0, "numpy None cyconv._reference")
    assert SLOWER in errors


def test_numpy_is_silent(installation):
    status, printed, _, errors = installation.run(CYCONV_BACKEND="numpy")
    assert (status, printed, errors) == (0, "numpy None cyconv._reference", "")


def test_cython_raises(installation):
    status, _, error, _ = installation.run(CYCONV_BACKEND="cython")
    assert status == 1
    assert error.startswith(f"ImportError: {NOT_COMPILED}")


@pytest.mark.parametrize("backend", ["Cython", "torch"])
def test_unknown_name(installation, backend):
    status, _, error, _ = installation.run(CYCONV_BACKEND=backend)
    expected = f"ValueError: cyconv: the backend (CYCONV_BACKEND) must be one of auto, cython, numpy, got {backend!r}"
    assert (status, error) == (1, expected)


# ---------------------------------------------------------------- levels


def test_the_best_level_of_the_cpu(installation):
    """v4 is installed, but this CPU stops at v3."""
    installation.add_levels("v3", "base", "v3")
    installation.add("kernels_v4", "raise SystemError('illegal instruction')")
    for backend in ("auto", "cython"):
        status, printed, _, errors = installation.run(CYCONV_BACKEND=backend)
        assert (status, printed, errors) == (0, "cython v3 cyconv._kernels.kernels_v3", "")


def test_a_level_that_is_not_installed_is_passed_over(installation):
    installation.add_levels("v4", "base")
    assert installation.run()[1] == "cython base cyconv._kernels.kernels_base"


def test_level_is_forced(installation):
    installation.add_levels("v4", "base", "v3", "v4")
    for level in ("base", "v3", "v4"):
        assert installation.run(CYCONV_LEVEL=level)[1] == f"cython {level} cyconv._kernels.kernels_{level}"


@pytest.mark.parametrize("level", ["v4", "v5"])
def test_level_past_the_cpu(installation, level):
    installation.add_levels("v3", "base", "v3", "v4")
    status, _, error, _ = installation.run(CYCONV_LEVEL=level)
    expected = f"ValueError: cyconv: the level (CYCONV_LEVEL) must be one of base, v3 here, got {level!r}"
    assert (status, error) == (1, expected)


# ---------------------------------------------------------------- broken


def test_broken_kernels_raise(installation):
    """They are present, so nothing falls back silently; NumPy can still be asked for."""
    installation.add_levels("base")
    installation.add("kernels_base", "raise ImportError('undefined symbol: sgemm')")
    for backend in ("auto", "cython"):
        status, printed, error, _ = installation.run(CYCONV_BACKEND=backend)
        assert (status, printed, error) == (1, "", "ImportError: undefined symbol: sgemm")
    assert installation.run(CYCONV_BACKEND="numpy")[0] == 0


def test_broken_binary_raises(installation):
    installation.add_levels("base")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[-1]
    (installation.kernels / f"kernels_base{suffix}").write_bytes(b"no library")
    status, printed, error, _ = installation.run()
    assert (status, printed) == (1, "")
    assert error.startswith("ImportError")


def test_broken_cpu_module_raises(installation):
    installation.add("cpu", "raise ImportError('wrong ABI')")
    installation.add("kernels_base")
    status, _, error, _ = installation.run()
    assert (status, error) == (1, "ImportError: wrong ABI")


# ---------------------------------------------------------------- this installation, in this process


@pytest.fixture
def restored():
    before = _backend.name, _backend.level
    yield
    _backend.use(*before)


def test_use_switches_later_calls(restored):
    assert _backend.use("numpy") is _backend.kernels
    assert (cyconv.backend, _backend.level, _backend.kernels.__name__) == ("numpy", None, "cyconv._reference")
    F.conv2d(np.ones((1, 3, 4)), np.ones((2, 1, 2, 2)))
    for level in LEVELS:
        assert _backend.use("cython", level) is _backend.kernels
        assert (cyconv.backend, _backend.level) == ("cython", level)
        assert _backend.kernels.__name__ == f"cyconv._kernels.kernels_{level}"
        F.conv2d(np.ones((1, 3, 4)), np.ones((2, 1, 2, 2)))


@needs_compiled
def test_use_takes_the_best_level(restored):
    for name in ("auto", "cython"):
        _backend.use(name)
        assert _backend.level == LEVELS[-1]


@pytest.mark.parametrize(
    "arguments, text", [(("cuda",), "auto, cython, numpy, got 'cuda'"), ((None,), "got None")]
)
def test_use_refuses_and_changes_nothing(restored, arguments, text):
    before = cyconv.backend, _backend.level, _backend.kernels
    with pytest.raises(ValueError, match=text):
        _backend.use(*arguments)
    assert (cyconv.backend, _backend.level, _backend.kernels) == before


@needs_compiled
def test_use_of_broken_kernels_changes_nothing(restored, monkeypatch):
    before = cyconv.backend, _backend.level, _backend.kernels

    def fail(name):
        raise ImportError(name)

    with pytest.raises(ValueError, match="must be one of base"):
        _backend.use("cython", "v9")
    levels = _backend.compiled_levels()
    monkeypatch.setattr(_backend, "compiled_levels", lambda: levels)
    monkeypatch.setattr(_backend.importlib, "import_module", fail)
    with pytest.raises(ImportError, match="kernels_base"):
        _backend.use("cython", "base")
    monkeypatch.undo()
    assert (cyconv.backend, _backend.level, _backend.kernels) == before


def test_the_module_has_no_other_lazy_attribute():
    with pytest.raises(AttributeError, match="module 'cyconv' has no attribute 'backends'"):
        _ = cyconv.backends


@needs_compiled
def test_environment_of_this_installation():
    for level in LEVELS:
        printed = run_python(REPORT, CYCONV_LEVEL=level).stdout.strip()
        assert printed == f"cython {level} cyconv._kernels.kernels_{level}"
    assert run_python(REPORT).stdout.startswith(f"cython {LEVELS[-1]} ")
    assert run_python(REPORT, CYCONV_BACKEND="numpy").stdout.startswith("numpy None ")
