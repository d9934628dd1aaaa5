"""The training loop: forward, loss, backward, step; then the test set; then a checkpoint."""

import json
import math
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import cyconv
from cyconv._types import Array, Indices

from . import Diverged
from .checkpoint import Run
from .data import Dataset
from .progress import Bar, Lines

WEIGHTS = "weights.npz"
HISTORY = "history.json"
EVALUATION_BATCH = 256
LR_DECAY = 0.5


def train(run: Run, dataset: Dataset, directory: Path, progress: Bar | Lines) -> Indices:
    """Train until ``run.settings.epochs`` epochs are done; after each one everything is on disk.

    Parameters
    ----------
    run : Run
        New, or restored from a checkpoint: the weights come out the same, bit for bit.
    dataset : Dataset
    directory : Path
        Gets the checkpoint, the weights and history.json.
    progress : Bar or Lines

    Returns
    -------
    predictions : ndarray (N,) int64
        The predicted class of each test image.

    Raises
    ------
    Diverged
        When a loss is not finite. The files of the last good epoch are left as they are.
    """
    run.save(directory)  # even the first epoch can be resumed, and the directory is known to be writable
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a diverging run ends in one line
        while run.epochs_done < run.settings.epochs:
            record = run_epoch(run, dataset, progress)
            run.history.append(record)
            run.save(directory)
            write_results(run, dataset, directory)
            progress.end_epoch(record)
    write_results(run, dataset, directory)
    return evaluate(run.model, dataset)[2]


def run_epoch(run: Run, dataset: Dataset, progress: Bar | Lines) -> dict[str, Any]:
    """One pass over the training images in a new order, and one over the test images -> its record."""
    epoch, settings = run.epochs_done, run.settings
    begin = time.perf_counter()
    # the rate depends on the epoch alone, not on their number, so a finished run can be resumed for more
    run.optimizer.lr = settings.lr / (1 + LR_DECAY * epoch)
    progress.start_epoch(epoch + 1, settings.epochs, len(dataset.train_images))
    train_loss, train_accuracy = train_epoch(run, dataset, progress)
    train_seconds = time.perf_counter() - begin
    test_loss, test_accuracy, _ = evaluate(run.model, dataset)
    if not math.isfinite(test_loss):
        raise Diverged(f"the test loss of epoch {epoch + 1} is {test_loss}")
    return {
        "epoch": epoch + 1,
        "lr": run.optimizer.lr,
        "train_loss": train_loss,
        "train_accuracy": train_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "seconds": time.perf_counter() - begin,
        "images_per_second": len(dataset.train_images) / train_seconds,
    }


def train_epoch(run: Run, dataset: Dataset, progress: Bar | Lines) -> tuple[float, float]:
    """-> loss and accuracy over the epoch, each batch measured before its step."""
    N = len(dataset.train_images)
    order = run.rng.permutation(N)
    total_loss, correct, done = 0.0, 0, 0
    run.model.train()
    for start in range(0, N, run.settings.batch_size):
        chosen = order[start : start + run.settings.batch_size]
        loss, hits = train_batch(
            run, dataset.normalise(dataset.train_images[chosen]), dataset.train_labels[chosen]
        )
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {run.epochs_done + 1}, at image {start} of {N}")
        total_loss, correct, done = total_loss + loss * len(chosen), correct + hits, done + len(chosen)
        progress.batch(done, total_loss / done, correct / done)
    return total_loss / N, correct / N


def train_batch(run: Run, images: Array[np.float32], labels: Indices) -> tuple[float, int]:
    """One step of the optimizer -> mean loss, number of right predictions."""
    logits = run.model.forward(images)
    loss, grad_logits = cyconv.softmax_cross_entropy(logits, labels)
    run.model.backward(grad_logits)
    run.optimizer.step()
    return float(loss), int(np.count_nonzero(logits.argmax(axis=1) == labels))


def evaluate(model: cyconv.Sequential, dataset: Dataset) -> tuple[float, float, Indices]:
    """Loss, accuracy and predictions over the test images, in eval mode and a batch at a time.

    Returns
    -------
    loss, accuracy : float
    predictions : ndarray (N,) int64
    """
    N = len(dataset.test_images)
    predictions = np.empty(N, np.int64)
    total_loss = 0.0
    model.eval()
    for start in range(0, N, EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        logits = model.forward(dataset.normalise(dataset.test_images[batch]))
        loss, _ = cyconv.softmax_cross_entropy(logits, dataset.test_labels[batch])
        total_loss += float(loss) * len(logits)
        predictions[batch] = logits.argmax(axis=1)
    accuracy = float(np.mean(predictions == dataset.test_labels))
    return total_loss / N, accuracy, predictions


def write_results(run: Run, dataset: Dataset, directory: Path) -> None:
    """The weights, and history.json: settings, data, versions, one record per epoch."""
    run.model.save(Path(directory) / WEIGHTS)
    mean, std = dataset.statistics
    history = {
        "settings": asdict(run.settings),
        "data": {
            "train_images": len(dataset.train_images),
            "test_images": len(dataset.test_images),
            "input_shape": list(dataset.input_shape),
            "class_names": list(dataset.class_names),
            "mean": mean.ravel().tolist(),
            "std": std.ravel().tolist(),
        },
        "versions": {
            "cyconv": cyconv.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "threads": cyconv.get_num_threads(),
        },
        "epochs": run.history,
    }
    write_text(Path(directory) / HISTORY, json.dumps(history, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
