"""Float .tflite: keys by structure, layouts of the file, the graph as metadata; no quantised files."""

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
    ("kind", "dtype", "op", "expected"),
    [
        ("INT8", "i1", "CONV_2D", "quantised tflite files are not supported yet.*'t1' is INT8"),
        ("UINT8", "u1", "CONV_2D", "quantised"),
        ("FLOAT16", "<f2", "CONV_2D", "quantised"),
        ("FLOAT32", "<f4", "DEQUANTIZE", "operator 0 is dequantize"),
        ("FLOAT32", "<f8", "CONV_2D", "expected 96 bytes for float32"),
        ("COMPLEX64", "<c8", "CONV_2D", "expected one of FLOAT32"),
    ],
)
def test_what_is_refused(kind: str, dtype: str, op: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tiny_tflite(kind=kind, dtype=dtype, op=op))
    with pytest.raises(WeightsError, match=expected):
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


@pytest.mark.parametrize("file", ["mobilenet_v2_ptq_int8.tflite", "mobilenet_v1_025_128_uint8.tflite"])
def test_real_quantised_files_are_refused(file: str, assets: Path) -> None:
    with pytest.raises(WeightsError, match="quantised tflite files are not supported yet"):
        read_weights(assets / "weights" / file)
