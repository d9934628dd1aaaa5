"""Some hundred calls of tests/fuzz.py at every level, in a process of its own: a crash or a hang is a failure here.

Each version of Python has calls of its own, so that a run on three of them makes two thousand at each level.
"""

import subprocess
import sys
from pathlib import Path

from helpers import LEVELS, needs_compiled

import cyconv


@needs_compiled
def test_some_hundred_calls():
    seed = str(sys.version_info.minor)
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("fuzz.py"), "--calls", "640", "--seed", seed],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    *lines, total = process.stdout.splitlines()
    assert total.startswith(f"640 calls, {' and '.join(LEVELS)}, ")
    # every function was called with success, and refused something
    assert {line.split()[0] for line in lines} == set(cyconv.functional.__all__)
    assert all(" answer" in line and " TypeError" in line for line in lines)
