"""Peak memory of one large convolution above its inputs and outputs.

Each measurement runs in a process of its own: inputs, and outputs where the peer takes them, are made
and touched; the kernel's record of the highest resident size is reset (``/proc/self/clear_refs``); the
call is made once; the highest size less the size before, and less the new arrays that it returned, is
what the call used for itself. Linux only.
"""

import ctypes
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
from peers import Cyconv, conv_data, load
from shapes import ConvShape

LARGE = ConvShape("large", 64, 64, 112, 112, 128, 3, 1, 1)
TINY = ConvShape("tiny", 1, 8, 8, 8, 8, 3, 1, 1)  # so that the memory it leaves behind is nothing
PASSES = ("forward", "backward")


def measure(variants, names, thread_counts, problems):
    """Rows of peak memory for cyconv's `variants` and the peers `names`, both passes."""
    if not Path("/proc/self/clear_refs").exists():
        problems.append("memory: skipped, needs Linux's /proc/self/clear_refs")
        return []
    contestants = [("variant", variant) for variant in variants] + [("peer", name) for name in names]
    rows = []
    for which in PASSES:
        for contestant in contestants:
            for threads in thread_counts:
                row = _in_subprocess(*contestant, which, threads, problems)
                rows += [row] if row else []
    return rows


def _in_subprocess(kind, name, which, threads, problems):
    """The row of one measurement, or None where the contestant cannot do it."""
    command = [sys.executable, __file__, kind, name, which, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
        problems.append(f"memory {which}: {name}: {reason}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def _child(kind, name, which, threads):
    """Measure one contestant in this process; its row, or None."""
    peers = load([name], []) if kind == "variant" else load([], [name])
    if not peers:
        raise SystemExit(f"{name} is not installed")
    peer = peers[0]
    peer.prepare(threads)
    for shape in (TINY, LARGE):  # the first starts threads and libraries
        data = conv_data(shape, np.float32)
        call, ready = _call(peer, shape, data, which, threads)
        if call is None:
            return None
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        result = call()
        used = _status("VmHWM") - before - _new_bytes(result, ready)
    return {
        "pass": which, "contestant": peer.name, "threads": threads, "geometry": LARGE.describe(),
        "mib": max(0.0, used / 2**20),
    }


def _call(peer, shape, data, which, threads):
    """The function to measure, and the output array that it fills if that exists before the call."""
    if which == "backward":
        return peer.conv_backward(shape, data, threads), None
    call = peer.conv_forward(shape, data, threads)
    if not isinstance(peer, Cyconv):
        return call, None
    out = np.ones(shape.output_shape, np.float32)
    return partial(call, out=out), out


def _new_bytes(result, ready):
    """Bytes of the arrays that the call itself allocated for its results."""
    if result is ready or isinstance(result, list):  # a list: arrays bound before the call
        return 0
    return sum(part.nbytes for part in (result if isinstance(result, tuple) else (result,)))


def _status(field):
    """A size of this process from /proc/self/status, in bytes."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    row = _child(*sys.argv[1:4], int(sys.argv[4]))
    print(json.dumps(row))
