"""Both backends are one module of the same functions; and what importing cyconv, or using it, loads."""

import inspect
import re

import numpy as np
import pytest
from helpers import LAYOUTS, LEVELS, VARIANTS, cases, run_python, using
from operators import OPERATORS, operands

import cyconv
from cyconv import _backend, _reference
from cyconv import functional as F

# The public signatures, as they were agreed; other people's suites are run against them.
SIGNATURES = {
    "conv2d": "(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm='auto', out=None)",
    "conv2d_backward": "(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, *, "
    "needs_input_grad=True, algorithm='auto')",
    "conv_transpose2d": "(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, "
    "out=None)",
    "conv_transpose2d_backward": "(grad_output, input, weight, stride=1, padding=0, output_padding=0, groups=1, "
    "dilation=1, *, needs_input_grad=True)",
    "max_pool2d": "(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, "
    "out=None)",
    "max_pool2d_backward": "(grad_output, indices, input_shape)",
    "avg_pool2d": "(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, *, out=None)",
    "avg_pool2d_backward": "(grad_output, input_shape, kernel_size, stride=None, padding=0, ceil_mode=False, "
    "count_include_pad=True)",
    "im2col": "(input, kernel_size, stride=1, padding=0, dilation=1)",
    "col2im": "(columns, output_size, kernel_size, stride=1, padding=0, dilation=1)",
    "linear": "(input, weight, bias=None)",
    "linear_backward": "(grad_output, input, weight, *, needs_input_grad=True)",
    "relu": "(input)",
    "relu_backward": "(grad_output, output)",
    "convolve": "(f, g, mode='full')",
    "output_size": "(input_size, kernel_size, stride=1, padding=0, dilation=1, ceil_mode=False)",
}

# What only a command, a file format or a benchmark needs.
HEAVY = ("rich", "matplotlib", "sklearn", "safetensors", "torch", "pandas", "scipy.sparse", "scipy.stats",
         "scipy.signal", "scipy.optimize", "scipy.special", "multiprocessing", "asyncio", "pytest")  # fmt: skip


def signature_of(function):
    """The signature as text, without its annotations."""
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


def functions_of(module):
    """{name: signature} of a backend's public functions."""
    return {
        name: signature_of(value)
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and f"{getattr(value, '__module__', None)}.".startswith(f"{module.__name__}.")  # or in a room of it
    }


@pytest.mark.parametrize("level", LEVELS)
def test_backends_have_the_same_functions(level):
    with using(level):
        compiled = functions_of(_backend.kernels)
    assert compiled == functions_of(_reference)
    assert {"im2col", "conv2d_forward", "max_pool2d_backward", "avg_pool2d_forward", "matmul"} <= set(
        compiled
    )


def test_functional_uses_nothing_else():
    """Every kernel that the functional API calls is in the reference."""
    used = set()
    for module in {inspect.getmodule(getattr(F, name)) for name in F.__all__}:
        used |= set(re.findall(r"_backend\.kernels\.(\w+)", inspect.getsource(module)))
    assert used <= set(functions_of(_reference))
    assert len(used) >= 9


def test_signatures():
    assert {name: signature_of(getattr(F, name)) for name in F.__all__} == SIGNATURES


def test_docstrings():
    """Shapes, result and errors of every function."""
    for name in F.__all__:
        text = getattr(F, name).__doc__
        for section in ("Parameters\n", "Returns\n", "Raises\n"):
            assert section in text, name
        for parameter in inspect.signature(getattr(F, name)).parameters:
            assert re.search(rf"\b{parameter}\b", text), (name, parameter)


def test_kernels_fill_what_they_are_given(backend):
    """Outputs are the caller's: a kernel returns None (max_pool2d_backward: a count) and fills all of it."""
    input, weight = np.ones((1, 2, 5, 6)), np.ones((3, 2, 2, 3))
    window = cyconv._window.parse("test", (5, 6), (2, 3), 1, 0, 1)
    output = np.full((1, 3, 4, 4), np.nan)
    assert _backend.kernels.conv2d_forward(input, weight, None, window, 1, "auto", False, output) is None
    assert (output == 12).all()
    indices = np.zeros((1, 2, 4, 4), np.int64)
    grad_input = np.full(input.shape, np.nan)
    assert _backend.kernels.max_pool2d_backward(np.ones(indices.shape), indices, grad_input) == 0
    assert grad_input.sum() == 32
    assert _backend.kernels.max_pool2d_backward(np.ones(indices.shape), indices + 30, grad_input) == 32


class Watched:
    """A kernel module that looks at the arrays it is given before it passes them on."""

    def __init__(self, kernels):
        self.kernels, self.calls = kernels, 0

    def __getattr__(self, name):
        def kernel(*arguments):
            for array in arguments:
                if isinstance(array, np.ndarray):
                    assert type(array) is np.ndarray
                    assert array.flags.c_contiguous
                    assert array.flags.aligned  # x86 forgives what other processors do not
                    assert array.dtype in (np.float32, np.float64, np.int64)
                    assert array.dtype.isnative
                    self.calls += 1
            return getattr(self.kernels, name)(*arguments)

        return kernel


@pytest.mark.parametrize("name", OPERATORS)
@cases("layout", LAYOUTS)
def test_kernels_see_plain_arrays(monkeypatch, name, layout):
    """C-contiguous, aligned, native, of the base class: whatever the caller passes, as input or as out."""
    watched = Watched(_reference)
    monkeypatch.setattr(_backend, "kernels", watched)
    arrays = [layout(array) for array in operands(name, np.float32)]
    result = OPERATORS[name].call(*arrays)
    if name == "conv2d" and layout is not LAYOUTS["read-only"]:
        F.conv2d(*arrays, (2, 1), (1, 0), 1, 2, out=layout(result))
    if name == "max_pool2d_backward":
        F.max_pool2d_backward(arrays[0], layout(np.zeros(arrays[0].shape, np.int64)), arrays[1].shape)
    assert watched.calls or name.startswith("relu")


# ---------------------------------------------------------------- imports

USE_EVERYTHING = """
import sys
import numpy as np
import cyconv
from cyconv import functional as F
x, w, u = np.ones((2, 4, 6, 7)), np.ones((6, 4, 2, 3)), np.ones((4, 6, 2, 3))
y = F.conv2d(x, w)
F.conv2d_backward(y, x, w)
F.conv_transpose2d_backward(F.conv_transpose2d(x, u), x, u)
p, i = F.max_pool2d(x, 2, return_indices=True)
F.max_pool2d_backward(p, i, x.shape)
F.avg_pool2d_backward(F.avg_pool2d(x, 2), x.shape, 2)
F.col2im(F.im2col(x, 2), (6, 7), 2)
F.linear_backward(F.linear(x, np.ones((3, 7))), x, np.ones((3, 7)))
F.relu_backward(F.relu(x), x)
F.convolve(x[0, 0], w[0, 0])
F.output_size(5, 2)
cyconv.set_num_threads(2)
cyconv.show_config()
print("modules:", *sys.modules)
"""


def modules_after(code, **environment):
    printed = run_python(code, **environment).stdout
    return printed.partition("modules:")[2].split()


def test_numpy_backend_needs_numpy_alone():
    modules = modules_after(USE_EVERYTHING, CYCONV_BACKEND="numpy")
    assert "cyconv._reference" in modules
    for name in modules:
        assert name.split(".")[0] not in ("scipy", "threadpoolctl", "Cython"), name
        assert not name.startswith("cyconv._kernels."), name


def test_import_is_light():
    """NumPy and scipy.linalg, and nothing that takes longer."""
    backend = "cython" if LEVELS else "numpy"
    modules = modules_after("import cyconv, sys; print('modules:', *sys.modules)", CYCONV_BACKEND=backend)
    loaded = set(modules)
    assert "numpy" in loaded
    assert "threadpoolctl" not in loaded  # building its controllers takes milliseconds: only when needed
    for name in HEAVY:
        assert name not in loaded, name


def test_kernels_of_all_levels_live_in_one_process():
    modules = set()
    for variant in VARIANTS:
        with using(variant):
            modules.add(_backend.kernels.__name__)
    assert len(modules) == len(VARIANTS)
