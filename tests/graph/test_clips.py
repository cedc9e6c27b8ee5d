"""Bounded values: what a graph with clips computes, under which names, on every backend and when saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tolerances import GRAPH_SHARE

import mininet
from mininet.errors import ArgumentError, UnknownNameError
from mininet.graph.clips import insert_clips
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph

CLIPS = (
    ("features.0.2", 0.0, 0.75),  # a ReLU6
    ("features.2.conv.2", -0.25, 0.5),  # a linear bottleneck
    ("features.3", -0.5, 0.25),  # a residual sum
    ("avgpool", 0.0, 0.125),
)
CONFIG = ModelConfig("mobilenet_v2", 0.25, 5, batch_norm=False, clips=CLIPS)


@pytest.fixture(scope="module")
def net() -> mininet.Network:
    options = {"width": 0.25, "num_classes": 5, "batch_norm": False}
    return mininet.create_model("mobilenet_v2", "random:1", clips=CLIPS, **options)


def pixels() -> np.ndarray:
    return 9 * np.random.default_rng(0).standard_normal((2, 3, 40, 33)).astype(np.float32)


@pytest.mark.parametrize("backend", ["reference", "kernels", "plan"])
def test_values_stay_within_their_bounds_and_reach_them(net: mininet.Network, backend: str) -> None:
    trace = net.trace(pixels(), backend=backend)
    for name, low, high in CLIPS:
        value = trace[name if name == "features.0.2" else f"{name}.clip"]
        assert low <= value.min() and value.max() == high, f"{name}: {value.min()}..{value.max()}"


def test_backends_agree(net: mininet.Network) -> None:
    reference = net(pixels(), backend="reference")
    assert np.isfinite(reference).all()
    for backend in ("kernels", "plan"):
        off = np.abs(net(pixels(), backend=backend) - reference).max()
        assert off <= GRAPH_SHARE * np.abs(reference).max(), f"{backend} is off by {off:g}"


def test_a_clip_is_read_in_place_of_what_it_bounds() -> None:
    graph = build_graph(CONFIG)
    nodes = {node.name: node for node in graph.nodes}
    assert nodes["features.0.2"].op.kind == "clip"
    assert nodes["features.2.conv.2.clip"].inputs == ("features.2.conv.2",)
    assert nodes["features.3.conv.0.0"].inputs == ("features.2.conv.2.clip",)
    assert (
        graph.param_shapes()
        == build_graph(ModelConfig("mobilenet_v2", 0.25, 5, batch_norm=False)).param_shapes()
    )


def test_a_clip_of_an_output_becomes_the_output() -> None:
    graph = insert_clips(build_graph(CONFIG), [("classifier.1", -1, 1)])
    assert graph.outputs == ("classifier.1.clip",)


def test_a_relu6_is_never_widened() -> None:
    graph = insert_clips(build_graph(CONFIG), [("features.18.2", -7, 7)])
    (op,) = (node.op for node in graph.nodes if node.name == "features.18.2")
    assert (op.low, op.high) == (0, 6)  # type: ignore[attr-defined]


def test_unknown_nodes_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown node to clip 'features\.99'"):
        build_graph(ModelConfig("mobilenet_v2", clips=(("features.99", 0, 1),)))


@pytest.mark.parametrize("clips", [[("a", 1, 0)], [("a", 0)], [("a", 0, float("inf"))], 3, [("a", "x", 1)]])
def test_bounds_that_make_no_sense_are_refused(clips: object) -> None:
    with pytest.raises(ArgumentError, match=r"^clips: expected \(node, low, high\) with finite low <= high"):
        ModelConfig("mobilenet_v2", clips=clips)  # type: ignore[arg-type]


def test_clips_are_saved(net: mininet.Network, tmp_path: Path) -> None:
    net.save(tmp_path / "net.safetensors")
    again = mininet.create_model(weights=tmp_path / "net.safetensors")
    assert again.config == net.config
    np.testing.assert_array_equal(again(pixels()), net(pixels()))


def test_damaged_metadata_is_refused() -> None:
    for text in ("[[", '{"a": 1}', '[["a", 1]]'):
        with pytest.raises(ArgumentError, match="clips"):
            ModelConfig.from_metadata({**CONFIG.to_metadata(), "clips": text})
