"""How something is computed: algorithm and why, products, tiles, memory, threads, time predicted and measured."""

import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from . import _backend, _checks, _config, _threads, functional
from ._types import Algorithm, AnyArray, Plan, Shape
from .functional import convolution
from .layers import Conv2d, ConvTranspose2d, Layer, Linear
from .summary import bytes_text, named_leaves

__all__ = ["Explanation", "Step", "explain"]

FUNCTIONS = ("conv2d", "conv_transpose2d", "linear", "max_pool2d", "avg_pool2d", "relu", "im2col")
LEAST_CALLS, SECONDS = 3, 0.05  # of a measurement

NOTHING = Plan(
    algorithm="",
    cycles={},
    gemm=None,
    products=0,
    tiles=0,
    tasks=0,
    threads=0,
    shared=0,
    workspace=0,
)

Call: TypeAlias = functools.partial[Any]  # of a function that lacks its input alone


class Step(NamedTuple):
    """One pass of one layer, as the backend in use computes it.

    Attributes
    ----------
    name : str
        The layer's key in the model, such as "0" or "3.1".
    layer : str
        Its type, or the function's name.
    step : {"forward", "grad_input", "grad_weight"}
    input_shape, output_shape : tuple of int
        Of the forward pass.
    algorithm : str
        "im2col", "implicit", "direct", "winograd" or "depthwise" of a convolution; "gemm" or "dots" where its window
        is the whole image, and of a fully connected layer; "" of others, which go through their input once.
    reason : str
        Why that one.
    cycles : dict of str to float
        What the cost model gives for each algorithm that applies: products of vectors on one core.
    gemm : (int, int, int) or None
        m, n and k of the largest product, (m, k) times (k, n); where taps in the padding are left out, with all taps.
    products, tiles, tasks, threads : int
        Products of matrices; pieces that the images are cut into; pieces of work, and threads that share them.
    workspace_bytes : int
        Memory beside input and output, of all threads.
    predicted : float or None
        Seconds: the cost model's number, divided by the measured speed of one core and by the threads.
    measured : float or None
        Seconds: the least of several calls.
    """

    name: str
    layer: str
    step: str
    input_shape: Shape
    output_shape: Shape
    algorithm: str
    reason: str
    cycles: dict[str, float]
    gemm: tuple[int, int, int] | None
    products: int
    tiles: int
    tasks: int
    threads: int
    workspace_bytes: int
    predicted: float | None
    measured: float | None

    def __str__(self) -> str:
        predicted, measured = _time_text(self.predicted), _time_text(self.measured)
        lines = [f"  {self.step:<11}  {self.algorithm:<9}  predicted {predicted:>8}  measured {measured:>8}"]
        lines += [f"    {self.reason}"] if self.reason else []
        parts = [f"{self.products:,} x (m, n, k) = {self.gemm}"] if self.gemm else []
        parts += [f"tiles {self.tiles:,}"] if self.tiles else []
        parts += [f"tasks {self.tasks:,}, threads {self.threads}"] if self.tasks else []
        parts += [f"workspace {bytes_text(self.workspace_bytes)}"] if self.workspace_bytes else []
        return "\n".join(lines + ([f"    {', '.join(parts)}"] if parts else []))


class Explanation(NamedTuple):
    """The steps of a layer, a network or a call; its text is for people.

    Attributes
    ----------
    backend : str
        Backend, instruction-set level, threads, and what multiplies matrices.
    steps : list of Step
    """

    backend: str
    steps: list[Step]

    def __str__(self) -> str:
        lines, name = [self.backend], None
        for step in self.steps:
            if step.name != name:
                lines.append(f"{step.name} {step.layer}  {step.input_shape} -> {step.output_shape}")
            name = step.name
            lines.append(str(step))
        return "\n".join(lines)


class _Leaf(NamedTuple):
    """A call on an input of one shape and dtype, with the name of what it computes."""

    name: str
    layer: str
    call: Call
    input_shape: Shape
    dtype: np.dtype[Any]


class _Pass(NamedTuple):
    """One step of a leaf: what kernels plan, and the call that does it."""

    step: str
    output_shape: Shape
    plan: Plan
    reason: str
    run: Callable[[], Any]


def explain(layer_or_call: Layer | Call, input_shape: Shape, *, measure: bool = True) -> Explanation:
    """How the backend in use computes a layer, a network or a call, and how long that takes.

    Parameters
    ----------
    layer_or_call : Layer or functools.partial
        A layer; a `Sequential` is explained layer by layer. Or a function of `cyconv.functional` with all
        arguments but its input, by name: ``functools.partial(functional.conv2d, weight=weight, stride=2)``.
    input_shape : tuple of int
        Shape of the input: (N, C, H, W), (C, H, W), (N, features) or (features,).
    measure : bool
        Measure the time too, with random numbers.

    Returns
    -------
    Explanation
        A text (``print(explain(...))``), and its ``steps`` as data.

    Raises
    ------
    TypeError, ValueError
        Not a layer and not such a call, or a shape that it can't take.

    Examples
    --------
    >>> from cyconv import Conv2d, explain
    >>> [step.step for step in explain(Conv2d(64, 64, 3, padding=1), (1, 64, 56, 56)).steps]
    ['forward', 'grad_input', 'grad_weight']
    """
    functions = [getattr(functional, name) for name in FUNCTIONS]
    _checks.explained("explain", layer_or_call, Layer, functions)
    shape = _checks.array_shape("explain", "input_shape", input_shape, (1, 2, 3, 4))
    measure = _checks.flag("explain", "measure", measure)
    steps = []
    for leaf in _leaves(layer_or_call, shape):
        for p in _passes(leaf):
            steps.append(_step(leaf, p, _measured(p.run) if measure else None))
    return Explanation(_backend_text(), steps)


def _leaves(layer_or_call: Layer | Call, shape: Shape) -> Iterator[_Leaf]:
    """The layers one after another, each with the shape that it is given; or the call."""
    if isinstance(layer_or_call, functools.partial):
        arrays = [value for value in layer_or_call.keywords.values() if isinstance(value, np.ndarray)]
        dtype = arrays[0].dtype if arrays else np.dtype(np.float32)
        yield _Leaf("0", layer_or_call.func.__name__, layer_or_call, shape, dtype)
        return
    batch = shape[: len(shape) % 2 == 0]  # (N, C, H, W) and (N, features) have one
    volume = shape[len(batch) :]
    model_dtype = next((array.dtype for array in layer_or_call.params.values()), np.dtype(np.float32))
    for name, layer in named_leaves(layer_or_call, ""):
        dtype = next((array.dtype for array in layer.params.values()), model_dtype)
        yield _Leaf(name, type(layer).__name__, _call_of(layer), (*batch, *volume), dtype)
        volume = layer.output_shape(volume)


def _call_of(layer: Layer) -> Call:
    """What a layer computes, as a call."""
    arguments: dict[str, Any] = dict(layer.params)
    if isinstance(layer, Linear):
        return functools.partial(functional.linear, **arguments)
    if isinstance(layer, (Conv2d, ConvTranspose2d)):
        names = ("stride", "padding", "output_padding", "dilation", "groups")
        arguments |= {name: getattr(layer, name) for name in names if hasattr(layer, name)}
        function = functional.conv2d if isinstance(layer, Conv2d) else functional.conv_transpose2d
        return functools.partial(function, **arguments)
    return functools.partial(_in_eval_mode, layer)


def _in_eval_mode(layer: Layer, input: AnyArray) -> AnyArray:
    training, layer.training = layer.training, False
    try:
        return layer.forward(input)
    finally:
        layer.training = training


def _passes(leaf: _Leaf) -> Iterator[_Pass]:
    if leaf.call.func in (functional.conv2d, functional.conv_transpose2d):
        yield from _convolution(leaf)
    elif leaf.call.func is functional.linear:
        yield from _fully_connected(leaf)
    else:
        input = _random(leaf.input_shape, leaf.dtype)
        output = leaf.call(input)
        output = output[0] if isinstance(output, tuple) else output
        yield _Pass("forward", output.shape, NOTHING, "", functools.partial(leaf.call, input))


def _convolution(leaf: _Leaf) -> Iterator[_Pass]:
    """Forward and both gradients. A transposed convolution is the gradient of another: its passes are that one's."""
    name, kernels, arguments = leaf.call.func.__name__, _backend.kernels, _arguments(leaf)
    transposed = leaf.call.func is functional.conv_transpose2d
    algorithm: Algorithm = arguments.get("algorithm", "auto")
    bias = arguments.pop("bias")
    weight, bias = _checks.arrays(name, weight=arguments.pop("weight"), bias=bias)
    shapes = leaf.input_shape, weight.shape, None if bias is None else bias.shape
    if transposed:
        window, groups, shape = convolution.transposed_geometry(
            name, *shapes, *convolution.transposed_options(name, **arguments)
        )
        x_shape, y_shape = shape, (1, *leaf.input_shape)[-4:]
    else:
        window, groups, shape = convolution.geometry(
            name, *shapes, algorithm, *convolution.options(name, **arguments)
        )
        x_shape, y_shape = (1, *leaf.input_shape)[-4:], shape
    x, w, y = (_random(s, weight.dtype) for s in (x_shape, weight.shape, y_shape))
    geometry = (window, groups, algorithm)
    runs = {
        "forward": functools.partial(kernels.conv2d_forward, x, w, None, *geometry, False, y),
        "input": functools.partial(kernels.conv2d_backward_input, y, w, *geometry, x),
        "weight": functools.partial(kernels.conv2d_backward_weight, y, x, *geometry, w),
    }
    order = ("input", "forward", "weight") if transposed else ("forward", "input", "weight")
    for step, which in zip(("forward", "grad_input", "grad_weight"), order, strict=True):
        plan = kernels.conv2d_plan(x_shape, y_shape, weight.itemsize, *geometry, which)
        yield _Pass(step, shape[4 - len(leaf.input_shape) :], plan, _reason(plan, algorithm), runs[which])


def _arguments(leaf: _Leaf) -> dict[str, Any]:
    """The call's arguments by name, defaults too, without input and out; Python's TypeError for wrong ones."""
    bound = inspect.signature(leaf.call.func).bind(None, **leaf.call.keywords)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name not in ("input", "out")}


def _reason(plan: Plan, asked: str) -> str:
    own, cycles = plan["algorithm"], plan["cycles"]
    if not cycles:
        return "the NumPy backend has one way"
    others = sorted((cost / cycles[own], name) for name, cost in cycles.items() if name != own)
    listed = ", ".join(f"{name} {ratio:.2f}" for ratio, name in others)
    if asked != "auto":
        why = f"algorithm={asked!r}"
    elif own in ("gemm", "dots"):
        why = "the window is the whole image: one product of matrices"
    elif own == "depthwise":
        why = "a filter sees one channel: no product of matrices"
    else:
        why = "least of the cost model" if others else "the only one that applies"
    return f"{why}; by the cost model others take, times as much: {listed}" if others else why


def _fully_connected(leaf: _Leaf) -> Iterator[_Pass]:
    arguments, kernels, dtype = _arguments(leaf), _backend.kernels, leaf.dtype
    weight, bias = _checks.arrays("linear", **arguments)
    _checks.linear_shapes("linear", np.empty((0, leaf.input_shape[-1]), dtype), weight, bias)
    M, C = weight.shape
    N = math.prod(leaf.input_shape[:-1])
    x, w, y = (_random(s, dtype) for s in ((N, C), (M, C), (N, M)))
    for step, a, transpose_a, b, transpose_b, output in (
        ("forward", x, False, w, True, y),
        ("grad_input", y, False, w, False, x),
        ("grad_weight", y, True, x, False, w),
    ):
        m, n = output.shape
        plan = kernels.matmul_plan(m, n, a.shape[0 if transpose_a else 1], transpose_a, transpose_b, dtype.itemsize)
        reason = "few rows or columns: packing a matrix would not pay" if plan["algorithm"] == "dots" else ""
        run = functools.partial(kernels.matmul, a, transpose_a, b, transpose_b, None, False, output)
        yield _Pass(step, (*leaf.input_shape[:-1], M), plan, reason, run)


def _step(leaf: _Leaf, p: _Pass, measured: float | None) -> Step:
    plan, predicted = p.plan, None
    if plan["algorithm"] in plan["cycles"]:
        speed = _speed(_backend.name, _backend.level, leaf.dtype)
        predicted = plan["cycles"][plan["algorithm"]] / speed / plan["threads"]
    return Step(
        leaf.name,
        leaf.layer,
        p.step,
        leaf.input_shape,
        p.output_shape,
        plan["algorithm"],
        p.reason,
        plan["cycles"],
        plan["gemm"],
        plan["products"],
        plan["tiles"],
        plan["tasks"],
        plan["threads"],
        plan["shared"] + plan["threads"] * plan["workspace"],
        predicted,
        measured,
    )


@functools.lru_cache
def _speed(backend: str, level: str | None, dtype: np.dtype[Any]) -> float:
    """Products of vectors that one core makes in a second: a product of matrices in the cache, measured once."""
    m, n, k = 192, 240, 256
    plan = _backend.kernels.matmul_plan(m, n, k, False, False, dtype.itemsize)
    a, b, output = _random((m, k), dtype), _random((k, n), dtype), np.empty((m, n), dtype)
    with _threads.num_threads(1):
        run = functools.partial(_backend.kernels.matmul, a, False, b, False, None, False, output)
        return plan["cycles"][plan["algorithm"]] / _measured(run)


def _measured(run: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls."""
    least, total, calls = math.inf, 0.0, 0
    while calls < LEAST_CALLS or total < SECONDS:
        start = time.perf_counter()
        run()
        elapsed = time.perf_counter() - start
        least, total, calls = min(least, elapsed), total + elapsed, calls + 1
    return least


def _random(shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
    return np.random.default_rng(0).standard_normal(shape, dtype=dtype.type)


def _backend_text() -> str:
    if _backend.name == "numpy":
        return "backend numpy: products by NumPy's own BLAS, on its threads"
    gemm = "cyconv's own micro-kernel"
    if not _backend.kernels.OWN_GEMM:
        gemm = ", ".join(_config.blas_text(library.info()) for library in _threads.blas_controllers())
    return f"backend cython, level {_backend.level}, threads {_threads.get_num_threads()}; products by {gemm}"


def _time_text(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    unit, size = next((u for u in (("s", 1.0), ("ms", 1e-3)) if seconds >= u[1]), ("us", 1e-6))
    return f"{seconds / size:.3g} {unit}"
