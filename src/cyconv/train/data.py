"""Read image data sets from disk, and refuse a file that is not exactly what it should be.

Two formats, told apart by the names of the files:

- MNIST's IDX (http://yann.lecun.com/exdb/mnist/): a big-endian header of magic number and sizes, then
  unsigned bytes; Fashion-MNIST and KMNIST use it too. Each file may be compressed by gzip.
- CIFAR-10's binary batches (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label byte and
  3x32x32 pixels, red plane first.

Without a directory, scikit-learn's embedded handwritten digits (8x8, values 0 to 16).
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cyconv._types import Array, Indices, Shape

from . import TrainError, require

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR10_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_RECORD = 1 + 3 * 32 * 32

DIGITS = tuple("0123456789")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)
FASHION_LABELS_CRC32 = 0x2ED6E46A  # of the 60,000 training labels: no directory name to trust


Bytes: TypeAlias = npt.NDArray[np.uint8]


class DataError(TrainError):
    """A file that is missing, truncated or wrong; the message names it and what was expected."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images as they are stored, ``(N, C, H, W)`` uint8, and labels ``(N,)`` int64."""

    name: str
    train_images: Bytes
    train_labels: Indices
    test_images: Bytes
    test_labels: Indices
    class_names: tuple[str, ...]

    @property
    def input_shape(self) -> Shape:
        """``(C, H, W)``."""
        return self.train_images.shape[1:]

    @cached_property
    def checksum(self) -> int:
        """CRC-32 of every byte: tells a resumed run whether this is the data it began with."""
        crc = 0
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        return crc

    @cached_property
    def statistics(self) -> tuple[Array[np.float32], Array[np.float32]]:
        """Mean and standard deviation of each channel of the training images, ``(C, 1, 1)`` float32."""
        total, squares = np.zeros(1), np.zeros(1)
        for start in range(0, len(self.train_images), 1000):
            pixels = self.train_images[start : start + 1000].astype(np.float64)
            total = total + pixels.sum(axis=(0, 2, 3))
            squares = squares + (pixels * pixels).sum(axis=(0, 2, 3))
        N, _, H, W = self.train_images.shape
        mean = total / (N * H * W)
        std = np.sqrt(np.maximum(squares / (N * H * W) - mean * mean, 0))
        std[std == 0] = 1  # a constant channel is left constant
        return tuple(each.astype(np.float32).reshape(-1, 1, 1) for each in (mean, std))

    def normalise(self, images: Bytes) -> Array[np.float32]:
        """uint8 images -> float32 with the training set's mean 0 and standard deviation 1."""
        mean, std = self.statistics
        return (images - mean) / std  # uint8 - float32 is float32


def load(directory: str | Path | None, seed: int) -> Dataset:
    """Read the data set in ``directory``, or the embedded digits when it is None.

    Parameters
    ----------
    directory : str, Path or None
        Holds the four IDX files, or CIFAR-10's six batches (also in its folder cifar-10-batches-bin).
    seed : int
        Chooses the held-out fifth of the digits; the others come with a test set.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        One line that names the file, what was expected and what was found.
    """
    if directory is None:
        return load_digits(seed)
    directory = Path(directory)
    if not directory.is_dir():
        raise DataError(
            f"{directory}: expected a directory with a data set, "
            f"got {'a file' if directory.exists() else 'nothing of that name'}"
        )
    is_idx = any(_idx_path(directory, name).exists() for name in IDX_FILES)
    cifar10 = next(
        (
            folder
            for folder in (directory, directory / CIFAR10_FOLDER)
            if any((folder / name).exists() for name in CIFAR10_FILES)
        ),
        None,
    )
    if is_idx and cifar10:
        raise DataError(f"{directory}: expected one data set, got both IDX files and CIFAR-10 batches")
    if is_idx:
        return load_idx(directory)
    if cifar10:
        return load_cifar10(cifar10)
    raise DataError(
        f"{directory}: expected {IDX_FILES[0]} and so on (IDX, .gz or not) "
        f"or {CIFAR10_FILES[0]} and so on (CIFAR-10 binary), got neither"
    )


def load_digits(seed: int) -> Dataset:
    """scikit-learn's 1,797 digits of 8x8 pixels; a fifth, chosen by the seed, is held out."""
    require("sklearn")
    from sklearn.datasets import load_digits as embedded

    digits = embedded()
    images = digits.images.astype(np.uint8)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = np.split(order, [len(images) // 5])
    return Dataset("digits", images[train], labels[train], images[test], labels[test], DIGITS)


def load_idx(directory: Path) -> Dataset:
    """MNIST-style data: four IDX files of 10 classes, each compressed by gzip or not."""
    train_images, train_labels, test_images, test_labels = (_idx_path(directory, name) for name in IDX_FILES)
    images, labels = _read_idx_pair(train_images, train_labels)
    images_of_test, labels_of_test = _read_idx_pair(test_images, test_labels)
    if images_of_test.shape[1:] != images.shape[1:]:
        raise DataError(
            f"{test_images}: expected images of {_size(images)} as in {train_images.name}, "
            f"got {_size(images_of_test)}"
        )
    is_fashion = zlib.crc32(labels.astype(np.uint8).tobytes()) == FASHION_LABELS_CRC32
    name, classes = ("fashion-mnist", FASHION_CLASSES) if is_fashion else ("idx", DIGITS)
    return Dataset(name, images, labels, images_of_test, labels_of_test, classes)


def load_cifar10(directory: Path) -> Dataset:
    """CIFAR-10: five training batches and one test batch of 3,073-byte records."""
    *training, test = (_read_cifar10_batch(directory / name) for name in CIFAR10_FILES)
    for name, batch in zip(CIFAR10_FILES[:5], training, strict=True):
        if len(batch) != len(training[0]):
            raise DataError(
                f"{directory / name}: expected {len(training[0])} records "
                f"as in {CIFAR10_FILES[0]}, got {len(batch)}"
            )
    records = np.concatenate(training)
    images, labels = _split_records(records)
    return Dataset("cifar10", images, labels, *_split_records(test), CIFAR10_CLASSES)


def _idx_path(directory: Path, name: str) -> Path:
    """The plain file, or the gzipped one when only that is there."""
    plain, gzipped = directory / name, directory / f"{name}.gz"
    return gzipped if gzipped.exists() and not plain.exists() else plain


def _read_idx_pair(images_path: Path, labels_path: Path) -> tuple[Bytes, Indices]:
    """-> images (N, 1, H, W) uint8, labels (N,) int64."""
    images, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: expected {len(images)} labels, one for each image in "
            f"{images_path.name}, got {len(labels)}"
        )
    _check_labels(labels_path, labels)
    return images[:, np.newaxis], labels.astype(np.int64)


def _read_idx(path: Path, ndim: int) -> Bytes:
    """The array of unsigned bytes with ``ndim`` axes in an IDX file."""
    content = _read(path)
    magic = bytes([0, 0, 0x08, ndim])  # 0x08: unsigned bytes
    header = 4 + 4 * ndim
    if content[:4] != magic:
        raise DataError(
            f"{path}: expected an IDX file of {ndim}-dimensional unsigned bytes "
            f"(magic number {magic.hex()}), got {content[:4].hex() or 'an empty file'}"
        )
    if len(content) < header:
        raise DataError(f"{path}: expected an IDX header of {header} bytes, got {len(content)}: truncated")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if 0 in shape:
        raise DataError(
            f"{path}: expected at least one {'image' if ndim == 3 else 'label'}, "
            f"got sizes {'x'.join(map(str, shape))}"
        )
    expected = header + math.prod(shape)
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "trailing bytes"
        raise DataError(
            f"{path}: expected {expected} bytes (header and {'x'.join(map(str, shape))}), "
            f"got {len(content)}: {what}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _read_cifar10_batch(path: Path) -> Bytes:
    """The records of one batch, ``(N, 3073)`` uint8."""
    content = _read(path)
    if not content or len(content) % CIFAR10_RECORD:
        raise DataError(
            f"{path}: expected CIFAR-10 records of {CIFAR10_RECORD} bytes, "
            f"got {len(content)} bytes: truncated or not a CIFAR-10 batch"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD)
    _check_labels(path, records[:, 0])
    return records


def _split_records(records: Bytes) -> tuple[Bytes, Indices]:
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _check_labels(path: Path, labels: Bytes) -> None:
    """Ten classes: every label is 0 to 9."""
    if labels.max() > 9:
        position = int(np.argmax(labels > 9))
        raise DataError(f"{path}: expected labels 0 to 9, got {labels[position]} at position {position}")


def _read(path: Path) -> bytes:
    """The content of a file, decompressed when it begins as gzip does, whatever its name."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise DataError(f"{path}: not found; expected a file of the data set") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: expected a complete gzip file, got a truncated or corrupt one "
            f"({str(error).rstrip('.')})"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got: {error.strerror}") from None


def _size(images: Bytes) -> str:
    return "x".join(map(str, images.shape[2:]))
