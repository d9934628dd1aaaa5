"""The readers of cyconv train: tiny files, right ones and every kind of wrong one."""

import gzip
import re
import struct

import numpy as np
import pytest

from cyconv.train import TrainError, data

N, N_TEST, H, W = 12, 5, 6, 7


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(directory, compress=False):
    """Four small IDX files of random bytes -> their arrays."""
    rng = np.random.default_rng(0)
    arrays = []
    for count in (N, N_TEST):
        arrays += [
            rng.integers(256, size=(count, H, W), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 10,
        ]
    for name, array in zip(data.IDX_FILES, arrays, strict=True):
        path, content = directory / name, idx_bytes(array)
        if compress:
            path, content = path.with_name(f"{name}.gz"), gzip.compress(content)
        path.write_bytes(content)
    return arrays


def write_cifar10(directory, count=3):
    """Six small batches of random records -> ``(6 * count, 3073)``."""
    records = np.random.default_rng(0).integers(256, size=(6 * count, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    for name, batch in zip(data.CIFAR10_FILES, np.split(records, 6), strict=True):
        (directory / name).write_bytes(batch.tobytes())
    return records


def error_of(directory, path, *expected):
    """Loading fails with one line that names the file and holds each text."""
    with pytest.raises(data.DataError, match=re.escape(str(path))) as caught:
        data.load(directory, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    for text in expected:
        assert text in message


@pytest.mark.parametrize("compress", [False, True])
def test_idx(tmp_path, compress):
    train_images, train_labels, test_images, test_labels = write_idx(tmp_path, compress)
    dataset = data.load(tmp_path, seed=0)
    assert dataset.name == "idx" and dataset.input_shape == (1, H, W)
    np.testing.assert_array_equal(dataset.train_images[:, 0], train_images)
    np.testing.assert_array_equal(dataset.test_images[:, 0], test_images)
    np.testing.assert_array_equal(dataset.train_labels, train_labels)
    np.testing.assert_array_equal(dataset.test_labels, test_labels)
    assert dataset.train_images.dtype == np.uint8 and dataset.train_labels.dtype == np.int64


def test_idx_prefers_the_plain_file(tmp_path):
    write_idx(tmp_path)
    (tmp_path / f"{data.IDX_FILES[0]}.gz").write_bytes(b"not read")
    assert len(data.load(tmp_path, seed=0).train_images) == N


@pytest.mark.parametrize("folder", [".", data.CIFAR10_FOLDER])
def test_cifar10(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    records = write_cifar10(tmp_path / folder)
    dataset = data.load(tmp_path, seed=0)
    assert dataset.name == "cifar10" and dataset.input_shape == (3, 32, 32)
    assert dataset.class_names[9] == "truck"
    assert len(dataset.train_images) == 15 and len(dataset.test_images) == 3
    np.testing.assert_array_equal(dataset.train_labels, records[:15, 0])
    np.testing.assert_array_equal(dataset.test_labels, records[15:, 0])
    # red, green, blue planes, each row by row
    assert dataset.train_images[4, 1, 2, 3] == records[4, 1 + 1024 + 2 * 32 + 3]
    assert dataset.test_images[2, 2, 31, 31] == records[17, 3072]


def test_digits_hold_out_a_fifth_by_the_seed():
    pytest.importorskip("sklearn")
    one, same, other = (data.load(None, seed) for seed in (1, 1, 2))
    assert len(one.test_images) == 359 and len(one.train_images) == 1438
    assert one.train_images.shape[1:] == (1, 8, 8) and one.train_images.max() == 16
    assert one.checksum == same.checksum != other.checksum
    together = np.concatenate([one.train_images, one.test_images]).reshape(1797, -1)
    again = np.concatenate([other.train_images, other.test_images]).reshape(1797, -1)
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(again, axis=0))


def test_normalise(tmp_path):
    (tmp_path / "cifar").mkdir()
    write_cifar10(tmp_path / "cifar")
    dataset = data.load(tmp_path / "cifar", seed=0)
    images = dataset.normalise(dataset.train_images)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std(axis=(0, 2, 3)), 1, atol=1e-5)
    mean, std = dataset.statistics
    np.testing.assert_allclose(mean.ravel(), dataset.train_images.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std.ravel(), dataset.train_images.std(axis=(0, 2, 3)), rtol=1e-6)


def test_normalise_of_constant_images():
    images = np.full((4, 1, 2, 2), 7, np.uint8)
    labels = np.zeros(4, np.int64)
    dataset = data.Dataset("idx", images, labels, images, labels, data.DIGITS)
    np.testing.assert_array_equal(dataset.normalise(images), 0)


@pytest.mark.parametrize("name", data.IDX_FILES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content[:-1], "truncated"),
        (lambda content: content + b"\0", "trailing bytes"),
        (lambda content: content[:7], "truncated"),
        (lambda content: b"", "an empty file"),
        (lambda content: b"\0\0\x0d" + content[3:], "magic number"),  # 32-bit floats
        (lambda content: content[:4] + b"\0\0\0\0" + content[8:], "at least one"),
        (lambda content: content[:4] + b"\xff" * 4 + content[8:], "4294967295"),
        (lambda content: gzip.compress(content)[:-9], "gzip"),  # cut in its trailer
        (lambda content: gzip.compress(content)[:20], "gzip"),
        (
            lambda content: gzip.compress(content)[:-8] + b"\1\2\3\4" + gzip.compress(content)[-4:],
            "gzip",
        ),  # CRC
        (lambda content: b"\x1f\x8b" + content, "gzip"),
    ],
    ids=[
        "short",
        "long",
        "header",
        "empty",
        "magic",
        "none",
        "huge",
        "gzip-cut",
        "gzip-cut-early",
        "gzip-crc",
        "gzip-garbage",
    ],
)
def test_a_wrong_idx_file(tmp_path, name, change, expected):
    write_idx(tmp_path)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))
    error_of(tmp_path, path, "expected", "got", expected)


def test_images_and_labels_exchanged(tmp_path):
    write_idx(tmp_path)
    images, labels = tmp_path / data.IDX_FILES[0], tmp_path / data.IDX_FILES[1]
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(content)
    error_of(tmp_path, images, "00000803", "00000801")


@pytest.mark.parametrize("name", data.IDX_FILES)
def test_a_missing_idx_file(tmp_path, name):
    write_idx(tmp_path)
    (tmp_path / name).unlink()
    error_of(tmp_path, tmp_path / name, "not found")


def test_an_unreadable_idx_file(tmp_path):
    write_idx(tmp_path)
    path = tmp_path / data.IDX_FILES[3]
    path.unlink()
    path.mkdir()
    error_of(tmp_path, path, "expected a readable file")


def test_idx_files_that_disagree(tmp_path):
    write_idx(tmp_path)
    labels, test_images = tmp_path / data.IDX_FILES[1], tmp_path / data.IDX_FILES[2]
    right = labels.read_bytes()
    labels.write_bytes(idx_bytes(np.zeros(N - 1, np.uint8)))
    error_of(tmp_path, labels, f"expected {N} labels", f"got {N - 1}")
    labels.write_bytes(idx_bytes(np.full(N, 10, np.uint8)))
    error_of(tmp_path, labels, "expected labels 0 to 9, got 10 at position 0")
    labels.write_bytes(right)
    test_images.write_bytes(idx_bytes(np.zeros((N_TEST, W, H), np.uint8)))
    error_of(tmp_path, test_images, f"expected images of {H}x{W}", f"got {W}x{H}")


@pytest.mark.parametrize("name", data.CIFAR10_FILES)
def test_a_wrong_cifar10_batch(tmp_path, name):
    write_cifar10(tmp_path)
    path = tmp_path / name
    right = path.read_bytes()
    for wrong in (right[:-1], right + b"\0", b""):
        path.write_bytes(wrong)
        error_of(tmp_path, path, "3073", f"got {len(wrong)} bytes")
    path.write_bytes(right[:3073] + b"\x0a" + right[3074:])
    error_of(tmp_path, path, "expected labels 0 to 9, got 10 at position 1")
    path.unlink()
    error_of(tmp_path, path, "not found")


def test_a_cifar10_batch_with_fewer_records(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / data.CIFAR10_FILES[2]
    path.write_bytes(path.read_bytes()[:3073])  # cut between two records
    error_of(tmp_path, path, "expected 3 records", "got 1")


def test_directories_without_one_data_set(tmp_path):
    error_of(tmp_path / "absent", tmp_path / "absent", "nothing of that name")
    error_of(tmp_path, tmp_path, "IDX", "CIFAR-10", "neither")
    write_idx(tmp_path)
    error_of(tmp_path / data.IDX_FILES[0], tmp_path / data.IDX_FILES[0], "expected a directory", "a file")
    write_cifar10(tmp_path)
    error_of(tmp_path, tmp_path, "both")


def test_scikit_learn_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(TrainError, match=r'scikit-learn not installed.*pip install "cyconv\[train\]"'):
        data.load(None, seed=0)
