"""Two tensors into one: the residual add, and the channel scaling of squeeze-and-excite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mininet.errors import ShapeError
from mininet.ops.activation import activate, check_activation
from mininet.ops.base import Array, Op, Params, Shape, register, require_image
from mininet.ops.step import Step, image_of


@register
@dataclass(frozen=True)
class Add(Op):
    """Sum of two tensors of one shape: the residual connection (V2 paper, figure 3)."""

    kind: ClassVar[str] = "add"
    activation: str = "identity"

    def __post_init__(self) -> None:
        check_activation(self.kind, self.activation)

    @property
    def arity(self) -> int:
        return 2

    def infer_shape(self, *inputs: Shape) -> Shape:
        if inputs[0] != inputs[1]:
            raise ShapeError(f"add: expected two tensors of one shape, got {inputs[0]} and {inputs[1]}")
        return inputs[0]

    def reference(self, params: Params, *inputs: Array) -> Array:
        return activate(self.activation, inputs[0] + inputs[1])

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        return Step("add", (image, image), image, activation=self.activation)


@register
@dataclass(frozen=True)
class Multiply(Op):
    """Scale each channel: (N, C, H, W) times a gate (N, C, 1, 1), given in either order."""

    kind: ClassVar[str] = "multiply"

    @property
    def arity(self) -> int:
        return 2

    def infer_shape(self, *inputs: Shape) -> Shape:
        shape = inputs[self._image(*inputs)]
        n, c, _, _ = require_image(self, shape)
        if inputs[1 - self._image(*inputs)] != (n, c, 1, 1):
            raise ShapeError(
                f"multiply: expected (N, C, H, W) and a gate (N, C, 1, 1), got {inputs[0]} and {inputs[1]}"
            )
        return shape

    @staticmethod
    def _image(*inputs: Shape) -> int:
        """Which input is the image: the other one is the gate."""
        return 1 if inputs[0][2:] == (1, 1) else 0

    def reference(self, params: Params, *inputs: Array) -> Array:
        return inputs[0] * inputs[1]

    def lower(self, params: Params, *inputs: Shape) -> Step:
        images = tuple(image_of(shape) for shape in inputs)
        return Step("multiply", images, images[self._image(*inputs)])
