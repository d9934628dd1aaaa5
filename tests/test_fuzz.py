"""A thousand calls of tests/fuzz.py for each level, in a process of its own: a crash or a hang is a failure here.

Each version of Python has calls of its own, so that a run on three of them makes three thousand for each level.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LEVELS, needs_compiled

import cyconv


@needs_compiled
@pytest.mark.parametrize("level", LEVELS)
def test_a_thousand_calls(level):
    options = ["--calls", "1008", "--seed", str(sys.version_info.minor), "--level", level]
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("fuzz.py"), *options],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.splitlines()[-1].startswith(f"1008 calls, level {level}, ")
    # every function was called with success, and refused something
    lines = process.stdout.splitlines()[:-1]
    assert {line.split()[0] for line in lines} == set(cyconv.functional.__all__)
    assert all(" answer" in line and " TypeError" in line for line in lines)
