"""The graph itself: validation, names and aliases, sub-graphs, and its printed form."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_graphs import all_ops, by_name, chain, graphs, image

from mininet.errors import GraphError, ShapeError, UnknownNameError
from mininet.graph import INPUT, Graph, GraphBuilder, KernelExecutor, Node, Plan, run_reference
from mininet.ops import Add, BatchNorm, Conv2d, Dropout, GlobalAvgPool, Linear, Relu, Relu6


def _dotted() -> Graph:
    b = GraphBuilder("dotted", 3)
    b.block = "features.0"
    x = b.add("features.0.0", Conv2d(3, 4), INPUT)
    x = b.add("features.0.1", BatchNorm(4), x)
    b.block = "features.1"
    y = b.add("features.1.0", Relu(), x)
    x = b.add("features.1", Add(), x, y)
    x = b.add("features.10", Relu6(), x)
    return b.build(b.add("avgpool", GlobalAvgPool(), x))


RELU = Node("a", Relu(), (INPUT,))
INVALID: dict[str, tuple[tuple[Node, ...], tuple[str, ...], str]] = {
    "a name twice": ((RELU, RELU), ("a",), "'a' stands twice"),
    "the input's name": ((replace(RELU, name=INPUT),), (INPUT,), "'input' stands twice"),
    "an input nobody makes": ((Node("a", Relu(), ("b",)),), ("a",), "'a' reads 'b'"),
    "an input made later": (
        (Node("a", Relu(), ("b",)), Node("b", Relu(), (INPUT,))),
        ("a",),
        "'a' reads 'b'",
    ),
    "its own output": ((Node("a", Relu(), ("a",)),), ("a",), "'a' reads 'a'"),
    "one input too few": ((Node("a", Add(), (INPUT,)),), ("a",), "takes 2 inputs, got 1"),
    "one input too many": ((Node("a", Relu(), (INPUT, INPUT)),), ("a",), "takes 1 inputs, got 2"),
    "an output nobody makes": ((RELU,), ("b",), "output 'b'"),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_graph_that_is_not_well_formed_is_refused(name: str) -> None:
    nodes, outputs, message = INVALID[name]
    with pytest.raises(GraphError, match=message) as caught:
        Graph("bad", 3, nodes, outputs)
    assert "\n" not in str(caught.value)


def test_a_container_stands_for_the_last_node_below_it() -> None:
    graph = _dotted()
    assert graph.resolve("features.0.0") == "features.0.0"
    assert graph.resolve("features.0") == "features.0.1"
    assert graph.resolve("features.1") == "features.1", "a node of that name wins over its children"
    assert graph.resolve("features") == "features.10"
    assert graph["features.0"].op == BatchNorm(4)
    assert graph["features.0"].block == "features.0"


@pytest.mark.parametrize("name", ["features.2", "feature", "features.", "", "features.0.0.weight"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown node"):
        _dotted().resolve(name)


def test_an_unknown_name_is_answered_by_a_close_one() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'avgpool'"):
        _dotted()["avg_pool"]


def test_upto_keeps_only_what_it_needs() -> None:
    graph = _dotted()
    assert graph.upto("features.0").names() == ["features.0.0", "features.0.1"]
    assert graph.upto("features.1").outputs == ("features.1",)
    assert graph.upto("features.1.0").names() == ["features.0.0", "features.0.1", "features.1.0"]
    assert graph.upto("avgpool", "features.0.0").outputs == ("avgpool", "features.0.0")
    with pytest.raises(UnknownNameError):
        graph.upto("nowhere")


@given(graphs(), st.data())
def test_upto_computes_the_same_values(drawn: tuple[Graph, tuple[int, ...]], data: st.DataObject) -> None:
    graph, shape = drawn
    x = image(shape)
    name = data.draw(st.sampled_from(graph.names() or [""]))
    if not name:
        return
    everything = by_name(x, run_reference(graph, x))
    part = by_name(x, run_reference(graph.upto(name), x))
    assert set(part) <= set(everything)
    for key, value in part.items():
        assert np.array_equal(value, everything[key]), f"{key} differs in\n{graph}"


@given(graphs())
def test_shapes_are_those_of_the_values(drawn: tuple[Graph, tuple[int, ...]]) -> None:
    graph, shape = drawn
    x = image(shape, batch=2)
    values = by_name(x, run_reference(graph, x))
    assert {name: value.shape for name, value in values.items()} == graph.infer_shapes(x.shape), str(graph)


@given(graphs())
def test_consumers_are_the_nodes_that_read(drawn: tuple[Graph, tuple[int, ...]]) -> None:
    graph, _ = drawn
    readers = graph.consumers()
    assert set(readers) == {INPUT, *graph.names()}
    assert sum(map(len, readers.values())) == sum(len(node.inputs) for node in graph.nodes)
    assert all(name in node.inputs for name, nodes in readers.items() for node in nodes)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 8), (3, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0), ()])
def test_an_input_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        chain(Conv2d(3, 4)).infer_shapes(shape)
    assert str(shape) in str(caught.value)


def test_a_misfit_inside_names_the_node_and_the_networks_input() -> None:
    graph = chain(Conv2d(3, 4), BatchNorm(5))
    with pytest.raises(
        ShapeError, match=r"node 'b', for a network input of \(1, 3, 8, 8\): batch_norm: expected 5"
    ):
        graph.infer_shapes((1, 3, 8, 8))


def test_a_missing_weight_is_named() -> None:
    graph = chain(Conv2d(3, 4, bias=True))
    bare = graph.with_params({"a.weight": graph.params["a.weight"]})
    with pytest.raises(GraphError, match=r"node 'a' \(conv2d\) has no weight 'a.bias'"):
        KernelExecutor(bare, (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("op", "name", "shape"),
    [
        (BatchNorm(3), "a.running_mean", (2,)),
        (BatchNorm(3), "a.weight", (1,)),
        (Conv2d(3, 4, bias=True), "a.bias", (2,)),
        (Conv2d(3, 4), "a.weight", (4, 3, 1, 1)),
    ],
)
def test_a_weight_of_the_wrong_shape_is_refused_before_a_kernel_sees_it(
    op: BatchNorm | Conv2d, name: str, shape: tuple[int, ...]
) -> None:
    graph = chain(op)
    wrong = graph.with_params({**graph.params, name: np.ones(shape, np.float32)})
    right = graph.params[name].shape
    message = rf"^weight '{name}': expected shape {re.escape(str(right))}, got {re.escape(str(shape))}$"
    x = np.zeros((1, 3, 8, 8), np.float32)
    for make in (
        lambda: KernelExecutor(wrong, x.shape),
        lambda: Plan(wrong, x.shape),
        lambda: list(run_reference(wrong, x)),
    ):
        with pytest.raises(GraphError, match=message):
            make()


def test_weights_are_in_the_order_of_a_state_dict() -> None:
    assert list(chain(Conv2d(3, 4, bias=True), BatchNorm(4)).param_shapes()) == [
        *("a.weight", "a.bias"),
        *("b.weight", "b.bias", "b.running_mean", "b.running_var"),
    ]


def test_print_shows_each_node_on_a_line() -> None:
    assert str(_dotted()) == (
        "graph dotted(input: 3 channels)\n"
        "  features.0.0 = conv2d(input; in_channels=3, out_channels=4)\n"
        "  features.0.1 = batch_norm(features.0.0; channels=4)\n"
        "  features.1.0 = relu(features.0.1)\n"
        "  features.1 = add(features.0.1, features.1.0)\n"
        "  features.10 = relu6(features.1)\n"
        "  avgpool = global_avg_pool(features.10)\n"
        "  return avgpool"
    )


def test_one_change_is_one_line_of_a_diff() -> None:
    graph = all_ops()
    changed = tuple(replace(n, op=Dropout(0.5)) if n.name == "dropout" else n for n in graph.nodes)
    before, after = str(graph).splitlines(), str(replace(graph, nodes=changed)).splitlines()
    marks = [
        line[0]
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if line[:3] not in ("---", "+++")
    ]
    assert marks == ["@", "-", "+"]


@given(graphs())
def test_print_is_stable_and_tells_graphs_apart(drawn: tuple[Graph, tuple[int, ...]]) -> None:
    graph, _ = drawn
    again = Graph(graph.name, graph.in_channels, graph.nodes, graph.outputs)
    assert str(again) == str(graph)
    assert again == graph
    assert len(str(graph).splitlines()) == len(graph.nodes) + 2
    assert str(replace(graph, in_channels=graph.in_channels + 1)) != str(graph)


def test_a_graph_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        chain(Linear(3, 4)).name = "other"  # type: ignore[misc]
