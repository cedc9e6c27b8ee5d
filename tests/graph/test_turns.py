"""A depthwise step and the step behind it in turns of a few rows: the same bits, less memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_graphs import graphs, image, with_weights

import mininet
from mininet import _native
from mininet.bench import step_times
from mininet.errors import MininetError
from mininet.graph import INPUT, Graph, GraphBuilder, Plan, turns
from mininet.ops import Conv2d, DepthwiseConv2d, GlobalAvgPool, Multiply, Op, PointwiseConv2d, Relu

SHAPE = (1, 3, 37, 22)
NEVER = 1 << 62
DEPTHWISE = DepthwiseConv2d(40, bias=True, activation="relu6")


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = _native.get_num_threads()
    yield
    _native.set_num_threads(before)


def block(
    first: Op | None,
    depthwise: DepthwiseConv2d,
    outputs: int,
    residual: bool,
    second: DepthwiseConv2d | None = None,
) -> Graph:
    """``project`` of ``depthwise``, and ``second`` of that; the residual is another convolution's."""
    b = GraphBuilder("block", 3)
    x = INPUT
    if residual:
        window = depthwise.as_conv2d()
        b.add("side", replace(window, in_channels=3, out_channels=outputs, groups=1), INPUT)
    x = b.add("first", first or Conv2d(3, depthwise.channels, bias=True), x)
    if first is None:  # another reader, so that the depthwise convolution stays by itself
        b.add("other", Relu(), x)
    x = b.add("depthwise", depthwise, x)
    project = PointwiseConv2d(depthwise.channels, outputs, bias=True, residual=residual)
    x = b.add("project", project, *((x, "side") if residual else (x,)))
    if second is not None:
        x = b.add("second", second, x)
    return with_weights(b.build(x, *(("other",) if first is None else ())))


def plan_of(graph: Graph, least: int, floats: int = 0) -> Plan:
    """The plan with turns from so many floats on, of so many floats each."""
    with patch.object(turns, "LEAST_FLOATS", least), patch.object(turns, "TURN_FLOATS", floats):
        return Plan(graph, SHAPE)


def in_turns(plan: Plan) -> list[str]:
    """Steps of a plan that are two in turns."""
    return [step.name for step in plan.steps if step.before is not None]


FIRSTS = pytest.mark.parametrize(
    "first",
    [None, PointwiseConv2d(3, 40, True, "hard_swish"), Conv2d(3, 40, bias=True, activation="relu")],
    ids=lambda op: op.kind if op else "copied",
)
TURNS = pytest.mark.parametrize(
    "floats", [0, 48 * 22 * 5, 1 << 20], ids=["two rows", "four rows", "all rows"]
)


WINDOWS = [
    {"kernel": (3, 3)},
    {"kernel": (3, 3), "stride": (2, 2)},
    {"kernel": (2, 3), "stride": (3, 1), "padding": (1, 0, 1, 0)},  # rows that no window meets
]


@FIRSTS
@TURNS
@pytest.mark.parametrize(
    "window",
    [
        *WINDOWS,
        {"kernel": (5, 5), "padding": "same"},
        {"kernel": (5, 5), "stride": (2, 2), "padding": (0, 3, 2, 1)},
        {"kernel": (3, 3), "dilation": (3, 2)},
    ],
    ids=str,
)
def test_turns_change_no_bit(first: Op | None, floats: int, window: dict) -> None:
    """Last blocks whole, half full and nearly empty; any number of threads; both widths of registers."""
    for channels, outputs, residual in ((40, 24, True), (35, 17, False), (16, 40, True)):
        sized = first and replace(first, out_channels=channels)
        graph = block(sized, replace(DEPTHWISE, channels=channels, **window), outputs, residual)
        assert_same_bits(graph, floats, "project", f"{channels} to {outputs} channels")


def assert_same_bits(graph: Graph, floats: int, name: str, case: str) -> None:
    """Compare a plan without turns on one thread with one where `name` takes turns on any number of them."""
    x = image(SHAPE, batch=2)
    for double in (False, True):
        with patch.object(_native, "double_pumped", return_value=double):
            apart, together = plan_of(graph, NEVER), plan_of(graph, 0, floats)
        assert in_turns(apart) == []
        assert in_turns(together) == [name], str(together)
        _native.set_num_threads(1)
        expected = apart.run(x)
        for threads in (1, 2, 3, 5):
            _native.set_num_threads(threads)
            for output, want, got in zip(graph.outputs, expected, together.run(x), strict=True):
                off = np.abs(want - got).max() if got.size else 0.0
                wrong = f"{output}: {threads} threads, halves {double}, {case}"
                assert np.array_equal(want, got), f"{wrong}: {off} off"


@FIRSTS
@TURNS
@pytest.mark.parametrize(
    "window",
    [
        *WINDOWS,
        {"kernel": (3, 3), "stride": (2, 2), "padding": (0, 1, 0, 1)},  # a turn's last row waits for the next
        {"kernel": (5, 5), "stride": (2, 2), "padding": "same"},
        {"kernel": (5, 3), "stride": (1, 2), "padding": (4, 4, 0, 2)},  # windows with a single real row
        {"kernel": (3, 3), "dilation": (4, 1)},  # no window is complete for several turns
    ],
    ids=str,
)
def test_turns_of_two_depthwise_change_no_bit(first: Op | None, floats: int, window: dict) -> None:
    """V1: a 1x1 convolution between them, which is fused with the second."""
    for channels, outputs in ((40, 24), (16, 35)):
        sized = first and replace(first, out_channels=channels)
        second = replace(DEPTHWISE, channels=outputs, activation="hard_swish", **window)
        graph = block(sized, replace(DEPTHWISE, channels=channels), outputs, residual=False, second=second)
        assert_same_bits(graph, floats, "second", f"{channels} to {outputs} channels")


@pytest.mark.parametrize("padding", [(3, 0, 0, 0), (0, 3, 0, 0)])
def test_a_window_of_nothing_but_zeros_takes_no_turns(padding: tuple[int, int, int, int]) -> None:
    second = replace(DEPTHWISE, channels=24, padding=padding)
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 24, residual=False, second=second)
    assert in_turns(plan_of(graph, 0)) == []


def test_a_second_depthwise_that_leaves_a_mean_takes_no_turns() -> None:
    second = replace(DEPTHWISE, channels=96)
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 96, residual=False, second=second)
    assert in_turns(plan_of(graph, 0)) == ["second"]
    b = GraphBuilder("mean", 3)
    x = b.add("expand", PointwiseConv2d(3, 40, True), INPUT)
    x = b.add("one", PointwiseConv2d(40, 96, True), b.add("depthwise", DEPTHWISE, x))
    x = b.add("second", second, x)
    graph = with_weights(b.build(x, b.add("mean", GlobalAvgPool(), x)))
    assert in_turns(plan_of(graph, 0)) == []


@given(graphs(most=10), st.integers(0, 2000))
def test_turns_change_no_bit_of_any_graph(drawn: tuple[Graph, tuple[int, ...]], floats: int) -> None:
    graph, shape = drawn
    x = image(shape)
    expected = Plan(graph, shape).run(x)
    with patch.object(turns, "LEAST_FLOATS", 0), patch.object(turns, "TURN_FLOATS", floats):
        plan = Plan(graph, shape)
    for name, want, got in zip(graph.outputs, expected, plan.run(x), strict=True):
        assert np.array_equal(want, got, equal_nan=True), f"{name} of {graph}\n{plan}"


def test_the_tensor_between_takes_no_memory() -> None:
    """Nor is it read or written, as the table of steps says."""
    net = mininet.create_model("mobilenet_v2", weights="random:0")
    plan = net.plan((1, 3, 224, 224))
    assert in_turns(plan) == ["features.1.conv.1", "features.2.conv.2", "features.3.conv.2"]
    with patch.object(turns, "LEAST_FLOATS", NEVER):
        apart = Plan(net.graph, (1, 3, 224, 224))
    largest = 4 * 96 * 56 * 56
    assert plan.activation_bytes < apart.activation_bytes - largest
    assert sum(step.madds for step in plan.steps) == sum(step.madds for step in apart.steps)
    times = {time.name: time for time in step_times(net, (1, 3, 224, 224), 1)}
    values = 16 * 112 * 112 + 24 * 56 * 56 + 96 * (16 + 1 + 9 + 1 + 24) + 24
    assert times["features.2.conv.2"].bytes == 4 * values


def test_a_plan_shows_who_takes_turns() -> None:
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 24, residual=True)
    (step,) = [step for step in plan_of(graph, 0).steps if step.before is not None]
    assert (step.before, step.name) == ("depthwise", "project")
    assert step.op == "expand_depthwise + pointwise_conv2d"
    assert step.kernel.startswith("mn_expand_depthwise_f32 + mn_pointwise")
    assert step.activation == "relu6 + identity"
    assert step.output == (1, 24, 37, 22)
    assert step.op in str(plan_of(graph, 0))


def test_a_trace_gives_the_second_the_time_of_both() -> None:
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 24, residual=False)
    results = {result.node.name: result for result in plan_of(graph, 0).trace(image(SHAPE))}
    assert results["depthwise"].seconds == 0.0
    assert results["project"].seconds > 0.0
    assert results["depthwise"].value.shape == (1, 40, 37, 22)


def test_small_tensors_take_no_turns() -> None:
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 24, residual=False)
    between = 48 * 37 * 22
    assert in_turns(plan_of(graph, between)) == ["project"]
    assert in_turns(plan_of(graph, between + 1)) == []


def _wanted_elsewhere(reader: str) -> Graph:
    """A depthwise convolution and a projection; something else wants what is between them."""
    b = GraphBuilder("wanted", 3)
    x = b.add("depthwise", DepthwiseConv2d(3, bias=True), INPUT)
    last = b.add(
        "project", PointwiseConv2d(3, 3, bias=True, residual=reader == "residual"), x, *_also(reader, x)
    )
    outputs = [last]
    if reader == "output":
        outputs.append(x)
    elif reader == "relu":
        outputs.append(b.add("relu", Relu(), x))
    return with_weights(b.build(*outputs))


def _also(reader: str, x: str) -> tuple[str, ...]:
    return (x,) if reader == "residual" else ()


@pytest.mark.parametrize("reader", ["output", "relu", "residual"])
def test_a_tensor_that_something_else_wants_is_stored(reader: str) -> None:
    assert in_turns(plan_of(_wanted_elsewhere(reader), 0)) == []


def test_a_squeeze_wants_whole_planes() -> None:
    """The mean behind the tensor, and the gate on it, come before the projection."""
    b = GraphBuilder("gated", 3)
    x = b.add(
        "depthwise", DepthwiseConv2d(96, bias=True), b.add("first", PointwiseConv2d(3, 96, True), INPUT)
    )
    gate = b.add("gate", PointwiseConv2d(96, 96, True), b.add("squeeze", GlobalAvgPool(), x))
    gated = b.add("product", Multiply(), gate, x)
    graph = with_weights(b.build(b.add("project", PointwiseConv2d(96, 24, True), gated)))
    assert in_turns(plan_of(graph, 0)) == []


def test_a_program_refuses_a_last_step_that_does_not_fit() -> None:
    graph = block(PointwiseConv2d(3, 40, True), DEPTHWISE, 24, residual=False)
    with patch.object(_native, "Program") as program:
        plan_of(graph, 0)
    (calls, *rest) = program.call_args.args
    at = next(i for i, (step, _, _) in enumerate(calls) if step.last is not None)
    step, sources, target = calls[at]
    for wrong in (
        replace(step, turn=0),
        replace(step, last=replace(step.last, inputs=((40, 37, 21),))),
        replace(step, workspace=step.workspace - 1),
    ):
        with pytest.raises(MininetError, match=step.kernel):
            _native.Program([*calls[:at], (wrong, sources, target), *calls[at + 1 :]], *rest)
