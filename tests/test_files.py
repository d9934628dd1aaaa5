"""Files: atomic writes, damaged and foreign files, arguments of save and load."""

import json
import os
import pickle
import stat
import struct
import sys
import zipfile

import numpy as np
import pytest
from helpers import run_python

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


FULL_DISK = """
import resource, signal, sys
import numpy as np
import cyconv

path = sys.argv[1]
cyconv.save({"old": np.arange(1000.0)}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write past the limit is an error, as on a full disk
for limit in (0, 100, 5000, 70_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        cyconv.save({"first": np.ones(5000, "f"), "second": np.ones(60_000, "f")}, path)
    except OSError as error:
        print(type(error).__name__, error.errno)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sets Linux's limits")
def test_a_full_disk_leaves_the_old_file(suffix, tmp_path):
    """The write itself fails, at the start, in the middle of an array, between two."""
    path = tmp_path / f"weights{suffix}"
    printed = run_python(FULL_DISK, path, CYCONV_BACKEND="numpy").stdout
    assert printed == "OSError 27\n" * 4  # EFBIG
    assert os.listdir(tmp_path) == [path.name]
    np.testing.assert_array_equal(cyconv.load(path)["old"], np.arange(1000))


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


def npy(header, data=b"", version=(1, 0)):
    """The bytes of an .npy file with any header."""
    header = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(header)) + header + data


def described(shape, descr="'<f8'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HOSTILE_NPY = {
    "more-than-it-holds": npy(described("(3,)"), bytes(16)),
    "terabytes": npy(described(f"({2**40},)")),
    "past-counting": npy(described(f"({2**62}, 4)")),
    "past-long": npy(described(f"({10**40},)")),
    "negative": npy(described("(-1,)")),
    "fraction": npy(described("(1.5,)"), bytes(8)),
    "truth": npy(described("(True,)"), bytes(8)),
    "70-dimensions": npy(described(f"({'1,' * 70})"), bytes(8)),
    "unknown-dtype": npy(described("(1,)", "'<q9'"), bytes(8)),
    "terabyte-items": npy(described("(1,)", f"'|V{2**31 - 1}'"), bytes(8)),
    "code": npy(described("(1,)", "__import__('os').abort()"), bytes(8)),
    "objects-inside": npy(described("(1,)", "[('a', '|O')]"), pickle.dumps(1)),
    "nested": npy("-" * 9000 + "1"),
    "no-dict": npy("[1]"),
    "other-version": npy(described("(1,)"), bytes(8), (9, 0)),
    "long-header": npy(described("(1,)") + " " * 20_000, bytes(8)),
}


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_hostile_npz(content, tmp_path):
    """An error before memory is taken; the model and the file are as they were."""
    model, path = cyconv.Linear(3, 4), tmp_path / "weights.npz"
    before = model.state_dict()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight.npy", npy(described("(4, 3)", "'<f4'"), bytes(48)))
        archive.writestr("bias.npy", content)
    bytes_before = path.read_bytes()
    with pytest.raises(ValueError, match=r"^load: .*weights\.npz' is damaged or no \.npz file of arrays"):
        model.load(path)
    assert path.read_bytes() == bytes_before
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_an_index_that_lies_about_a_size(tmp_path):
    """The directory of the archive, too, promises terabytes."""
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(described(f"({2**28},)")))
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24  # uncompressed size, in the central directory
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"its index promises 4294967294 bytes, more than a file of \d+ can hold"):
        cyconv.load(path)


def test_entries_that_overlap(tmp_path):
    """Two thousand names for the same megabyte of zeros, deflated: a file of 200 kB would be 2 GB of arrays."""
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0000.npy", npy(described("(131072,)"), bytes(2**20)))
    content = path.read_bytes()
    start = content.rindex(b"PK\x01\x02")
    entry, end = content[start : content.rindex(b"PK\x05\x06")], content[content.rindex(b"PK\x05\x06") :]
    index = b"".join(entry.replace(b"0000", b"%04d" % k) for k in range(2000))
    end = end[:8] + struct.pack("<HHI", 2000, 2000, len(index)) + end[16:]
    path.write_bytes(content[:start] + index + end)
    with pytest.raises(ValueError, match=r"weights\.npz' is damaged .*its index promises 2097\d+ bytes"):
        cyconv.load(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(compression, tmp_path):
    path = tmp_path / "weights.npz"
    pytest.importorskip("bz2" if compression == zipfile.ZIP_BZIP2 else "lzma")
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", npy(described("(1,)"), bytes(8)))
    with pytest.raises(ValueError, match=r"a\.npy has a compression that numpy\.savez does not write"):
        cyconv.load(path)


def tensors(header, data=b"", size=None):
    """The bytes of a safetensors file with any header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def tensor(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE_SAFETENSORS = {
    "size-of-header": tensors({}, size=2**63),
    "nested": tensors(b"[" * 100_000),
    "no-json": tensors(b"\xff\xfe"),
    "dtype-of-torch": tensors({"a": tensor([1], [0, 2], "BF16")}, bytes(2)),
    "outside": tensors({"a": tensor([4], [0, 2**40])}, bytes(16)),
    "past-counting": tensors({"a": tensor([2**62, 2**62], [0, 16])}, bytes(16)),
    "empty-past-counting": tensors({"a": tensor([0, 2**62], [0, 0])}),
    "negative": tensors({"a": tensor([-4], [0, 16])}, bytes(16)),
    "overlapping": tensors({"a": tensor([4], [0, 16]), "b": tensor([4], [0, 16])}, bytes(16)),
    "100-dimensions": tensors({"a": tensor([1] * 100, [0, 4])}, bytes(4)),
}


@pytest.mark.parametrize("content", HOSTILE_SAFETENSORS.values(), ids=HOSTILE_SAFETENSORS)
def test_hostile_safetensors(content, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^load: .*weights\.safetensors' is damaged or no"):
        cyconv.load(path)
    assert path.read_bytes() == content


def test_swapped_files(tmp_path):
    """One format under the other's name; one model's file for another: an error, and nothing changes."""
    pytest.importorskip("safetensors")
    small, large = cyconv.Linear(3, 4), cyconv.Conv2d(3, 4, 3)
    before = {key: array.copy() for key, array in small.params.items()}
    small.save(tmp_path / "a.npz")
    small.save(tmp_path / "b.safetensors")
    (tmp_path / "a.npz").rename(tmp_path / "c.safetensors")
    (tmp_path / "b.safetensors").rename(tmp_path / "d.npz")
    large.save(tmp_path / "e.npz")
    for name, text in (("c.safetensors", "is damaged"), ("d.npz", "is damaged"), ("e.npz", "has shape")):
        content = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=text):
            small.load(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    for key, array in small.params.items():
        np.testing.assert_array_equal(array, before[key])


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
