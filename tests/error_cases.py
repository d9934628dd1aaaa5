"""Calls of which one argument is wrong, each with the error's type and whole text: {name: case} in CASES."""

import inspect
import re

import numpy as np
from error_texts import HUGE, POOLED, TYPE_ERRORS, VALUE_ERRORS, G, U, V, W, X, z
from helpers import read_only
from operators import OPERATORS, operands

import cyconv
from cyconv import functional as F


def enter(context):
    with context:
        pass


# Each function with correct arguments, any of which a case replaces.
CALLS = {
    "conv2d": lambda **given: F.conv2d(X, W, **given),
    "conv2d_backward": lambda **given: F.conv2d_backward(G, X, W, **given),
    "conv_transpose2d": lambda **given: F.conv_transpose2d(X, U, **given),
    "conv_transpose2d_backward": lambda **given: F.conv_transpose2d_backward(V, X, U, **given),
    "im2col": lambda **given: F.im2col(X, **{"kernel_size": 2, **given}),
    "col2im": lambda **given: F.col2im(z(2, 16, 20), **{"output_size": (5, 6), "kernel_size": 2, **given}),
    "max_pool2d": lambda **given: F.max_pool2d(X, **{"kernel_size": 2, **given}),
    "avg_pool2d": lambda **given: F.avg_pool2d(X, **{"kernel_size": 2, **given}),
    "avg_pool2d_backward": lambda **given: F.avg_pool2d_backward(
        POOLED, X.shape, **{"kernel_size": 2, **given}
    ),
    "output_size": lambda **given: F.output_size(**{"input_size": 5, "kernel_size": 2, **given}),
    "linear_backward": lambda **given: F.linear_backward(z(5, 3), z(5, 4), z(3, 4), **given),
    "set_num_threads": lambda **given: cyconv.set_num_threads(**given),
    "num_threads": lambda **given: enter(cyconv.num_threads(**given)),
}
# Arguments that are an int or a pair, and their least value.
PAIRS = dict.fromkeys(("input_size", "output_size", "kernel_size", "stride", "dilation"), 1)
PAIRS |= {"padding": 0, "output_padding": 0}
FLAGS = ("needs_input_grad", "ceil_mode", "return_indices", "count_include_pad")


def parameters(function):
    return inspect.signature(getattr(F, function, None) or getattr(cyconv, function)).parameters


def pair_cases():
    for function, call in CALLS.items():
        for argument, least in PAIRS.items():
            if argument not in parameters(function):
                continue
            must = f"{function}: {argument} must be"
            texts = {
                least - 1: (ValueError, f"{must} at least {least}, got {least - 1}"),
                HUGE + 1: (ValueError, f"{must} at most {HUGE}, got {HUGE + 1}"),
                (1, least - 1): (ValueError, f"{must} at least {least}, got {least - 1}"),
                (1,): (ValueError, f"{must} an int or a pair (height, width), got 1 values: (1,)"),
                (1, 2, 3): (ValueError, f"{must} an int or a pair (height, width), got 3 values: (1, 2, 3)"),
                1.5: (TypeError, f"{must} an int or a pair of ints, got float (1.5)"),
                "one": (TypeError, f"{must} an int or a pair of ints, got str ('one')"),
                (1, 2.5): (TypeError, f"{must} an int, got float (2.5)"),
                True: (TypeError, f"{must} an int, got bool (True)"),
                None: (TypeError, f"{must} an int or a pair of ints, got NoneType (None)"),
            }
            if argument == "padding":
                del texts["one"]  # may be a string
            if argument == "stride" and "pool" in function:
                del texts[None]  # the kernel's size
            for value, (error, text) in texts.items():
                yield f"{function}-{argument}-{value}", (call, {argument: value}, error, text)
            array = np.array(1)
            text = f"{must} an int, got ndarray (array(1))"
            yield f"{function}-{argument}-array", (call, {argument: array}, TypeError, text)


def integer_cases():
    for function, argument, most in (
        *((function, "groups", HUGE) for function in CALLS if function.startswith("conv")),
        ("set_num_threads", "n", 1024),
        ("num_threads", "n", 1024),
    ):
        must = f"{function}: {argument} must be"
        for value, error, text in (
            (0, ValueError, f"{must} at least 1, got 0"),
            (-3, ValueError, f"{must} at least 1, got -3"),
            (most + 1, ValueError, f"{must} at most {most}, got {most + 1}"),
            (2.0, TypeError, f"{must} an int, got float (2.0)"),
            ((1, 1), TypeError, f"{must} an int, got tuple ((1, 1))"),
            (True, TypeError, f"{must} an int, got bool (True)"),
            (None, TypeError, f"{must} an int, got NoneType (None)"),
        ):
            yield f"{function}-{argument}-{value}", (CALLS[function], {argument: value}, error, text)


def flag_cases():
    for function, call in CALLS.items():
        for argument in FLAGS:
            if argument in parameters(function):
                for value in (1, None, "yes"):
                    text = f"{function}: {argument} must be True or False, got {type(value).__name__} ({value!r})"
                    yield f"{function}-{argument}-{value}", (call, {argument: value}, TypeError, text)


def padding_cases():
    for function, call in CALLS.items():
        if "padding" not in parameters(function):
            continue
        transposed = function.startswith("conv_transpose2d")
        forms = "an int, a pair (h, w) or ((top, bottom), (left, right))"
        if not transposed:
            forms = "an int, a pair (h, w), ((top, bottom), (left, right)), 'valid' or 'same'"
        for value in ("full", "same", "valid") if transposed else ("full", "SAME", ""):
            text = f"{function}: padding must be {forms}, got {value!r}"
            yield f"{function}-padding-{value!r}", (call, {"padding": value}, ValueError, text)
        must = f"{function}: padding must be"
        for value, error, text in (
            (((0, 0), (0,)), ValueError, f"{must} an int or a pair (height, width), got 1 values: (0,)"),
            (((0, -1), (0, 0)), ValueError, f"{must} at least 0, got -1"),
            (((0, 0), 0), TypeError, f"{must} an int, got tuple ((0, 0))"),
            (((0, 0), (0, "0")), TypeError, f"{must} an int, got str ('0')"),
        ):
            yield f"{function}-padding-{value}", (call, {"padding": value}, error, text)


def array_cases():
    """A list, a masked array, and every dtype that is neither float32 nor float64, for each array."""
    for function in OPERATORS:
        arrays = operands(function, np.float64)
        if function == "max_pool2d_backward":
            continue  # takes indices as well: below
        names = list(parameters(function))[: len(arrays)]
        for k, name in enumerate(names):

            def call(value, function=function, arrays=arrays, k=k):
                given = [*arrays[:k], value, *arrays[k + 1 :]]
                if function == "col2im":
                    return F.col2im(*given, (7, 6), (2, 3), (2, 1), (1, 0))
                if function == "avg_pool2d_backward":
                    return F.avg_pool2d_backward(*given, (3, 4, 7, 6), (2, 3), (2, 1), (1, 0))
                return OPERATORS[function].call(*given)

            text = f"{function}: {name} must be a NumPy array, got list; write numpy.asarray({name})"
            yield f"{function}-{name}-list", (call, {"value": [1.0]}, TypeError, text)
            text = (
                f"{function}: {name} is a masked array, whose mask would be lost; write {name}.filled(value)"
            )
            yield f"{function}-{name}-masked", (call, {"value": np.ma.array(arrays[k])}, TypeError, text)
            for dtype in ("float32", "float16", "longdouble", "complex128", "int64", "bool", "object"):
                if dtype == "float32" and len(arrays) == 1:
                    continue  # which is right
                array = np.zeros(arrays[k].shape, dtype)
                # the first array that is right says what the others must be
                wanted = "float64" if k or len(arrays) > 1 else "float32"
                odd = name
                if dtype == "float32" and k == 0:
                    wanted, odd = "float32", names[1]
                dtypes = ", ".join(f"{n} is {array.dtype if n == name else 'float64'}" for n in names)
                text = (
                    f"{function}: all arrays must be float32 or all float64, but {dtypes}; "
                    f"write {odd}.astype(numpy.{wanted})"
                )
                yield f"{function}-{name}-{dtype}", (call, {"value": array}, TypeError, text)


def out_cases():
    for function, call, shape in (
        ("conv2d", lambda out: F.conv2d(X, W, out=out), (2, 6, 4, 4)),
        ("conv2d", lambda out: F.conv2d(X[0], W, out=out), (6, 4, 4)),
        ("conv_transpose2d", lambda out: F.conv_transpose2d(X, U, out=out), (2, 3, 6, 8)),
        ("max_pool2d", lambda out: F.max_pool2d(X, 2, out=out), (2, 4, 2, 3)),
        ("avg_pool2d", lambda out: F.avg_pool2d(X, 2, out=out), (2, 4, 2, 3)),
    ):
        for value, error, text in (
            ([], TypeError, "must be a NumPy array, got list"),
            (np.ma.zeros(shape), TypeError, "must be a NumPy array, got MaskedArray"),
            (z(*shape, dtype=np.float32), TypeError, "must have dtype float64, got float32"),
            (z(*shape, dtype=np.int64), TypeError, "must have dtype float64, got int64"),
            (z(*shape[:-1], 1), ValueError, f"must have shape {shape}, got {(*shape[:-1], 1)}"),
            (z(1, *shape), ValueError, f"must have shape {shape}, got {(1, *shape)}"),
            (read_only(z(*shape)), ValueError, "is read-only"),
        ):
            name = f"{function}-{len(shape)}d-out {text}"
            yield name, (call, {"out": value}, error, f"{function}: out {text}")


def text_cases():
    for error, table in ((ValueError, VALUE_ERRORS), (TypeError, TYPE_ERRORS)):
        for text, call in table.items():
            yield text, (call, {}, error, text)


CASES = {
    re.sub(r"[^ -~]", "?", name): case
    for generate in (array_cases, pair_cases, integer_cases, flag_cases, padding_cases, out_cases, text_cases)
    for name, case in generate()
}
