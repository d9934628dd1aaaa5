"""Workspace is bounded whatever the batch, and a failure to get it is a MemoryError."""

import sys

import numpy as np
import pytest
from helpers import VARIANTS, needs_compiled, run_python

from cyconv import _backend, _window
from cyconv import functional as F

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads and sets Linux's limits")

# VmHWM is the peak of resident memory; it is set back to what is in use by writing 5 to clear_refs.
PEAK = """
import sys
import numpy as np
import cyconv
from cyconv import functional as F

def status(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))

def peak(call, *arrays):
    call(*(array[:2, :8] for array in arrays))  # libraries and their buffers are there from the first call on
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    result = call(*arrays)
    return status("VmHWM") - before - sum(array.nbytes for array in result) / 2**20

cyconv.set_num_threads(2)
x, g = np.ones((12, 64, 56, 56), np.float32), np.ones((12, 64, 56, 56), np.float32)
w = np.ones((64, 64, 3, 3), np.float32)  # full columns would be 86 MiB
for call, *arrays in (
    (lambda x: (F.conv2d(x, w[:, : x.shape[1]], padding=1),), x),
    (lambda g, x: F.conv2d_backward(g, x, w[: g.shape[1], : x.shape[1]], padding=1), g, x),
    (lambda x: F.max_pool2d(x, 3, 2, return_indices=True), x),
    (lambda x: (F.avg_pool2d(x, 3, 2),), x),
):
    print(peak(call, *arrays))
"""


# Large arrays go back to the system when they are freed, so that they are not counted twice.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "2"}


@linux
@pytest.mark.parametrize("variant", list(VARIANTS)[:: max(1, len(VARIANTS) - 1)])  # NumPy, the best
def test_peak_of_a_batch(variant):
    """8 MiB for each of two threads; NumPy holds some pieces of 4 MiB: a block, its columns, a product."""
    name, level = VARIANTS[variant]
    process = run_python(PEAK, CYCONV_BACKEND=name, CYCONV_LEVEL=level or "", **ALLOCATOR)
    peaks = [float(line) for line in process.stdout.split()]
    assert len(peaks) == 4
    assert max(peaks) < 2 * 8, peaks


@pytest.mark.parametrize("backward", [False, True])
def test_workspace(backend, backward):
    """Bytes for each thread, as summaries report them: at most 8 MiB however large the images and the batch."""
    for N, C_in, C_out, size, kernel in (
        (1, 3, 64, 224, 3), (64, 64, 128, 112, 3), (128, 512, 512, 14, 3), (1, 512, 4096, 7, 7),
        (256, 2048, 1000, 1, 1), (1000, 3, 96, 227, 11), (10**6, 1, 1, 1, 1), (0, 3, 4, 5, 3),
    ):  # fmt: skip
        window = _window.parse("test", (size, size), kernel, 1, 0, 1)
        out = size - kernel + 1
        weight = np.empty((C_out, C_in, kernel, kernel), np.float32)
        workspace = _backend.kernels.conv2d_workspace(
            (N, C_in, size, size), (N, C_out, out, out), weight, window, 1, backward
        )
        assert 0 <= workspace <= 8 * 2**20


LIMITED = """
import resource
import numpy as np
import cyconv
from cyconv import _threads, functional as F

libraries = _threads.blas_controllers()
for library in libraries:
    library.set_num_threads(2)
x, w = np.ones((16, 64, 40, 40), np.float32), np.ones((64, 64, 3, 3), np.float32)
out = np.zeros((16, 64, 38, 38), np.float32)
F.conv2d(x[:1], w, out=out[:1])  # everything is loaded
cyconv.set_num_threads(64)  # so that workspace is large
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**20, resource.RLIM_INFINITY))
try:
    F.conv2d(x, w, out=out)
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*{library.get_num_threads() for library in libraries})
cyconv.set_num_threads(2)
F.conv2d(x, w, out=out)
print(abs(out - 576).max() < 0.01)  # Winograd's filtering rounds
"""


@linux
@needs_compiled
def test_no_memory_for_workspace():
    """MemoryError; BLAS has its threads back, and the next call works."""
    error, threads, works = run_python(LIMITED, CYCONV_BACKEND="cython").stdout.splitlines()
    assert error == "cyconv: the workspace could not be allocated"
    assert (threads, works) == ("2", "True")


@pytest.mark.large
def test_more_than_2_31_elements(backend):
    """Offsets past 2**31: 8 GiB of pixels, made of padding, then pooled away again."""
    pad, size = 23171, 46343
    input, weight = np.full((1, 1, 1, 1), 3, np.float32), np.full((1, 1, 1, 1), 2, np.float32)
    output = F.conv2d(input, weight, np.ones(1, np.float32), padding=pad)
    assert output.shape == (1, 1, size, size)
    assert output.size > 2**31
    assert output[0, 0, pad, pad] == 7
    output[0, 0, pad, pad] = 1
    assert output.min() == output.max() == 1
    output[0, 0, -1, -2] = 5
    pooled, indices = F.max_pool2d(output, 64, ceil_mode=True, return_indices=True)
    assert pooled.shape == (1, 1, 725, 725)
    assert pooled[0, 0, -1, -1] == pooled.sum() - pooled.size + 1 == 5
    assert indices[0, 0, -1, -1] == size * size - 2
    del output
    grad_input = F.max_pool2d_backward(pooled, indices, (1, 1, size, size))
    assert grad_input[0, 0, -1, -2] == 5
    assert np.count_nonzero(grad_input) == pooled.size


GROWTH = """
import numpy as np
from cyconv import functional as F

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) // 1024

rng = np.random.default_rng(0)
calls = []
for channels, groups, kernel in ((32, 1, 3), (32, 32, 3), (32, 1, 2)):  # Winograd, depthwise, columns
    x, w = rng.standard_normal((2, channels, 30, 30)), rng.standard_normal((32, channels // groups, kernel, kernel))
    grad_output = np.ones_like(F.conv2d(x, w, groups=groups))
    calls.append(lambda x=x, w=w, g=groups: F.conv2d(x, w, groups=g))
    calls.append(lambda x=x, w=w, g=groups, d=grad_output: F.conv2d_backward(d, x, w, groups=g))
for call in calls:
    call()
before = resident()
for _ in range(100):
    for call in calls:
        call()
print(resident() - before)
"""


@linux
def test_no_growth(backend):
    """Workspace is given back: 600 calls, each of which takes a megabyte or more, grow by less than 20 MiB."""
    assert int(run_python(GROWTH, CYCONV_BACKEND="cython" if backend != "numpy" else "numpy").stdout) < 20
