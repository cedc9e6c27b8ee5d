"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mininet.errors import GraphError, ShapeError
from mininet.ops.activation import activate, before_activation, check_activation
from mininet.ops.base import Array, Op, Params, Shape, register
from mininet.ops.conv import matrix_product
from mininet.ops.step import Step, image_of


@register
@dataclass(frozen=True)
class Linear(Op):
    """``y = x W^T + b`` on (N, in_features).

    Weights: ``weight`` (out, in), ``bias`` (out,) if ``bias``.
    """

    kind: ClassVar[str] = "linear"
    in_features: int
    out_features: int
    bias: bool = True
    activation: str = "identity"

    def __post_init__(self) -> None:
        if min(self.in_features, self.out_features) < 1:
            raise GraphError(f"linear: features must be positive, got {self.describe()}")
        check_activation(self.kind, self.activation)

    def param_shapes(self) -> dict[str, Shape]:
        weight = (self.out_features, self.in_features)
        return {"weight": weight, **({"bias": (self.out_features,)} if self.bias else {})}

    def infer_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 2 or inputs[0][1] != self.in_features:
            raise ShapeError(f"linear: expected a tensor (N, {self.in_features}), got shape {inputs[0]}")
        return inputs[0][0], self.out_features

    def multiply_adds(self, *inputs: Shape) -> int:
        return inputs[0][0] * self.in_features * self.out_features

    def reference(self, params: Params, *inputs: Array) -> Array:
        y = inputs[0] @ params["weight"].T
        if self.bias:
            y = y + params["bias"]
        return activate(self.activation, y)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        # One image is one row: the matrix product of a 1x1 convolution over a single pixel.
        kernel, panels = matrix_product(params["weight"].T, params.get("bias"), 1)
        constants = before_activation(self.activation, *panels)
        output = image_of(self.infer_shape(inputs[0]))
        step_input = (image_of(inputs[0]),)
        return Step(kernel, step_input, output, activation=self.activation, constants=constants)
