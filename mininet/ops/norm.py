"""Batch normalisation at inference: a fixed affine map per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mininet.errors import GraphError
from mininet.ops.activation import activate, check_activation
from mininet.ops.base import Array, Op, Params, Shape, register, require_image
from mininet.ops.step import Step, image_of, per_channel


@register
@dataclass(frozen=True)
class BatchNorm(Op):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` per channel, with running statistics.

    Weights, each (channels,): ``weight`` (gamma), ``bias`` (beta), ``running_mean``, ``running_var``.
    ``eps`` differs between frameworks and architectures, so every node carries its own.
    """

    kind: ClassVar[str] = "batch_norm"
    channels: int
    eps: float = 1e-5
    activation: str = "identity"

    def __post_init__(self) -> None:
        if self.channels < 1 or not self.eps >= 0:
            raise GraphError(f"batch_norm: expected channels >= 1 and eps >= 0, got {self.describe()}")
        check_activation(self.kind, self.activation)

    def param_shapes(self) -> dict[str, Shape]:
        return {role: (self.channels,) for role in ("weight", "bias", "running_mean", "running_var")}

    def infer_shape(self, *inputs: Shape) -> Shape:
        return require_image(self, inputs[0], self.channels)

    def scale(self, params: Params) -> Array:
        """``weight / sqrt(var + eps)`` in float64."""
        variance = params["running_var"].astype(np.float64)
        return params["weight"] / np.sqrt(variance + self.eps)

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        mean, scale, bias = (
            v.astype(x.dtype)[:, None, None]
            for v in (params["running_mean"], self.scale(params), params["bias"])
        )
        return activate(self.activation, (x - mean) * scale + bias)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        constants = tuple(map(per_channel, (params["running_mean"], self.scale(params), params["bias"])))
        return Step("batch_norm", (image,), image, activation=self.activation, constants=constants)
