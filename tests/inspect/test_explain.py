"""One value taken apart: the products do sum to what the kernels computed, for every op and network."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import seeded

import mininet
from mininet.graph import INPUT, Graph, GraphBuilder, KernelExecutor, run_reference
from mininet.graph.passes import PASSES
from mininet.inspect import Explanation, explain
from mininet.inspect.explain import EXPLAINERS
from mininet.models.registry import ASSEMBLERS
from mininet.ops import (
    OPS,
    Add,
    AvgPool,
    BatchNorm,
    Clip,
    Conv2d,
    ConvDepthwise,
    DepthwiseConv2d,
    Dropout,
    ExpandDepthwise,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Linear,
    Multiply,
    PointwiseConv2d,
    Softmax,
    get_op,
)

CHANNELS = 4
EPSILON = float(np.finfo(np.float32).eps)

IMAGE_OPS: dict[str, Any] = {
    "conv": Conv2d(CHANNELS, 6, (3, 3), (2, 2), bias=True, activation="relu6"),
    "conv same even": Conv2d(CHANNELS, 6, (3, 5), (2, 1), "same"),
    "conv groups dilation": Conv2d(CHANNELS, 6, (3, 3), (1, 2), dilation=(2, 1), groups=2, bias=True),
    "conv four pads": Conv2d(CHANNELS, 3, (3, 3), padding=(2, 0, 1, 3), activation="hard_swish"),
    "depthwise": DepthwiseConv2d(CHANNELS, (5, 5), (2, 2), bias=True, activation="hard_swish"),
    "depthwise keras": DepthwiseConv2d(CHANNELS, (3, 3), (2, 2), "keras"),
    "pointwise": PointwiseConv2d(CHANNELS, 70, bias=True, activation="sigmoid"),
    "pointwise residual": PointwiseConv2d(CHANNELS, CHANNELS, bias=True, residual=True),
    "expansion and depthwise": ExpandDepthwise(
        PointwiseConv2d(CHANNELS, 20, True, "relu6"),
        DepthwiseConv2d(20, (3, 3), (2, 2), "same", bias=True, activation="hard_swish"),
    ),
    "stem and depthwise": ConvDepthwise(
        Conv2d(CHANNELS, 6, (3, 3), (2, 2), bias=True), DepthwiseConv2d(6, (3, 5), dilation=(1, 2), bias=True)
    ),
    "batch norm": BatchNorm(CHANNELS, 1e-3, "relu"),
    **{kind: get_op(kind)() for kind in ("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid")},
    "clip": Clip(-0.5, 0.75),
    "softmax": Softmax(),
    "avg pool": AvgPool((3, 2), (2, 2), (1, 1, 1, 0)),
    "avg pool same": AvgPool((3, 3), (2, 2), "same"),
    "global avg pool": GlobalAvgPool(),
    "global max pool": GlobalMaxPool(),
    "dropout": Dropout(0.5),
    "flatten": Flatten(),
    "add": Add(activation="relu"),
}


def graph_of(op: Any) -> Graph:
    """The op on the input alone, or on the input and a batch norm of it."""
    builder = GraphBuilder("one", CHANNELS)
    sources = [INPUT]
    if op.arity == 2:
        sources.append(builder.add("norm", BatchNorm(CHANNELS), INPUT))
    return weighted(builder.build(builder.add("op", op, *sources)))


def weighted(graph: Graph) -> Graph:
    return graph.with_params(dict(seeded.state(graph.param_shapes(), 1)))


def run(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    return {INPUT: x} | {result.node.name: result.value for result in KernelExecutor(graph, x.shape).run(x)}


def check(explanation: Explanation, what: str, before: float = 0.0) -> None:
    """The float64 sum is within the rounding of a float32 sum of that many products.

    ``before`` is the size of the sums that a fused op makes before this one, and rounds too.
    """
    scale = explanation.magnitude + abs(explanation.traced) + before
    allowed = EPSILON * (4 + math.sqrt(len(explanation.terms))) * scale
    assert explanation.error <= allowed, (
        f"{what}: off by {explanation.error:.2e} of {allowed:.2e}\n{explanation}"
    )


def summed_before(graph: Graph, values: dict[str, np.ndarray], name: str, at: tuple[int, ...]) -> float:
    """Of a fused node: all terms of the first convolution, weighted by the window, by absolute value."""
    node = graph[name]
    if not isinstance(node.op, ConvDepthwise | ExpandDepthwise):
        return 0.0
    linear = replace(
        node.op,
        first=replace(node.op.first, activation="identity"),
        depthwise=replace(node.op.depthwise, activation="identity"),
    )
    absolute = {role: np.abs(value) for role, value in node.select(graph.params).items()}
    return float(linear.reference(absolute, np.abs(values[node.inputs[0]]))[at])


def positions(shape: tuple[int, ...], seed: int, count: int = 6) -> list[tuple[int, ...]]:
    """Both corners, and a few places between."""
    random = np.random.default_rng(seed)
    between = [tuple(int(random.integers(size)) for size in shape) for _ in range(count)]
    return [(0,) * len(shape), tuple(size - 1 for size in shape), *between]


@pytest.mark.parametrize("what", IMAGE_OPS)
@pytest.mark.parametrize("size", [(7, 6), (4, 9), (2, 2)])
def test_every_op(what: str, size: tuple[int, int]) -> None:
    graph = graph_of(IMAGE_OPS[what])
    values = run(graph, seeded.images(2, (2, CHANNELS, *size)))
    for at in positions(values["op"].shape, 0):
        found = explain(graph, values, "op", *at)
        check(found, f"{what} at {at}", summed_before(graph, values, "op", at))
        assert found.traced == values["op"][at]
        assert found.at == at
        for term in found.terms:
            source = values[term.source] if term.source in values else first_of(graph, values)
            where = all(0 <= i < n for i, n in zip(term.at, source.shape, strict=True))
            assert where != term.padding
            if where and what != "softmax":
                assert term.value == pytest.approx(source[term.at], rel=1e-12, abs=1e-12)
            if term.weight_at:
                weight = "op.weight" if term.source in values else "op.depthwise.weight"
                assert term.weight == graph.params[weight][term.weight_at]
            if term.padding:
                assert term.product == 0


def first_of(graph: Graph, values: dict[str, np.ndarray]) -> np.ndarray:
    """What the first half of a fused node makes, in float64."""
    node = graph["op"]
    assert isinstance(node.op, ConvDepthwise | ExpandDepthwise)
    params = {role: graph.params[f"op.first.{role}"].astype(np.float64) for role in ("weight", "bias")}
    return node.op.first.reference(params, values[INPUT].astype(np.float64))


def test_a_fused_node_names_what_it_computes_anew() -> None:
    graph = graph_of(IMAGE_OPS["expansion and depthwise"])
    values = run(graph, seeded.images(2, (2, CHANNELS, 7, 6)))
    found = explain(graph, values, "op", n=1, c=17, y=1, x=1)
    assert {term.source for term in found.terms} == {"op.first"}
    assert [term.at for term in found.terms[:2]] == [(1, 17, 1, 2), (1, 17, 1, 3)]
    assert "(pointwise_conv2d, relu6) is computed anew" in str(found).splitlines()[0]
    assert all(0 <= term.value <= 6 for term in found.terms)


def test_a_residual_is_added() -> None:
    graph = graph_of(IMAGE_OPS["pointwise residual"])
    values = run(graph, seeded.images(2, (2, CHANNELS, 7, 6)))
    found = explain(graph, values, "op", n=1, c=2, y=3, x=4)
    assert [what for what, _ in found.addends] == ["bias", "residual norm"]
    assert found.addends[1][1] == values["norm"][1, 2, 3, 4]
    assert "plus residual norm: " in str(found)


@pytest.mark.parametrize("gate_first", [False, True])
def test_multiply(gate_first: bool) -> None:
    builder = GraphBuilder("scaled", CHANNELS)
    gate = builder.add("gate", GlobalAvgPool(), INPUT)
    graph = builder.build(builder.add("op", Multiply(), *((gate, INPUT) if gate_first else (INPUT, gate))))
    values = run(graph, seeded.images(2, (2, CHANNELS, 5, 4)))
    for at in positions(values["op"].shape, 0):
        found = explain(graph, values, "op", *at)
        check(found, f"multiply at {at}")
        assert found.terms[0].source == INPUT
        assert found.terms[0].weight == values["gate"][at[0], at[1], 0, 0]


@pytest.mark.parametrize("bias", [False, True])
def test_linear_and_a_vectors_softmax(bias: bool) -> None:
    builder = GraphBuilder("classifier", CHANNELS)
    x = builder.add("flatten", Flatten(), INPUT)
    x = builder.add("op", Linear(CHANNELS * 15, 33, bias, "hard_swish"), x)
    graph = weighted(builder.build(builder.add("softmax", Softmax(), x)))
    values = run(graph, seeded.images(2, (2, CHANNELS, 3, 5)))
    for name in ("op", "softmax"):
        for at in positions(values[name].shape, 0):
            check(explain(graph, values, name, *at), f"{name} at {at}")


def test_every_registered_op_is_explained_and_tested() -> None:
    assert set(EXPLAINERS) == set(OPS)
    assert {op.kind for op in IMAGE_OPS.values()} | {"linear", "multiply"} == set(OPS)


@pytest.mark.parametrize("lineage", ["torchvision", "keras", "timm"])
@pytest.mark.parametrize("arch", ASSEMBLERS)
def test_every_node_of_every_network(arch: str, lineage: str) -> None:
    net = mininet.create_model(arch, width=0.35, num_classes=20, lineage=lineage)
    net.load_state_dict(seeded.state({key: value.shape for key, value in net.state_dict().items()}, 3))
    trace = net.trace(seeded.images(6, (2, 3, 40, 35)))
    for number, name in enumerate(net.names()):
        for at in positions(trace[name].shape, number, 1):
            check(trace.explain(name, *at), f"{name} at {at}")


def test_every_node_of_a_plan() -> None:
    net = mininet.create_model("mobilenet_v3_small", width=0.5)
    net.load_state_dict(seeded.state({key: value.shape for key, value in net.state_dict().items()}, 3))
    x = seeded.images(6, (1, 3, 32, 32))
    graph = net.graph
    for rewrite in PASSES:
        graph = rewrite(graph)
    values = run(graph, x)
    for number, node in enumerate(graph.nodes):
        for at in positions(values[node.name].shape, number, 1):
            before = summed_before(graph, values, node.name, at)
            check(explain(graph, values, node.name, *at), f"{node.name} at {at}", before)


def test_in_float64_nothing_is_left() -> None:
    graph = graph_of(IMAGE_OPS["conv"])
    x = seeded.images(2, (2, CHANNELS, 7, 6)).astype(np.float64)
    values = {INPUT: x} | {result.node.name: result.value for result in run_reference(graph, x)}
    for at in positions(values["op"].shape, 0):
        found = explain(graph, values, "op", *at)
        assert found.error <= 1e-14 * (1 + found.magnitude)


def test_the_networks_own_method() -> None:
    net = mininet.create_model("mobilenet_v2", width=0.35)
    x = seeded.images(6, (2, 3, 32, 32))
    found = net.explain(x, "features.0.0", n=1, c=3, y=15, x=0)
    assert len(found.terms) == 27
    assert found.at == (1, 3, 15, 0)
    assert sum(term.padding for term in found.terms) == 9, "the left column of the window is padding"
    assert {term.source for term in found.terms} == {"input"}
    assert found.traced == net.trace(x)["features.0.0"][1, 3, 15, 0]
    block = net.explain(x, "features.3", c=1)
    assert (block.node, block.op) == ("features.3", "add")
    logit = net.explain(x, "classifier", c=7)
    assert (logit.node, len(logit.terms), logit.at) == ("classifier.1", 1280, (0, 7))


def test_table() -> None:
    net = mininet.create_model("mobilenet_v2", width=0.35)
    x = seeded.images(6, (1, 3, 32, 32))
    text = str(net.explain(x, "features.0.0", c=3))
    assert text.splitlines()[0].startswith("features.0.0 (conv2d) at n=0, c=3, y=0, x=0: 3x3 window over 3")
    assert text.count("padding ") >= 15
    assert "sum of 27 products" in text
    long = str(net.explain(x, "classifier.1", c=3))
    assert "sum of 1280 products (of which the 64 largest are shown)" in long
    assert "plus bias" in long
    assert long.count("\n") < 80
    norm = str(net.explain(x, "features.0.1"))
    assert "sum of 1 product:" in norm
    assert "relu6: " in str(net.explain(x, "features.0.2"))


def test_json() -> None:
    found = mininet.create_model("mobilenet_v2", width=0.35).explain(
        seeded.images(6, (1, 3, 32, 32)), "features.0.0"
    )
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["total"] == found.total
    assert document["terms"][0]["padding"] is True
    assert len(document["terms"]) == 27


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"n": 1}, "expected 0 <= n < 1, got 1"),
        ({"c": -1}, "expected 0 <= c < 16, got -1"),
        ({"y": 16}, "expected 0 <= y < 16, got 16"),
        ({"x": 99}, "expected 0 <= x < 16, got 99"),
    ],
)
def test_positions_outside(at: dict[str, int], message: str) -> None:
    net = mininet.create_model("mobilenet_v2", width=0.35)
    with pytest.raises(mininet.ArgumentError, match=message):
        net.explain(seeded.images(6, (1, 3, 32, 32)), "features.0.0", **at)


def test_a_vector_has_no_rows() -> None:
    net = mininet.create_model("mobilenet_v2", width=0.35)
    with pytest.raises(mininet.ArgumentError, match="expected 0 <= y < 1, got 1"):
        net.explain(seeded.images(6, (1, 3, 32, 32)), "classifier", y=1)


def test_what_a_trace_lacks() -> None:
    net, x = mininet.create_model("mobilenet_v2", width=0.35), seeded.images(6, (1, 3, 32, 32))
    with pytest.raises(mininet.ArgumentError, match=r"the value of 'features\.0\.1' is needed"):
        net.trace(x, backend="plan").explain("features.0")
    with pytest.raises(mininet.UnknownNameError, match="unknown node"):
        net.trace(x).explain("nowhere")
