"""examples/downstream, a library on the kernels: its wheel is built, installed beside cyconv, and run.

With CYCONV_WHEEL (a wheel of cyconv) the new environment has that, installed with its dependencies; otherwise it
sees the cyconv that is tested.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from helpers import LEVELS, needs_compiled

import cyconv

SOURCE = Path(__file__).parent.parent / "examples" / "downstream"
WHEEL = os.environ.get("CYCONV_WHEEL")


def missing():
    """What this machine lacks to build the wheel."""
    if not SOURCE.is_dir():
        return "examples/downstream is not here"
    if os.name != "nt" and not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
        return "no C compiler"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "no Python.h"
    needed = ("pip",) if WHEEL else ("pip", "Cython", "setuptools")
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


pytestmark = [needs_compiled, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def downstream(tmp_path_factory):
    """A function that runs code in a new environment with cyconv and the wheel of the example."""
    folder = tmp_path_factory.mktemp("downstream")
    venv.create(folder / "env")
    python = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CYCONV_", "PYTHON"))}

    def run(*arguments, check=True, python=python, **environment):
        process = subprocess.run(
            [python, *arguments], cwd=folder, env={**clean, **environment}, capture_output=True, text=True
        )
        assert not check or process.returncode == 0, process.stdout + process.stderr
        return process

    def pip(*arguments):
        run("-m", "pip", "--disable-pip-version-check", "--python", python, *arguments, python=sys.executable)

    if WHEEL:
        pip("install", WHEEL, "cython>=3.1", "setuptools>=77")
    else:  # the packages of this process, as if they were installed there too
        site = run("-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").stdout.strip()
        paths = [str(Path(cyconv.__file__).parent.parent), *(path for path in sys.path if path.endswith("-packages"))]
        Path(site, "tested.pth").write_text("\n".join(paths))
    shutil.copytree(SOURCE, folder / "source")
    clean["CFLAGS"] = "-O0"  # the compiler of POSIX has less to do; the kernels are those of cyconv
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", "wheels", "./source")
    (wheel,) = (folder / "wheels").glob("filterbank-*.whl")
    pip("install", "--no-index", "--no-deps", str(wheel))
    return run


NUMBERS = """
import cyconv, filterbank, numpy as np
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    for kernel in ((3, 3), (4, 5), (1, 1)):
        filters = rng.standard_normal((9, *kernel)).astype(dtype)
        images = [rng.standard_normal(size).astype(dtype) for size in rng.integers(5, 90, (40, 2))]
        for threads in (1, 2, 5):
            found = filterbank.strongest(images, filters, threads)
            for image, values in zip(images, found, strict=True):
                expected = cyconv.functional.conv2d(image[None], filters[:, None]).max(axis=(1, 2))
                assert values.tobytes() == expected.tobytes()
assert filterbank.strongest([], filters).shape == (0, 9)
try:
    filterbank.strongest([np.ones((9, 9)), np.ones((2, 9))], np.ones((1, 3, 3)))
except ValueError as error:
    print(error)
print(filterbank.__file__, cyconv._backend.level)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_numbers(downstream, level):
    """Those of the functional API, bit by bit, from any number of threads; a status becomes its error."""
    error, facts = downstream("-c", NUMBERS, CYCONV_LEVEL=level).stdout.strip().splitlines()
    assert error == "image 1, 2x9: cyconv: the kernel does not fit the padded image; increase padding"
    assert "env" in Path(facts.split()[0]).parts
    assert facts.split()[1] == level


def test_other_version(downstream):
    """A cyconv that is too old for the header: an ImportError that says so, not a crash."""
    code = "import cyconv.capi as c; c.ABI, c.OLDEST_ABI = 0, 0; import filterbank"
    error = downstream("-c", code, check=False).stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: cyconv: this module was compiled against version 1 of cyconv's C interface")
    assert error.endswith("serves versions 0 to 0; upgrade cyconv")


def test_numpy_backend(downstream):
    error = downstream("-c", "import filterbank", check=False, CYCONV_BACKEND="numpy").stderr
    assert error.strip().splitlines()[-1].startswith("ImportError: cyconv: this module calls cyconv's compiled kernels")
