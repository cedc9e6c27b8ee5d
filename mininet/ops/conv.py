"""Convolutions: standard (any geometry), depthwise and pointwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mininet import _native
from mininet._native import BLOCK
from mininet.errors import GraphError, ShapeError
from mininet.ops.activation import activate, before_activation, check_activation
from mininet.ops.base import Array, Op, Params, Shape, register, require_image
from mininet.ops.geometry import Padding, Pair, check_window, output_size, resolve_padding, windows
from mininet.ops.step import Step, constant, image_of, per_channel


def pack_panels(
    matrix: Array, bias: Array | None, width: int = 0, multiple: int = BLOCK
) -> tuple[Array, Array]:
    """Lay a weight matrix (K, columns) out as the kernels stream it.

    Columns are cut into panels as wide as a vector register; within a panel the K rows follow one
    another, so a micro-kernel reads memory strictly forwards.

    Parameters
    ----------
    matrix : (K, columns)
    bias : (columns,) or None for zeros
    width : int
        Columns of a panel, by default one register of the instruction set in use.
    multiple : int
        Columns are filled up with zeros to a multiple of this, at least a panel.

    Returns
    -------
    panels : float32, (panels, K, width)
    bias : float32, (panels * width,)
    """
    width = width or _native.vector_width()
    depth, columns = matrix.shape
    filled = -(-columns // max(width, multiple)) * max(width, multiple)
    padded = np.zeros((depth, filled), np.float32)
    padded[:, :columns] = matrix
    padded_bias = np.zeros(filled, np.float32)
    if bias is not None:
        padded_bias[:columns] = bias
    return constant(padded.reshape(depth, -1, width).transpose(1, 0, 2)), padded_bias


MOST_WINDOW_ROWS = 64
"""MN_MOST_ROWS of csrc/kernels/window.c: how many rows a window may have."""

MOST_CUT_BLOCKS = 5
"""With so few blocks of channels, threads must share out the rows of a plane, and none of them sees the whole
of it: then its mean is better taken by a step of its own."""


def depthwise_constants(params: Params) -> tuple[Array, Array]:
    """Weights (blocks, kh kw, BLOCK) and bias (blocks BLOCK,) of a depthwise convolution."""
    weight = params["weight"]
    taps = per_channel(weight.reshape(len(weight), -1).T)  # (kh kw, channels)
    bias = per_channel(params.get("bias", np.zeros(len(weight))))
    return constant(taps.reshape(len(taps), -1, BLOCK).transpose(1, 0, 2)), bias


def halves_pay(channels: int) -> bool:
    """Whether registers of half a block should do the last block of so many channels.

    Registers of a whole block compute half of it in vain where it is at most half full. That costs time
    where the processor computes them in two halves. Elsewhere half a register is as slow as a whole one, and
    two pixels share a register instead (`MN_SHARES` in csrc/kernels/tile.c).
    """
    half_empty = 0 < channels % BLOCK <= BLOCK // 2
    return half_empty and _native.vector_width() == BLOCK and _native.double_pumped()


SINGLE_PANELS = {16: 4, 8: 2, 4: 4, 1: 4}
"""MN_SINGLE_PANELS of csrc/kernels/vec.h, by the width of a register."""


def matrix_product(matrix: Array, bias: Array | None, pixels: int) -> tuple[str, tuple[Array, Array]]:
    """Which kernel multiplies so many pixels with a matrix (K, columns), and its constants.

    Registers of half a block do either all blocks or none, and need twice the instructions; up to 120
    columns they win where they pay at all. A single pixel (a linear layer) uses each weight once and waits
    for memory, which is fastest in one stream: panels that are done at once are interleaved,
    (panels at once, K, panels at once, width).
    """
    columns = matrix.shape[1]
    if pixels > 1 and halves_pay(columns) and columns < 128:
        return "pointwise_half", pack_panels(matrix, bias, BLOCK // 2)
    panels, padded_bias = pack_panels(matrix, bias)
    if pixels == 1:
        _, depth, width = panels.shape
        wanted, many = -(-columns // width), SINGLE_PANELS[width]
        whole = wanted - wanted % many
        together = panels[:whole].reshape(-1, many, depth, width).swapaxes(1, 2)
        panels = np.concatenate([together.reshape(whole, depth, width), panels[whole:]])
    return "pointwise", (panels, padded_bias)


@dataclass(frozen=True)
class _Convolution(Op):
    """What the three convolutions share: windows over (N, C, H, W) and an epilogue."""

    def _pads(self, shape: Shape) -> tuple[int, int, int, int]:
        conv = self.as_conv2d()
        return resolve_padding(conv.padding, (shape[2], shape[3]), conv.kernel, conv.stride, conv.dilation)

    def _moves(self, shape: Shape) -> Pair:
        """The stride; 1 along an axis on which there is one output, as scratch memory grows with it."""
        stride, (_, _, rows, columns) = self.as_conv2d().stride, self.infer_shape(shape)
        return stride[0] if rows > 1 else 1, stride[1] if columns > 1 else 1

    def as_conv2d(self) -> Conv2d:
        """The same computation written as the general convolution."""
        raise NotImplementedError

    def lower_whole(self, params: Params, *inputs: Shape) -> Step:
        """`lower` for a kernel that computes one block of channels at a time.

        All panels are as wide as a register; where it pays, the last block has panels of half a block
        (`MN_HALF` in csrc/kernels/turns.c).
        """
        step = self.lower(params, *inputs)
        weights, bias = step.constants
        return replace(step, constants=(self._last_block_halved(weights), bias))

    def _last_block_halved(self, panels: Array) -> Array:
        if not halves_pay(self.as_conv2d().out_channels):
            return panels
        flat = panels.reshape(-1, panels.shape[-2], BLOCK).copy()
        flat[-1] = flat[-1].reshape(-1, 2, BLOCK // 2).swapaxes(0, 1).reshape(-1, BLOCK)
        return flat

    def param_shapes(self) -> dict[str, Shape]:
        conv = self.as_conv2d()
        weight = (conv.out_channels, conv.in_channels // conv.groups, *conv.kernel)
        return {"weight": weight, **({"bias": (conv.out_channels,)} if conv.bias else {})}

    def infer_shape(self, *inputs: Shape) -> Shape:
        conv = self.as_conv2d()
        n, _, h, w = require_image(self, inputs[0], conv.in_channels)
        size = output_size(self.kind, (h, w), self._pads(inputs[0]), conv.kernel, conv.stride, conv.dilation)
        return n, conv.out_channels, *size

    def multiply_adds(self, *inputs: Shape) -> int:
        """``oh ow kh kw (ic / groups) oc``, taps on padding included (V1 paper, section 3.1)."""
        conv = self.as_conv2d()
        n, _, oh, ow = conv.infer_shape(inputs[0])
        taps = conv.kernel[0] * conv.kernel[1] * (conv.in_channels // conv.groups)
        return n * oh * ow * conv.out_channels * taps

    def _step(self, kernel: str, shape: Shape, constants: tuple[Array, ...], workspace: int = 0) -> Step:
        conv = self.as_conv2d()
        return Step(
            kernel,
            (image_of(shape),),
            image_of(conv.infer_shape(shape)),
            window=conv.kernel,
            stride=conv._moves(shape),
            dilation=conv.dilation,
            padding=self._pads(shape),
            groups=conv.groups,
            activation=conv.activation,
            constants=before_activation(conv.activation, *constants),
            workspace=workspace,
        )


@register
@dataclass(frozen=True)
class Conv2d(_Convolution):
    """Standard convolution (cross-correlation) with any kernel, stride, padding, dilation and groups.

    Weights: ``weight`` (out, in / groups, kh, kw), ``bias`` (out,) if ``bias``.
    """

    kind: ClassVar[str] = "conv2d"
    in_channels: int
    out_channels: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Padding = "symmetric"
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False
    activation: str = "identity"

    def __post_init__(self) -> None:
        check_window(self.kind, self.kernel, self.stride, self.dilation, self.padding)
        check_activation(self.kind, self.activation)
        if min(self.in_channels, self.out_channels, self.groups) < 1:
            raise GraphError(f"conv2d: channels and groups must be positive, got {self.describe()}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise GraphError(
                f"conv2d: {self.groups} groups must divide both {self.in_channels} inputs "
                f"and {self.out_channels} outputs"
            )

    def as_conv2d(self) -> Conv2d:
        return self

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        view = windows(x, self._pads(x.shape), self.kernel, self.stride, self.dilation)
        n, _, oh, ow, kh, kw = view.shape
        per_group = self.in_channels // self.groups
        view = view.reshape(n, self.groups, per_group, oh, ow, kh, kw)
        weight = params["weight"].reshape(self.groups, -1, per_group, kh, kw)
        y = np.einsum("ngihwkl,goikl->ngohw", view, weight, optimize=True)
        y = y.reshape(n, self.out_channels, oh, ow)
        if self.bias:
            y = y + params["bias"][:, None, None]
        return activate(self.activation, y)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        # (out, in/g, kh, kw) -> per group a matrix (in/g kh kw, out/g): the order in which the
        # kernel walks the taps of a window.
        per_group = self.out_channels // self.groups
        packed = [
            pack_panels(weight.reshape(per_group, -1).T, bias, multiple=1)
            for weight, bias in zip(
                params["weight"].reshape(self.groups, per_group, -1, *self.kernel),
                params["bias"].reshape(self.groups, -1) if self.bias else [None] * self.groups,
                strict=True,
            )
        ]
        weights, biases = (constant(np.stack(part)) for part in zip(*packed, strict=True))
        workspace = BLOCK * self.infer_shape(*inputs)[3] if self.groups > 1 else 0
        return self._step("conv2d", inputs[0], (weights, biases), workspace)


@register
@dataclass(frozen=True)
class DepthwiseConv2d(_Convolution):
    """One filter per channel: spatial filtering without mixing (V1 paper, section 3.1).

    Weights: ``weight`` (channels, 1, kh, kw), ``bias`` (channels,) if ``bias``.
    """

    kind: ClassVar[str] = "depthwise_conv2d"
    channels: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Padding = "symmetric"
    dilation: Pair = (1, 1)
    bias: bool = False
    activation: str = "identity"

    def __post_init__(self) -> None:
        self.as_conv2d()  # which checks every attribute

    def as_conv2d(self) -> Conv2d:
        return Conv2d(
            self.channels,
            self.channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.channels,
            self.bias,
            self.activation,
        )

    def reference(self, params: Params, *inputs: Array) -> Array:
        (x,) = inputs
        view = windows(x, self._pads(x.shape), self.kernel, self.stride, self.dilation)
        y: Array = np.einsum("nchwkl,ckl->nchw", view, params["weight"][:, 0])
        if self.bias:
            y = y + params["bias"][:, None, None]
        return activate(self.activation, y)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        if self.kernel[0] > MOST_WINDOW_ROWS:
            return self.as_conv2d().lower(params, *inputs)
        step = self._step("depthwise", inputs[0], depthwise_constants(params))
        step = replace(step, halved=halves_pay(self.channels), slots=step.most_slots)
        return replace(step, workspace=step.ring)

    @property
    def leaves_means(self) -> bool:
        return self.kernel[0] <= MOST_WINDOW_ROWS and self.channels > MOST_CUT_BLOCKS * BLOCK


@register
@dataclass(frozen=True)
class PointwiseConv2d(_Convolution):
    """1x1 convolution: linear combination of channels, one matrix product over all pixels.

    Weights: ``weight`` (out, in, 1, 1), ``bias`` (out,) if ``bias``. With ``residual`` it reads a second
    tensor of its output's shape and adds it: the end of an inverted residual, which is linear.
    """

    kind: ClassVar[str] = "pointwise_conv2d"
    in_channels: int
    out_channels: int
    bias: bool = False
    activation: str = "identity"
    residual: bool = False

    def __post_init__(self) -> None:
        self.as_conv2d()
        if self.residual and self.activation != "identity":
            raise GraphError(f"{self.kind}: expected no activation beside a residual, got {self.activation}")

    @property
    def arity(self) -> int:
        return 2 if self.residual else 1

    def infer_shape(self, *inputs: Shape) -> Shape:
        shape = super().infer_shape(inputs[0])
        if self.residual and inputs[1] != shape:
            raise ShapeError(f"{self.kind}: expected a residual of shape {shape}, got {inputs[1]}")
        return shape

    def as_conv2d(self) -> Conv2d:
        return Conv2d(self.in_channels, self.out_channels, (1, 1), bias=self.bias, activation=self.activation)

    def reference(self, params: Params, *inputs: Array) -> Array:
        x = inputs[0]
        y: Array = np.tensordot(x, params["weight"][:, :, 0, 0], axes=(1, 1)).transpose(0, 3, 1, 2)
        if self.bias:
            y = y + params["bias"][:, None, None]
        return y + inputs[1] if self.residual else activate(self.activation, y)

    def lower(self, params: Params, *inputs: Shape) -> Step:
        _, _, h, w = inputs[0]
        kernel, constants = matrix_product(*self._matrix(params), h * w)
        return replace(self._step(kernel, inputs[0], constants), inputs=tuple(map(image_of, inputs)))

    def lower_whole(self, params: Params, *inputs: Shape) -> Step:
        weights, bias = pack_panels(*self._matrix(params))
        return self._step("pointwise", inputs[0], (self._last_block_halved(weights), bias))

    def _matrix(self, params: Params) -> tuple[Array, Array | None]:
        return params["weight"].reshape(self.out_channels, self.in_channels).T, params.get("bias")
