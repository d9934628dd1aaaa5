"""The machine's limits, measured: multiply-adds per second of its cores, bytes per second of its memory.

Run alone (``python benchmarks/roofline.py``) it prints them; ``run.py`` uses them to say how near to the
limit a kernel comes.
"""

import ctypes
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

FMA_LOOP = """
#if defined(__AVX512F__)
enum { BYTES = 64 };
#elif defined(__AVX__)
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
typedef REAL vector __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / sizeof(REAL), CHAINS = 12 };

/* CHAINS independent chains of multiply-adds hide the latency; returns the flops done. */
double fma_loop(long steps, REAL start)
{
    vector sums[CHAINS], factor = start - (vector){0}, total = {0};
    for (int i = 0; i < CHAINS; ++i) sums[i] = factor + (REAL)i;
    for (long step = 0; step < steps; ++step) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; ++i) sums[i] = sums[i] * factor + factor;
    }
    for (int i = 0; i < CHAINS; ++i) total += sums[i];
    volatile REAL keep = total[0];
    (void)keep;
    return 2.0 * LANES * CHAINS * steps;
}
"""


def measure(threads):
    """All limits with `threads` threads, in GF and GB/s: a dict for the JSON file."""
    limits = {}
    for dtype, key in ((np.float32, "float32"), (np.float64, "float64")):
        limits[f"fma_{key}_gf"] = fma_peak(dtype, threads)
        limits[f"gemm_{key}_gf"] = gemm_speed(dtype, threads)
    limits["copy_gb"] = copy_bandwidth(threads)
    limits["read_gb"] = read_bandwidth(threads)
    return {key: value if value is None else round(value, 1) for key, value in limits.items()}


def fma_peak(dtype, threads, seconds=0.2):
    """Peak of the multiply-add units in GF, from a loop in registers; None without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        source, library = Path(directory, "fma.c"), Path(directory, "fma.so")
        source.write_text(FMA_LOOP)
        real = "float" if dtype == np.float32 else "double"
        options = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", f"-DREAL={real}"]
        built = subprocess.run([compiler, *options, str(source), "-o", str(library)], capture_output=True)
        if built.returncode:
            return None
        loop = ctypes.CDLL(str(library)).fma_loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_long, ctypes.c_float if real == "float" else ctypes.c_double]
    return 1e-9 * _best_rate(lambda _: loop(1_000_000, 0.5), threads, seconds)


def gemm_speed(dtype, threads, seconds=0.3, size=1536):
    """Speed of SciPy's BLAS on a large product in GF: a lower bound of the peak."""
    import threadpoolctl
    from scipy.linalg import blas

    gemm = blas.sgemm if dtype == np.float32 else blas.dgemm
    a, b = (np.asfortranarray(np.random.default_rng(0).standard_normal((size, size), dtype)) for _ in "ab")
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        return 1e-9 * _best_rate(lambda _: (gemm(1.0, a, b), 2.0 * size**3)[1], 1, seconds)


def copy_bandwidth(threads, seconds=0.3, megabytes=256):
    """GB/s of a copy between large arrays, bytes read and bytes written both counted."""
    source, target = _pieces(megabytes, threads), _pieces(megabytes, threads)

    def copy(thread):
        np.copyto(target[thread], source[thread])
        return 2.0 * source[thread].nbytes

    return 1e-9 * _best_rate(copy, threads, seconds)


def read_bandwidth(threads, seconds=0.3, megabytes=256):
    """GB/s of reading a large array once, by a dot product with itself."""
    import threadpoolctl

    source = _pieces(megabytes, threads)

    def read(thread):
        np.dot(source[thread], source[thread])
        return float(source[thread].nbytes)

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        return 1e-9 * _best_rate(read, threads, seconds)


def _pieces(megabytes, threads):
    """A large array, touched, in one piece for each thread."""
    return np.array_split(np.ones(megabytes * 250_000, np.float32), threads)


def _best_rate(work, threads, seconds):
    """Best sum of ``work(thread)`` per second over rounds in which all threads work at once."""
    best, end = 0.0, time.perf_counter() + seconds
    with ThreadPoolExecutor(threads) as pool:
        while time.perf_counter() < end or not best:
            start = time.perf_counter()
            done = sum(pool.map(work, range(threads)))
            best = max(best, done / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    from machine import cpu_model, usable_cores

    print(cpu_model())
    for count in sorted({1, usable_cores()}):
        print(f"{count} thread{'s' if count > 1 else ''}:")
        for name, value in measure(count).items():
            print(f"  {name:20} {value}")
