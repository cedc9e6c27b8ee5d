"""Ops that compute nothing: dropout at inference, and flatten."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mininet.ops.base import Array, Op, Params, Shape, register
from mininet.ops.step import Step, image_of


@register
@dataclass(frozen=True)
class Dropout(Op):
    """The identity at inference; it stays visible because the architecture has it.

    Attributes
    ----------
    p : float
        Share of values that training zeroes; training scales the rest, so inference does nothing.
    """

    kind: ClassVar[str] = "dropout"
    p: float = 0.2

    def reference(self, params: Params, *inputs: Array) -> Array:
        return inputs[0]

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        return Step("activation", (image,), image)


@register
@dataclass(frozen=True)
class Flatten(Op):
    """(N, C, H, W) -> (N, C H W), channel after channel as torch does."""

    kind: ClassVar[str] = "flatten"

    def infer_shape(self, *inputs: Shape) -> Shape:
        return inputs[0][0], prod(inputs[0][1:])

    def reference(self, params: Params, *inputs: Array) -> Array:
        return inputs[0].reshape(self.infer_shape(inputs[0].shape))

    def lower(self, params: Params, *inputs: Shape) -> Step:
        return Step("to_planar", (image_of(inputs[0]),), image_of(self.infer_shape(inputs[0])))
