"""Which core SciPy's OpenBLAS is loaded with: when cyconv chooses it, and that nothing else sees the choice."""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import LEVELS, needs_compiled, run_python, using

from cyconv import _backend, _blas, _config

LIBRARY = Path("scipy.libs/libscipy_openblas-0.so")
ZEN_5 = {"level": "v4", "vendor": "AuthenticAMD", "environ": {}, "loaded": False, "library": LIBRARY}

# ---------------------------------------------------------------- the decision


def test_avx512_that_openblas_does_not_know():
    assert _blas.wanted_core(**ZEN_5) == "SkylakeX"
    assert _blas.wanted_core(**ZEN_5 | {"environ": {"OPENBLAS_NUM_THREADS": "1"}}) == "SkylakeX"


@pytest.mark.parametrize(
    "change",
    [
        {"level": "base"},  # also every other architecture
        {"level": "v3"},
        {"vendor": "GenuineIntel"},  # which OpenBLAS knows
        {"environ": {"OPENBLAS_CORETYPE": "Haswell"}},
        {"environ": {"OPENBLAS_CORETYPE": ""}},
        {"loaded": True},
        {"library": None},  # a BLAS that is not SciPy's own
    ],
    ids=str,
)
def test_anything_else_is_left_alone(change):
    assert _blas.wanted_core(**ZEN_5 | change) is None


def test_bundled_openblas(monkeypatch, tmp_path):
    class Spec:
        origin = str(tmp_path / "scipy" / "__init__.py")

    monkeypatch.setattr(_blas.importlib.util, "find_spec", lambda name: Spec)
    assert _blas.bundled_openblas() is None  # built against a shared BLAS
    for name in ("libgfortran-1.so", "libscipy_openblas-2.so"):
        (tmp_path / "scipy.libs").mkdir(exist_ok=True)
        (tmp_path / "scipy.libs" / name).touch()
    assert _blas.bundled_openblas() == tmp_path / "scipy.libs" / "libscipy_openblas-2.so"
    (tmp_path / "scipy.libs" / "libscipy_openblas-2.so").unlink()
    (tmp_path / "scipy" / ".dylibs").mkdir(parents=True)
    (tmp_path / "scipy" / ".dylibs" / "libscipy_openblas.dylib").touch()
    assert _blas.bundled_openblas() == tmp_path / "scipy" / ".dylibs" / "libscipy_openblas.dylib"
    monkeypatch.setattr(_blas.importlib.util, "find_spec", lambda name: None)
    assert _blas.bundled_openblas() is None


def test_the_variable_is_restored(monkeypatch):
    monkeypatch.delenv(_blas.VARIABLE, raising=False)
    with pytest.raises(ZeroDivisionError), _blas.core("SkylakeX"):
        assert _blas.os.environ[_blas.VARIABLE] == "SkylakeX"
        _ = 1 / 0
    assert _blas.VARIABLE not in _blas.os.environ
    monkeypatch.setenv(_blas.VARIABLE, "Zen")
    with _blas.core(None):
        assert _blas.os.environ[_blas.VARIABLE] == "Zen"
    assert _blas.os.environ[_blas.VARIABLE] == "Zen"


@needs_compiled
@pytest.mark.parametrize(
    ("level", "vendor", "core"),
    [("v4", "AuthenticAMD", "SkylakeX"), ("v3", "AuthenticAMD", None), ("v4", "GenuineIntel", None)],
)
def test_the_decision_is_about_this_cpu(monkeypatch, level, vendor, core):
    """`_backend.use` asks with what the CPU says of itself, and loads the kernels with the answer."""
    cores = []
    monkeypatch.setattr(_backend, "cpu", lambda: SimpleNamespace(level=lambda: level, vendor=lambda: vendor))
    monkeypatch.setattr(_blas, "bundled_openblas", lambda: LIBRARY)
    monkeypatch.setattr(_blas, "core", lambda name: contextlib.nullcontext(cores.append(name)))
    monkeypatch.delitem(sys.modules, "scipy.linalg", raising=False)
    monkeypatch.delenv(_blas.VARIABLE, raising=False)
    with using(LEVELS[0]):
        cores.clear()
        _backend.use("cython", LEVELS[0])
        assert cores == [core]


# ---------------------------------------------------------------- a whole import

# The CPU is said to be another; `seen` is the variable while scipy.linalg is being loaded, and after.
# No product is computed: this CPU may lack what the core needs.
IMPORT = """
import importlib.abc, os, subprocess, sys
from cyconv_cpu import level, vendor  # stand-ins
seen = []

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "scipy.linalg":
            seen.append(os.environ.get("OPENBLAS_CORETYPE"))

sys.meta_path.insert(0, Watch())
{before}
import numpy
import cyconv
from cyconv import _threads
child = "import os; print(os.environ.get('OPENBLAS_CORETYPE'))"
after = os.environ.get("OPENBLAS_CORETYPE")
printed = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip()
cores = [library.info().get("architecture") for library in _threads.blas_controllers()]
print(*seen, after, printed, *cores)
cyconv.show_config()
"""


def imported(tmp_path, before="", **environment):
    """([variable at the load, after it, in a child, the core in use], the text of `cyconv info`)."""
    (tmp_path / "cyconv_cpu.py").write_text(
        "import sys\n"
        "def level(): return 'v4'\n"
        "def vendor(): return 'AuthenticAMD'\n"
        "sys.modules['cyconv._kernels.cpu'] = sys.modules[__name__]\n",
        encoding="utf-8",
    )
    path = [str(tmp_path), str(Path(_backend.__file__).parents[1])]
    process = run_python(
        IMPORT.replace("{before}", before),
        PYTHONPATH=_blas.os.pathsep.join(path),
        CYCONV_LEVEL=LEVELS[0],
        **environment,
    )
    first, _, text = process.stdout.partition("\n")
    return first.split(), text


scipys_own = pytest.mark.skipif(
    not LEVELS or _blas.bundled_openblas() is None or sys.platform == "win32",
    reason="SciPy's BLAS is not OpenBLAS of its own",
)


@scipys_own
def test_the_core_is_chosen_for_the_load_alone(tmp_path):
    words, text = imported(tmp_path)
    assert words == ["SkylakeX", "None", "None", "SkylakeX"]
    assert "core SkylakeX" in text
    assert "warning" not in text


@scipys_own
def test_a_users_core_is_respected(tmp_path):
    words, text = imported(tmp_path, OPENBLAS_CORETYPE="Haswell")
    assert words == ["Haswell", "Haswell", "Haswell", "Haswell"]
    assert "core Haswell" in text
    assert "warning" not in text  # it was asked for


@scipys_own
def test_too_late(tmp_path):
    """scipy.linalg came first: nothing is set, and `cyconv info` says what to do."""
    if _backend.cpu().level() == "v4" and _backend.cpu().vendor() == "GenuineIntel":
        pytest.skip("OpenBLAS knows this CPU")
    words, text = imported(tmp_path, before="import scipy.linalg")
    assert words[:3] == ["None", "None", "None"]
    if words[3].upper() not in _config.WIDE_CORES:
        assert (
            f"warning: BLAS runs its {words[3]} core though this CPU has AVX-512: import cyconv before scipy, "
            "or start Python with OPENBLAS_CORETYPE=SkylakeX"
        ) in text


@needs_compiled
def test_the_vendor_is_a_name():
    name = _backend.cpu().vendor()
    assert len(name) in (0, 12)
    assert name.isprintable()
    assert name or LEVELS == ["base"]
