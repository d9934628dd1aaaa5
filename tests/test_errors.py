"""Each input that is rejected: the type of the error and its whole text, the same from every backend.

A message names the function, the argument, what was expected, what came, and the remedy. The last
test fails where a check in cyconv._checks that the functional API uses has no case here.
"""

import ast
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
from error_cases import CALLS, CASES
from error_texts import INDICES, POOLED, B, W, X, with_indices
from helpers import VARIANTS

from cyconv import _checks
from cyconv import functional as F

FUNCTIONS = sorted({case[-1].split(":")[0] for case in CASES.values()})


@pytest.mark.parametrize(
    "backend", list(VARIANTS)[:: max(1, len(VARIANTS) - 1)], indirect=True
)  # NumPy, the best
@pytest.mark.parametrize("function", FUNCTIONS)
def test_rejected(backend, function):
    wrong = []
    for name, (call, arguments, *expected) in CASES.items():
        if expected[-1].startswith(f"{function}:"):
            try:
                call(**arguments)
                found = ["no error"]
            except Exception as error:
                found = [type(error), str(error)]
            if found != expected:
                wrong.append(f"{name}\n  expected {expected}\n  found    {found}")
    assert not wrong, "\n".join(wrong)


def test_the_correct_calls_are_accepted(backend):
    """The calls that the cases above spoil in one argument."""
    for function, call in CALLS.items():
        call(**({"n": 1} if function.endswith("num_threads") else {}))
    F.max_pool2d_backward(POOLED, with_indices(-1, 29), X.shape)


def test_kinds_that_are_accepted(backend):
    """Anything that is an integer is one, and lists are as good as tuples."""
    expected = F.conv2d(X + 1, W + 1, B, (2, 1), (1, 0), (1, 2))
    given = F.conv2d(X + 1, W + 1, B, [np.int8(2), np.uint64(1)], [1, 0], (1, np.int64(2)), np.int32(1))
    np.testing.assert_array_equal(given, expected)
    for dtype in ("int8", "uint8", "int32", "uint32", "int64", ">i8"):
        F.max_pool2d_backward(POOLED, INDICES.astype(dtype), list(X.shape))


# ---------------------------------------------------------------- completeness


def raises_of(sources, names):
    """(file's name, line) of each `raise` with a text, in the functions `names` and those that they call."""
    functions = {
        node.name: (source.name, node)
        for source in sources
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    waiting, found = [*names], set()
    while waiting:
        file, function = functions.pop(waiting.pop(), (None, None))
        for node in ast.walk(function) if function else ():
            if isinstance(node, ast.Name):
                waiting.append(node.id)
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found.add((file, node.lineno))
    return found


def test_every_check_has_a_case():
    checks = Path(_checks.__file__).parent
    package = checks.parent
    users = [*(package / "functional").glob("*.py"), package / "_window.py", package / "_threads.py"]
    names = {
        name for user in users for name in re.findall(r"_checks\.(\w+)", user.read_text(encoding="utf-8"))
    }
    expected = raises_of(checks.glob("*.py"), names)
    assert len(expected) > 25

    reached = set()
    for call, arguments, error, _ in CASES.values():
        try:
            call(**arguments)
        except error as caught:
            files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(caught.__traceback__)]
            reached |= {(file.name, line) for file, line in files if file.parent == checks}
    assert expected <= reached, f"no case reaches these lines of {checks}: {sorted(expected - reached)}"
