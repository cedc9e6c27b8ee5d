"""The default backend: equal to the others, and the same to the last bit however it is run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_graphs import all_ops, assert_outputs, by_name, chain, graphs, image, reference, with_weights

import mininet
from mininet import _native
from mininet.errors import ArgumentError, DTypeError, MininetError, ShapeError
from mininet.graph import INPUT, Graph, GraphBuilder, KernelExecutor, Node, Plan, run_reference
from mininet.ops import (
    OPS,
    Add,
    Conv2d,
    DepthwiseConv2d,
    Flatten,
    GlobalAvgPool,
    Multiply,
    PointwiseConv2d,
    Relu,
    Relu6,
)
from mininet.ops.step import floats_of, image_of

SHAPE = (1, 3, 13, 10)


@pytest.fixture
def restore_threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = _native.get_num_threads()
    yield
    _native.set_num_threads(before)


@given(graphs(most=8), st.integers(1, 3))
def test_plan_equals_reference_and_kernels(drawn: tuple[Graph, tuple[int, ...]], batch: int) -> None:
    graph, shape = drawn
    x = image(shape, batch)
    expected, allowed = reference(graph, x)
    plan = Plan(graph, shape)
    got = plan.run(x)
    assert_outputs(got, expected, allowed, f"{graph}\n{plan}\nagainst the reference")
    kernels = by_name(x, KernelExecutor(graph, shape).run(x))
    assert_outputs(
        got, [kernels[name] for name in graph.outputs], 2 * allowed, f"{graph}\nagainst the kernels"
    )


def scaled(*also: str) -> Graph:
    """A tensor of 16x32x32 scaled by a gate and averaged; the ops named `also` are read again at the end."""
    b = GraphBuilder("scaled", 3)
    b.add("tensor", Conv2d(3, 16, bias=True), INPUT)
    b.add("gate", PointwiseConv2d(16, 16, True), b.add("squeeze", GlobalAvgPool(), "tensor"))
    b.add("mean", GlobalAvgPool(), b.add("product", Multiply(), "gate", "tensor"))
    return with_weights(b.build("mean", *also))


def test_what_is_read_for_the_last_time_is_scaled_in_place() -> None:
    tensor = 4 * 16 * 32 * 32
    assert tensor <= Plan(scaled(), (1, 3, 32, 32)).activation_bytes < 1.1 * tensor


def test_what_is_read_again_is_not_scaled_in_place() -> None:
    graph, x = scaled("tensor"), image((1, 3, 32, 32), 1)
    expected, allowed = reference(graph, x)
    assert_outputs(Plan(graph, x.shape).run(x), expected, allowed, str(graph))


def test_every_op_together() -> None:
    graph, x = all_ops(), image(SHAPE, 2)
    fused = {"expand_depthwise", "conv_depthwise"}
    assert {node.op.kind for node in graph.nodes} | fused == set(OPS), "all_ops() lacks a registered op"
    plan = Plan(graph, SHAPE)
    expected, allowed = reference(graph, x)
    assert_outputs(plan.run(x), expected, allowed, "all ops")
    assert fused <= {step.op for step in plan.steps}
    assert plan.graph["project"].op == PointwiseConv2d(40, 18, True, residual=True)


def test_several_convolutions_read_the_picture_as_it_came() -> None:
    b = GraphBuilder("stems", 3)
    one, two = b.add("one", Conv2d(3, 18), INPUT), b.add("two", Conv2d(3, 18, (1, 1)), INPUT)
    graph = with_weights(b.build(b.add("sum", Add(), one, two)))
    x = image(SHAPE, 2)
    plan = Plan(graph, SHAPE)
    assert "to_blocked" not in str(plan)
    assert_outputs(plan.run(x), *reference(graph, x), "two stems")
    mixed = Graph("mixed", 3, (*graph.nodes, Node("relu", Relu(), (INPUT,))), ("sum", "relu"), graph.params)
    plan = Plan(mixed, SHAPE)
    assert str(plan).count("to_blocked") == 1
    assert_outputs(plan.run(x), *reference(mixed, x), "two stems and another reader")


def _two_stems(*others: Node) -> Graph:
    """A convolution, and one that a depthwise follows, both on the input; and whatever else reads it."""
    b = GraphBuilder("fused", 3)
    b.add("one", Conv2d(3, 18, bias=True), INPUT)
    b.add("two", DepthwiseConv2d(18, bias=True), b.add("stem", Conv2d(3, 18, bias=True), INPUT))
    graph = b.build("one", "two")
    outputs = (*graph.outputs, *(node.name for node in others))
    return with_weights(Graph("stems", 3, (*graph.nodes, *others), outputs))


def test_a_fused_first_layer_reads_the_picture_as_it_came() -> None:
    graph, x = _two_stems(), image(SHAPE, 2)
    plan = Plan(graph, SHAPE)
    assert [step.kernel for step in plan.steps] == [
        *("mn_conv2d_f32", "mn_conv_depthwise_f32", "mn_to_planar_f32", "mn_to_planar_f32")
    ]
    assert_outputs(plan.run(x), *reference(graph, x), "two stems, one of them fused")


def test_a_fused_first_layer_shares_its_input_with_others() -> None:
    graph, x = _two_stems(Node("relu", Relu(), (INPUT,))), image(SHAPE, 2)
    plan = Plan(graph, SHAPE)
    assert [step.kernel for step in plan.steps][:3] == [
        *("mn_to_blocked_f32", "mn_conv2d_f32", "mn_conv_depthwise_f32")
    ]
    assert_outputs(plan.run(x), *reference(graph, x), "a fused stem on a blocked input")
    wanted = Graph("wanted", 3, graph.nodes[:-1], ("two", INPUT), graph.params)
    assert_outputs(Plan(wanted, SHAPE).run(x), *reference(wanted, x), "the input is an output too")


@given(graphs(most=8), st.integers(1, 2))
def test_trace_of_a_plan_shows_values_under_the_names_that_make_them(
    drawn: tuple[Graph, tuple[int, ...]], batch: int
) -> None:
    graph, shape = drawn
    x = image(shape, batch)
    exact = by_name(x, run_reference(graph, x.astype(np.float64)))
    allowed = reference(graph, x)[1]
    for result in Plan(graph, shape).trace(x):
        expected = exact[result.node.makes]
        assert result.value.shape == expected.shape, f"{result.node.makes} in\n{graph}"
        off = np.abs(result.value - expected).max()
        assert off <= allowed, f"{result.node.makes} is off by {off:.3e}, allowed {allowed:.3e}, in\n{graph}"


def test_outputs_are_new_contiguous_arrays_even_of_one_value_twice() -> None:
    graph = all_ops()
    twice = Graph("twice", 3, graph.nodes, ("logits", "features", "logits", "features", INPUT), graph.params)
    x = image(SHAPE, 2)
    plan = Plan(twice, SHAPE)
    outputs = plan.run(x)
    assert np.array_equal(outputs[0], outputs[2])
    assert np.array_equal(outputs[1], outputs[3])
    assert np.array_equal(outputs[4], x)
    again = plan.run(x)
    everything = [x, *outputs, *again]
    for i, array in enumerate(everything):
        assert array.flags.c_contiguous
        assert not any(np.shares_memory(array, other) for other in everything[:i])
    kept = [array.copy() for array in outputs]
    plan.run(image(SHAPE, 2, seed=9))
    assert all(np.array_equal(a, b) for a, b in zip(outputs, kept, strict=True)), "a result was overwritten"


def test_every_value_may_be_an_output() -> None:
    """One at a time, since a program has only so many arrays outside."""
    graph, x = all_ops(), image(SHAPE)
    for name in graph.names():
        part = graph.upto(name)
        expected, allowed = reference(part, x)
        assert_outputs(Plan(part, SHAPE).run(x), expected, allowed, name)


def test_too_many_outputs_are_refused_in_words() -> None:
    graph = all_ops()
    many = Graph("many", 3, graph.nodes, tuple(graph.names()), graph.params)
    with pytest.raises(ArgumentError, match="at most"):
        Plan(many, SHAPE)


def test_times_come_out_one_per_step() -> None:
    plan = Plan(all_ops(), SHAPE)
    seconds = np.zeros(len(plan.steps))
    timed = plan.run(image(SHAPE, 3), seconds)
    assert (seconds > 0).all()
    assert seconds.sum() < 10
    for a, b in zip(timed, plan.run(image(SHAPE, 3)), strict=True):
        assert np.array_equal(a, b), "taking the time changes the result"
    with pytest.raises(MininetError):
        plan.run(image(SHAPE), np.zeros(len(plan.steps) + 1))


def test_memory_is_reused_and_does_not_grow_with_the_batch() -> None:
    ops = [Conv2d(3, 16), *(PointwiseConv2d(16, 16) for _ in range(9))]
    plan = Plan(chain(*ops), (1, 3, 24, 24))
    tensor = prod((16, 24, 24)) * 4
    assert plan.activation_bytes <= 3 * tensor, (
        "ten tensors one after the other need no more than three at once"
    )
    before = plan.activation_bytes
    plan.run(image((1, 3, 24, 24), 4))
    assert plan.activation_bytes == before
    everything = sum(4 * floats_of(image_of(step.output)) for step in Plan(all_ops(), SHAPE).steps)
    assert Plan(all_ops(), SHAPE).activation_bytes < everything


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("timed", [False, True])
def test_bits_do_not_depend_on_threads_or_batch(timed: bool) -> None:
    graph, shape = all_ops(), (1, 3, 61, 47)
    x = image(shape, 3)
    plan = Plan(graph, shape)
    _native.set_num_threads(1)
    expected = plan.run(x)
    for threads in (1, 2, 3, 2, 1):
        _native.set_num_threads(threads)
        assert _native.get_num_threads() == threads
        seconds = np.zeros(len(plan.steps)) if timed else None
        for output, exact in zip(plan.run(x, seconds), expected, strict=True):
            assert np.array_equal(output, exact), f"{threads} threads give other bits"
        for i in range(len(x)):
            for output, exact in zip(plan.run(x[i : i + 1], seconds), expected, strict=True):
                assert np.array_equal(output[0], exact[i]), f"image {i} alone differs, {threads} threads"


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("threads", [1, 2])
def test_concurrent_calls_of_one_plan_give_the_same_bits(threads: int) -> None:
    _native.set_num_threads(threads)
    shape = (1, 3, 33, 31)
    plan = Plan(all_ops(), shape)
    images = [image(shape, 2, seed) for seed in range(8)]
    expected = [plan.run(x) for x in images]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for got, exact in zip(pool.map(plan.run, images), expected, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(got, exact, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("restore_threads")
def test_a_plan_runs_in_a_forked_child() -> None:
    """The child has the pool's memory but none of its threads."""
    _native.set_num_threads(2)
    plan, x = Plan(all_ops(), SHAPE), image(SHAPE, 2)
    expected = plan.run(x)
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a, b) for a, b in zip(plan.run(x), expected, strict=True))
        os._exit(0 if same else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(np.array_equal(a, b) for a, b in zip(plan.run(x), expected, strict=True)), (
        "the parent suffered"
    )


def test_read_only_input_is_left_alone_and_others_are_refused() -> None:
    plan, x = Plan(chain(Relu()), (1, 3, 4, 4)), image((1, 3, 4, 4))
    x.flags.writeable = False
    assert np.array_equal(plan.run(x)[0], np.maximum(x, 0))
    with pytest.raises(DTypeError):
        plan.run(x.astype(np.float64))
    with pytest.raises(MininetError):
        plan.run(x[..., ::-1])
    with pytest.raises(ShapeError):
        plan.run(image((1, 3, 4, 5)))


def test_an_empty_batch_gives_empty_outputs() -> None:
    outputs = Plan(all_ops(), SHAPE).run(image(SHAPE, 0))
    assert [len(output) for output in outputs] == [0] * 5


def test_thread_counts_that_make_no_sense_are_refused() -> None:
    before = _native.get_num_threads()
    for count in (0, -1):
        with pytest.raises(ArgumentError, match="threads: expected an integer of at least 1"):
            _native.set_num_threads(count)
    assert _native.get_num_threads() == before
    assert _native.cpu_count() >= 1


def test_v2_takes_20_megabytes() -> None:
    plan = mininet.create_model("mobilenet_v2", weights="random:0").plan((1, 3, 224, 224))
    assert plan.packed_bytes + plan.activation_bytes <= 20e6, str(plan).splitlines()[-1]
    assert not plan.graph.params, "the plan keeps a second copy of the weights beside the packed one"


def test_print_shows_steps_kernels_and_memory() -> None:
    plan = Plan(all_ops(), SHAPE)
    text = str(plan)
    assert text == str(Plan(all_ops(), SHAPE)), "printed twice, two texts"
    lines = text.splitlines()
    assert lines[0].startswith(f"plan of all for 3x13x10 on {_native.isa()}: {len(plan.steps)} steps")
    assert len(lines) == len(plan.steps) + 3
    last = re.fullmatch(
        r"memory in bytes: ([\d,]+) for packed weights, ([\d,]+) for activations at their peak, "
        r"([\d,]+) of scratch per thread",
        lines[-1],
    )
    assert last is not None, lines[-1]
    packed, activations, scratch = (int(figure.replace(",", "")) for figure in last.groups())
    assert packed == plan.packed_bytes >= sum(4 * np.prod(s) for s in plan.graph.param_shapes().values())
    assert activations == plan.activation_bytes > 0
    # The fused depthwise needs most. For each of two blocks: 3 rows and one more, of 5 pixels with a zero on
    # either side, and behind them room for a whole block of its expansion, 7x5 pixels.
    assert scratch == 2 * 4 * 16 * ((3 + 1) * (5 + 2) + 7 * 5)
    assert any("mn_depthwise_f32" in line and "relu6" in line for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    total = sum(step.madds for step in plan.steps)
    assert f"{total:,} MAdds" in lines[0]


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 3, 2, 8), (1, 4, 4, 4), (3, 4, 4), (1, 3, 16)])
def test_a_plan_on_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    plan = Plan(chain(Conv2d(3, 5)), (1, 3, 4, 4))
    for run in (plan.run, lambda x: list(plan.trace(x))):
        with pytest.raises(ShapeError, match=r"this plan is for \(N, 3, 4, 4\), got"):
            run(np.zeros(shape, np.float32))


def test_an_output_that_a_later_node_reads_is_still_right() -> None:
    b = GraphBuilder("read", 3)
    flat = b.add("flat", Flatten(), INPUT)
    graph = with_weights(b.build(flat, b.add("relu", Relu(), flat), b.add("relu6", Relu6(), "relu")))
    x = 9 * image((1, 3, 4, 5), 2)
    expected, allowed = reference(graph, x)
    assert_outputs(Plan(graph, (1, 3, 4, 5)).run(x), expected, allowed, "outputs that are read")


@pytest.mark.parametrize("outputs", [(), ("x",), ("pool",)])
@pytest.mark.parametrize("height, channels", [(1, 82), (9, 82), (66, 82), (9, 80)])
def test_the_mean_of_a_depthwise_convolution_is_no_step(
    height: int, channels: int, outputs: tuple[str, ...]
) -> None:
    """Unless its window is one that the depthwise kernel cannot do, or it is cut into strips; and it lives as
    long as it is read."""
    b = GraphBuilder("excite", channels)
    window = (65, 1) if height > 65 else (3, 3)
    x = b.add("x", DepthwiseConv2d(channels, window, padding=(32, 32, 1, 1), bias=True), INPUT)
    gate = b.add(
        "gate", PointwiseConv2d(channels, channels, True, "sigmoid"), b.add("pool", GlobalAvgPool(), x)
    )
    graph = with_weights(b.build(b.add("scaled", Multiply(), b.add("relu", Relu(), x), gate), *outputs))
    shape = (1, channels, height, 7)
    picture = image(shape, 2)
    plan = Plan(graph, shape)
    assert ("mn_global_avg_pool_f32" in str(plan)) == (height > 65 or channels <= 80)
    assert_outputs(plan.run(picture), *reference(graph, picture), f"{shape}, {outputs}")
    values = by_name(picture, plan.trace(picture))
    assert {"x", "pool", "gate", "scaled"} <= set(values)
    assert np.array_equal(values["scaled"], plan.run(picture)[0])
