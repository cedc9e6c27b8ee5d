"""A convolution and the depthwise convolution of its result as one op, as the plan runs them.

The tensor between the two is never stored (V2 paper, section 5.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from mininet.errors import GraphError
from mininet.ops.base import Array, Op, Params, Shape, register
from mininet.ops.conv import MOST_WINDOW_ROWS, Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.step import Step

TOGETHER = 2
"""Blocks of channels that the kernels do at once, at most (csrc/kernels/fused_depthwise.c, MN_TOGETHER)."""


@dataclass(frozen=True)
class _FusedDepthwise(Op):
    """``depthwise(first(x))``; both have biases.

    Weights: those of the two ops, under ``first.`` and ``depthwise.``.
    """

    first: Conv2d | PointwiseConv2d
    depthwise: DepthwiseConv2d

    def __post_init__(self) -> None:
        first, depthwise = self.first.as_conv2d(), self.depthwise
        if first.out_channels != depthwise.channels:
            raise GraphError(
                f"{self.kind}: {first.out_channels} channels come, {depthwise.channels} are expected"
            )
        if not (first.bias and depthwise.bias) or self.first.arity != 1:
            raise GraphError(f"{self.kind}: both convolutions must have a bias and one input")
        if depthwise.kernel[0] > MOST_WINDOW_ROWS:
            raise GraphError(
                f"{self.kind}: a window may have {MOST_WINDOW_ROWS} rows, got {depthwise.kernel[0]}"
            )

    @property
    def leaves_means(self) -> bool:
        return self.depthwise.leaves_means

    def param_shapes(self) -> dict[str, Shape]:
        parts: dict[str, Op] = {"first": self.first, "depthwise": self.depthwise}
        return {
            f"{part}.{role}": shape for part, op in parts.items() for role, shape in op.param_shapes().items()
        }

    def infer_shape(self, *inputs: Shape) -> Shape:
        return self.depthwise.infer_shape(self.first.infer_shape(*inputs))

    def multiply_adds(self, *inputs: Shape) -> int:
        between = self.first.infer_shape(*inputs)
        return self.first.multiply_adds(*inputs) + self.depthwise.multiply_adds(between)

    def reference(self, params: Params, *inputs: Array) -> Array:
        between = self.first.reference(_of("first", params), *inputs)
        return self.depthwise.reference(_of("depthwise", params), between)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        between = self.first.infer_shape(*inputs)
        step = self.depthwise.lower(_of("depthwise", params), between)
        first = self.first.lower_whole(_of("first", params), *inputs)
        return replace(step, kernel=self.kind, first=first, workspace=TOGETHER * step.workspace)


@register
@dataclass(frozen=True)
class ExpandDepthwise(_FusedDepthwise):
    """The first two thirds of an inverted residual: a 1x1 expansion, then a depthwise convolution."""

    kind: ClassVar[str] = "expand_depthwise"
    first: PointwiseConv2d


@register
@dataclass(frozen=True)
class ConvDepthwise(_FusedDepthwise):
    """A network's first convolution, then a depthwise one."""

    kind: ClassVar[str] = "conv_depthwise"
    first: Conv2d

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.groups != 1:
            raise GraphError(f"{self.kind}: expected one group, got {self.first.groups} (first convolution)")


def _of(part: str, params: Params) -> dict[str, Array]:
    """The weights of one part, by its own roles."""
    prefix = f"{part}."
    return {role.removeprefix(prefix): value for role, value in params.items() if role.startswith(prefix)}
