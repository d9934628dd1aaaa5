"""What a network is made of: volumes, parameters, multiply-adds, memory, receptive field, layer by layer."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import _backend, _checks
from ._types import Pair, Shape
from ._window import Window
from .layers import Conv2d, ConvTranspose2d, Flatten, GlobalAvgPool2d, Layer, Linear, Sequential
from .layers.pool import AvgPool2d, MaxPool2d

__all__ = ["Summary", "SummaryRow", "summary"]


class SummaryRow(NamedTuple):
    """One layer of a `Summary`.

    Attributes
    ----------
    name : str
        Its key in the model, such as "0" or "3.1".
    layer : str
        Its type.
    output_shape : tuple of int
        (C, H, W) or (features,), without the batch.
    parameters : int
        Of a convolution ``F*F*D1*K + K``.
    multiply_adds : int
        For one image.
    im2col_bytes : int
        What the full im2col of one image would take; 0 for other layers.
    workspace_bytes : int
        What the backend in use takes instead, for one thread.
    receptive_field : (int, int)
        Height and width of the input pixels that one output position sees.
    stride : (int, int)
        Input pixels between two neighbouring output positions.
    remark : str
        Where the stride does not tile the input: pixels at the end that no window covers.
    """

    name: str
    layer: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    im2col_bytes: int
    workspace_bytes: int
    receptive_field: Pair
    stride: Pair
    remark: str


class Summary(NamedTuple):
    """The rows of a network; its text is a table.

    Attributes
    ----------
    input_shape : tuple of int
    rows : list of SummaryRow
    """

    input_shape: Shape
    rows: list[SummaryRow]

    @property
    def parameters(self) -> int:
        """Number of parameters of the network."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return sum(row.multiply_adds for row in self.rows)

    def __str__(self) -> str:
        header = (
            "",
            "layer",
            "output",
            "parameters",
            "mult-adds",
            "im2col",
            "workspace",
            "field",
            "stride",
            "",
        )
        lines = [("", "input", _volume(self.input_shape), "", "", "", "", "", "", "")]
        lines += [
            (
                row.name,
                row.layer,
                _volume(row.output_shape),
                f"{row.parameters:,}",
                _count(row.multiply_adds),
                bytes_text(row.im2col_bytes),
                bytes_text(row.workspace_bytes),
                _volume(row.receptive_field),
                _volume(row.stride),
                row.remark,
            )
            for row in self.rows
        ]
        lines.append(
            ("", "total", "", f"{self.parameters:,}", _count(self.multiply_adds), "", "", "", "", "")
        )
        widths = [max(len(line[i]) for line in [header, *lines]) for i in range(len(header))]
        left = (0, 1, 9)  # columns of words; the others are numbers, set to the right

        def row_text(line: Sequence[str]) -> str:
            cells = (
                c.ljust(w) if i in left else c.rjust(w)
                for i, (c, w) in enumerate(zip(line, widths, strict=True))
            )
            return "  ".join(cells).rstrip()

        rule = "-" * len(row_text(header))
        return "\n".join([row_text(header), rule, *map(row_text, lines[:-1]), rule, row_text(lines[-1])])


def summary(model: Layer, input_shape: Shape) -> Summary:
    """Volumes, parameters, multiply-adds, memory and receptive field of every layer.

    Parameters
    ----------
    model : Layer
    input_shape : (int, int, int)
        Volume (C, H, W), without the batch.

    Returns
    -------
    Summary
        A table as text (``print(summary(...))``), and its ``rows`` as data.

    Raises
    ------
    TypeError, ValueError
        Not a layer, or a volume that a layer can't take.
    """
    _checks.layer("summary", model, Layer)
    shape = _checks.volume_shape("summary", "input_shape", input_shape)
    rows = []
    volume, field, stride = shape, (1, 1), (1, 1)
    for name, layer in named_leaves(model, ""):
        output_shape = layer.output_shape(volume)
        field, stride, remark = _reach(layer, volume, field, stride)
        im2col_bytes, workspace_bytes = _memory(layer, volume, output_shape)
        parameters = sum(array.size for array in layer.params.values())
        work = _multiply_adds(layer, volume, output_shape)
        rows.append(
            SummaryRow(
                name,
                type(layer).__name__,
                output_shape,
                parameters,
                work,
                im2col_bytes,
                workspace_bytes,
                field,
                stride,
                remark,
            )
        )
        volume = output_shape
    return Summary(shape, rows)


def named_leaves(layer: Layer, prefix: str) -> Iterator[tuple[str, Layer]]:
    """The layers of nested Sequentials in order, with their keys."""
    if not isinstance(layer, Sequential):
        yield prefix.rstrip(".") or "0", layer
        return
    for i, child in enumerate(layer):
        yield from named_leaves(child, f"{prefix}{i}.")


def _multiply_adds(layer: Layer, volume: Shape, output_shape: Shape) -> int:
    """Multiply-adds for one image: every weight is used once for each position it is applied at."""
    if isinstance(layer, Conv2d):
        return layer.params["weight"].size * math.prod(output_shape[1:])
    if isinstance(layer, ConvTranspose2d):
        return layer.params["weight"].size * math.prod(volume[1:])
    return layer.params["weight"].size if isinstance(layer, Linear) else 0


def _memory(layer: Layer, volume: Shape, output_shape: Shape) -> Pair:
    """(bytes of the full im2col, bytes of workspace per thread) of a convolution of one image."""
    if not isinstance(layer, (Conv2d, ConvTranspose2d)):
        return 0, 0
    weight = layer.params["weight"]
    # a transposed convolution is the gradient of the one from its output to its input
    transposed = isinstance(layer, ConvTranspose2d)
    images, outputs = (output_shape, volume) if transposed else (volume, output_shape)
    taps = images[0] * math.prod(layer.kernel_size)
    window, which = layer.window(images[1:]), "input" if transposed else "forward"
    plan = _backend.kernels.conv2d_plan(
        (1, *images), (1, *outputs), weight.itemsize, window, layer.groups, "auto", which
    )
    return taps * math.prod(outputs[1:]) * weight.itemsize, plan["shared"] + plan["workspace"]


def _reach(layer: Layer, volume: Shape, field: Pair, stride: Pair) -> tuple[Pair, Pair, str]:
    """(receptive field, effective stride, remark) after `layer`.

    field += (extent - 1) * stride, stride *= the layer's stride (Dumoulin and Visin, 2016).
    """
    if isinstance(layer, (Conv2d, MaxPool2d, AvgPool2d)):
        window = layer.window(volume[1:])
        new_stride = (stride[0] * window.stride_h, stride[1] * window.stride_w)
        return _field(field, window.extent, stride), new_stride, _remark(layer, window, volume)
    if isinstance(layer, (Flatten, GlobalAvgPool2d)) and len(volume) == 3:
        return _field(field, volume[1:], stride), stride, ""  # what follows sees the whole volume
    return field, stride, ""


def _field(field: Pair, extent: Shape, stride: Pair) -> Pair:
    return field[0] + (extent[0] - 1) * stride[0], field[1] + (extent[1] - 1) * stride[1]


def _remark(layer: Layer, window: Window, volume: Shape) -> str:
    """Pixels at the end of the (padded) input that no window covers, or windows that hang over it."""
    remarks = []
    sizes = zip(
        ("rows", "columns"),
        volume[1:],
        window.extent,
        (window.stride_h, window.stride_w),
        (window.pad_top + window.pad_bottom, window.pad_left + window.pad_right),
        strict=True,
    )
    for axis, size, extent, stride, padding in sizes:
        left_over = (size + padding - extent) % stride
        if left_over:
            over = getattr(layer, "ceil_mode", False)
            what = f"the last window hangs over by {stride - left_over}" if over else f"{left_over} left out"
            remarks.append(f"stride {stride} does not tile {size} {axis}: {what}")
    return "; ".join(remarks)


def _volume(shape: Shape) -> str:
    """(C, H, W) as the notes write it, HxWxC; others as they are."""
    if len(shape) == 3:
        return f"{shape[1]}x{shape[2]}x{shape[0]}"
    return "x".join(map(str, shape))


def _count(n: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.2f} {unit}"
    return str(n) if n else ""


def bytes_text(n: int) -> str:
    """``"1.5 MiB"``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B" if n else ""
