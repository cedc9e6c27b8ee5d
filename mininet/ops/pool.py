"""Pooling: means over windows and over everything, and the greatest of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mininet.errors import ShapeError
from mininet.ops.base import Array, Op, Params, Shape, register, require_image
from mininet.ops.geometry import Padding, Pads, Pair, check_window, output_size, resolve_padding, windows
from mininet.ops.step import Step, image_of


@register
@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Mean over all pixels: (N, C, H, W) -> (N, C, 1, 1)."""

    kind: ClassVar[str] = "global_avg_pool"

    def infer_shape(self, *inputs: Shape) -> Shape:
        n, c, _, _ = require_image(self, inputs[0])
        return n, c, 1, 1

    def reference(self, params: Params, *inputs: Array) -> Array:
        mean: Array = inputs[0].mean(axis=(2, 3), keepdims=True)
        return mean

    def lower(self, params: Params, *inputs: Shape) -> Step:
        return Step("global_avg_pool", (image_of(inputs[0]),), image_of(self.infer_shape(inputs[0])))


@register
@dataclass(frozen=True)
class GlobalMaxPool(Op):
    """Greatest of all pixels, NaN if one of them is: (N, C, H, W) -> (N, C, 1, 1)."""

    kind: ClassVar[str] = "global_max_pool"

    def infer_shape(self, *inputs: Shape) -> Shape:
        n, c, _, _ = require_image(self, inputs[0])
        return n, c, 1, 1

    def reference(self, params: Params, *inputs: Array) -> Array:
        greatest: Array = inputs[0].max(axis=(2, 3), keepdims=True)
        return greatest

    def lower(self, params: Params, *inputs: Shape) -> Step:
        return Step("global_max_pool", (image_of(inputs[0]),), image_of(self.infer_shape(inputs[0])))


@register
@dataclass(frozen=True)
class AvgPool(Op):
    """Mean over windows. Padding counts neither in the sum nor in the number of pixels.

    That is TensorFlow's rule and torch's ``count_include_pad=False``.
    """

    kind: ClassVar[str] = "avg_pool"
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        check_window(self.kind, self.kernel, self.stride, (1, 1), self.padding)

    def _pads(self, shape: Shape) -> Pads:
        pads = resolve_padding(self.padding, (shape[2], shape[3]), self.kernel, self.stride, (1, 1))
        if max(pads[:2]) >= self.kernel[0] or max(pads[2:]) >= self.kernel[1]:
            raise ShapeError(
                f"avg_pool: padding {pads} must be smaller than the kernel {self.kernel}, "
                "or a window is empty"
            )
        return pads

    def infer_shape(self, *inputs: Shape) -> Shape:
        n, c, h, w = require_image(self, inputs[0])
        return n, c, *output_size(self.kind, (h, w), self._pads(inputs[0]), self.kernel, self.stride, (1, 1))

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        pads = self._pads(x.shape)
        total = windows(x, pads, self.kernel, self.stride, (1, 1)).sum(axis=(4, 5))
        count = windows(np.ones_like(x), pads, self.kernel, self.stride, (1, 1)).sum(axis=(4, 5))
        mean: Array = total / count
        return mean

    def lower(self, params: Params, *inputs: Shape) -> Step:
        return Step(
            "avg_pool",
            (image_of(inputs[0]),),
            image_of(self.infer_shape(inputs[0])),
            window=self.kernel,
            stride=self.stride,
            padding=self._pads(inputs[0]),
        )
