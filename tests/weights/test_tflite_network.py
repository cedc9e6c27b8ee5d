"""Which network a .tflite file holds: told by its graph, with what converters do to it undone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import GRAPH_SHARE

import mininet
from mininet.errors import ArgumentError, UnknownNameError, WeightsError
from mininet.weights.load import match
from mininet.weights.tflite_network import recognise

pytest.importorskip("tflite", reason="tflite files need the extra 'convert'")

from quantised_tflite import GATES, Quantiser
from tflite_file import tflite_of
from tiny_tflite import tiny_tflite

V3 = "mobilenet_v3_small"
ROUNDING = 0.05  # of the logits' rms: what the integers of some sixty layers lose, as a rule half of that
SIZE = 64


def pictures(count: int = 8, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = rng.uniform(-1, 1, (count, 3, size // 8, size // 8)).repeat(8, 2).repeat(8, 3)
    return np.clip(smooth + rng.normal(0, 0.1, smooth.shape), -1, 1).astype(np.float32)


def network(name: str, **options: Any) -> mininet.Network:
    """A network of random weights, biases too."""
    net = mininet.create_model(name, "random:3", **{"num_classes": 7, **options})
    rng = np.random.default_rng(1)
    biases = {
        key: rng.normal(0, 0.2, value.shape).astype(np.float32)
        for key, value in net.state_dict().items()
        if key.endswith("bias")
    }
    net.load_state_dict(biases, strict=False)
    return net


def saved(data: bytes, folder: Path) -> Path:
    path = folder / "net.tflite"
    path.write_bytes(data)
    return path


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize("lineage", ["tflite", "keras", "torchvision", "timm"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v1", {"width": 0.25}),
        ("mobilenet_v1", {"width": 0.5, "activation": "relu", "num_classes": 1}),
        ("mobilenet_v1", {"width": 0.25, "shallow": True}),
        ("mobilenet_v1", {"width": 0.25, "separable": False}),
        ("mobilenet_v2", {"width": 0.35, "in_channels": 1}),
        ("mobilenet_v2", {"width": 1.4}),
        ("mobilenet_v3_small", {"width": 0.75}),
        ("mobilenet_v3_small", {"width": 1.0, "minimalistic": True}),
        ("mobilenet_v3_large", {"width": 0.75}),
    ],
)
def test_float_files_say_what_they_are(
    name: str, options: dict[str, Any], lineage: str, tmp_path: Path
) -> None:
    net = network(name, lineage=lineage, **options)
    x = pictures(2)[:, : net.config.in_channels]
    found = mininet.create_model(weights=saved(tflite_of(net.graph, (1, *x.shape[1:])), tmp_path))
    told, meant = ({**vars(each.config), "lineage": "", "width": 0, "batch_norm": 0} for each in (found, net))
    assert told == meant
    assert found.load_report is not None and found.load_report.ok
    off, most = np.abs(found(x) - net(x)).max(), np.abs(net(x)).max()
    assert off <= GRAPH_SHARE * most, f"{found} is off by {off:g} of {most:g}"
    if net.config.in_channels == 3:
        assert found.preset.size == (SIZE, SIZE)


def quantised(net: mininet.Network, kind: str, **choices: Any) -> Quantiser:
    return Quantiser(net.graph, kind, pictures(), **choices)


@pytest.mark.parametrize("apart", [False, True], ids=["operator", "apart"])
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_the_three_of_a_hard_sigmoid_is_taken_out_of_the_biases(
    kind: str, gate: str, apart: bool, tmp_path: Path
) -> None:
    net = network(V3, width=0.5, lineage="tflite", batch_norm=False)
    writer = quantised(net, kind, gate=gate, apart=apart)
    path = saved(writer.bytes(), tmp_path)
    found = mininet.create_model(weights=path)
    assert replace(found.config, clips=()) == net.config
    assert found.config.clips
    assert found.load_report is not None and found.load_report.ok
    for key, value in found.state_dict().items():
        np.testing.assert_allclose(value, writer.weights[key], rtol=1e-6, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_litert_computes_the_same(kind: str, gate: str, tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT comes with the extra 'parity'")
    net = network(V3, width=0.5, lineage="tflite", batch_norm=False)
    writer = quantised(net, kind, gate=gate)
    path = saved(writer.bytes(), tmp_path)
    theirs = litert_logits(litert, path, pictures())
    off = rms(mininet.create_model(weights=path)(pictures()) - theirs) / rms(theirs)
    assert off <= ROUNDING, f"{kind}, gate {gate}: off by {off:.3f} of the logits"


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_bounds_of_linear_layers_and_sums_are_kept(kind: str, tmp_path: Path) -> None:
    """With a quarter of the range that its bottlenecks reach, a network is another one: LiteRT says which."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT comes with the extra 'parity'")
    net = network("mobilenet_v2", width=0.35, lineage="tflite", batch_norm=False)
    reached = net.trace(pictures())
    linear = [
        node.name
        for node in net.graph.nodes
        if node.op.kind == "add" or (node.op.kind == "pointwise_conv2d" and node.name.endswith("conv.2"))
    ]
    limits = {name: (float(reached[name].min()) / 4, float(reached[name].max()) / 4) for name in linear}

    def off(limits: dict[str, tuple[float, float]], **options: Any) -> float:
        path = saved(quantised(net, kind, limits=limits).bytes(), tmp_path)
        theirs = litert_logits(litert, path, pictures())
        found = mininet.create_model(weights=path, **options)
        assert "clips" in options or {name for name, _, _ in found.config.clips} >= limits.keys()
        return rms(found(pictures()) - theirs) / rms(theirs)

    rounding, clipped, free = off({}), off(limits), off(limits, clips=())
    said = f"{kind}: off by {clipped:.3f} of the logits, {free:.3f} without clips; rounding is {rounding:.3f}"
    assert clipped <= 1.2 * rounding, said
    assert free > 4 * rounding, said


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_a_relu6_may_be_the_range_of_its_tensor_alone(kind: str, tmp_path: Path) -> None:
    options = {"width": 0.25, "lineage": "tflite", "batch_norm": False}
    writer = quantised(network("mobilenet_v1", **options), kind, bare=True)
    found = mininet.create_model(weights=saved(writer.bytes(), tmp_path))
    assert [name for name, _, _ in found.config.clips] == ["avgpool"]  # a mean is less than 6
    meant = network("mobilenet_v1", **options, clips=found.config.clips)
    meant.load_state_dict(writer.weights)
    off, most = np.abs(found(pictures()) - meant(pictures())).max(), np.abs(meant(pictures())).max()
    assert off <= GRAPH_SHARE * most


def test_a_narrow_range_of_a_relu6_is_kept(tmp_path: Path) -> None:
    net = network("mobilenet_v1", width=0.25, lineage="tflite", batch_norm=False)
    path = saved(quantised(net, "INT8", limits={"features.3.0.2": (0.0, 0.5)}).bytes(), tmp_path)
    found = mininet.create_model(weights=path)
    (value,) = (op for op in found.graph.nodes if op.name == "features.3.0.2")
    assert value.op.kind == "clip"
    assert found.trace(pictures())["features.3.0.2"].max() == np.float32(0.5)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_preprocessing_is_what_the_inputs_integers_say(kind: str, tmp_path: Path) -> None:
    net = network("mobilenet_v1", width=0.25, lineage="tflite", batch_norm=False)
    preset = mininet.create_model(weights=saved(quantised(net, kind).bytes(), tmp_path)).preset
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    scale = np.float32(2 / 255)
    numbers = (np.arange(256) - 127) * float(scale)  # the grid from -1 to 1 has its 0 at 127
    np.testing.assert_allclose(preset.normalise(pixels)[0, 1].reshape(-1), numbers, atol=1e-6)
    assert preset.size == (SIZE, SIZE)


def test_convert_saves_clips_and_preprocessing_and_its_round_trip_is_bitwise(tmp_path: Path) -> None:
    net = network(V3, width=0.5, lineage="tflite", batch_norm=False)
    path = saved(quantised(net, "INT8", gate="folded").bytes(), tmp_path)
    written = [tmp_path / "once.safetensors", tmp_path / "twice.safetensors"]
    for source, target in zip((path, written[0]), written, strict=True):
        command = [sys.executable, "-m", "mininet", "convert", str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert written[0].read_bytes() == written[1].read_bytes()
    first, again = mininet.create_model(weights=path), mininet.create_model(weights=written[0])
    assert (again.config, again.preset) == (first.config, first.preset)
    assert again.config.clips
    np.testing.assert_array_equal(again(pictures()), first(pictures()))


def test_the_caller_may_say_what_is_known(tmp_path: Path) -> None:
    net = network("mobilenet_v1", width=0.25, lineage="keras")
    path = saved(tflite_of(net.graph, (1, 3, SIZE, SIZE)), tmp_path)
    assert mininet.create_model("keras/MobileNet", weights=path, width=0.25).config.lineage == "keras"
    nearest = "the graph of the file is no .* that is known; it comes nearest to mobilenet_v1 of width"
    with pytest.raises(
        WeightsError, match=rf"{nearest} 0\.25, which parts from it at classifier\.1: expected"
    ):
        mininet.create_model(weights=path, num_classes=8)
    with pytest.raises(WeightsError, match=rf"{nearest} 0\.75.*at features\.0\.0: expected weight \(24, 3"):
        mininet.create_model("mobilenet_v1", weights=path, width=0.75)
    with pytest.raises(WeightsError, match="is no mobilenet_v2 that is known"):
        mininet.create_model("mobilenet_v2", weights=path)
    with pytest.raises(ArgumentError, match="width: expected a number above 0"):
        mininet.create_model(weights=path, width=-1)
    with pytest.raises(ArgumentError, match=r"unknown option 'wdth' for a \.tflite file"):
        mininet.create_model(weights=path, wdth=1)
    with pytest.raises(UnknownNameError, match="unknown model 'mobilnet'"):
        mininet.create_model("mobilnet", weights=path)


def test_another_network_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^[^\n]* is no MobileNet that is known[^\n]*$"):
        mininet.create_model(weights=saved(tiny_tflite(), tmp_path))
    with pytest.raises(WeightsError, match=r"operator 0 \(transpose_conv\) is none that a MobileNet has"):
        mininet.create_model(weights=saved(tiny_tflite(op="TRANSPOSE_CONV"), tmp_path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({0: {"inputs": [0]}}, r"operator 0 \(conv2d\) reads nothing that the network computes"),
        ({1: {"inputs": [1, 1, 2]}}, "operator 1 .* computes its weights"),
        ({1: {"op": "add"}}, "operator 1 .add. has 3 inputs"),
        ({0: {"stride": [0, 2]}}, "operator 0 .* has no stride"),
        ({1: {"dilation": [2, 2]}}, "operator 1 .* is dilated"),
        ({0: {"activation": "TANH"}}, "operator 0 .* has the activation TANH"),
        ({0: {"output_shape": []}, 1: {"op": "mean"}}, "operator 1 .mean. does not pool the whole picture"),
    ],
)
def test_graphs_that_are_none_are_refused(
    changes: dict[int, dict[str, Any]], said: str, tmp_path: Path
) -> None:
    net = network("mobilenet_v1", width=0.25, lineage="tflite")
    weights = mininet.read_weights(saved(tflite_of(net.graph, (1, 3, SIZE, SIZE)), tmp_path))
    operators = json.loads(weights.metadata["operators"])
    made = operators[0]["outputs"][0]
    for index, change in changes.items():
        for (
            key,
            value,
        ) in change.items():  # in inputs 1 stands for the first layer's result, others for nothing
            operators[index][key] = (
                [made if number == 1 else 10**6 for number in value] if key == "inputs" else value
            )
    with pytest.raises(WeightsError, match=said):
        recognise(weights, {**weights.metadata, "operators": json.dumps(operators)})


def test_a_layer_without_a_bias_has_zeros_and_what_does_not_fit_is_named(tmp_path: Path) -> None:
    net = network("mobilenet_v1", width=0.25, lineage="tflite")
    weights = mininet.read_weights(saved(tflite_of(net.graph, (1, 3, SIZE, SIZE)), tmp_path))
    tensors = dict(weights)
    bias = next(name for name in tensors if name.endswith("bias"))
    del tensors[bias]
    found = recognise(tensors, weights.metadata)
    assert not found.tensors[bias].any()
    tensors = {**found.tensors, "099/conv2d/weight": np.zeros((1, 1, 1, 1), np.float32)}
    del tensors[bias]
    _, report = match(found.config, tensors, strict=False)
    assert (report.missing, report.unused) == ((bias,), ("099/conv2d/weight",))


def test_operators_are_compared_as_functions(tmp_path: Path) -> None:
    """Nothing is told by names: without them the same network is found."""
    net = network("mobilenet_v3_large", width=0.35, lineage="tflite")
    weights = mininet.read_weights(saved(tflite_of(net.graph, (1, 3, SIZE, SIZE)), tmp_path))
    operators = [{**operator, "name": ""} for operator in json.loads(weights.metadata["operators"])]
    found = recognise(weights, {**weights.metadata, "operators": json.dumps(operators)})
    assert (found.config.architecture, found.config.width) == ("mobilenet_v3_large", 0.35)


def litert_logits(litert: Any, path: Path, x: np.ndarray) -> np.ndarray:
    """What the integers of LiteRT's output stand for."""
    runner = litert.Interpreter(str(path), num_threads=1)
    runner.allocate_tensors()
    source, result = runner.get_input_details()[0], runner.get_output_details()[0]
    scale, zero = source["quantization"]
    limits, rows = np.iinfo(source["dtype"]), []
    for picture in x:
        q = np.clip(np.round(picture.transpose(1, 2, 0) / scale) + zero, limits.min, limits.max)
        runner.set_tensor(source["index"], q[None].astype(source["dtype"]))
        runner.invoke()
        rows.append(runner.get_tensor(result["index"])[0])
    scale, zero = result["quantization"]
    return (np.array(rows, np.float64) - zero) * scale
