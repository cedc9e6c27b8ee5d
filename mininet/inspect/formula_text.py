"""Formulas in words and with their numbers put in, and what a block would cost the other way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mininet.graph import Node
from mininet.inspect.formulas import (
    depthwise_separable,
    layer_formula,
    separable_ratio,
    standard_convolution,
)
from mininet.ops import BatchNorm, Clip, Conv2d, DepthwiseConv2d, Linear, PointwiseConv2d
from mininet.ops.base import Op, Shape

TIMES = "\N{MULTIPLICATION SIGN}"

FUNCTIONS = {
    "relu": "max(x, 0)",
    "relu6": "min(max(x, 0), 6)",
    "hard_sigmoid": "min(max(x + 3, 0), 6) / 6",
    "hard_swish": "x · min(max(x + 3, 0), 6) / 6",
    "sigmoid": "1 / (1 + exp(-x))",
    "softmax": "exp(x) / Σ exp(x)",
    "add": "a + b",
    "multiply": "x · gate, per channel",
    "flatten": "the same values as one vector",
    "dropout": "x (dropout is for training alone)",
}
"""What an op without multiply-adds computes."""


@dataclass(frozen=True)
class Formula:
    """How many multiply-adds a node takes.

    Attributes
    ----------
    text : str
        With symbols: kh, kw the kernel, M and N the channels in and out, h and w the output's size. For a
        node that takes none, what it computes.
    numbers : str
        With numbers and their product; empty for a node without multiply-adds.
    """

    text: str
    numbers: str = ""


def formula_of(op: Op, *inputs: Shape) -> Formula:
    """The formula of one op for these input shapes; its numbers multiply to `layer_formula`."""
    symbols, factors = _factors(op, *inputs)
    if not symbols:
        return Formula(_computed(op, inputs[0]))
    if inputs[0][0] > 1:
        symbols, factors = ("images", *symbols), (inputs[0][0], *factors)
    product = layer_formula(op, *inputs)
    return Formula(" · ".join(symbols), f"{' · '.join(map(str, factors))} = {product:,}")


def _factors(op: Op, *inputs: Shape) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if isinstance(op, Linear):
        return ("M", "N"), (op.in_features, op.out_features)
    size = op.infer_shape(*inputs)[2:]
    if isinstance(op, DepthwiseConv2d):
        return ("kh", "kw", "M", "h", "w"), (*op.kernel, op.channels, *size)
    if isinstance(op, PointwiseConv2d):
        return ("M", "N", "h", "w"), (op.in_channels, op.out_channels, *size)
    if isinstance(op, Conv2d):
        return ("kh", "kw", "M", "N", "h", "w"), (*op.kernel, op.in_channels, op.out_channels, *size)
    return (), ()


def _computed(op: Op, shape: Shape) -> str:
    if isinstance(op, BatchNorm):
        return f"γ (x - μ) / √(σ² + {op.eps:g}) + β"  # noqa: RUF001  # Greek as in the papers
    if op.kind == "global_avg_pool":
        return f"mean of {shape[2]} · {shape[3]} pixels"
    if op.kind == "global_max_pool":
        return f"greatest of {shape[2]} · {shape[3]} pixels"
    if isinstance(op, Clip):
        return f"min(max(x, {op.low:g}), {op.high:g})"
    return FUNCTIONS.get(op.kind, op.describe())


@dataclass(frozen=True)
class Comparison:
    """A convolution over space and channels, once as one and once taken apart.

    Attributes
    ----------
    kernel : (int, int)
    in_channels, out_channels : int
        M and N.
    size : (int, int)
        Rows and columns of the output.
    separable, full : int
        Multiply-adds as depthwise and pointwise convolution, and as one standard convolution.
    runs : {"separable", "full"}
        Which of them the network runs.
    """

    kernel: tuple[int, int]
    in_channels: int
    out_channels: int
    size: tuple[int, int]
    separable: int
    full: int
    runs: str

    @property
    def ratio(self) -> Fraction:
        """``1/N + 1/(kh kw)``: separable over full."""
        return separable_ratio(self.kernel, self.out_channels)

    @property
    def window(self) -> str:
        """``3x3``, with a true multiplication sign."""
        return f"{self.kernel[0]}{TIMES}{self.kernel[1]}"

    def formula(self) -> str:
        """The ratio with its numbers put in."""
        kh, kw = self.kernel
        return f"1/N + 1/(kh · kw) = 1/{self.out_channels} + 1/{kh * kw} = {float(self.ratio):.1%}"

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and text, with the ratio and its formula."""
        kernel, size = list(self.kernel), list(self.size)
        derived = {"ratio": float(self.ratio), "window": self.window, "formula": self.formula()}
        return {**vars(self), "kernel": kernel, "size": size, **derived}


def compare_separable(nodes: Sequence[Node], shapes: Mapping[str, Shape]) -> Comparison | None:
    """What a block's convolution over space costs, and what it would cost in the other form.

    Parameters
    ----------
    nodes : sequence of Node
        Of one block. Its depthwise convolution is joined with the last pointwise one, which combines its
        channels (those between are squeeze-and-excite's); without one, the first standard convolution is.
    shapes : mapping of str to shape
        Of every value of the network.

    Returns
    -------
    Comparison or None
        None where nothing looks at more than one pixel.
    """
    ops = [node.op for node in nodes]
    wide = next(((i, op) for i, op in enumerate(ops) if isinstance(op, DepthwiseConv2d)), None)
    if wide is not None:
        place, depthwise = wide
        narrow = [op for op in ops[place:] if isinstance(op, PointwiseConv2d)]
        if not narrow:
            return None
        kernel, channels, out = depthwise.kernel, depthwise.channels, narrow[-1].out_channels
        name, runs = nodes[place].name, "separable"
    else:
        full = [(node.name, op) for node, op in zip(nodes, ops, strict=True) if isinstance(op, Conv2d)]
        if not full or full[0][1].kernel == (1, 1) or full[0][1].groups != 1:
            return None
        name, conv = full[0]
        kernel, channels, out, runs = conv.kernel, conv.in_channels, conv.out_channels, "full"
    rows, columns = shapes[name][2:]
    sizes = (kernel, channels, out, (rows, columns))
    return Comparison(*sizes, depthwise_separable(*sizes), standard_convolution(*sizes), runs)


def kind_of(nodes: Sequence[Node]) -> str:
    """What a block is, in a few words: read off its ops, whatever network it belongs to."""
    kinds = [node.op.kind for node in nodes]
    if "depthwise_conv2d" in kinds:
        expands = "pointwise_conv2d" in kinds[: kinds.index("depthwise_conv2d")]
        words = ["inverted residual" if expands else "depthwise separable"]
        words += ["squeeze-and-excite"] * ("multiply" in kinds) + ["skip"] * ("add" in kinds)
        return ", ".join(words)
    if "conv2d" in kinds:
        return "convolution"
    if "pointwise_conv2d" in kinds:
        return f"1{TIMES}1 convolution"
    return "classifier" if "linear" in kinds else "pooling"
