"""What an operation is: four answers about itself, and a registry that knows it by name.

An :class:`Op` is a frozen record of its own hyper-parameters (channels, kernel, stride, ...). It
holds no tensor: weights live in the graph, under ``<node name>.<role>``. Every op answers

* ``param_shapes()``: which weights it needs, and of what shape;
* ``infer_shape(*inputs)``: what comes out when these shapes go in;
* ``reference(params, *inputs)``: the definition, in a few obvious lines of NumPy;
* ``lower(params, *inputs)``: the same as one :class:`~mininet.ops.step.Step` for a C kernel;
* ``cost(*inputs)``: how many multiply-adds that is, as the papers count them.

Shapes are logical ``(N, C, H, W)`` or ``(N, F)`` everywhere in Python; only C sees
blocks of channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from mininet.errors import GraphError, ShapeError, UnknownNameError
from mininet.ops.step import Step

Array = NDArray[np.floating[Any]]
Shape = tuple[int, ...]
Params = Mapping[str, Array]

OPS: dict[str, type[Op]] = {}
"""Every operation by its name; tests and printers walk it."""

OpType = TypeVar("OpType", bound="type[Op]")


def register(cls: OpType) -> OpType:
    """Class decorator: enter an operation into :data:`OPS` under its ``kind``."""
    if cls.kind in OPS:
        raise GraphError(f"an operation named {cls.kind!r} is registered already")
    OPS[cls.kind] = cls
    return cls


def get_op(kind: str) -> type[Op]:
    """Return the operation class of that name, or raise `UnknownNameError` with close matches."""
    try:
        return OPS[kind]
    except KeyError:
        raise UnknownNameError("operation", kind, OPS) from None


@dataclass(frozen=True)
class Cost:
    """What one execution of an op costs, as exact integers.

    Attributes
    ----------
    madds : int
        Products accumulated into an output (convolutions and fully connected layers only: the
        convention of the MobileNet papers, padding counted as if it were pixels).
    outputs : int
        Elements the op writes.
    """

    madds: int
    outputs: int


@dataclass(frozen=True)
class Op:
    """Base class of all operations. Subclasses are frozen dataclasses of their attributes."""

    kind: ClassVar[str]

    @property
    def arity(self) -> int:
        """How many tensors it reads."""
        return 1

    @property
    def leaves_means(self) -> bool:
        """Whether its kernel can leave the mean of each channel behind its output (`Step.means`)."""
        return False

    def param_shapes(self) -> dict[str, Shape]:
        """Shape of each weight by role, in torch's layouts and in the order of a state dict."""
        return {}

    def infer_shape(self, *inputs: Shape) -> Shape:
        """Output shape for these input shapes; raises `ShapeError` where they do not fit."""
        return inputs[0]

    def reference(self, params: Params, *inputs: Array) -> Array:
        """The definition in NumPy, in the dtype of the inputs (float32, or float64 for checks)."""
        raise NotImplementedError

    def lower(self, params: Params, *inputs: Shape) -> Step:
        """This op as one step for the C kernels, for one image (``N == 1``)."""
        raise NotImplementedError

    def multiply_adds(self, *inputs: Shape) -> int:
        """Multiply-adds of one execution; 0 for everything that is no convolution or linear layer."""
        return 0

    def cost(self, *inputs: Shape) -> Cost:
        """Cost of one execution on inputs of these shapes."""
        outputs = 1
        for size in self.infer_shape(*inputs):
            outputs *= size
        return Cost(self.multiply_adds(*inputs), outputs)

    def describe(self) -> str:
        """The attributes that differ from their defaults, as ``name=value`` text for a diff."""
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={_text(value)}")
        return ", ".join(shown)


def _text(value: Any) -> str:
    if isinstance(value, Op):  # an op made of ops
        return f"{value.kind}({value.describe()})"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def require_image(op: Op, shape: Shape, channels: int | None = None) -> tuple[int, int, int, int]:
    """Check that ``shape`` is (N, C, H, W) with the channels an op wants, and return it."""
    if len(shape) != 4:
        raise ShapeError(f"{op.kind}: expected a tensor (N, C, H, W), got shape {shape}")
    n, c, h, w = shape
    if channels is not None and c != channels:
        raise ShapeError(f"{op.kind}: expected {channels} channels, got {c} (shape {shape})")
    if h < 1 or w < 1 or c < 1:
        raise ShapeError(f"{op.kind}: every size must be at least 1, got shape {shape}")
    return n, c, h, w
