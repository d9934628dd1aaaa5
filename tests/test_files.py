"""Files: atomic writes, damaged and foreign files, arguments of save and load."""

import os
import pickle
import stat
import sys
import zipfile

import numpy as np
import pytest

import cyconv


@pytest.fixture(params=[".npz", ".safetensors"])
def suffix(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors")
    return request.param


# ---------------------------------------------------------------- atomic writes


class DiskFull(OSError):
    pass


def refuse(*arguments):
    raise DiskFull(28, "No space left on device")


@pytest.mark.parametrize("place", ["os.fsync", "os.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(suffix, place, tmp_path, monkeypatch):
    path = tmp_path / f"weights{suffix}"
    old, new = cyconv.Linear(3, 4), cyconv.Linear(3, 4)
    old.save(path)
    content = path.read_bytes()
    monkeypatch.setattr(place, refuse)
    with pytest.raises(DiskFull):
        new.save(path)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == content
    with pytest.raises(DiskFull):
        new.save(tmp_path / f"another{suffix}")
    assert os.listdir(tmp_path) == [path.name]


def test_an_interrupt_in_the_middle_of_an_array(tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    old, new = cyconv.BatchNorm2d(3), cyconv.BatchNorm2d(3)
    old.save(path)
    content = path.read_bytes()
    write, count = np.lib.format.write_array, []

    def interrupted(*arguments, **options):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        write(*arguments, **options)

    monkeypatch.setattr(np.lib.format, "write_array", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new.save(path)
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == content


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_are_those_of_a_plain_file(suffix, tmp_path):
    path, plain = tmp_path / f"weights{suffix}", tmp_path / "plain"
    plain.touch()
    cyconv.save({}, path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    cyconv.save({"a": np.ones(2)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_places_that_do_not_exist(suffix, tmp_path):
    with pytest.raises(FileNotFoundError):
        cyconv.save({}, tmp_path / "no" / f"weights{suffix}")
    with pytest.raises(FileNotFoundError, match=rf"none\{suffix}"):
        cyconv.load(tmp_path / f"none{suffix}")


# ---------------------------------------------------------------- bad files


KINDS = [(".npz", False), (".npz", True), (".safetensors", False)]


def write_file(path, compressed=False):
    """A file of both dtypes and a scalar; its bytes."""
    state = {"0.weight": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), "n": np.array(3)}
    if compressed:
        np.savez_compressed(path, **state)
    else:
        cyconv.save(state, path)
    return path.read_bytes()


@pytest.mark.parametrize(("suffix", "compressed"), KINDS)
def test_a_truncated_file(suffix, compressed, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"weights{suffix}"
    content = write_file(path, compressed)
    for size in range(0, len(content), 3):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=rf"^load: .*weights\{suffix}' is damaged or no {suffix} file"):
            cyconv.load(path)


@pytest.mark.parametrize(("suffix", "compressed"), KINDS)
def test_a_flipped_byte_is_a_value_error_or_harmless(suffix, compressed, tmp_path):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"weights{suffix}"
    content = write_file(path, compressed)
    refused = 0
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        try:
            loaded = cyconv.load(path)
        except ValueError:
            refused += 1
        else:
            # an .npz has checksums; safetensors has none, so the names and shapes alone are safe
            assert suffix == ".safetensors" or loaded["0.weight"][2, 3] == 1
    assert refused > len(content) / 9  # a third of those tried


class Trap:
    """Unpickled, it would make itself known."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_pickles_are_refused_and_never_run(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, a=np.array([Trap()], dtype=object))
    with pytest.raises(
        ValueError, match=r"weights\.npz' is damaged or no \.npz file of arrays \(Object arrays"
    ):
        cyconv.load(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is damaged or no"):
        cyconv.load(path)
    with zipfile.ZipFile(path, "w") as archive:  # as torch.save writes
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is damaged or no"):
        cyconv.load(path)
    assert not Trap.sprung


def test_a_file_of_the_other_kind(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    for content in (b"", b"0,1,2\n", b"\x93NUMPY\x01\x00", np.random.default_rng(0).bytes(200)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged or no"):
            cyconv.load(path)


def test_bytes_after_an_array_are_no_array(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as entry:
        np.lib.format.write_array(entry, np.ones(2))
        entry.write(b"more")
    with pytest.raises(ValueError, match=r"a\.npy has bytes after its array"):
        cyconv.load(path)


# ---------------------------------------------------------------- bad arguments


@pytest.mark.parametrize("name", ["weights", "weights.npy", "weights.pt", "weights.NPZ"])
def test_other_suffixes(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(
        ValueError, match=r"^save: the file must end in \.npz or \.safetensors, got '.*weights"
    ):
        cyconv.save({}, path)
    with pytest.raises(
        ValueError, match=r"^load: the file must end in \.npz or \.safetensors, got '.*weights"
    ):
        cyconv.load(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ([], "state must be a dict of arrays, got list"),
        ({1: np.ones(2)}, "keys must be strings, got 1"),
        ({"a": 1.0}, r"'a' must be a NumPy array of numbers or strings, got 1\.0"),
        ({"a": np.array([None])}, r"'a' must be a NumPy array of numbers or strings, got array\(\[None\]"),
    ],
)
def test_what_is_no_dict_of_arrays(state, text, suffix, tmp_path):
    with pytest.raises(TypeError, match=f"^save: {text}"):
        cyconv.save(state, tmp_path / f"weights{suffix}")
    assert os.listdir(tmp_path) == []


def test_dtypes_that_safetensors_can_not_store(tmp_path):
    pytest.importorskip("safetensors")
    for array in (np.array(["text"]), np.array([1j]), np.zeros(2, "i4,f4")):
        with pytest.raises(TypeError, match=r"^save: safetensors can't store these arrays .*; write \.npz"):
            cyconv.save({"a": array}, tmp_path / "weights.safetensors")
    assert os.listdir(tmp_path) == []


def test_without_the_package_safetensors(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.touch()
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"^save: needs the package safetensors; pip install safetensors"):
        cyconv.save({"a": np.ones(2)}, path)
    with pytest.raises(ImportError, match=r"^load: needs the package safetensors; pip install safetensors"):
        cyconv.load(path)
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b""
    cyconv.save({"a": np.ones(2)}, tmp_path / "weights.npz")  # needs nothing
