"""Which kernels are chosen: CYCONV_BACKEND, CYCONV_LEVEL, what is installed, and what is broken.

Copies of the package with stand-ins for its compiled modules show every case on any machine.
"""

import importlib.machinery
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import LEVELS, needs_compiled, run_python

import cyconv
from cyconv import _backend
from cyconv import functional as F

# What is in use, and the modules of kernels that were loaded for it.
REPORT = """
import sys
import cyconv
from cyconv import _backend as b
loaded = [name for name in sys.modules if name.startswith("cyconv._kernels.kernels")]
print(cyconv.backend, b.level, b.kernels.__name__, *loaded)
"""

# The same in each of some environments, in one process: the package is imported anew for each.
EACH = """
import contextlib, io, json, os, sys, traceback
report, *environments = json.loads(sys.argv[1])
for environment in environments:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cyconv"]:
        del sys.modules[name]
    os.environ.update(environment)
    status, printed, errors = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            exec(report)
        except Exception:
            status = 1
            traceback.print_exc()
    for name in environment:
        del os.environ[name]
    print(json.dumps((status, printed.getvalue(), errors.getvalue())))
"""


def report(backend, kernels, level=None):
    """What REPORT prints where that is in use."""
    kernels = f"cyconv.{kernels}"
    return f"{backend} {level} {kernels}" + (f" {kernels}" if backend == "cython" else "")


NUMPY = report("numpy", "_reference")
CYTHON = {level: report("cython", f"_kernels.kernels_{level}", level) for level in _backend.LEVELS}

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
        binaries = shutil.ignore_patterns("*.so", "*.pyd")
        shutil.copytree(Path(cyconv.__file__).parent, directory / "cyconv", ignore=binaries)

    def add(self, name, code=""):
        """A module that stands for a compiled one."""
        (self.kernels / f"{name}.py").write_text(code, encoding="utf-8")

    def add_levels(self, cpu, *levels):
        self.add("cpu", f"def level(): return {cpu!r}\ndef vendor(): return 'AuthenticAMD'")
        for level in levels:
            self.add(f"kernels_{level}")

    def run(self, **environment):
        """(status, printed, errors, their last line) of REPORT in a process of its own."""
        process = run_python(REPORT, check=False, PYTHONPATH=str(self.directory), **environment)
        return outcome(process.returncode, process.stdout, process.stderr)

    def run_each(self, *environments):
        """The same for each of these dicts of variables, in one process."""
        process = run_python(EACH, json.dumps([REPORT, *environments]), PYTHONPATH=str(self.directory))
        return [outcome(*json.loads(line)) for line in process.stdout.splitlines()]


def outcome(status, printed, errors):
    return status, printed.strip(), errors.strip(), (errors.strip().splitlines() or [""])[-1]


@pytest.fixture
def installation(tmp_path):
    return Installation(tmp_path)


# ---------------------------------------------------------------- nothing compiled


def test_auto_falls_back_with_one_warning(installation):
    status, printed, errors, _ = installation.run()
    assert (status, printed) == (0, NUMPY)
    assert errors.count("Warning") == 1
    assert SLOWER in errors


def test_nothing_compiled(installation):
    backends = ("auto", "", "numpy", "cython", "Cython", "torch")
    results = installation.run_each(*({"CYCONV_BACKEND": backend, "CYCONV_LEVEL": ""} for backend in backends))
    for status, printed, errors, _ in results[:2]:
        assert (status, printed) == (0, NUMPY)
        assert SLOWER in errors
    assert results[2][:3] == (0, NUMPY, "")  # silent
    status, _, _, error = results[3]
    assert status == 1
    assert error.startswith(f"ImportError: {NOT_COMPILED}")
    for backend, (status, _, _, error) in zip(backends[4:], results[4:], strict=True):
        names = f"auto, cython, numpy, got {backend!r}"
        assert (status, error) == (1, f"ValueError: cyconv: the backend (CYCONV_BACKEND) must be one of {names}")


# ---------------------------------------------------------------- levels


def test_the_best_level_of_the_cpu(installation):
    """v4 is installed, but this CPU stops at v3: it is not taken, and not to be had by name."""
    installation.add_levels("v3", "base", "v3")
    installation.add("kernels_v4", "raise SystemError('illegal instruction')")
    *results, v4, v5 = installation.run_each(
        {"CYCONV_BACKEND": "auto"}, {"CYCONV_BACKEND": "cython"}, {"CYCONV_LEVEL": "v4"}, {"CYCONV_LEVEL": "v5"}
    )
    for result in results:
        assert result[:3] == (0, CYTHON["v3"], "")
    for level, (status, _, _, error) in (("v4", v4), ("v5", v5)):
        expected = f"ValueError: cyconv: the level (CYCONV_LEVEL) must be one of base, v3 here, got {level!r}"
        assert (status, error) == (1, expected)


def test_a_level_that_is_not_installed_is_passed_over(installation):
    installation.add_levels("v4", "base")
    assert installation.run()[1] == CYTHON["base"]


def test_level_is_forced(installation):
    levels = ("base", "v3", "v4")
    installation.add_levels("v4", *levels)
    results = installation.run_each(*({"CYCONV_LEVEL": level} for level in levels))
    assert [printed for _, printed, *_ in results] == [CYTHON[level] for level in levels]


# ---------------------------------------------------------------- broken


def test_broken_kernels_raise(installation):
    """They are present, so nothing falls back silently; NumPy can still be asked for."""
    installation.add_levels("base")
    installation.add("kernels_base", "raise ImportError('undefined symbol: sgemm')")
    *results, numpy = installation.run_each(*({"CYCONV_BACKEND": name} for name in ("auto", "cython", "numpy")))
    for status, printed, _, error in results:
        assert (status, printed, error) == (1, "", "ImportError: undefined symbol: sgemm")
    assert numpy[:2] == (0, NUMPY)


def test_broken_binary_raises(installation):
    installation.add_levels("base")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[-1]
    (installation.kernels / f"kernels_base{suffix}").write_bytes(b"no library")
    status, printed, _, error = installation.run()
    assert (status, printed) == (1, "")
    assert error.startswith("ImportError")


def test_broken_cpu_module_raises(installation):
    installation.add("cpu", "raise ImportError('wrong ABI')")
    installation.add("kernels_base")
    status, _, _, error = installation.run()
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
    """In processes of their own, in which no other level's kernels are loaded."""
    for level in LEVELS[:-1]:
        assert run_python(REPORT, CYCONV_LEVEL=level).stdout.strip() == CYTHON[level]
    assert run_python(REPORT).stdout.strip() == CYTHON[LEVELS[-1]]
    assert run_python(REPORT, CYCONV_BACKEND="numpy").stdout.strip() == NUMPY
