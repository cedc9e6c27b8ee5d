"""Activations: as NumPy functions, which also serve as epilogues, and as ops of their own.

Every function here returns NaN for NaN, as the C kernels do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mininet.errors import GraphError, UnknownNameError
from mininet.ops.base import Array, Op, Params, Shape, register
from mininet.ops.step import Step, image_of


def identity(x: Array) -> Array:
    """Return ``x``."""
    return x


def relu(x: Array) -> Array:
    """``max(x, 0)``."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """``min(max(x, 0), 6)``: V2 paper, section 4 (clipped so that fixed point has a known range)."""
    return np.minimum(np.maximum(x, 0), 6)


def hard_sigmoid(x: Array) -> Array:
    """``relu6(x + 3) / 6``: V3 paper, section 5.2; torchvision and Keras 3 agree."""
    return relu6(x + 3) / 6


def hard_swish(x: Array) -> Array:
    """``x relu6(x + 3) / 6``: V3 paper, section 5.2."""
    return x * (relu6(x + 3) / 6)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, written so that a large ``-x`` overflows to a quiet 0."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": identity,
    "relu": relu,
    "relu6": relu6,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
    "sigmoid": sigmoid,
}
"""Every pointwise activation by name; the C enum ``mn_activation`` has the same names."""


def activate(name: str, x: Array) -> Array:
    """Apply the activation called ``name``."""
    try:
        return ACTIVATIONS[name](x)
    except KeyError:
        raise UnknownNameError("activation", name, ACTIVATIONS) from None


ROOT = 6**0.5 + (float(np.float32(6**0.5)) - 6**0.5) * 2 / 3
"""By which the weights before a hard_swish are divided: the square root of 6, and two thirds of what the
kernels' float is greater (csrc/kernels/activation.c). So the error of that float is spread over the positive
x, -2e-8 to 1e-8 of the result, and not all to one side, since over a network it would add up."""


def before_activation(name: str, *constants: Array) -> tuple[Array, ...]:
    """Weights and bias as the kernel wants them whose result goes through the activation called ``name``."""
    if name != "hard_swish":
        return constants
    return tuple((array.astype(np.float64) / ROOT).astype(np.float32) for array in constants)


def check_activation(kind: str, name: str) -> None:
    """Refuse the activation of an op of this kind unless it exists.

    Raises
    ------
    GraphError
        Naming the op and the activations there are.
    """
    if name not in ACTIVATIONS:
        raise GraphError(f"{kind}: activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")


@dataclass(frozen=True)
class Activation(Op):
    """An activation as a node of its own; subclasses name the function."""

    def reference(self, params: Params, *inputs: Array) -> Array:
        return ACTIVATIONS[self.kind](inputs[0])

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        return Step("activation", (image,), image, activation=self.kind)


@register
@dataclass(frozen=True)
class Relu(Activation):
    """``max(x, 0)``."""

    kind: ClassVar[str] = "relu"


@register
@dataclass(frozen=True)
class Relu6(Activation):
    """``min(max(x, 0), 6)``."""

    kind: ClassVar[str] = "relu6"


@register
@dataclass(frozen=True)
class HardSwish(Activation):
    """``x relu6(x + 3) / 6``."""

    kind: ClassVar[str] = "hard_swish"


@register
@dataclass(frozen=True)
class HardSigmoid(Activation):
    """``relu6(x + 3) / 6``."""

    kind: ClassVar[str] = "hard_sigmoid"


@register
@dataclass(frozen=True)
class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``."""

    kind: ClassVar[str] = "sigmoid"


@register
@dataclass(frozen=True)
class Clip(Op):
    """``min(max(x, low), high)``: what a quantised network can hold of a value, in float.

    The bounds are those of the integers' type (Jacob et al., arXiv:1712.05877, section 2.1), or any others;
    they are rounded to float32, so that every backend clips alike.
    """

    kind: ClassVar[str] = "clip"
    low: float
    high: float

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))
        if not self.low <= self.high:
            raise GraphError(f"clip: expected low <= high, got {self.describe()}")

    def reference(self, params: Params, *inputs: Array) -> Array:
        y: Array = np.minimum(np.maximum(inputs[0], self.low), self.high)
        return y

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        return Step("clip", (image,), image, constants=(np.array([self.low, self.high], np.float32),))


@register
@dataclass(frozen=True)
class Softmax(Op):
    """``exp(x) / sum(exp(x))`` over channels, after subtracting the largest value."""

    kind: ClassVar[str] = "softmax"

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, as it should be
            e: Array = np.exp(x - x.max(axis=1, keepdims=True))
        e /= e.sum(axis=1, keepdims=True)
        return e

    def lower(self, params: Params, *inputs: Shape) -> Step:
        image = image_of(inputs[0])
        return Step("softmax", (image,), image)
