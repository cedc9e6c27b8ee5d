"""read_weights: content decides the format, and what is no weights file is refused in one line."""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mininet.errors import DTypeError, UnknownNameError, WeightsError
from mininet.weights import FORMATS, Weights, read_weights
from mininet.weights.safetensors import write

ASSETS = {
    "mobilenet_v2_torchvision.pth": "torch-zip",
    "mobilenet_v2_torchvision_legacy.pth": "torch-legacy",
    "mobilenet_v2_torchvision.safetensors": "safetensors",
    "mobilenet_v3_small_keras_lineage.safetensors": "safetensors",
    "mobilenet_v1_025_224_keras.npz": "npz",
    "mobilenet_v1_025_224_keras.h5": "keras-h5",
    "mobilenet_v1_025_224_keras.weights.h5": "keras-h5",
    "mobilenet_v1_025_224_keras.keras": "keras-zip",
    "mobilenet_v1_025_224_float.tflite": "tflite",
}

FOREIGN = {
    "empty": (b"", "empty"),
    "text": (b"hello, this is no weights file", "starts with b'hello, t'"),
    "short": (b"ab", "starts with"),
    "html": (b"<!DOCTYPE html><html>404</html>", "a web page"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "damaged or truncated HDF5 file"),
    "protobuf": (b"\x08\x07\x12\xff\xff\xff\xff\x0fx", "damaged or truncated: a field ends"),
    "pickle": (b"\x80\x04N.", "torch.save did not write"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(100), "single NumPy array"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "cut zip": (b"PK\x03\x04" + bytes(60), "damaged or truncated zip"),
}


def _one_line(error: pytest.ExceptionInfo[WeightsError], path: object) -> str:
    message = str(error.value)
    assert "\n" not in message, message
    assert str(path) in message, message
    return message


@pytest.mark.parametrize(("file", "format"), ASSETS.items())
def test_format_comes_from_content_not_name(file: str, format: str, assets: Path, tmp_path: Path) -> None:
    for start, package in (("tflite", "tflite"), ("keras", "h5py")):
        if format.startswith(start):
            pytest.importorskip(package, reason=f"{format} needs {package} (extra convert)")
    disguised = tmp_path / "weights.txt"
    shutil.copy(assets / "weights" / file, disguised)
    weights = read_weights(disguised)
    assert weights.format == format
    assert weights.path == str(disguised)
    for name, array in weights.items():
        assert array.flags.aligned, f"{name} is not aligned"
        assert array.dtype.isnative, f"{name} has foreign byte order"
        assert not array.flags.writeable, f"{name} can be written to"
        assert np.isfinite(array).all(), name


@pytest.mark.parametrize(
    "file", ["mobilenet_v2_torchvision_legacy.pth", "mobilenet_v2_torchvision.safetensors"]
)
def test_three_formats_of_one_network_are_bitwise_equal(file: str, assets: Path) -> None:
    expected = read_weights(assets / "weights" / "mobilenet_v2_torchvision.pth")
    actual = read_weights(assets / "weights" / file)
    assert set(actual) == set(expected)
    for name in expected:
        assert actual[name].dtype == expected[name].dtype, name
        assert actual[name].shape == expected[name].shape, name
        assert actual[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize(("content", "expected"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_file(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_weights(path)
    assert expected in _one_line(error, path)


def test_zip_without_tensors(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(WeightsError, match="zip archive without tensors"):
        read_weights(tmp_path / "x.zip")


def test_missing_file_folder_and_device(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "found a folder"),
        (os.devnull, "found a device"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(WeightsError, match=expected) as error:
            read_weights(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", [None, 3, 1.5, ["a"]])
def test_no_path(path: object) -> None:
    with pytest.raises(DTypeError, match=r"expected a str or os\.PathLike"):
        read_weights(path)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": np.arange(5.0)})
    os.mkfifo(tmp_path / "pipe")
    content = (tmp_path / "a").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    weights = read_weights(tmp_path / "pipe")
    writer.join()
    np.testing.assert_array_equal(weights["x"], np.arange(5.0))


def test_weights_is_a_read_only_mapping(tmp_path: Path) -> None:
    write(tmp_path / "a", {"conv.weight": np.ones(3), "b": np.zeros((2, 2), np.float32)}, {"lineage": "timm"})
    weights = read_weights(str(tmp_path / "a"))
    assert isinstance(weights, Weights)
    assert list(weights) == ["conv.weight", "b"]
    assert len(weights) == 2
    assert weights.metadata == {"lineage": "timm"}
    assert "safetensors, 2 tensors, 7 values" in repr(weights)
    assert weights.get("absent") is None
    assert "absent" not in weights
    with pytest.raises(UnknownNameError, match=r"did you mean 'conv\.weight'") as error:
        weights["conv.weigth"]
    assert isinstance(error.value, KeyError)
    assert str(error.value).startswith("unknown tensor")
    with pytest.raises(ValueError, match="read-only"):
        weights["b"][0] = 1


def test_table_of_formats_names_readers_that_exist() -> None:
    import importlib

    assert len({known.name for known in FORMATS}) == len(FORMATS)
    for known in FORMATS:
        module, _, function = known.reader.partition(":")
        assert callable(getattr(importlib.import_module(f"mininet.weights.{module}"), function)), known.name
