"""Workspace is bounded whatever the batch, and a failure to get it is a MemoryError."""

import sys

import pytest
from helpers import COMPILED_OR_NUMPY, LEVELS, environment_of, run_python

from cyconv import _backend, _window

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
def test_peak_of_a_batch():
    """8 MiB for each of two threads; NumPy holds some pieces of 4 MiB: a block, its columns, a product."""
    process = run_python(PEAK, **environment_of(COMPILED_OR_NUMPY[-1]), **ALLOCATOR)
    peaks = [float(line) for line in process.stdout.split()]
    assert len(peaks) == 4
    assert max(peaks) < 2 * 8, peaks


@pytest.mark.parametrize("which", ["forward", "input", "weight"])
def test_workspace(backend, which):
    """Bytes for one thread, as summaries report them: at most 8 MiB however large the images and the batch."""
    for N, C_in, C_out, H, W, kernel, stride, *dilation in (
        (1, 3, 64, 224, 224, 3, 1), (64, 64, 128, 112, 112, 3, 1), (128, 512, 512, 14, 14, 3, 1),
        (1, 512, 4096, 7, 7, 7, 1), (256, 2048, 1000, 1, 1, 1, 1), (1000, 3, 96, 227, 227, 11, 4),
        (10**6, 1, 1, 1, 1, 1, 1), (0, 3, 4, 5, 5, 3, 1), (1, 64, 64, 8, 40_000, 3, 1), (1, 64, 64, 8, 40_000, 3, 2),
        (1, 64, 64, 8, 10**6, (1, 9), 1), (1, 300, 200, 20, 9_000, 7, 2), (64, 512, 512, 28, 28, 8, 4),
        (1000, 64, 4096, 17, 17, 1, 2), (512, 8, 4096, 7, 7, 2, 1), (4, 768, 768, 17, 17, (1, 7), 1),
        (8, 3000, 512, 14, 14, 3, 1), (8, 2048, 512, 14, 14, 3, 1), (336, 32, 512, 10, 10, 3, 2),
        (8, 64, 16, 56, 56, 8, 4), (1, 1000, 16, 28, 28, 3, 1), (336, 2048, 64, 4, 4, 3, 1),
        (32, 300, 384, 56, 56, 3, 1), (1, 4, 8, 4100, 4100, 5, 1, 1000), (2, 3, 8, 9000, 9000, (2, 9), 1, 1100),
        (32, 512, 2048, 7, 7, 1, 1), (4, 1024, 1024, 14, 14, 1, 1), (32, 2048, 512, 7, 7, 1, 1),
        (200, 144, 534, 196, 38, 1, 3), (64, 59, 896, 16, 32, 1, 1), (200, 2, 826, 12, 32, 7, 1),
    ):  # fmt: skip
        if W > 1000 and _backend.name == "numpy":
            continue  # its pieces are whole rows of outputs
        window = _window.parse("test", (H, W), kernel, stride, 0, *(dilation or [1]))
        for algorithm in ("auto", "columns", "implicit", "direct"):
            assert 0 <= workspace((N, C_in, H, W), C_out, window, 1, algorithm, which) <= 8 * 2**20


@pytest.mark.parametrize("which", ["forward", "input", "weight"])
def test_workspace_of_depthwise(backend, which):
    """The lines of large kernels are many rows, and so are those of dilated ones."""
    for C, H, W, kernel, dilation in (
        (16, 200, 40_000, 64, 1), (1, 600, 60_000, (512, 8), 1), (2, 700, 20_000, (64, 4), 8), (40, 56, 56, 31, 1),
    ):  # fmt: skip
        if W > 1000 and _backend.name == "numpy":
            continue
        window = _window.parse("test", (H, W), kernel, 1, 0, dilation)
        assert 0 <= workspace((1, C, H, W), C, window, C, "auto", which) <= 8 * 2**20


def workspace(shape, C_out, window, groups, algorithm, which):
    """Bytes that one thread has, with what all share."""
    output = (shape[0], C_out, *window.output_size(*shape[2:]))
    plan = _backend.kernels.conv2d_plan(shape, output, 4, window, groups, algorithm, which)
    assert plan["shared"] >= 0 and plan["workspace"] >= 0
    return plan["shared"] + plan["workspace"]


LIMITED = """
import resource
import numpy as np
import cyconv
from cyconv import _backend, _threads, _window, functional as F

libraries = _threads.blas_controllers()
for library in libraries:
    library.set_num_threads(2)
kernels, window = _backend.kernels, _window.parse("test", (40, 40), 3, 1, 0, 1)
x, w, y = np.ones((16, 64, 40, 40), "f"), np.ones((64, 64, 3, 3), "f"), np.zeros((16, 64, 38, 38), "f")
x[...], w[...], y[...] = 1, 1, 0  # there are pages for them
out, gradient = y.copy(), x.copy()
ALGORITHMS = "columns", "implicit", "direct", "winograd"
wide, narrow, row = np.ones((1, 64, 3, 2**14), "f"), np.ones((64, 1, 3, 3), "f"), np.ones((1, 64, 1, 2**14 - 2), "f")
calls = [
    *(lambda a=a: kernels.conv2d_forward(x, w, None, window, 1, a, False, out) for a in ALGORITHMS),
    *(lambda a=a: kernels.conv2d_backward_input(y, w, window, 1, a, gradient) for a in ALGORITHMS),
    *(lambda a=a: kernels.conv2d_backward_weight(y, x, window, 1, a, w) for a in ALGORITHMS),
    lambda: kernels.conv2d_forward(wide, narrow, None, window, 64, "auto", False, row),  # depthwise
    lambda: kernels.conv2d_backward_input(row, narrow, window, 64, "auto", wide),
    lambda: kernels.conv2d_backward_weight(row, wide, window, 64, "auto", narrow),
]

cyconv.set_num_threads(64)  # so that workspace is large
F.max_pool2d(x, 2)  # OpenMP has its threads: libgomp ends a process that can't have them
F.conv2d(x[:1, :1, :4, :4], w[:1, :1])  # everything is loaded; a small workspace is kept

def limit(call):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**19, resource.RLIM_INFINITY))
    try:
        call()
    except MemoryError as error:
        print(error)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

for call in calls:
    limit(call)
limit(lambda: F.conv2d(x, w))  # the result has no room
assert {library.get_num_threads() for library in libraries} <= {2}
cyconv.set_num_threads(2)
w[...] = 1
assert abs(F.conv2d(x, w) - 576).max() < 0.01  # Winograd's filtering rounds
"""


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_no_memory(level):
    """MemoryError from every kernel with workspace; BLAS has its threads back, and the next call works."""
    errors = run_python(LIMITED, CYCONV_BACKEND="cython", CYCONV_LEVEL=level, **ALLOCATOR).stdout
    errors = errors.splitlines()
    assert len(errors) == 16, errors
    for error in errors[:-1]:
        assert error == "cyconv: the workspace could not be allocated"
    assert errors[-1].startswith("Unable to allocate")  # NumPy's


GROWTH = """
import gc, sys
import numpy as np
import cyconv
from cyconv import functional as F

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

# calls that take a megabyte or more
rng = np.random.default_rng(0)
calls = []
for groups, kernel in ((1, (3, 3)), (32, (3, 3)), (1, (2, 3))):  # Winograd, depthwise, columns
    x, w = rng.standard_normal((2, 32, 30, 30)), rng.standard_normal((32, 32 // groups, *kernel))
    grad_output = np.ones_like(F.conv2d(x, w, groups=groups))
    calls.append(lambda x=x, w=w, g=groups: F.conv2d(x, w, groups=g))
    calls.append(lambda x=x, w=w, g=groups, d=grad_output: F.conv2d_backward(d, x, w, groups=g))
for call in calls:
    call()
before = resident()
for _ in range(40):
    for call in calls:
        call()
print(resident() - before)

# ten thousand small calls of every function
def rejected():
    for arguments in ((x, w[:, :1]), (x, None), (x[0, 0], w), (x, w, None, -1)):
        try:
            F.conv2d(*arguments)
        except (TypeError, ValueError):
            continue
        raise AssertionError

x, w, u, a = np.ones((2, 4, 9, 8)), np.ones((6, 4, 3, 3)), np.ones((4, 1, 3, 3)), np.ones((20, 30))
y = F.conv2d(x, w)
pooled, indices = F.max_pool2d(x, 2, return_indices=True)
columns = F.im2col(x, 3)
layer = cyconv.Conv2d(4, 3, 3, dtype=np.float64)
calls = [
    lambda: F.conv2d(x, w, np.ones(6)), lambda: F.conv2d(x.astype("f"), w.astype("f")),
    lambda: F.conv2d(x, u, groups=4), lambda: F.conv2d(x, w, algorithm="winograd"), lambda: F.conv2d_backward(y, x, w),
    lambda: F.conv2d_backward(F.conv2d(x, u, groups=4), x, u, groups=4), lambda: F.conv_transpose2d(y, w),
    lambda: F.max_pool2d(x, 2, return_indices=True), lambda: F.max_pool2d_backward(pooled, indices, x.shape),
    lambda: F.avg_pool2d_backward(F.avg_pool2d(x, 2), x.shape, 2), lambda: F.col2im(F.im2col(x, 3), (9, 8), 3),
    lambda: F.linear_backward(F.linear(a, a), a, a), lambda: F.relu_backward(F.relu(x), x),
    lambda: F.convolve(a, a[:3, :3]), lambda: layer.backward(layer(x)), rejected,
]

def many(times):
    for _ in range(times):
        for call in calls:
            with cyconv.num_threads(2):
                call()
    gc.collect()
    # the cache of attributes keeps the names that threadpoolctl makes anew for each look-up, up to 4096 of them
    getattr(sys, "_clear_internal_caches", getattr(sys, "_clear_type_cache", int))()
    return sys.getallocatedblocks(), resident()

many(50)
blocks, memory = many(50)
later_blocks, later_memory = many(10_000 // len(calls))
print(later_blocks - blocks, later_memory - memory)
"""


@linux
@pytest.mark.parametrize("variant", COMPILED_OR_NUMPY)
def test_no_growth(variant):
    """Workspace is given back; no call of any function, refused ones among them, leaves an object or a page behind."""
    large, blocks, small = run_python(GROWTH, **environment_of(variant)).stdout.split()
    assert float(large) < 20  # MiB, after 240 calls
    assert int(blocks) < 50  # one object of one call, left behind each time, would be 625
    assert float(small) < 2  # MiB
