"""The reader of .tflite: keys by structure, its layouts, integers as numbers, the graph as metadata."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import BIAS, WEIGHT, tiny_tflite

from mininet.errors import MissingExtraError, WeightsError
from mininet.weights import read_weights

pytest.importorskip("tflite", reason="tflite reads .tflite files (extra convert)")


def test_tiny_network(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite())
    weights = read_weights(tmp_path / "a")
    assert list(weights) == ["000/conv2d/weight", "000/conv2d/bias", "001/fully_connected/weight"]
    np.testing.assert_array_equal(weights["000/conv2d/weight"], WEIGHT)
    np.testing.assert_array_equal(weights["000/conv2d/bias"], BIAS)
    convolution, linear = json.loads(weights.metadata["operators"])
    assert convolution == {
        "index": 0, "op": "conv2d", "name": "t3", "inputs": [0, 1, 2], "outputs": [3],
        "output_shape": [1, 4, 4, 2], "stride": [2, 1], "dilation": [1, 1], "padding": "SAME",
        "activation": "RELU6",
    }  # fmt: skip
    assert linear["op"] == "fully_connected"
    assert linear["inputs"] == [3, 4, -1]
    assert linear["activation"] == "NONE"
    assert weights.metadata["class_offset"] == "0"


def test_background_class(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(classes=1001))
    assert read_weights(tmp_path / "a").metadata["class_offset"] == "1"


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("INT8", "i1", "expected its weight as floats or with scales, got int8 without"),
        ("FLOAT32", "<f8", "expected 96 bytes for float32"),
        ("COMPLEX64", "<c8", "expected one of FLOAT16, FLOAT32"),
        ("INT4", "i1", "expected one of FLOAT16, FLOAT32"),
    ],
)
def test_what_is_refused(kind: str, dtype: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(kind=kind, dtype=dtype))
    with pytest.raises(WeightsError, match=expected):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize(
    ("kind", "dtype", "grid"),
    [
        ("INT8", "i1", ([0.5, 0.03], [0, 0], 0)),  # a scale for each output channel
        ("INT8", "i1", ([0.5, 0.03, 7.0], [1, -2, 3], 3)),
        ("UINT8", "u1", ([0.0078125], [157], 0)),  # one for all
        ("UINT8", "u1", ([0.1], [], 0)),
        ("INT32", "<i4", ([1e-5], [2**31 - 1], 0)),
    ],
)
def test_integers_are_read_as_the_numbers_they_stand_for(
    kind: str, dtype: str, grid: tuple[list[float], list[int], int], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(kind=kind, dtype=dtype, grid=grid))
    got = read_weights(tmp_path / "a")["000/conv2d/weight"]
    assert got.dtype == np.float32
    scales = np.array(grid[0], np.float32).astype(np.float64)
    for place in np.ndindex(*WEIGHT.shape):
        channel = place[grid[2]] if len(scales) > 1 else 0
        zero = grid[1][channel] if grid[1] else 0
        assert got[place] == np.float32(scales[channel] * (float(WEIGHT[place]) - zero)), place


def test_float16_weights_become_float32(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(kind="FLOAT16", dtype="<f2"))
    got = read_weights(tmp_path / "a")["000/conv2d/weight"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, WEIGHT)


@pytest.mark.parametrize(
    "grid",
    [
        ([0.1, 0.2, 0.3], [0, 0, 0], 0),  # of two output channels
        ([0.1, 0.2], [0], 0),
        ([0.1, 0.2], [0, 0], 4),  # no such axis
        ([0.1, 0.2], [0, 0], -1),
        ([0.0], [0], 0),
        ([-0.1], [0], 0),
        ([float("nan")], [0], 0),
        ([float("inf")], [0], 0),
        ([0.1], [2**40], 0),
        ([0.1], [-(2**63)], 0),
    ],
)
def test_scales_that_make_no_sense_are_refused(
    grid: tuple[list[float], list[int], int], tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(kind="INT8", dtype="i1", grid=grid))
    with pytest.raises(WeightsError, match=r"tensor 't1': expected .* scales"):
        read_weights(tmp_path / "a")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite())
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match="convert"):
        read_weights(tmp_path / "a")


def test_real_float_file(assets: Path) -> None:
    weights = read_weights(assets / "weights" / "mobilenet_v1_025_224_float.tflite")
    operators = json.loads(weights.metadata["operators"])
    kinds = [operator["op"] for operator in operators]
    assert kinds == [
        "conv2d",
        *["depthwise_conv2d", "conv2d"] * 13,
        "average_pool2d",
        "conv2d",
        "squeeze",
        "softmax",
    ]
    assert weights["000/conv2d/weight"].shape == (8, 3, 3, 3)
    assert weights["001/depthwise_conv2d/weight"].shape == (1, 3, 3, 8)
    assert weights["028/conv2d/weight"].shape == (1001, 1, 1, 256)
    assert weights.metadata["class_offset"] == "1"
    assert [operator["stride"] for operator in operators[:4]] == [[2, 2], [1, 1], [1, 1], [2, 2]]
    assert len(weights) == 56
    assert all(array.dtype == np.float32 for array in weights.values())


@pytest.mark.parametrize(
    ("file", "count", "source", "ranges"),
    [
        ("mobilenet_v2_ptq_int8.tflite", 53, [-127 / 127.5, 128 / 127.5], {0, 1, 2, 3, 10, 62, 64}),
        ("mobilenet_v1_025_128_uint8.tflite", 28, [-1, 127 / 128], set(range(29))),
    ],
)
def test_real_quantised_files(
    file: str, count: int, source: list[float], ranges: set[int], assets: Path
) -> None:
    weights = read_weights(assets / "weights" / file)
    layers = [name for name in weights if name.endswith(("/weight", "/bias"))]
    assert len(layers) == 2 * count
    assert all(weights[name].dtype == np.float32 for name in layers)
    assert json.loads(weights.metadata["input"])["range"] == pytest.approx(source)
    told = {
        operator["index"] for operator in json.loads(weights.metadata["operators"]) if "range" in operator
    }
    assert ranges <= told
    assert weights.metadata["class_offset"] == "1"
