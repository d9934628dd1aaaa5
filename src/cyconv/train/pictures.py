"""The pictures of a run: curves, first-layer filters, mistakes, confusion matrix.

Each function returns a matplotlib Figure made through the object interface, so that a caller's pyplot
state and backend stay as they are; a Figure without a window saves PNG by Agg.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cyconv
from cyconv._types import Indices

from .data import Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("curves.png", "filters.png", "mistakes.png", "confusion.png")


def write_pictures(
    directory: Path,
    model: cyconv.Sequential,
    dataset: Dataset,
    history: list[dict[str, Any]],
    predictions: Indices,
) -> None:
    """Write the four pictures into a directory."""
    figures = (
        curves(history),
        filters(model),
        mistakes(dataset, predictions),
        confusion(dataset, predictions),
    )
    for name, figure in zip(NAMES, figures, strict=True):
        figure.savefig(Path(directory) / name, dpi=120)


def curves(history: list[dict[str, Any]]) -> "Figure":
    """Loss and accuracy of each epoch, training and test."""
    figure = _figure(9, 3.6)
    epochs = [record["epoch"] for record in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part in ("train", "test"):
            values = [record[f"{part}_{quantity}"] for record in history]
            axes.plot(epochs, values, marker="o", markersize=3, label=part)
        axes.set(xlabel="epoch", title=quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.axes[1].yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    return figure


def filters(model: cyconv.Sequential) -> "Figure":
    """The filters of the first convolution: in colour for 3 channels, else their mean over channels."""
    weight = next(array for array in model.state_dict().values() if array.ndim == 4)
    C_out, C_in, kernel_h, kernel_w = weight.shape
    images = weight.transpose(0, 2, 3, 1) if C_in == 3 else weight.mean(axis=1)
    limit = np.abs(images).max() or 1.0  # one scale for all: grey (0.5) is zero
    grid = _grid(C_out, title=f"{C_out} first-layer filters of {kernel_h}x{kernel_w}: grey is zero")
    for axes, image in zip(grid.axes, images, strict=True):
        axes.imshow(0.5 + image / (2 * limit), cmap="gray", vmin=0, vmax=1)
    return grid


def mistakes(dataset: Dataset, predictions: Indices, at_most: int = 40) -> "Figure":
    """Test images with a wrong prediction, spread evenly over all of them."""
    wrong = np.flatnonzero(predictions != dataset.test_labels)
    chosen = wrong[np.linspace(0, len(wrong) - 1, min(at_most, len(wrong))).astype(int)]
    title = f"{len(wrong)} mistakes in {len(predictions)} test images (true > predicted)"
    grid = _grid(len(chosen), title=title)
    highest = dataset.test_images.max() or 1
    for axes, i in zip(grid.axes, chosen, strict=True):
        image = dataset.test_images[i].transpose(1, 2, 0) / highest
        axes.imshow(image if image.shape[2] == 3 else image[:, :, 0], cmap="gray_r", vmin=0, vmax=1)
        names = dataset.class_names
        axes.set_title(f"{names[dataset.test_labels[i]]} > {names[predictions[i]]}", fontsize=6)
    return grid


def confusion_matrix(labels: Indices, predictions: Indices, num_classes: int) -> Indices:
    """``matrix[i, j]``: how many test images of class i were taken for class j."""
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def confusion(dataset: Dataset, predictions: Indices) -> "Figure":
    """The confusion matrix, coloured by the share of each true class."""
    names = dataset.class_names
    matrix = confusion_matrix(dataset.test_labels, predictions, len(names))
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = _figure(6.4, 6)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45 if max(map(len, names)) > 1 else 0)
    axes.set_yticks(ticks, names)
    right = np.mean(predictions == dataset.test_labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"{right:.2%} of {len(predictions)} test images right")
    for (i, j), count in np.ndenumerate(matrix):
        if count:
            axes.text(
                j,
                i,
                str(count),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share[i, j] > 0.5 else "black",
            )
    return figure


def _grid(count: int, title: str, columns: int = 8) -> "Figure":
    """A figure with ``count`` small axes for images, without ticks."""
    rows = max(1, -(-count // columns))
    figure = _figure(columns, rows * 1.15 + 0.6)
    figure.suptitle(title, fontsize=10)
    for position in range(count):
        figure.add_subplot(rows, columns, position + 1).set_axis_off()
    return figure


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
