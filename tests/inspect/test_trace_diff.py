"""Two traces compared: planted porting errors are found at the node they were planted in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import seeded
import twins
from parity_driver import needs

import mininet
from mininet.graph import Graph, run_reference
from mininet.inspect import Trace, diff_traces
from mininet.ops import get_op

IMAGE = (2, 3, 64, 48)
BACKENDS = ("reference", "kernels", "plan")


def network(name: str, lineage: str = "torchvision") -> Any:
    net = mininet.create_model(name, width=0.5, lineage=lineage)
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    net.load_state_dict(seeded.state(shapes, 9))
    return net


def changed(graph: Graph, **ops: Any) -> Graph:
    """The graph with attributes of single ops replaced: ``name_with_underscores={attribute: value}``."""
    wanted = {name.replace("__", "."): attributes for name, attributes in ops.items()}
    assert wanted.keys() <= set(graph.names())
    nodes = tuple(
        replace(node, op=replace(node.op, **wanted[node.name])) if node.name in wanted else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


def excite_before_activation(graph: Graph, path: str) -> Graph:
    """The depthwise activation after squeeze-and-excite instead of before it."""
    norm, act, pool, scale = f"{path}.1.1", f"{path}.1.2", f"{path}.2.avgpool", f"{path}.2"
    by_name = {node.name: node for node in graph.nodes}
    gate = by_name[scale].inputs[1]
    moved = {
        pool: replace(by_name[pool], inputs=(norm,)),
        scale: replace(by_name[scale], inputs=(norm, gate)),
    }
    nodes = []
    for node in graph.nodes:
        if node.name == act:
            continue
        node = moved.get(node.name, node)
        if node.name not in moved:
            node = replace(node, inputs=tuple(act if name == scale else name for name in node.inputs))
        nodes.append(node)
        if node.name == scale:
            nodes.append(replace(by_name[act], inputs=(scale,)))
    return replace(graph, nodes=tuple(nodes))


def swapped_gate(graph: Graph, path: str) -> Graph:
    """The two activations of squeeze-and-excite in each other's place."""
    ops = {f"{path}.2.activation": get_op("hard_sigmoid")(), f"{path}.2.scale_activation": get_op("relu")()}
    return replace(graph, nodes=tuple(replace(n, op=ops.get(n.name, n.op)) for n in graph.nodes))


BUGS: dict[str, tuple[str, Callable[[Graph], Graph], str, str]] = {
    "epsilon 1e-3 for 1e-5": (
        "mobilenet_v2",
        lambda g: changed(g, features__5__conv__1__1={"eps": 1e-3}),
        "features.5.conv.1.1",
        "features.5.conv.1.2",
    ),
    "epsilon 1e-5 for 1e-3": (
        "mobilenet_v3_large",
        lambda g: changed(g, features__7__block__0__1={"eps": 1e-5}),
        "features.7.block.0.1",
        "features.7.block.1.2",
    ),
    "SAME for symmetric": (
        "mobilenet_v2",
        lambda g: changed(g, features__4__conv__1__0={"padding": "same"}),
        "features.4.conv.1.0",
        "features.4.conv.1.2",
    ),
    "SAME in the stem": (
        "mobilenet_v3_small",
        lambda g: changed(g, features__0__0={"padding": "same"}),
        "features.0.0",
        "features.1.block.0.2",
    ),
    "squeeze-and-excite before the activation": (
        "mobilenet_v3_small",
        lambda g: excite_before_activation(g, "features.5.block"),
        "features.5.block.1.2",
        "features.5.block.1.2",
    ),
    "activations of squeeze-and-excite swapped": (
        "mobilenet_v3_large",
        lambda g: swapped_gate(g, "features.6.block"),
        "features.6.block.2.activation",
        "features.6.block.2.activation",
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_error_is_named(bug: str, backend: str) -> None:
    arch, plant, where, where_fused = BUGS[bug]
    good, bad, x = network(arch), network(arch), seeded.images(4, IMAGE)
    bad.graph = plant(bad.graph)
    expected, got = good.trace(x, backend=backend), bad.trace(x, backend=backend)
    diff = expected.diff(got)
    assert diff.first is not None, "not found"
    assert diff.first.name == (where_fused if backend == "plan" else where), str(diff)
    assert diff.first.max_abs >= diff.first.rms_error > 0
    assert all(node.ok for node in diff.nodes[: diff.nodes.index(diff.first)])
    assert f"first beyond tolerance: {diff.first.name}" in str(diff).splitlines()[0]


def _torch_eps(module: Any) -> str:
    module.features[5].block[0][1].eps = 1e-5
    return "features.5.block.0.1"


def _torch_padding(module: Any) -> str:
    import torch

    conv = module.features[4].block[1][0]  # 5x5 at stride 2: SAME pads (1, 2) where torchvision pads (2, 2)
    conv.padding = (0, 0)
    conv.register_forward_pre_hook(lambda _, x: torch.nn.functional.pad(x[0], (1, 2, 1, 2)))
    return "features.4.block.1.0"


def _torch_excite_order(module: Any) -> str:
    import torch

    block = module.features[6].block
    activation = block[1][2]
    block[1][2] = torch.nn.Identity()
    block[2].register_forward_hook(lambda _m, _i, out: activation(out))
    return "features.6.block.1.2"


@needs("torch", "torchvision")
@pytest.mark.parametrize("plant", [_torch_eps, _torch_padding, _torch_excite_order])
def test_an_error_planted_in_torchvision_is_named(plant: Callable[[Any], str]) -> None:
    """The everyday case: our network against the tensors of another framework."""
    twin = twins.torchvision_twin("mobilenet_v3_small", 0.5, 10)
    x = seeded.images(4, IMAGE)
    trace = twin.build().trace(x)
    assert trace.diff(twin.run(x)[1]).ok, "the twin agrees before"
    where = plant(twin._modules["float32"])
    first = trace.diff(twin.run(x)[1]).first
    assert first is not None
    assert first.name == where


@needs("torch", "keras")
def test_the_wrong_lineage_is_found_at_its_first_padding() -> None:
    twin = twins.keras_twin("MobileNetV2", 0.35, 10)
    x = seeded.images(4, IMAGE)
    theirs = {twin.nodes[name]: value for name, value in twin.run(x)[1].items() if name in twin.nodes}
    assert twin.build().trace(x).diff(theirs).ok
    weights = twin.state()
    wrong = mininet.create_model("mobilenet_v2", weights, width=0.35, num_classes=10, lineage="torchvision")
    first = wrong.trace(x).diff(theirs).first
    assert first is not None
    assert first.name == "features.0.0"


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_float32_is_within_the_default_tolerance_of_float64(name: str) -> None:
    net, x = network(name), seeded.images(4, IMAGE)
    exact = Trace(net.graph, x, run_reference(net.graph, x.astype(np.float64)))
    for backend in BACKENDS:
        diff = net.trace(x, backend=backend).diff(exact)
        assert diff.ok, f"{backend}: {diff}"


def test_a_missing_residual_is_found_by_the_blocks_name() -> None:
    net, x = network("mobilenet_v2"), seeded.images(4, IMAGE)
    trace = net.trace(x)
    other = {**trace, "features.3": trace["features.3.conv.3"]}
    first = diff_traces(trace, other).first
    assert first is not None
    assert first.name == "features.3"


def test_figures() -> None:
    a = {"x": np.array([1.0, 2.0, 3.0]), "y": np.zeros((2, 2)), "only": np.ones(1)}
    b = {"x": np.array([1.0, 2.0, 3.5]), "y": np.zeros((2, 2)), "mine": np.ones(1)}
    diff = diff_traces(a, b)
    assert (diff["x"].max_abs, diff["x"].worst) == (0.5, (2,))
    assert diff["x"].rms_error == pytest.approx(0.5 / 3**0.5)
    assert diff["x"].rms == pytest.approx(((1 + 4 + 12.25) / 3) ** 0.5)
    assert diff["y"].ok
    assert (diff.only_first, diff.only_second) == (("only",), ("mine",))
    assert "only in the first: only" in str(diff)
    assert diff_traces(a, b, rtol=0.2).ok
    assert diff_traces(a, b, rtol=0, atol=0.5).ok
    document = json.loads(json.dumps(diff.to_dict(), allow_nan=False))
    assert (document["ok"], document["first"], document["nodes"][0]["worst"]) == (False, "x", [2])


def test_shapes_that_differ() -> None:
    diff = diff_traces({"x": np.zeros((1, 2))}, {"x": np.zeros((2, 1))})
    assert not diff.ok
    assert "(1, 2) and (2, 1)" in str(diff)
    assert diff.to_dict()["nodes"][0]["max_abs"] is None


@pytest.mark.parametrize(
    ("a", "b", "ok"),
    [
        (np.nan, np.nan, True),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (np.nan, 1.0, False),
        (1.0, np.nan, False),
        (1.0, np.inf, False),
    ],
)
def test_values_that_are_not_finite(a: float, b: float, ok: bool) -> None:
    diff = diff_traces({"x": np.array([0.0, a])}, {"x": np.array([0.0, b])})
    assert diff.ok is ok
    json.dumps(diff.to_dict(), allow_nan=False)


def test_nothing_to_compare() -> None:
    with pytest.raises(mininet.ArgumentError, match="no node's name in common"):
        diff_traces({"x": np.zeros(1)}, {"y": np.zeros(1)})
    with pytest.raises(mininet.ArgumentError, match="rtol: expected a number of at least 0, got -1"):
        diff_traces({"x": np.zeros(1)}, {"x": np.zeros(1)}, rtol=-1)
    with pytest.raises(mininet.UnknownNameError, match="node of both traces"):
        diff_traces({"x": np.zeros(1)}, {"x": np.zeros(1)})["y"]
    assert diff_traces({"x": np.zeros((0, 2))}, {"x": np.zeros((0, 2))}).ok
