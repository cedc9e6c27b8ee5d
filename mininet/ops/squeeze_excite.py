"""Squeeze-and-excitation as one op: what the plan runs in place of its six nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mininet.errors import GraphError
from mininet.ops.activation import activate, check_activation
from mininet.ops.base import Array, Op, Params, Shape, register, require_image
from mininet.ops.conv import pack_panels
from mininet.ops.step import Step, blocked, image_of


@register
@dataclass(frozen=True)
class SqueezeExcite(Op):
    """``x gate(fc2(act(fc1(mean(x)))))``: channels rescaled by what the whole picture says.

    Hu et al., arXiv:1709.01507, section 3; V3 paper, section 5.3 (the hard sigmoid as gate).
    Weights: ``fc1.weight`` (squeezed, channels, 1, 1), ``fc1.bias``, ``fc2.weight``
    (channels, squeezed, 1, 1), ``fc2.bias``.
    """

    kind: ClassVar[str] = "squeeze_excite"
    channels: int
    squeezed: int
    activation: str = "relu"
    gate: str = "hard_sigmoid"

    def __post_init__(self) -> None:
        if min(self.channels, self.squeezed) < 1:
            raise GraphError(f"squeeze_excite: channels must be positive, got {self.describe()}")
        check_activation(self.kind, self.activation)
        check_activation(self.kind, self.gate)

    def param_shapes(self) -> dict[str, Shape]:
        return {
            "fc1.weight": (self.squeezed, self.channels, 1, 1),
            "fc1.bias": (self.squeezed,),
            "fc2.weight": (self.channels, self.squeezed, 1, 1),
            "fc2.bias": (self.channels,),
        }

    def infer_shape(self, *inputs: Shape) -> Shape:
        return require_image(self, inputs[0], self.channels)

    def multiply_adds(self, *inputs: Shape) -> int:
        return inputs[0][0] * 2 * self.channels * self.squeezed

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        mean = x.mean(axis=(2, 3))
        squeezed = activate(self.activation, mean @ params["fc1.weight"][:, :, 0, 0].T + params["fc1.bias"])
        gate = activate(self.gate, squeezed @ params["fc2.weight"][:, :, 0, 0].T + params["fc2.bias"])
        return x * gate[:, :, None, None]

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        reduce = pack_panels(params["fc1.weight"][:, :, 0, 0].T, params["fc1.bias"])
        expand = pack_panels(params["fc2.weight"][:, :, 0, 0].T, params["fc2.bias"])
        return Step(
            "squeeze_excite",
            (image,),
            image,
            activation=self.activation,
            gate=self.gate,
            hidden=self.squeezed,
            constants=(*reduce, *expand),
            workspace=2 * blocked(self.channels) + blocked(self.squeezed),
        )
