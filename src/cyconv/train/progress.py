"""Show how training goes: a bar on a terminal, one line per epoch in a pipe or a file."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from . import require

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def reporter(stream: TextIO | None = None) -> "Iterator[Bar | Lines]":
    """A Bar when the stream (standard output) is a terminal, otherwise Lines."""
    stream = stream or sys.stdout
    if not stream.isatty():
        yield Lines(stream)
        return
    require("rich")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream, highlight=False), transient=True) as progress:
        yield Bar(progress)


class Bar:
    """One bar, filled once per epoch; a finished epoch leaves its line above it."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.task = progress.add_task("", epoch="", figures="")

    def start_epoch(self, epoch: int, epochs: int, images: int) -> None:
        self.begin = time.perf_counter()
        self.progress.reset(self.task, total=images, epoch=f"{epoch}/{epochs}", figures="")
        self.epochs = epochs

    def batch(self, done: int, loss: float, accuracy: float) -> None:
        rate = done / (time.perf_counter() - self.begin)
        figures = f"loss {loss:.4f}  accuracy {accuracy:.2%}  {rate:,.0f} images/s"
        self.progress.update(self.task, completed=done, figures=figures)

    def end_epoch(self, record: dict[str, Any]) -> None:
        self.progress.console.print(epoch_line(record, self.epochs), soft_wrap=True)


class Lines:
    """One line per epoch."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def start_epoch(self, epoch: int, epochs: int, images: int) -> None:
        self.epochs = epochs

    def batch(self, done: int, loss: float, accuracy: float) -> None:
        pass

    def end_epoch(self, record: dict[str, Any]) -> None:
        print(epoch_line(record, self.epochs), file=self.stream, flush=True)


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """``epoch 3/5  loss 0.2310  accuracy 91.55%  test loss 0.2590  test accuracy 90.61%  ...``"""
    return (
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  loss {record['train_loss']:.4f}  accuracy {record['train_accuracy']:.2%}"
        f"  test loss {record['test_loss']:.4f}  test accuracy {record['test_accuracy']:.2%}"
        f"  {record['images_per_second']:,.0f} images/s  {record['seconds']:.1f} s"
    )
