"""Every pass keeps the function that a graph computes, and does what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_graphs import all_ops, assert_outputs, by_name, chain, graphs, image, reference, with_weights

from mininet.graph import INPUT, Graph, GraphBuilder, run_reference
from mininet.graph.passes import PASSES, fold_batchnorm, fuse_activation
from mininet.ops import (
    Add,
    BatchNorm,
    Conv2d,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    HardSwish,
    Linear,
    Op,
    PointwiseConv2d,
    Relu,
    Relu6,
    Softmax,
)

Pass = Callable[[Graph], Graph]


def _all_in_order(graph: Graph) -> Graph:
    return reduce(lambda g, rewrite: rewrite(g), PASSES, graph)


EVERY = pytest.mark.parametrize("rewrite", [*PASSES, _all_in_order], ids=lambda p: p.__name__.strip("_"))


def _outputs(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    values = by_name(x, run_reference(graph, x))
    return [values[name] for name in graph.outputs]


def _kinds(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


@EVERY
@given(graphs(most=8), st.integers(1, 2))
def test_pass_keeps_the_function(rewrite: Pass, drawn: tuple[Graph, tuple[int, ...]], batch: int) -> None:
    graph, shape = drawn
    x = image(shape, batch).astype(np.float64)
    expected, allowed = reference(graph, x)
    after = rewrite(graph)
    assert_outputs(_outputs(after, x), expected, allowed, f"{graph}\nbecame\n{after}\n")


@EVERY
@given(graphs(most=8))
def test_pass_leaves_exactly_the_weights_that_the_graph_needs(
    rewrite: Pass, drawn: tuple[Graph, tuple[int, ...]]
) -> None:
    graph, shape = drawn
    before, text = {name: value.copy() for name, value in graph.params.items()}, str(graph)
    after = rewrite(graph)
    needed = after.param_shapes()
    assert {name: value.shape for name, value in after.params.items()} == needed, f"{graph}\nbecame\n{after}"
    assert all(value.dtype == np.float32 for value in after.params.values())
    assert len(after.nodes) <= len(graph.nodes)
    assert str(graph) == text, "a pass changed its argument"
    assert all(np.array_equal(graph.params[name], value) for name, value in before.items())
    assert str(rewrite(after)) == str(after), f"twice is not the same as once:\n{after}"
    after.infer_shapes(shape)


@EVERY
@given(graphs())
def test_pass_works_on_shapes_alone(rewrite: Pass, drawn: tuple[Graph, tuple[int, ...]]) -> None:
    graph, _ = drawn
    bare = rewrite(graph.with_params({}))
    assert str(bare) == str(rewrite(graph))
    assert not bare.params


CONVOLUTIONS: tuple[Op, ...] = (Conv2d(3, 4), DepthwiseConv2d(3, bias=True), PointwiseConv2d(3, 4))


@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=lambda op: op.kind)
def test_convolution_norm_and_activation_become_one(conv: Op) -> None:
    channels = conv.infer_shape((1, 3, 8, 8))[1]
    after = _all_in_order(chain(conv, BatchNorm(channels, 1e-3), HardSwish()))
    (node,) = after.nodes
    assert (node.name, node.op.kind) == ("a", conv.kind)
    assert node.op.activation == "hard_swish"  # type: ignore[attr-defined]
    assert after.outputs == ("a",)
    assert set(after.params) == {"a.weight", "a.bias"}


def test_folding_is_the_textbook_formula() -> None:
    graph = chain(PointwiseConv2d(3, 4, bias=True), BatchNorm(4, 1e-3))
    p = {name: value.astype(np.float64) for name, value in graph.params.items()}
    scale = p["b.weight"] / np.sqrt(p["b.running_var"] + 1e-3)
    after = fold_batchnorm(graph).params
    bias = (p["a.bias"] - p["b.running_mean"]) * scale + p["b.bias"]
    assert np.array_equal(after["a.weight"], (p["a.weight"] * scale[:, None, None, None]).astype(np.float32))
    np.testing.assert_allclose(after["a.bias"], bias, rtol=1e-7)


def _residual(*after: Op) -> Graph:
    """A convolution that has its residual fused in, and something behind it."""
    b = GraphBuilder("sum", 3)
    x = b.add("conv", PointwiseConv2d(3, 3, residual=True), INPUT, INPUT)
    for op in after:
        x = b.add(op.kind, op, x)
    return with_weights(b.build(x))


UNTOUCHED: dict[str, tuple[Pass, Graph]] = {
    "norm on the input": (fold_batchnorm, chain(BatchNorm(3))),
    "norm after an activation": (fold_batchnorm, chain(Conv2d(3, 4, activation="relu"), BatchNorm(4))),
    "norm after a node that is no convolution": (fold_batchnorm, chain(Relu(), BatchNorm(3))),
    "convolution that is an output": (
        fold_batchnorm,
        chain(Conv2d(3, 4), BatchNorm(4), outputs=("a", "b")),
    ),
    "activation on the input": (fuse_activation, chain(Relu())),
    "second activation": (fuse_activation, chain(Conv2d(3, 4, activation="relu6"), Relu())),
    "softmax, which is no pointwise function": (fuse_activation, chain(PointwiseConv2d(3, 4), Softmax())),
    "sum that is an output": (fuse_activation, chain(BatchNorm(3), Relu6(), outputs=("b", "a"))),
    "norm after a sum": (fold_batchnorm, _residual(BatchNorm(3))),
    "activation after a sum": (fuse_activation, _residual(Relu())),
    "dropout that is an output": (PASSES[0], chain(Relu(), Dropout(0.5))),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_cannot_be_merged_stays(name: str) -> None:
    rewrite, graph = UNTOUCHED[name]
    assert str(rewrite(graph)) == str(graph)


@pytest.mark.parametrize(("rewrite", "second"), [(fold_batchnorm, BatchNorm(4)), (fuse_activation, Relu())])
def test_a_value_with_a_second_reader_stays(rewrite: Pass, second: Op) -> None:
    b = GraphBuilder("branch", 3)
    conv = b.add("conv", Conv2d(3, 4), INPUT)
    graph = with_weights(b.build(b.add("sum", Add(), b.add("second", second, conv), conv)))
    assert str(rewrite(graph)) == str(graph)


def test_two_norms_after_one_convolution_both_fold() -> None:
    graph = fold_batchnorm(chain(Conv2d(3, 4), BatchNorm(4), BatchNorm(4)))
    assert _kinds(graph) == ["conv2d"]


def test_linear_takes_its_activation_in() -> None:
    after = _all_in_order(chain(GlobalAvgPool(), Flatten(), Linear(3, 5), Relu()))
    assert _kinds(after) == ["global_avg_pool", "flatten", "linear"]
    assert after.nodes[-1].op == Linear(3, 5, activation="relu")


EXCITE = ("global_avg_pool", "pointwise_conv2d", "pointwise_conv2d", "multiply")


def test_the_whole_example_shrinks_to_what_runs() -> None:
    assert _kinds(_all_in_order(all_ops())) == [
        *("conv_depthwise", "depthwise_conv2d", *EXCITE, "add", "expand_depthwise"),
        *(
            "pointwise_conv2d",
            "sigmoid",
            "avg_pool",
            "pointwise_conv2d",
            "global_avg_pool",
            "global_max_pool",
            "add",
            "clip",
            "flatten",
            "linear",
            "softmax",
        ),
    ]
