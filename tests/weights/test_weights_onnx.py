"""ONNX graphs made by hand: keys by name or by order, and refusals; tests/parity has files of torch.onnx."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mininet.errors import MissingExtraError, WeightsError
from mininet.weights import read_weights

onnx = pytest.importorskip("onnx", reason="onnx reads .onnx files (extra convert)")

WEIGHT = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
VECTOR = np.array([1.5, -2.0], np.float32)
MATRIX = np.arange(10, dtype=np.float32).reshape(2, 5)
NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def _save(path: Path, nodes: list[Any], tensors: dict[str, Any]) -> Path:
    made = [
        t if isinstance(t, onnx.TensorProto) else onnx.numpy_helper.from_array(t) for t in tensors.values()
    ]
    for tensor, name in zip(made, tensors, strict=True):
        tensor.name = name
    graph = onnx.helper.make_graph(nodes, "net", [], [], made)
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


def _conv(*names: str) -> Any:
    return onnx.helper.make_node("Conv", ["x", *names], ["y"], name="c")


def test_names_where_there_are_batch_norms(tmp_path: Path) -> None:
    """One constant may stand for several, under the names that identities give it."""
    nodes = [
        onnx.helper.make_node("Identity", ["bn.bias"], ["bn.running_mean"]),
        _conv("conv.weight"),
        onnx.helper.make_node("BatchNormalization", ["y", *NORM], ["z"]),
    ]
    tensors = {
        "conv.weight": WEIGHT,
        "bn.weight": VECTOR,
        "bn.bias": 2 * VECTOR,
        "bn.running_var": 3 * VECTOR,
    }
    weights = read_weights(_save(tmp_path / "a", nodes, tensors))
    assert list(weights) == ["conv.weight", *NORM]
    np.testing.assert_array_equal(weights["bn.running_mean"], 2 * VECTOR)
    assert weights.format == "onnx"


@pytest.mark.parametrize("transposed", [0, 1])
def test_order_where_they_are_folded(transposed: int, tmp_path: Path) -> None:
    nodes = [
        _conv("onnx::Conv_7", "onnx::Conv_8"),
        _conv("w"),
        onnx.helper.make_node("Gemm", ["y", "m", "onnx::Conv_8"], ["z"], transB=transposed),
        onnx.helper.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(2 * WEIGHT)),
        onnx.helper.make_node("Clip", ["z", "low", ""], ["out"]),
        onnx.helper.make_node("Div", ["out", "std"], ["scaled"]),
    ]
    tensors = {"onnx::Conv_7": WEIGHT, "onnx::Conv_8": VECTOR, "low": np.float32(0), "std": VECTOR}
    tensors["m"] = MATRIX if transposed else np.ascontiguousarray(MATRIX.T)
    weights = read_weights(_save(tmp_path / "a", nodes, tensors))
    layers = ("000/conv", "001/conv", "002/gemm")
    assert set(weights) == {"std", *(f"{layer}/{role}" for layer in layers for role in ("weight", "bias"))}
    np.testing.assert_array_equal(weights["001/conv/weight"], 2 * WEIGHT)
    np.testing.assert_array_equal(weights["001/conv/bias"], [0, 0])
    np.testing.assert_array_equal(weights["002/gemm/weight"], MATRIX)
    np.testing.assert_array_equal(weights["002/gemm/bias"], VECTOR)


@pytest.mark.parametrize(
    ("dtype", "raw"),
    [(np.float16, True), (np.float32, True), (np.float32, False), (np.float64, True), (np.float64, False)],
)
def test_dtypes(dtype: Any, raw: bool, tmp_path: Path) -> None:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = WEIGHT.astype(dtype)
    tensor = onnx.helper.make_tensor(
        "w", kind, WEIGHT.shape, values.tobytes() if raw else values.ravel(), raw=raw
    )
    weight = read_weights(_save(tmp_path / "a", [_conv("w")], {"w": tensor}))["000/conv/weight"]
    assert weight.dtype == dtype and not weight.flags.writeable
    np.testing.assert_array_equal(weight, WEIGHT)


def _external() -> Any:
    tensor = onnx.numpy_helper.from_array(WEIGHT)
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    return tensor


def _lying(*dims: int) -> Any:
    tensor = onnx.numpy_helper.from_array(WEIGHT)
    tensor.dims[:] = dims
    return tensor


@pytest.mark.parametrize(
    ("nodes", "tensors", "expected"),
    [
        ([_conv("w")], {"w": _external()}, "lies in another file, which is never opened"),
        ([_conv("w")], {"w": _lying(1 << 40)}, "expected 4398046511104 bytes"),
        ([_conv("w")], {"w": _lying(1 << 40, 1 << 40)}, "more than"),
        ([_conv("w")], {"w": _lying(-1)}, "sizes of 0 or more"),
        ([_conv("w")], {"w": _lying(3)}, "expected 12 bytes for float32 of shape"),
        ([_conv("w")], {"w": WEIGHT.astype(np.int8)}, "expected floating-point numbers"),
        ([_conv("w")], {}, "Conv 'c': its weight is computed"),
        ([], {}, "at least one layer with weights"),
        (
            [onnx.helper.make_node("Gemm", ["x", "m"], ["y"], alpha=2.0)],
            {"m": MATRIX},
            "alpha and beta of 1",
        ),
    ],
)
def test_what_is_refused(nodes: list[Any], tensors: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(_save(tmp_path / "a", nodes, tensors))
    assert "\n" not in str(error.value)


def test_identities_in_a_circle(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Identity", ["a"], ["b"]),
        onnx.helper.make_node("Identity", ["b"], ["a"]),
        _conv("a"),
    ]
    with pytest.raises(WeightsError, match="its weight is computed"):
        read_weights(_save(tmp_path / "a", nodes, {}))


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _save(tmp_path / "a", [_conv("w")], {"w": WEIGHT})
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx is needed.*convert"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x08\x08\x3a\x04\x0a\x02\x0a\x07", "a field ends behind its message"),
        (b"\x08\x08\x3a\x05\x0a\x03\x0a\x01\xff", "expected names in UTF-8"),
        (b"\x08\x08\x3a\x0b\x0a" + b"\xff" * 10, "a number does not end"),
        (b"\x08\x08\x3a\x02\x0b\x0c", "wire type 3"),
        (b"\x08\x08\x3a\x80\x89\x7a" + b"\x0a\0" * 1_000_000, "at most 200000 fields"),
    ],
)
def test_messages_are_walked_over_before_they_are_parsed(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    """The library takes ninety bytes for an empty message of two, and gives out bytes for a broken name."""
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dims", [(), (3,), (0, 2**40), (2**40, 0)])
def test_a_weight_without_outputs_or_inputs(dims: tuple[int, ...], tmp_path: Path) -> None:
    count = 1 if dims == () else 0 if 0 in dims else dims[0]
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, dims, [1.0] * count)
    path = _save(tmp_path / "a", [_conv("w")], {"w": weight})
    with pytest.raises(WeightsError, match="expected a weight of two dimensions or more"):
        read_weights(path)
