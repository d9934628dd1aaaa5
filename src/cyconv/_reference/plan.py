"""What a kernel would do with shapes like these: one product after another, on one thread."""

from .._types import Algorithm, Plan, Shape
from .._window import Window
from .windows import pieces


def conv2d_plan(
    image_shape: Shape,
    output_shape: Shape,
    itemsize: int,
    window: Window,
    groups: int,
    algorithm: Algorithm,
    which: str,
) -> Plan:
    """What one pass of a convolution does: which is "forward", "input" or "weight". Nothing is computed."""
    N, C_in = image_shape[:2]
    C_out, H_out, W_out = output_shape[1:]
    taps = C_in * window.kernel_h * window.kernel_w
    row_bytes = taps * W_out * itemsize
    images, rows = next(pieces(max(N, 1), H_out, row_bytes))
    held = (images.stop - images.start) * (rows.stop - rows.start)
    tiles = -(-max(N, 1) // images.stop) * -(-H_out // rows.stop)
    m, n, k = C_out // groups, held * W_out, taps // groups
    gemm = {"forward": (m, n, k), "input": (k, n, m), "weight": (m, k, n)}[which]
    return _serial_plan("im2col", gemm, groups * tiles, tiles, held * row_bytes)


def matmul_plan(m: int, n: int, k: int, transpose_a: bool, transpose_b: bool, itemsize: int) -> Plan:
    """The plan of `matmul`: op(a) is (m, k), op(b) (k, n)."""
    return _serial_plan("gemm", (m, n, k), 1)


def _serial_plan(
    algorithm: str,
    gemm: tuple[int, int, int] | None = None,
    products: int = 0,
    tiles: int = 0,
    workspace: int = 0,
) -> Plan:
    """A plan of one task, of which no cost model says anything."""
    return Plan(
        algorithm=algorithm,
        cycles={},
        gemm=gemm,
        products=products,
        tiles=tiles,
        tasks=1,
        threads=1,
        shared=0,
        workspace=workspace,
    )
