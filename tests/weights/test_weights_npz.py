"""npz: what NumPy writes is read back, and no pickle, bomb or lie gets through."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mininet.errors import WeightsError
from mininet.weights import read_weights

SAMPLES = {
    "conv1/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(5, dtype=">i4"),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
    "flags": np.array([True, False]),
}


def _npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def _archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_round_trip(save: object, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **SAMPLES)  # type: ignore[operator]
    weights = read_weights(tmp_path / "a.npz")
    assert list(weights) == list(SAMPLES)
    assert weights.format == "npz"
    for name, expected in SAMPLES.items():
        actual = weights[name]
        np.testing.assert_array_equal(actual, expected, err_msg=name)
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype.newbyteorder("=")), name
        assert actual.flags.c_contiguous, name
        assert not actual.flags.writeable, name


def test_single_strings_are_metadata(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(2), lineage=np.array("keras"), nothing=np.array(""))
    weights = read_weights(tmp_path / "a.npz")
    assert list(weights) == ["x"]
    assert weights.metadata == {"lineage": "keras", "nothing": ""}


def test_names_that_climb_are_only_names(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    names = ["../../evil", "/abs/evil", "..\\evil", "C:/evil"]
    _archive(folder / "a.npz", {f"{name}.npy": _npy(np.ones(2)) for name in names})
    assert len(read_weights(folder / "a.npz")) == len(names)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "a.npz"]


HOSTILE = {
    "object array": (_npy(np.array([{}], object), allow_pickle=True), "expected an array of numbers"),
    "structured": (_npy(np.zeros(2, [("a", "f4")])), "npy header"),
    "strings": (_npy(np.array(["a", "b"])), "expected an array of numbers"),
    "complex": (_npy(np.zeros(2, complex)), "expected an array of numbers"),
    "truncated": (_npy(np.ones(9))[:-1], "expected 72 bytes"),
    "trailing": (_npy(np.ones(9)) + b"x", "expected 72 bytes"),
    "no magic": (b"nonsense" * 9, "npy header"),
    "empty": (b"", "npy header"),
    "unknown version": (b"\x93NUMPY\x09\x00" + bytes(99), "npy header"),
    "huge": (
        _header("{'descr':'<f8','fortran_order':False,'shape':(1000000,1000000,)}\n"),
        "expected 8000000000000",
    ),
    "overflow": (
        _header("{'descr':'<f8','fortran_order':False,'shape':(4294967296,4294967296,)}\n"),
        "more than",
    ),
    "negative": (_header("{'descr':'<f8','fortran_order':False,'shape':(-1,)}\n", bytes(8)), "got -1"),
    "bool size": (_header("{'descr':'<f8','fortran_order':False,'shape':(True,)}\n", bytes(8)), "got True"),
    "code": (_header("__import__('os').system('true')\n"), "npy header"),
    "nested": (_header("(" * 5000 + "\n"), "npy header"),
    "rank": (_header(f"{{'descr':'|i1','fortran_order':False,'shape':({'1,' * 70})}}\n", b"x"), "at most 32"),
    "zero-width": (
        _header("{'descr':'|V0','fortran_order':False,'shape':(9,)}\n"),
        "expected an array of numbers",
    ),
    "bad bool": (_npy(np.array([True]))[:-1] + b"\x07", "booleans"),
}


@pytest.mark.parametrize(("member", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_member(member: bytes, expected: str, tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.npz", {"x.npy": member})
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


def _patched(path: Path, member: zipfile.ZipInfo, size: int) -> None:
    """Lie about a member's unpacked size in the central directory."""
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, size)
    path.write_bytes(content)


def test_bomb_that_says_so_is_refused_before_unpacking(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.npz", {"x.npy": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="zip bomb"):
        read_weights(path)


def test_bomb_that_hides_its_size_is_not_unpacked_further(tmp_path: Path) -> None:
    import tracemalloc

    path = _archive(tmp_path / "a.npz", {"x.npy": bytes(60 << 20)}, zipfile.ZIP_DEFLATED)
    _patched(path, zipfile.ZipFile(path).infolist()[0], 1000)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_weights(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20, f"unpacked up to {peak} bytes of a member of 1000"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archive_tricks(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice", "w") as archive:
        archive.writestr("x.npy", _npy(np.ones(2)))
        archive.writestr("x.npy", _npy(np.zeros(2)))
    _archive(tmp_path / "bzip2", {"x.npy": _npy(np.ones(2))}, zipfile.ZIP_BZIP2)
    stored = _archive(tmp_path / "stored", {"x.npy": _npy(np.ones(2))})
    _patched(stored, zipfile.ZipFile(stored).infolist()[0], 2**31)
    _archive(tmp_path / "many", {f"{i}.npy": b"" for i in range(10_001)})
    for name, expected in (
        ("twice", "occurs twice"),
        ("bzip2", "stored or deflated"),
        ("stored", "equal sizes"),
        ("many", "at most 10000 members"),
    ):
        with pytest.raises(WeightsError, match=expected):
            read_weights(tmp_path / name)
