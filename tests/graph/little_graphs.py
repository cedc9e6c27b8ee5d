"""Little graphs for tests: drawn by hypothesis, with branches, second readers and several outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import seeded
from hypothesis import strategies as st
from tolerances import GRAPH_SHARE

from mininet.graph import INPUT, Graph, GraphBuilder, Result, run_reference
from mininet.ops import (
    Add,
    AvgPool,
    BatchNorm,
    Clip,
    Conv2d,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    HardSigmoid,
    HardSwish,
    Linear,
    Multiply,
    Op,
    PointwiseConv2d,
    Relu,
    Relu6,
    Sigmoid,
    Softmax,
)

Array = np.ndarray
PARTS = (
    *("stem", "conv", "conv_bn_act", "inverted", "bn", "act"),
    *("se", "add", "pool", "dropout", "head", "vector"),
)
ACTIVATIONS: tuple[type[Op], ...] = (Relu, Relu6, HardSwish, HardSigmoid, Sigmoid)


class _Growing:
    """A graph that grows by whole patterns, each onto any earlier value of the right rank."""

    def __init__(self, draw: st.DrawFn, channels: int, size: tuple[int, int]) -> None:
        self.draw = draw
        self.builder = GraphBuilder("little", channels)
        self.shapes = {INPUT: (1, channels, *size)}

    def add(self, op: Op, *inputs: str) -> str:
        """Append a node with the next number as name."""
        name = self.builder.add(f"n{len(self.builder.nodes)}.{op.kind}", op, *inputs)
        self.shapes[name] = op.infer_shape(*(self.shapes[source] for source in inputs))
        return name

    def pick(self, rank: int) -> str | None:
        """An earlier value, of late ones more often than of early ones."""
        values = [name for name, shape in self.shapes.items() if len(shape) == rank]
        if not values:
            return None
        return values[-1] if self.draw(st.integers(0, 2)) else self.draw(st.sampled_from(values))

    def convolution(self, x: str, activation: str = "identity") -> str:
        channels, bias = self.shapes[x][1], self.draw(st.booleans())
        stride = self.draw(st.sampled_from([(1, 1), (2, 2), (2, 1)]))
        # Keras adds one row and column at most, so its 3x3 window needs two of each.
        policies = ["symmetric", "same", *(["keras"] if min(self.shapes[x][2:]) > 1 else [])]
        padding = self.draw(st.sampled_from(policies))
        out = self.draw(st.integers(1, 19))
        ops: tuple[Op, ...] = (
            PointwiseConv2d(channels, out, bias, activation),
            DepthwiseConv2d(channels, (3, 3), stride, padding, bias=bias, activation=activation),
            Conv2d(channels, out, (3, 3), stride, padding, bias=bias, activation=activation),
        )
        return self.add(self.draw(st.sampled_from(ops)), x)

    def activation(self, x: str) -> str:
        return self.add(self.draw(st.sampled_from(ACTIVATIONS))(), x)

    def grow(self, part: str) -> None:
        """Append one pattern; nothing, where it has nothing to stand on."""
        x = self.pick(2 if part == "vector" else 4)
        if x is None:
            return
        shape = self.shapes[x]
        if part == "stem":
            self.stem(self.draw(st.sampled_from([INPUT, x])))
        elif part == "conv":
            self.convolution(x, self.draw(st.sampled_from(["identity", "relu6", "hard_swish"])))
        elif part == "conv_bn_act":
            y = self.convolution(x)
            self.activation(self.add(BatchNorm(self.shapes[y][1], 1e-3), y))
        elif part == "inverted":
            self.inverted_residual(x)
        elif part == "bn":
            self.add(BatchNorm(shape[1]), x)
        elif part == "act":
            self.activation(x)
        elif part == "se":
            self.squeeze_excite(x)
        elif part == "add":
            others = [name for name in self.shapes if self.shapes[name] == shape]
            self.add(Add(), x, self.draw(st.sampled_from(others)))
        elif part == "pool":
            pools = [GlobalAvgPool(), GlobalMaxPool(), AvgPool((3, 2), (2, 1), "same")]
            self.add(self.draw(st.sampled_from(pools)), x)
        elif part == "dropout":
            self.add(Dropout(0.2), x)
        elif part == "head":
            self.add(Flatten(), self.add(GlobalAvgPool(), x) if self.draw(st.booleans()) else x)
        else:
            ops = (Linear(shape[1], 7), Softmax(), Dropout(0.5), Relu(), Linear(shape[1], 33, bias=False))
            self.add(self.draw(st.sampled_from(ops)), x)

    def stem(self, x: str) -> None:
        """A convolution and a depthwise one, as a network begins; now and then without a bias."""
        bias, out = bool(self.draw(st.integers(0, 3))), self.draw(st.integers(1, 35))
        strides = st.sampled_from([(1, 1), (2, 2)])
        y = self.add(Conv2d(self.shapes[x][1], out, (3, 3), self.draw(strides), "same", bias=bias), x)
        y = self.activation(y) if self.draw(st.booleans()) else y
        self.add(DepthwiseConv2d(out, (3, 3), self.draw(strides), bias=bool(self.draw(st.integers(0, 3)))), y)

    def inverted_residual(self, x: str) -> None:
        """Expansion, depthwise, projection and sum as V2 has them; now and then without a bias or the sum."""
        channels, bias, stride = self.shapes[x][1], self.draw(st.booleans()), self.draw(st.integers(1, 2))
        inner = self.draw(st.integers(1, 35))
        y = self.add(PointwiseConv2d(channels, inner, bias), x)
        y = self.activation(y) if bias else self.add(BatchNorm(inner), y)
        y = self.add(DepthwiseConv2d(inner, (3, 3), (stride, stride), bias=self.draw(st.booleans())), y)
        y = self.activation(self.add(BatchNorm(inner), y))
        y = self.add(BatchNorm(channels), self.add(PointwiseConv2d(inner, channels), y))
        if self.shapes[y] == self.shapes[x]:
            self.add(Add(), *self.draw(st.permutations([x, y])))

    def squeeze_excite(self, x: str) -> None:
        """The six nodes as V3 has them, with and without a bias."""
        channels, bias = self.shapes[x][1], bool(self.draw(st.integers(0, 4)))
        y = self.add(PointwiseConv2d(channels, 5, bias), self.add(GlobalAvgPool(), x))
        y = self.activation(self.add(PointwiseConv2d(5, channels, bias), self.activation(y)))
        self.add(Multiply(), *self.draw(st.permutations([x, y])))


@st.composite
def graphs(draw: st.DrawFn, most: int = 6) -> tuple[Graph, tuple[int, ...]]:
    """A graph with weights, and the shape (1, C, H, W) of its input."""
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    growing = _Growing(draw, draw(st.integers(1, 19)), size)
    for part in draw(st.lists(st.sampled_from(PARTS), min_size=1, max_size=most)):
        growing.grow(part)
    names = list(growing.shapes)
    # The last value, and up to three of any kind: intermediate ones, the input, one of them twice.
    extra = draw(st.lists(st.sampled_from(names), max_size=3))
    graph = with_weights(growing.builder.build(*extra, names[-1]), draw(st.integers(0, 1000)))
    return graph, growing.shapes[INPUT]


def with_weights(graph: Graph, seed: int = 0) -> Graph:
    """Seeded weights of a scale that keeps activations near 1."""
    return graph.with_params(seeded.state(graph.param_shapes(), seed))


def chain(*ops: Op, channels: int = 3, outputs: Sequence[str] = ()) -> Graph:
    """Ops one after the other, named a, b, c, ...; weights included."""
    builder, x = GraphBuilder("chain", channels), INPUT
    for i, op in enumerate(ops):
        x = builder.add(chr(ord("a") + i), op, x)
    return with_weights(builder.build(*(outputs or (x,))))


def all_ops() -> Graph:
    """A network with every op but the fused ones, residuals, a branch, and five outputs."""
    b = GraphBuilder("all", 3)
    x = b.add("stem", Conv2d(3, 18, (3, 3), (2, 2), "same"), INPUT)
    x = b.add("stem_act", HardSwish(), b.add("stem_bn", BatchNorm(18, 1e-3), x))
    x = b.add("first_act", Relu6(), b.add("first", DepthwiseConv2d(18, bias=True), x))
    y = b.add("dw", DepthwiseConv2d(18, (5, 5), bias=True), x)
    y = b.add("dw_act", Relu6(), y)
    gate = b.add("fc1", PointwiseConv2d(18, 6, True), b.add("squeeze", GlobalAvgPool(), y))
    gate = b.add("fc2", PointwiseConv2d(6, 18, True), b.add("fc1_act", Relu(), gate))
    y = b.add("scale", Multiply(), b.add("gate", HardSigmoid(), gate), y)
    x = b.add("residual", Add(), y, x)
    y = b.add("expand_act", Relu6(), b.add("expand", PointwiseConv2d(18, 40, True), x))
    y = b.add("inner_bn", BatchNorm(40), b.add("inner", DepthwiseConv2d(40), y))
    y = b.add("project_bn", BatchNorm(18), b.add("project", PointwiseConv2d(40, 18), y))
    x = b.add("block", Add(), x, y)
    x = b.add("pool", AvgPool((2, 2), (2, 2), "same"), b.add("sigmoid", Sigmoid(), x))
    x = b.add("features", PointwiseConv2d(18, 23), x)
    v = b.add("gap", Add(), b.add("mean", GlobalAvgPool(), x), b.add("greatest", GlobalMaxPool(), x))
    v = b.add("flatten", Flatten(), b.add("clip", Clip(-2.0, 2.0), v))
    v = b.add("dropout", Dropout(0.2), v)
    v = b.add("logits", Linear(23, 11), v)
    v = b.add("probabilities", Softmax(), v)
    return with_weights(b.build("features", "logits", "residual", "block", v), 5)


def image(shape: Sequence[int], batch: int = 1, seed: int = 0) -> Array:
    """float32 input for a graph."""
    return seeded.images(seed, (batch, *shape[1:]))


def by_name(x: Array, results: Iterable[Result] | Iterator[Result]) -> dict[str, Array]:
    """Values of a run by node name, the input's included."""
    return {INPUT: x, **{result.node.name: result.value for result in results}}


def reference(graph: Graph, x: Array) -> tuple[list[Array], float]:
    """Outputs in float64, and the error that float32 may make: a share of the largest value anywhere."""
    values = by_name(x.astype(np.float64), run_reference(graph, x.astype(np.float64)))
    largest = max((float(np.abs(value).max()) for value in values.values() if value.size), default=0.0)
    return [values[name] for name in graph.outputs], GRAPH_SHARE * max(largest, 1.0)


def assert_outputs(got: Sequence[Array], expected: Sequence[Array], allowed: float, what: str) -> None:
    """Assert that lists of outputs agree; the message names the output and the worst place."""
    assert len(got) == len(expected), f"{what}: {len(got)} outputs instead of {len(expected)}"
    for i, (ours, exact) in enumerate(zip(got, expected, strict=True)):
        assert ours.shape == exact.shape, f"{what}: output {i} has shape {ours.shape}, not {exact.shape}"
        off = np.abs(ours - exact)
        if off.size and not off.max() <= allowed:
            at = np.unravel_index(np.argmax(off), off.shape)
            raise AssertionError(f"{what}: output {i} is off by {off[at]:.3e} at {at}, allowed {allowed:.3e}")
