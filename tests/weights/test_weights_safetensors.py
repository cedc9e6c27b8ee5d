"""safetensors: equal to the reference package both ways, and every lie in a header is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mininet.errors import ArgumentError, DTypeError, WeightsError
from mininet.weights import read_weights
from mininet.weights.safetensors import DTYPES, write

SAMPLES: dict[str, np.ndarray[Any, Any]] = {
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "odd": np.arange(3, dtype=np.int8),
    "wide": np.arange(6.0).reshape(2, 3),
    "nan": np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
    **{f"of {code}": np.arange(5).astype(dtype) for code, dtype in DTYPES.items()},
}


def _file(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def _entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def _assert_same(actual: Any, expected: Any) -> None:
    assert list(actual) == list(expected) or set(actual) == set(expected)
    for name, array in expected.items():
        assert (actual[name].dtype, actual[name].shape) == (array.dtype, array.shape), name
        assert actual[name].tobytes() == array.tobytes(), f"{name}: bits differ"


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "a", SAMPLES, {"architecture": "mobilenet_v2", "labels": "Katze\nHund"})
    weights = read_weights(tmp_path / "a")
    assert list(weights) == list(SAMPLES), "the caller's order is not kept"
    assert weights.metadata == {"architecture": "mobilenet_v2", "labels": "Katze\nHund"}
    _assert_same(weights, SAMPLES)
    write(tmp_path / "b", weights, weights.metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__"),
        hnp.arrays(
            st.sampled_from(list(DTYPES.values())), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
        ),
        max_size=5,
    )
)
def test_round_trip_of_anything(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("safetensors") / "a"
    write(path, tensors)
    _assert_same(read_weights(path), tensors)


def test_layout_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    write(
        tmp_path / "a", {"t": base.T, "s": base[::-2, 1::2], "big": base.astype(">f4"), "list": [[1.5, 2.0]]}
    )
    weights = read_weights(tmp_path / "a")
    np.testing.assert_array_equal(weights["t"], base.T)
    np.testing.assert_array_equal(weights["s"], base[::-2, 1::2])
    np.testing.assert_array_equal(weights["big"], base)
    np.testing.assert_array_equal(weights["list"], [[1.5, 2.0]])


def test_reference_package_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    reference = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
    write(tmp_path / "ours", SAMPLES, {"a": "b"})
    _assert_same(reference.load_file(tmp_path / "ours"), SAMPLES)
    reference.save_file(SAMPLES, tmp_path / "theirs", metadata={"a": "b"})
    weights = read_weights(tmp_path / "theirs")
    assert weights.metadata == {"a": "b"}
    _assert_same(weights, SAMPLES)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    exact = np.array([1.0, -2.5, 0.0, np.inf], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype("<u2")
    path = _file(tmp_path / "a", {"x": _entry("BF16", [2, 2], [0, 8])}, bits.tobytes())
    weights = read_weights(path)
    assert weights["x"].dtype == np.float32
    assert not weights["x"].flags.writeable
    np.testing.assert_array_equal(weights["x"], exact.reshape(2, 2))


def test_unaligned_tensor_is_copied_to_alignment(tmp_path: Path) -> None:
    header = {"a": _entry("I8", [1], [0, 1]), "b": _entry("F32", [2], [1, 9])}
    path = _file(tmp_path / "a", header, b"\x05" + np.array([1.5, 2.5], "<f4").tobytes())
    weights = read_weights(path)
    assert weights["b"].flags.aligned
    np.testing.assert_array_equal(weights["b"], np.array([1.5, 2.5], np.float32))


HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "truncated data": ({"x": _entry()}, bytes(7), "8 bytes of data as declared, the file holds 7"),
    "trailing data": ({"x": _entry()}, bytes(9), "the file holds 9"),
    "gap": ({"x": _entry(), "y": _entry(offsets=[12, 20])}, bytes(20), "gap or overlap"),
    "overlap": ({"x": _entry(), "y": _entry(offsets=[4, 12])}, bytes(12), "gap or overlap"),
    "same range": ({"x": _entry(), "y": _entry()}, bytes(8), "gap or overlap"),
    "gap at start": ({"x": _entry(offsets=[4, 12])}, bytes(12), "expected to start at 0"),
    "negative start": ({"x": _entry(offsets=[-8, 0])}, bytes(8), "starts at -8"),
    "backwards": ({"x": _entry(offsets=[8, 0])}, bytes(8), "its offsets span -8"),
    "wrong span": ({"x": _entry(offsets=[0, 4])}, bytes(4), "expected 8 bytes for F32"),
    "overflow": ({"x": _entry(shape=[2**32, 2**32, 4])}, bytes(8), "more than"),
    "overflow beside zero": ({"x": _entry(shape=[0, 2**62, 2**62], offsets=[0, 0])}, b"", "more than"),
    "huge rank": ({"x": _entry(shape=[1] * 100)}, bytes(8), "at most 32 dimensions, got 100"),
    "negative size": ({"x": _entry(shape=[-2, -1])}, bytes(8), "sizes of 0 or more, got -2"),
    "float size": ({"x": _entry(shape=[2.0])}, bytes(8), "got a float"),
    "bool size": ({"x": _entry(shape=[True, 2])}, bytes(8), "got True"),
    "shape no list": ({"x": _entry(shape="2")}, bytes(8), "expected a list as shape"),
    "float offsets": ({"x": _entry(offsets=[0.0, 8.0])}, bytes(8), "two integers"),
    "three offsets": ({"x": _entry(offsets=[0, 4, 8])}, bytes(8), "two integers"),
    "unknown dtype": ({"x": _entry("F8_E4M3")}, bytes(8), "got 'F8_E4M3'"),
    "dtype no string": ({"x": _entry(["F32"])}, bytes(8), "got a list"),
    "missing field": ({"x": {"dtype": "F32", "shape": [2]}}, bytes(8), "exactly dtype, shape"),
    "extra field": ({"x": _entry(more=1)}, bytes(8), "exactly dtype, shape"),
    "entry no object": ({"x": 3}, bytes(8), "exactly dtype, shape"),
    "bad bool": ({"x": _entry("BOOL", [2], [0, 2])}, b"\x01\x02", "booleans of 0 or 1"),
    "metadata no strings": ({"__metadata__": {"a": 1}}, b"", "map strings to strings"),
    "metadata no object": ({"__metadata__": "a"}, b"", "map strings to strings"),
    "duplicate name": (b'{"x":{},"x":{}}', b"", "'x' occurs twice"),
    "no JSON": (b"{nonsense}", b"", "expected JSON"),
    "no UTF-8": (b'{"\xff":1}', b"", "expected JSON in UTF-8"),
    "deep nesting": (b'{"x":' + b"[" * 100_000, b"", "expected JSON"),
    "huge integer": (
        b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
        bytes(8),
        "x",
    ),
    "name with newline": ({"a\nb\x1b[2J": _entry("F4")}, bytes(8), r"a\\nb\\x1b"),
}


@pytest.mark.parametrize(("header", "data", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_header(header: Any, data: bytes, expected: str, tmp_path: Path) -> None:
    path = _file(tmp_path / "a", header, data)
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [2**63 - 1, 2**39, 5 << 20, 1000])
def test_declared_header_length_is_checked_before_reading(length: int, tmp_path: Path) -> None:
    path = _file(tmp_path / "a", {"x": _entry()}, bytes(8), length)
    with pytest.raises(WeightsError):
        read_weights(path)


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"x": np.array(["a"])}, None, DTypeError),
        ({"x": np.array([None])}, None, DTypeError),
        ({"x": np.zeros(2, np.complex64)}, None, DTypeError),
        ({3: np.zeros(2)}, None, DTypeError),
        ({"x": np.zeros(2)}, {"a": 1}, DTypeError),
        ({"__metadata__": np.zeros(2)}, None, ArgumentError),
        ({"\ud800": np.zeros(2)}, None, ArgumentError),
        ({"x": np.zeros(2)}, {"a": "x" * (5 << 20)}, ArgumentError),
    ],
)
def test_what_cannot_be_written_leaves_no_file(
    tensors: Any, metadata: Any, error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        write(tmp_path / "a", tensors, metadata)
    assert list(tmp_path.iterdir()) == []
