"""The two passes that merge whole convolutions and sums, case by case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from little_graphs import assert_outputs, by_name, chain, image, reference, with_weights

from mininet.graph import INPUT, Graph, GraphBuilder, Plan, run_reference
from mininet.graph.passes import fuse_depthwise, fuse_residual
from mininet.ops import (
    Add,
    Conv2d,
    ConvDepthwise,
    DepthwiseConv2d,
    ExpandDepthwise,
    Op,
    PointwiseConv2d,
    Relu,
)

SHAPE = (1, 3, 6, 5)


def _check(graph: Graph, after: Graph) -> Graph:
    """The rewritten graph computes the same, in NumPy and as a plan, under the names it promises."""
    x = image(SHAPE, 2)
    expected, allowed = reference(graph, x)
    wide = x.astype(np.float64)
    exact, values = by_name(wide, run_reference(graph, wide)), by_name(wide, run_reference(after, wide))
    assert_outputs([values[name] for name in after.outputs], expected, allowed, f"{graph}\nbecame\n{after}")
    for node in after.nodes:
        off = np.abs(values[node.name] - exact[node.makes]).max()
        assert off <= allowed, f"{node.name} says that it makes {node.makes}, but is off by {off:.3e}"
    assert_outputs(Plan(graph, SHAPE).run(x), expected, allowed, f"plan of\n{graph}")
    return after


def _untouched(graph: Graph, after: Graph) -> None:
    assert str(_check(graph, after)) == str(graph)


def _sum(swapped: bool = False, outputs: tuple[str, ...] = (), activation: str = "identity") -> GraphBuilder:
    """``sum = relu(x) + conv(x)``, the operands in either order."""
    b = GraphBuilder("sum", 3)
    x = b.add("x", Relu(), INPUT)
    y = b.add("conv", PointwiseConv2d(3, 3, True, activation), x)
    b.add("sum", Add(), *((y, x) if swapped else (x, y)))
    return b


@pytest.mark.parametrize("swapped", [False, True])
def test_a_sum_goes_into_the_convolution_whichever_operand_it_is(swapped: bool) -> None:
    graph = with_weights(_sum(swapped).build("sum"))
    after = _check(graph, fuse_residual(graph))
    assert after.names() == ["x", "conv"]
    node = after["conv"]
    assert node.op == PointwiseConv2d(3, 3, True, residual=True)
    assert node.inputs == ("x", "x")
    assert node.makes == "sum"
    assert after.outputs == ("conv",)


def test_a_convolution_that_is_an_output_stays() -> None:
    graph = with_weights(_sum().build("sum", "conv"))
    _untouched(graph, fuse_residual(graph))


def test_a_sum_that_is_an_output_and_is_read_again_keeps_its_value() -> None:
    b = _sum()
    b.add("relu", Relu(), "sum")
    graph = with_weights(b.build("relu", "sum", "x"))
    after = _check(graph, fuse_residual(graph))
    assert after.outputs == ("relu", "conv", "x")
    assert after["relu"].inputs == ("conv",)


def test_a_convolution_with_a_second_reader_stays() -> None:
    b = _sum()
    graph = with_weights(b.build(b.add("again", Add(), "sum", "conv")))
    _untouched(graph, fuse_residual(graph))


def test_a_value_added_to_itself_stays() -> None:
    b = GraphBuilder("twice", 3)
    y = b.add("conv", PointwiseConv2d(3, 4), INPUT)
    graph = with_weights(b.build(b.add("sum", Add(), y, y)))
    _untouched(graph, fuse_residual(graph))


@pytest.mark.parametrize("activation", ["relu6", "hard_swish"])
def test_a_convolution_with_an_activation_stays(activation: str) -> None:
    graph = with_weights(_sum(activation=activation).build("sum"))
    _untouched(graph, fuse_residual(graph))


def test_an_activated_sum_stays() -> None:
    b = GraphBuilder("activated", 3)
    y = b.add("conv", PointwiseConv2d(3, 3), INPUT)
    graph = with_weights(b.build(b.add("sum", Add("relu"), y, INPUT)))
    _untouched(graph, fuse_residual(graph))


@pytest.mark.parametrize("op", [DepthwiseConv2d(3), Relu()], ids=lambda op: op.kind)
def test_a_sum_of_no_pointwise_convolution_stays(op: Op) -> None:
    b = GraphBuilder("other", 3)
    graph = with_weights(b.build(b.add("sum", Add(), b.add("y", op, INPUT), INPUT)))
    _untouched(graph, fuse_residual(graph))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_that_is_made_after_the_convolution_is_there_in_time(swapped: bool) -> None:
    """The merged node must not run where the convolution ran: its other operand comes later."""
    b = GraphBuilder("late", 3)
    y = b.add("conv", PointwiseConv2d(3, 3), INPUT)
    late = b.add("late", DepthwiseConv2d(3), b.add("relu", Relu(), INPUT))
    total = b.add("sum", Add(), *((late, y) if swapped else (y, late)))
    graph = with_weights(b.build(b.add("end", Relu(), total)))
    after = _check(graph, fuse_residual(graph))
    assert after.names() == ["relu", "late", "conv", "end"]
    assert after["conv"].inputs == (INPUT, "late")


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_convolutions_one_takes_the_other_in(swapped: bool) -> None:
    b = GraphBuilder("two", 3)
    one, two = b.add("one", PointwiseConv2d(3, 4), INPUT), b.add("two", PointwiseConv2d(3, 4), INPUT)
    graph = with_weights(b.build(b.add("sum", Add(), *((two, one) if swapped else (one, two)))))
    after = _check(graph, fuse_residual(graph))
    assert len(after.nodes) == 2
    assert [node.op.arity for node in after.nodes] == [1, 2]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_a_chain_of_sums_becomes_a_chain_of_convolutions(first: bool, second: bool) -> None:
    b = GraphBuilder("chain", 3)
    x = b.add("x", PointwiseConv2d(3, 3), INPUT)
    y = b.add("y", PointwiseConv2d(3, 3), x)
    x = b.add("sum1", Add(), *((y, x) if first else (x, y)))
    z = b.add("z", PointwiseConv2d(3, 3), x)
    graph = with_weights(b.build(b.add("sum2", Add(), *((z, x) if second else (x, z)))))
    after = _check(graph, fuse_residual(graph))
    assert after.names() == ["x", "y", "z"]
    assert after["y"].inputs == ("x", "x")
    assert after["z"].inputs == ("y", "y")
    assert (after["y"].makes, after["z"].makes) == ("sum1", "sum2")


def test_a_sum_of_a_sum_does_not_go_into_a_convolution_twice() -> None:
    b = GraphBuilder("nested", 3)
    y = b.add("conv", PointwiseConv2d(3, 3), INPUT)
    inner = b.add("inner", Add(), y, INPUT)
    relu = b.add("relu", Relu(), INPUT)
    graph = with_weights(b.build(b.add("outer", Add(), inner, relu)))
    after = _check(graph, fuse_residual(graph))
    assert [node.op.kind for node in after.nodes] == ["pointwise_conv2d", "relu", "add"]


EXPAND = PointwiseConv2d(3, 20, True, "relu6")
STEM = Conv2d(3, 20, (3, 3), (2, 1), "same", bias=True, activation="relu")
DEPTHWISE = DepthwiseConv2d(20, (3, 3), (2, 2), "same", bias=True, activation="hard_swish")


FIRSTS = pytest.mark.parametrize("first", [EXPAND, STEM], ids=lambda op: op.kind)


@pytest.mark.parametrize(("first", "fused"), [(EXPAND, ExpandDepthwise), (STEM, ConvDepthwise)])
def test_a_convolution_and_its_depthwise_become_one(first: Op, fused: type[Op]) -> None:
    graph = chain(first, DEPTHWISE, Relu())
    after = _check(graph, fuse_depthwise(graph))
    assert after.names() == ["b", "c"]
    node = after["b"]
    assert node.op == fused(first, DEPTHWISE)
    assert node.inputs == (INPUT,)
    assert set(after.params) == {
        *("b.first.weight", "b.first.bias", "b.depthwise.weight", "b.depthwise.bias"),
    }
    for part, name in (("first", "a"), ("depthwise", "b")):
        for role in ("weight", "bias"):
            assert np.array_equal(after.params[f"b.{part}.{role}"], graph.params[f"{name}.{role}"])
    assert after["b"].op.multiply_adds(SHAPE) == sum(
        graph[name].op.multiply_adds(graph.infer_shapes(SHAPE)[graph[name].inputs[0]]) for name in "ab"
    )


@pytest.mark.parametrize(
    ("first", "depthwise"),
    [
        (replace(EXPAND, bias=False), DEPTHWISE),
        (replace(STEM, bias=False), DEPTHWISE),
        (Conv2d(3, 21, groups=3, bias=True), DepthwiseConv2d(21, bias=True)),
        (DepthwiseConv2d(3, bias=True), DepthwiseConv2d(3, bias=True)),
        *((first, replace(DEPTHWISE, bias=False)) for first in (EXPAND, STEM)),
        *((first, replace(DEPTHWISE, kernel=(65, 1), padding=(33, 33, 0, 0))) for first in (EXPAND, STEM)),
    ],
)
def test_what_the_merged_kernel_cannot_do_stays(first: Op, depthwise: Op) -> None:
    graph = chain(first, depthwise)
    _untouched(graph, fuse_depthwise(graph))


@FIRSTS
def test_a_convolution_before_a_depthwise_that_is_an_output_stays(first: Op) -> None:
    graph = chain(first, DEPTHWISE, outputs=("a", "b"))
    _untouched(graph, fuse_depthwise(graph))


@FIRSTS
def test_a_convolution_before_a_depthwise_with_a_second_reader_stays(first: Op) -> None:
    b = GraphBuilder("second", 3)
    x = b.add("first", first, INPUT)
    graph = with_weights(b.build(b.add("depthwise", DEPTHWISE, x), b.add("relu", Relu(), x)))
    _untouched(graph, fuse_depthwise(graph))


def test_an_expansion_with_a_residual_stays() -> None:
    b = GraphBuilder("residual", 3)
    x = b.add("conv", PointwiseConv2d(3, 3, True, residual=True), INPUT, INPUT)
    graph = with_weights(b.build(b.add("depthwise", DepthwiseConv2d(3, bias=True), x)))
    _untouched(graph, fuse_depthwise(graph))


@FIRSTS
def test_two_depthwise_after_one_convolution_merge_once(first: Op) -> None:
    graph = chain(first, replace(DEPTHWISE, stride=(1, 1)), DEPTHWISE)
    after = _check(graph, fuse_depthwise(graph))
    (fused, depthwise) = (node.op for node in after.nodes)
    assert isinstance(fused, ExpandDepthwise | ConvDepthwise)
    assert depthwise == DEPTHWISE


@FIRSTS
def test_a_merged_node_goes_on_making_what_it_made(first: Op) -> None:
    """An activation fused into the depthwise before is still what the merged node makes."""
    graph = chain(first, DepthwiseConv2d(20, bias=True), Relu())
    plan = Plan(graph, SHAPE)
    (node,) = plan.graph.nodes
    assert (node.name, node.makes) == ("b", "c")
    x = image(SHAPE)
    (result,) = plan.trace(x)
    assert np.array_equal(result.value, plan.run(x)[0])
