"""One output value taken apart: the products that sum to it, what is added, and the activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mininet.arguments import check_integer
from mininet.errors import ArgumentError, UnknownNameError
from mininet.graph import Graph, Node
from mininet.inspect.explanation import Explanation, Term
from mininet.inspect.table import shape_text
from mininet.ops import AvgPool, BatchNorm, Clip, ConvDepthwise, ExpandDepthwise, Linear
from mininet.ops.base import Array, Params, Shape
from mininet.ops.conv import Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.geometry import resolve_padding


@dataclass(frozen=True)
class _Site:
    """A node, its weights, what goes in, and the place of the output value in question."""

    node: Node
    params: Params
    inputs: tuple[Array, ...]
    at: Shape

    def term(self, at: Shape, weight: float, weight_at: Shape = (), index: int = 0) -> Term:
        """A product with an element of an input."""
        return Term(self.node.inputs[index], at, float(self.inputs[index][at]), float(weight), weight_at)


@dataclass(frozen=True)
class _Parts:
    """What an op's explainer finds."""

    formula: str
    terms: tuple[Term, ...]
    addends: tuple[tuple[str, float], ...] = ()
    activation: str = "identity"


def explain(
    graph: Graph, values: Mapping[str, Array], node: str, n: int = 0, c: int = 0, y: int = 0, x: int = 0
) -> Explanation:
    """List the products that sum to one value of a node.

    Parameters
    ----------
    graph : Graph
        With its weights.
    values : mapping of str to array
        The values of the node and of its inputs by name, ``"input"`` for the network's own.
    node : str
        A node, or a container for its last one.
    n, c, y, x : int
        Image of the batch, channel, row and column; ``y`` and ``x`` stay 0 for a vector (N, F).

    Raises
    ------
    UnknownNameError
        If there is no such node.
    ArgumentError
        If the position lies outside the value, the values lack an input, or the op is not known here.
    """
    made = graph[node]
    inputs = tuple(_value(values, name, made.name) for name in made.inputs)
    value = _value(values, made.name, made.name)
    place = tuple(check_integer(axis, index) for axis, index in zip("ncyx", (n, c, y, x), strict=True))
    at = _position(made.name, value.shape, place)
    if made.op.kind not in EXPLAINERS:
        raise ArgumentError(f"node {made.name!r}: a {made.op.kind} is no sum of products that can be listed")
    params = {role: array.astype(np.float64) for role, array in made.select(graph.params).items()}
    parts = EXPLAINERS[made.op.kind](_Site(made, params, inputs, at))
    traced = float(value[at])
    return Explanation(
        made.name, made.op.kind, at, parts.formula, parts.terms, parts.addends, parts.activation, traced
    )


def _value(values: Mapping[str, Array], name: str, wanted: str) -> Array:
    try:
        return values[name]
    except (KeyError, UnknownNameError):
        raise ArgumentError(
            f"to explain {wanted!r} the value of {name!r} is needed, which the trace lacks; "
            "trace every node with backend='kernels' or 'reference'"
        ) from None


def _position(name: str, shape: Shape, at: Shape) -> Shape:
    for axis, index, size in zip("ncyx", at, (*shape, 1, 1), strict=False):
        if not 0 <= index < size:
            raise ArgumentError(
                f"node {name!r} has the shape {shape}: expected 0 <= {axis} < {size}, got {index}"
            )
    return at[: len(shape)]


def _convolution(site: _Site) -> _Parts:
    op = site.node.op
    assert isinstance(op, (Conv2d, DepthwiseConv2d, PointwiseConv2d))
    conv, c = op.as_conv2d(), site.at[1]
    size = (site.inputs[0].shape[2], site.inputs[0].shape[3])
    pads = resolve_padding(conv.padding, size, conv.kernel, conv.stride, conv.dilation)
    channels = conv.in_channels // conv.groups
    first = c // (conv.out_channels // conv.groups) * channels
    terms = tuple(
        _tap(site, (first + i, row, column), (c, i, ky, kx))
        for i in range(channels)
        for ky, row in _window(site.at[2], conv.kernel[0], conv.stride[0], conv.dilation[0], pads[0])
        for kx, column in _window(site.at[3], conv.kernel[1], conv.stride[1], conv.dilation[1], pads[2])
    )
    kernel, stride = ("x".join(map(str, pair)) for pair in (conv.kernel, conv.stride))
    formula = f"{kernel} window over {channels} channels, stride {stride}, padding {shape_text(pads)}"
    return _Parts(formula, terms, (*_bias(site), *_residual(site)), conv.activation)


def _fused_depthwise(site: _Site) -> _Parts:
    """The window slides over values that were never stored: those of its channel are computed anew."""
    op, (n, c, _, _), (x,) = site.node.op, site.at, site.inputs
    assert isinstance(op, (ConvDepthwise, ExpandDepthwise))
    first = {role: site.params[f"first.{role}"][c : c + 1] for role in ("weight", "bias")}
    window = {role: site.params[f"depthwise.{role}"] for role in ("weight", "bias")}
    plane = replace(op.first, out_channels=1).reference(first, x[n : n + 1].astype(np.float64))
    # Of this shape for its indices' sake; the window sees image n and channel c alone.
    between = np.broadcast_to(plane, op.first.infer_shape(x.shape))
    node = replace(site.node, op=op.depthwise, inputs=(f"{site.node.name}.first",))
    parts = _convolution(_Site(node, window, (between,), site.at))
    made = op.first.kind if op.first.activation == "identity" else f"{op.first.kind}, {op.first.activation}"
    return replace(parts, formula=f"{parts.formula}; what goes in ({made}) is computed anew")


def _window(at: int, length: int, stride: int, dilation: int, before: int) -> Iterator[tuple[int, int]]:
    """(tap, row or column of the input) along one axis."""
    return ((k, at * stride - before + k * dilation) for k in range(length))


def _tap(site: _Site, at: Shape, weight_at: Shape) -> Term:
    """A product of a convolution: input (c, y, x), which may lie outside, and its weight."""
    place, weight = (site.at[0], *at), float(site.params["weight"][weight_at])
    _, _, height, width = site.inputs[0].shape
    if 0 <= at[1] < height and 0 <= at[2] < width:
        return site.term(place, weight, weight_at)
    return Term(site.node.inputs[0], place, 0.0, weight, weight_at, padding=True)


def _bias(site: _Site) -> tuple[tuple[str, float], ...]:
    return (("bias", float(site.params["bias"][site.at[1]])),) if "bias" in site.params else ()


def _residual(site: _Site) -> tuple[tuple[str, float], ...]:
    if len(site.inputs) == 1:
        return ()
    return ((f"residual {site.node.inputs[1]}", float(site.inputs[1][site.at])),)


def _linear(site: _Site) -> _Parts:
    op, (n, c) = site.node.op, site.at
    assert isinstance(op, Linear)
    terms = tuple(site.term((n, i), site.params["weight"][c, i], (c, i)) for i in range(op.in_features))
    return _Parts(f"sum over {op.in_features} features", terms, _bias(site), op.activation)


def _batch_norm(site: _Site) -> _Parts:
    op, c = site.node.op, site.at[1]
    assert isinstance(op, BatchNorm)
    scale = float(op.scale(site.params)[c])
    mean = float(site.params["running_mean"][c])
    addends = (("-mean x scale", 0.0 - mean * scale), ("bias", float(site.params["bias"][c])))
    formula = f"(x - mean) x scale + bias, scale = weight / sqrt(var + {op.eps:g})"
    return _Parts(formula, (site.term(site.at, scale),), addends, op.activation)


def _activation(site: _Site) -> _Parts:
    kind = site.node.op.kind
    return _Parts(f"{kind}(x)", (site.term(site.at, 1.0),), activation=kind)


def _clip(site: _Site) -> _Parts:
    op = site.node.op
    assert isinstance(op, Clip)
    formula, term = f"min(max(x, {op.low:g}), {op.high:g})", site.term(site.at, 1.0)
    for bound, beyond in ((op.low, term.value < op.low), (op.high, term.value > op.high)):
        if beyond:
            return _Parts(formula, (), ((f"the bound that {term.value:g} is beyond", bound),))
    return _Parts(formula, (term,))


def _softmax(site: _Site) -> _Parts:
    image = site.inputs[0][site.at[0]].astype(np.float64)
    x = image[(slice(None), *site.at[2:])] if image.ndim > 1 else image
    exponentials = np.exp(x - x.max())
    value = float(exponentials[site.at[1]])
    term = Term(site.node.inputs[0], site.at, value, float(1 / exponentials.sum()))
    return _Parts(f"exp(x - max) x 1 / sum of exp(x - max) over {len(x)} channels", (term,))


def _add(site: _Site) -> _Parts:
    terms = tuple(site.term(site.at, 1.0, index=i) for i in range(2))
    return _Parts("a + b", terms, activation=getattr(site.node.op, "activation", "identity"))


def _multiply(site: _Site) -> _Parts:
    image = 1 if site.inputs[0].shape[2:] == (1, 1) else 0  # the other one is the gate
    n, c, _, _ = site.at
    gate = float(site.inputs[1 - image][n, c, 0, 0])
    formula = f"x times the gate of its channel, {site.node.inputs[1 - image]}"
    return _Parts(formula, (site.term(site.at, gate, index=image),))


def _global_avg_pool(site: _Site) -> _Parts:
    n, c, _, _ = site.at
    _, _, height, width = site.inputs[0].shape
    weight = 1 / (height * width)
    terms = tuple(site.term((n, c, y, x), weight) for y in range(height) for x in range(width))
    return _Parts(f"mean over {height}x{width} pixels", terms)


def _global_max_pool(site: _Site) -> _Parts:
    n, c, _, _ = site.at
    plane = site.inputs[0][n, c]
    y, x = (int(i) for i in np.unravel_index(plane.argmax(), plane.shape))
    return _Parts(f"the greatest of {shape_text(plane.shape)} pixels", (site.term((n, c, y, x), 1.0),))


def _avg_pool(site: _Site) -> _Parts:
    op, (n, c, y, x) = site.node.op, site.at
    assert isinstance(op, AvgPool)
    _, _, height, width = site.inputs[0].shape
    pads = resolve_padding(op.padding, (height, width), op.kernel, op.stride, (1, 1))
    places = [
        (row, column)
        for _, row in _window(y, op.kernel[0], op.stride[0], 1, pads[0])
        for _, column in _window(x, op.kernel[1], op.stride[1], 1, pads[2])
    ]
    inside = [0 <= row < height and 0 <= column < width for row, column in places]
    weight = 1 / sum(inside)
    terms = tuple(
        site.term((n, c, *place), weight)
        if pixel
        else Term(site.node.inputs[0], (n, c, *place), 0.0, 0.0, padding=True)
        for place, pixel in zip(places, inside, strict=True)
    )
    return _Parts(f"mean over {sum(inside)} pixels, padding not counted", terms)


def _dropout(site: _Site) -> _Parts:
    return _Parts("x: dropout does nothing at inference", (site.term(site.at, 1.0),))


def _flatten(site: _Site) -> _Parts:
    n, feature = site.at
    place = tuple(int(i) for i in np.unravel_index(feature, site.inputs[0].shape[1:]))
    return _Parts("x, elsewhere", (site.term((n, *place), 1.0),))


EXPLAINERS: dict[str, Callable[[_Site], _Parts]] = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "pointwise_conv2d"), _convolution),
    **dict.fromkeys(("expand_depthwise", "conv_depthwise"), _fused_depthwise),
    **dict.fromkeys(("relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid"), _activation),
    "clip": _clip,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "softmax": _softmax,
    "add": _add,
    "multiply": _multiply,
    "global_avg_pool": _global_avg_pool,
    "global_max_pool": _global_max_pool,
    "avg_pool": _avg_pool,
    "dropout": _dropout,
    "flatten": _flatten,
}
"""How each kind of op is taken apart; a test compares it with the registry of ops."""
