"""The table of a network: its text, its parts, and that its numbers are those of the frameworks."""

from __future__ import annotations

import json
from typing import Any

import make_summaries
import pytest
import twins
from parity_driver import needs

import mininet
from mininet.inspect.table import markdown_lines, text_lines

NETWORKS = [
    ("mobilenet_v1", {}),
    ("mobilenet_v2", {"width": 1.4}),
    ("mobilenet_v3_small", {}),
    ("keras/MobileNet", {}),
]


@pytest.mark.parametrize("name", make_summaries.TABLES)
def test_golden(name: str) -> None:
    golden = (make_summaries.GOLDEN / name).read_text(encoding="utf-8")
    assert make_summaries.TABLES[name]() + "\n" == golden, f"{name} differs; see make_summaries.py"


def test_every_golden_file_is_tested() -> None:
    assert {path.name for path in make_summaries.GOLDEN.iterdir()} == set(make_summaries.TABLES)


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("depth", [None, 1, 2, 3, 4, 5, 9])
def test_every_depth_adds_up(name: str, options: dict[str, Any], depth: int | None) -> None:
    net = mininet.create_model(name, **options)
    summary = net.summary(depth=depth)
    assert summary.madds == summary.cost.madds == net.cost().madds
    assert summary.params == sum(value.size for value in net.parameters())
    assert summary.buffers == sum(value.size for _, value in net.named_buffers())
    assert summary.total_params == net.count_params()
    assert sum(row.nodes for row in summary.rows) == len(net.names())
    assert sum(row.share for row in summary.rows) == pytest.approx(1.0)
    shapes = net.graph.infer_shapes(net.input_shape)
    for row in summary.rows:
        assert row.output == shapes[net.graph.resolve(row.name)], row.name
        assert depth is None or row.name.count(".") < depth


def test_deep_enough_is_everything() -> None:
    net = mininet.create_model("mobilenet_v3_small")
    assert net.summary(depth=9).rows == net.summary().rows
    assert [row.name for row in net.summary().rows] == net.names()


def test_a_part() -> None:
    net = mininet.create_model("mobilenet_v2")
    whole = {row.name: row for row in net.summary().rows}
    part = net.summary(node="features.4")
    assert part.rows == tuple(row for name, row in whole.items() if f"{name}.".startswith("features.4."))
    assert part.rows[-1].name != "features.4", "this block has no residual"
    residual = net.summary(node="features.3")
    assert residual.rows[-1] == whole["features.3"], "the add is named as its block"
    assert net.summary(node="classifier.1").rows == (whole["classifier.1"],)
    blocks = net.summary(node="features", depth=1)
    assert [row.name for row in blocks.rows] == [f"features.{i}" for i in range(19)]
    assert "of the network" in str(part)
    assert "of the network" not in str(net.summary())


def test_a_neighbour_with_a_longer_number_is_no_part() -> None:
    part = mininet.create_model("mobilenet_v2").summary(node="features.1")
    assert {row.name.split(".")[1] for row in part.rows} == {"1"}


def test_kernels() -> None:
    rows = {row.name: row.kernel for row in mininet.create_model("mobilenet_v2").summary().rows}
    assert rows["features.0.0"] == "3x3/2"
    assert rows["features.1.conv.0.0"] == "3x3"
    assert rows["features.1.conv.1"] == "1x1"
    assert rows["features.0.1"] == rows["classifier.1"] == ""


def test_json() -> None:
    summary = mininet.create_model("mobilenet_v3_small").summary(depth=2)
    assert json.loads(summary.to_json()) == json.loads(json.dumps(summary.to_dict()))
    assert summary.to_dict()["nodes"][0]["output"] == [1, 16, 112, 112]
    assert summary.to_dict()["madds"] == summary.madds


@pytest.mark.parametrize("depth", [0, -1])
def test_depth_must_be_positive(depth: int) -> None:
    with pytest.raises(mininet.ArgumentError, match=f"depth: expected an integer of at least 1, got {depth}"):
        mininet.create_model("mobilenet_v2").summary(depth=depth)


def test_unknown_node() -> None:
    with pytest.raises(mininet.UnknownNameError, match=r"unknown node 'features\.99'"):
        mininet.create_model("mobilenet_v2").summary(node="features.99")


def test_no_rows_no_crash() -> None:
    assert text_lines(("a", "b"), []) == ["----", "a  b", "----", "----"]
    assert markdown_lines(("a", "b|c"), [], {1}) == ["| a | b\\|c |", "| --- | ---: |"]


@needs("torch", "torchvision")
@pytest.mark.parametrize("arch", ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
@pytest.mark.parametrize("width", [0.5, 1.0, 1.4])
def test_counts_are_torchvisions(arch: str, width: float) -> None:
    module = twins.torchvision_twin(arch, width, 17)._modules["float32"]
    summary = mininet.create_model(arch, width=width, num_classes=17).summary()
    assert summary.params == sum(p.numel() for p in module.parameters())
    counted = sum(b.numel() for name, b in module.named_buffers() if "num_batches" not in name)
    assert summary.buffers == counted
    own = {name: sum(p.numel() for p in part.parameters(False)) for name, part in module.named_modules()}
    assert {row.name: row.params for row in summary.rows if row.params} == {k: v for k, v in own.items() if v}


@needs("torch", "keras")
@pytest.mark.parametrize("arch", ["MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"])
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_counts_are_keras(arch: str, width: float) -> None:
    twin = twins.keras_twin(arch, width, 17)
    model = twin._model(64, 64, "float32")
    net = mininet.create_model(f"keras/{arch}", width=width, num_classes=17)
    summary = net.summary()
    assert summary.total_params == net.count_params() == model.count_params()
    assert summary.params == sum(value.numpy().size for value in model.trainable_weights)
    rows = {row.name: row.params + row.buffers for row in summary.rows}
    for layer in model.layers:
        if layer.count_params():
            assert rows[net.get_layer(layer.name).name] == layer.count_params(), layer.name
