"""For every registered op: how to draw an instance of it with input shapes that fit, and values for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from hypothesis import strategies as st

from mininet.errors import ShapeError
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
    Op,
    PointwiseConv2d,
    Softmax,
)
from mininet.ops.activation import ACTIVATIONS, Activation
from mininet.ops.base import Shape
from mininet.ops.geometry import LARGEST, PADDING_POLICIES, Padding

Array = np.ndarray
Drawn = tuple[Op, tuple[Shape, ...]]

#: Around the widths of vectors (4, 8, 16), around whole blocks (16), and everything between.
CHANNELS = st.sampled_from([1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 67]) | st.integers(1, 67)
BATCH = st.integers(1, 3)
SIZE = st.sampled_from([1, 1, 2]) | st.integers(1, 20)
ACTIVATION = st.just("identity") | st.sampled_from(sorted(ACTIVATIONS))
WINDOW = st.sampled_from([(3, 3), (5, 5), (1, 1)]) | st.tuples(st.integers(1, 7), st.integers(1, 7))
#: Now and then farther than the input is large, up to the largest there may be.
FAR = st.sampled_from([21, 30, LARGEST])
NEAR = st.integers(1, 4)
STRIDE = st.sampled_from([(1, 1), (2, 2)]) | st.tuples(NEAR, NEAR) | st.tuples(NEAR | FAR, NEAR | FAR)
DILATION = st.sampled_from([(1, 1), (1, 1), (2, 2)]) | st.tuples(st.integers(1, 3), st.integers(1, 3))
FEW_ZEROS = st.tuples(*[st.integers(0, 5)] * 4)
#: More zeros than picture: whole windows, and whole rows of windows, lie outside.
MANY_ZEROS = st.tuples(*[st.sampled_from([0, 1, 19, 33])] * 4)
PADDING: st.SearchStrategy[Padding] = (
    st.sampled_from(PADDING_POLICIES) | st.sampled_from(PADDING_POLICIES) | FEW_ZEROS | FEW_ZEROS | MANY_ZEROS
)

VALUES: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "zeros": lambda rng, shape: np.zeros(shape),
    "large": lambda rng, shape: 1e15 * rng.standard_normal(shape),
    "denormal": lambda rng, shape: 1e-40 * rng.standard_normal(shape),
    "negative": lambda rng, shape: -np.abs(rng.standard_normal(shape)),
    # The kinks of the activations, both zeros, and wide steps of magnitude side by side.
    "mixed": lambda rng, shape: rng.choice([0.0, -0.0, 3.0, -3.0, 6.0, 1e-40, 1e8, -1e8, 0.5, -1.7], shape),
}


@dataclass(frozen=True)
class Case:
    """An op with shapes that fit it; its tensors follow from ``seed`` and ``values``."""

    op: Op
    shapes: tuple[Shape, ...]
    seed: int
    values: str

    def __str__(self) -> str:
        return f"{self.op} on {', '.join(map(str, self.shapes))}, values {self.values!r}, seed {self.seed}"

    def inputs(self) -> list[Array]:
        """float32 inputs in the public layout."""
        rng = np.random.default_rng(self.seed)
        return [VALUES[self.values](rng, shape).astype(np.float32) for shape in self.shapes]

    def params(self) -> dict[str, Array]:
        """float32 weights by role; a variance is positive, and now and then 0."""
        rng = np.random.default_rng(self.seed + 1)
        params = {}
        for role, shape in self.op.param_shapes().items():
            value = rng.standard_normal(shape)
            if role == "running_var":
                value = np.where(rng.random(shape) < 0.1, 0.0, rng.uniform(0.01, 2.0, shape))
            params[role] = value.astype(np.float32)
        return params


@st.composite
def _image(draw: st.DrawFn, channels: int | None = None) -> Shape:
    return draw(BATCH), channels or draw(CHANNELS), draw(SIZE), draw(SIZE)


def _grown(op: Op, shape: Shape, extent: tuple[int, int]) -> Shape:
    """The shape, or one larger by a window where the window does not fit."""
    try:
        op.infer_shape(shape)
    except ShapeError:
        return *shape[:2], shape[2] + extent[0], shape[3] + extent[1]
    return shape


@st.composite
def _conv2d(draw: st.DrawFn) -> Drawn:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    most = 67 // groups
    per_group = st.sampled_from([n for n in (1, 3, 8, 13, 17, 33, 67) if n <= most]) | st.integers(1, most)
    window, dilation = draw(WINDOW), draw(DILATION)
    op = Conv2d(
        groups * draw(per_group),
        groups * draw(per_group),
        window,
        draw(STRIDE),
        draw(PADDING),
        dilation,
        groups,
        draw(st.booleans()),
        draw(ACTIVATION),
    )
    extent = (dilation[0] * (window[0] - 1), dilation[1] * (window[1] - 1))
    return op, (_grown(op, draw(_image(op.in_channels)), extent),)


@st.composite
def _depthwise(
    draw: st.DrawFn, channels: int | None = None, bias: bool | None = None
) -> tuple[DepthwiseConv2d, tuple[Shape, ...]]:
    channels, window, dilation = channels or draw(CHANNELS), draw(WINDOW), draw(DILATION)
    bias = draw(st.booleans()) if bias is None else bias
    op = DepthwiseConv2d(channels, window, draw(STRIDE), draw(PADDING), dilation, bias, draw(ACTIVATION))
    extent = (dilation[0] * (window[0] - 1), dilation[1] * (window[1] - 1))
    return op, (_grown(op, draw(_image(channels)), extent),)


@st.composite
def _pointwise(draw: st.DrawFn) -> Drawn:
    bias, activation = draw(st.booleans()), draw(ACTIVATION)
    residual = activation == "identity" and draw(st.booleans())
    op = PointwiseConv2d(draw(CHANNELS), draw(CHANNELS), bias, activation, residual)
    n, _, h, w = shape = draw(_image(op.in_channels))
    return op, (shape, (n, op.out_channels, h, w))[: op.arity]


@st.composite
def _expand_depthwise(draw: st.DrawFn) -> Drawn:
    first = PointwiseConv2d(draw(CHANNELS), draw(CHANNELS), True, draw(ACTIVATION))
    depthwise, (between,) = draw(_depthwise(first.out_channels, True))
    return ExpandDepthwise(first, depthwise), ((between[0], first.in_channels, *between[2:]),)


@st.composite
def _conv_depthwise(draw: st.DrawFn) -> Drawn:
    """Pictures of three channels more often than not, and the stem of every MobileNet: 3x3, stride 2."""
    usual = st.just((3, (3, 3), (2, 2), (1, 1)))
    channels = st.sampled_from([1, 2, 4, 17])
    unusual = st.tuples(channels, WINDOW, st.tuples(NEAR, NEAR), DILATION)
    inputs, window, stride, dilation = draw(usual | unusual)
    padding, activation = draw(PADDING), draw(ACTIVATION)
    first = Conv2d(inputs, draw(CHANNELS), window, stride, padding, dilation, 1, True, activation)
    second, _ = draw(_depthwise(first.out_channels, True))
    extents = (
        tuple(s * d * (k - 1) for k, s, d in zip(op.kernel, strides, op.dilation, strict=True))
        for op, strides in ((first, (1, 1)), (second, first.stride))
    )
    op, shape = ConvDepthwise(first, second), draw(_image(inputs))
    for rows, columns in extents:
        shape = _grown(op, shape, (rows, columns))
    return op, (shape,)


@st.composite
def _linear(draw: st.DrawFn) -> Drawn:
    op = Linear(draw(CHANNELS), draw(CHANNELS | st.just(200)), draw(st.booleans()), draw(ACTIVATION))
    return op, ((draw(BATCH), op.in_features),)


@st.composite
def _batch_norm(draw: st.DrawFn) -> Drawn:
    op = BatchNorm(draw(CHANNELS), draw(st.sampled_from([1e-5, 1e-3, 0.5])), draw(ACTIVATION))
    return op, (draw(_image(op.channels)),)


@st.composite
def _elementwise(draw: st.DrawFn, cls: type[Op]) -> Drawn:
    return cls(), (draw(_image() | st.tuples(BATCH, CHANNELS)),)


@st.composite
def _clip(draw: st.DrawFn) -> Drawn:
    bounds = st.tuples(*[st.sampled_from([-3.0, -0.5, 0.0, 0.3, 6.0]) | st.floats(-4, 4, width=32)] * 2)
    low, high = sorted(draw(bounds))
    return Clip(low, high), (draw(_image() | st.tuples(BATCH, CHANNELS)),)


@st.composite
def _add(draw: st.DrawFn) -> Drawn:
    shape = draw(_image() | st.tuples(BATCH, CHANNELS))
    return Add(draw(ACTIVATION)), (shape, shape)


@st.composite
def _multiply(draw: st.DrawFn) -> Drawn:
    image = draw(_image())
    pair = (image, (*image[:2], 1, 1))
    return Multiply(), draw(st.sampled_from([pair, pair[::-1]]))


@st.composite
def _avg_pool(draw: st.DrawFn) -> Drawn:
    kernel, stride = draw(WINDOW), draw(STRIDE)
    sides = [st.integers(0, length - 1) for length in (kernel[0], kernel[0], kernel[1], kernel[1])]
    padding: st.SearchStrategy[Padding] = st.sampled_from(["symmetric", "same"]) | st.tuples(*sides)
    op = AvgPool(kernel, stride, draw(padding))
    return op, (_grown(op, draw(_image()), kernel),)


STRATEGIES: dict[str, st.SearchStrategy[Drawn]] = {
    "conv2d": _conv2d(),
    "depthwise_conv2d": _depthwise(),
    "pointwise_conv2d": _pointwise(),
    "expand_depthwise": _expand_depthwise(),
    "conv_depthwise": _conv_depthwise(),
    "linear": _linear(),
    "batch_norm": _batch_norm(),
    "clip": _clip(),
    "add": _add(),
    "multiply": _multiply(),
    "avg_pool": _avg_pool(),
    "global_avg_pool": st.tuples(st.just(GlobalAvgPool()), st.tuples(_image())),
    "global_max_pool": st.tuples(st.just(GlobalMaxPool()), st.tuples(_image())),
    "flatten": st.tuples(st.just(Flatten()), st.tuples(_image())),
    "dropout": _elementwise(Dropout),
    "softmax": _elementwise(Softmax),
    **{kind: _elementwise(cls) for kind, cls in OPS.items() if issubclass(cls, Activation)},
}
"""By the op's registered name. An op that is missing here fails ``test_every_op_has_a_strategy``."""

#: Sizes of real networks, at which a step is cut into several tasks along every axis.
LARGE: tuple[Drawn, ...] = (
    (Linear(1280, 1000), ((2, 1280),)),
    (PointwiseConv2d(96, 576, True, "relu6"), ((1, 96, 14, 14),)),
    (PointwiseConv2d(320, 1280, True), ((1, 320, 3, 5),)),
    (PointwiseConv2d(144, 24, True, residual=True), ((1, 144, 29, 31), (1, 24, 29, 31))),
    (PointwiseConv2d(960, 160, True, residual=True), ((1, 960, 7, 7), (1, 160, 7, 7))),
    (PointwiseConv2d(160, 960, True, "hard_swish"), ((1, 160, 7, 7),)),
    (Conv2d(24, 40, (3, 3), (1, 1), groups=4, activation="hard_swish"), ((1, 24, 21, 23),)),
    (Conv2d(32, 64, (3, 3), (2, 2), "same", activation="relu"), ((1, 32, 28, 30),)),
    (
        ExpandDepthwise(
            PointwiseConv2d(24, 144, True, "relu6"),
            DepthwiseConv2d(144, (3, 3), (2, 2), "same", bias=True, activation="relu6"),
        ),
        ((1, 24, 28, 29),),
    ),
    (
        ExpandDepthwise(
            PointwiseConv2d(40, 240, True, "hard_swish"),
            DepthwiseConv2d(240, (5, 5), dilation=(2, 2), bias=True),
        ),
        ((1, 40, 14, 15),),
    ),
    (
        ConvDepthwise(
            Conv2d(3, 40, (3, 3), (2, 2), "same", bias=True, activation="relu6"),
            DepthwiseConv2d(40, bias=True, activation="hard_swish"),
        ),
        ((2, 3, 61, 47),),
    ),
    # More rows than the sliding window can hold: the general convolution takes over.
    (DepthwiseConv2d(19, (65, 2), padding=(33, 33, 0, 1), activation="hard_swish"), ((1, 19, 9, 7),)),
    (DepthwiseConv2d(19, (64, 3), dilation=(2, 1)), ((1, 19, 30, 9),)),
    (Conv2d(3, 32, stride=(2, 2), padding="same"), ((1, 3, 65, 97),)),
    (DepthwiseConv2d(144, stride=(2, 2), activation="relu6"), ((1, 144, 28, 29),)),
    (GlobalAvgPool(), ((2, 200, 31, 33),)),
    (GlobalMaxPool(), ((2, 200, 31, 33),)),
    (Add(), ((1, 40, 45, 47),) * 2),
    (Clip(-0.5, 0.75), ((1, 40, 45, 47),)),
    (Softmax(), ((3, 1001),)),
)


@st.composite
def cases(draw: st.DrawFn, kind: str, values: tuple[str, ...] = tuple(VALUES)) -> Case:
    """A whole case of one op."""
    op, shapes = draw(STRATEGIES[kind])
    return Case(op, shapes, draw(st.integers(0, 2**32 - 2)), draw(st.sampled_from(values)))


@st.composite
def tiny_cases(draw: st.DrawFn, kind: str) -> Case:
    """A case small enough for loops in Python."""
    op, shapes = draw(STRATEGIES[kind].filter(lambda drawn: _work(*drawn) < 6000))
    return Case(op, shapes, draw(st.integers(0, 2**32 - 2)), "normal")


def _work(op: Op, shapes: tuple[Shape, ...]) -> int:
    return sum(map(prod, shapes)) + op.multiply_adds(*shapes)
