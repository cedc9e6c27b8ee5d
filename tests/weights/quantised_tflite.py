"""Writes one of our graphs as a quantised .tflite file, as converters do: int8 per channel, uint8 per tensor.

The file is a valid one, which LiteRT runs. How the gate of a squeeze-and-excite is written is a choice, since
converters differ in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tflite as schema
from tflite_file import Grid, Writer

from mininet.graph import Graph, Node, run_reference
from mininet.ops import Add, DepthwiseConv2d, Dropout, Flatten, GlobalAvgPool, Linear, Multiply
from mininet.ops.geometry import resolve_padding

Array = np.ndarray

TYPES = {"INT8": np.int8, "UINT8": np.uint8}

GATES = ("plain", "folded", "folded without sixth")
"""relu6(x + 3) / 6 as two operators; with the 3 in the bias; and the sixth in the weights behind, too."""

FUSED = {"relu": "RELU", "relu6": "RELU6"}


@dataclass
class _Tensor:
    number: int
    scale: float


@dataclass
class Quantiser:
    """One file in the making.

    Attributes
    ----------
    graph : Graph
        Without batch norms, with weights.
    kind : str
        ``"INT8"`` (weights per channel, symmetric) or ``"UINT8"`` (weights per tensor).
    pictures : float32 (N, C, H, W)
        What the ranges of all values are taken from.
    gate : str
        One of `GATES`.
    apart : bool
        Whether a hard swish is written as sums and products, not as an operator.
    bare : bool
        Whether a ReLU6 is left to the range of its tensor, as in networks trained for it.
    limits : dict
        Ranges of nodes, instead of what the pictures reach.
    weights : dict
        Filled: the numbers that the integers in the file stand for, in our layouts and under our names.
    """

    graph: Graph
    kind: str
    pictures: Array
    gate: str = "plain"
    apart: bool = False
    bare: bool = False
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)

    def bytes(self) -> bytes:
        self.writer = Writer()
        values = {"input": self.pictures}
        values |= {result.node.name: result.value for result in run_reference(self.graph, self.pictures)}
        self.values = values
        readers = self.graph.consumers()
        made = {"input": self.tensor(self.nhwc("input"), -1.0, 1.0)}
        source = made["input"].number
        six = 1.0  # what the product with the gate is a multiple of
        skip: set[str] = set()
        for node in self.graph.nodes:
            inputs = [made[name] for name in node.inputs if name in made]
            after = readers[node.name][0] if len(readers[node.name]) == 1 else None
            if node.name in skip:
                continue
            if isinstance(node.op, Dropout):
                made[node.name] = inputs[0]
            elif node.op.kind == "hard_swish":
                made[node.name] = self.hard_swish(node, inputs[0])
            elif node.op.kind == "hard_sigmoid":
                made[node.name] = self.plain_gate(node, inputs[0])
            elif isinstance(node.op, Multiply):
                six = 6.0 if self.gate == "folded without sixth" else 1.0
                made[node.name] = self.operator("MUL", inputs, node.name, "MulOptions", times=six)
            elif isinstance(node.op, Add):
                made[node.name] = self.operator("ADD", inputs, node.name, "AddOptions")
            elif isinstance(node.op, GlobalAvgPool):
                axes = self.writer.constant(np.array([1, 2], np.int32))
                made[node.name] = self.operator(
                    "MEAN", inputs, node.name, "ReducerOptions", [axes], KeepDims=True
                )
            elif isinstance(node.op, Flatten):
                size = self.writer.constant(np.array((1, *self.values[node.name].shape[1:]), np.int32))
                made[node.name] = self.operator("RESHAPE", inputs, node.name, "", [size], like=inputs[0])
            elif after is not None and after.op.kind in FUSED:
                fused = "NONE" if self.bare else FUSED[after.op.kind]
                if self.bare:
                    self.limits[after.name] = (0.0, 6.0)
                made[node.name] = made[after.name] = self.layer(node, inputs[0], six, fused, after.name)
                six = 1.0
                skip.add(after.name)
            elif after is not None and after.op.kind == "hard_sigmoid" and self.gate != "plain":
                made[after.name] = self.folded_gate(node, inputs[0], after)
                skip.add(after.name)
            else:
                made[node.name] = self.layer(node, inputs[0], six)
                six = 1.0
        return self.writer.finish(source, made[self.graph.outputs[0]].number)

    def nhwc(self, name: str) -> tuple[int, ...]:
        shape = (1, *self.values[name].shape[1:])
        return (1, *shape[2:], shape[1]) if len(shape) == 4 else shape

    def grid(self, low: float, high: float) -> Grid:
        """256 numbers that reach from low to high, 0 among them."""
        low, high = min(low, 0.0), max(high, 1e-3)
        scale = float(np.float32((high - low) / 255))
        return Grid(self.kind, [scale], [int(np.iinfo(TYPES[self.kind]).min + round(-low / scale))])

    def tensor(self, shape: tuple[int, ...], low: float, high: float, data: Array | None = None) -> _Tensor:
        """A tensor of the network, or a constant if its numbers are given."""
        grid = self.grid(low, high)
        if data is not None:
            limits = np.iinfo(TYPES[self.kind])
            data = np.clip(np.round(data / grid.scales[0]) + grid.zeros[0], limits.min, limits.max)
            data = data.astype(TYPES[self.kind])
        number = self.writer.quantise(self.writer.tensor(shape, data), grid)
        return _Tensor(number, grid.scales[0])

    def emit(
        self, kind: str, inputs: Sequence[int], made: _Tensor, options: str = "", **fields: Any
    ) -> _Tensor:
        self.writer.operators.append((kind, list(inputs), made.number, options, fields))
        return made

    def made(self, name: str, times: float = 1.0) -> _Tensor:
        value = self.values[name]
        low, high = self.limits.get(name, (float(value.min()), float(value.max())))
        return self.tensor(self.nhwc(name), times * low, times * high)

    def operator(
        self,
        kind: str,
        inputs: Sequence[_Tensor],
        name: str,
        options: str,
        more: Sequence[int] = (),
        like: _Tensor | None = None,
        times: float = 1.0,
        **fields: Any,
    ) -> _Tensor:
        made = self.made(name, times)
        if like is not None:
            self.writer.grids[made.number] = self.writer.grids[like.number]
            made.scale = like.scale
        return self.emit(kind, [*(each.number for each in inputs), *more], made, options, **fields)

    def layer(
        self,
        node: Node,
        source: _Tensor,
        six: float = 1.0,
        fused: str = "NONE",
        shown: str = "",
        shift: float = 0.0,
        ends: tuple[float, float] | None = None,
    ) -> _Tensor:
        op: Any = node.op
        weight = self.graph.params[f"{node.name}.weight"].astype(np.float64) / six
        bias = self.graph.params[f"{node.name}.bias"].astype(np.float64) + shift
        stored, grid = self.weight(weight, 0)
        scales = np.array(grid.scales)
        numbers = (stored - np.array(grid.zeros).reshape(-1, *[1] * (weight.ndim - 1))) * scales.reshape(
            -1, *[1] * (weight.ndim - 1)
        )
        bias_scale = (np.float32(source.scale) * scales.astype(np.float32)).astype(np.float32)
        integers = np.round(bias / bias_scale.astype(np.float64)).astype(np.int32)
        self.weights[f"{node.name}.weight"] = (numbers * six).astype(np.float32)
        self.weights[f"{node.name}.bias"] = (integers * bias_scale.astype(np.float64) - shift).astype(
            np.float32
        )
        axis = 0
        if isinstance(op, DepthwiseConv2d):
            stored, axis = stored.transpose(1, 2, 3, 0), 3
        elif not isinstance(op, Linear):
            stored = stored.transpose(0, 2, 3, 1)
        kernel = self.writer.constant(np.ascontiguousarray(stored))
        self.writer.quantise(kernel, Grid(grid.kind, grid.scales, grid.zeros, axis if len(scales) > 1 else 0))
        added = self.writer.constant(integers)
        self.writer.quantise(added, Grid("INT32", [float(s) for s in bias_scale], [0] * len(bias_scale)))
        made = self.made(shown or node.name) if ends is None else self.tensor(self.nhwc(node.name), *ends)
        options: dict[str, Any] = {
            "FusedActivationFunction": getattr(schema.ActivationFunctionType, fused),
        }
        inputs = [source.number, kernel, added]
        if isinstance(op, Linear):
            return self.emit("FULLY_CONNECTED", inputs, made, "FullyConnectedOptions", **options)
        conv = op.as_conv2d()
        size = self.values[node.inputs[0]].shape[2:]
        same = resolve_padding("same", size, conv.kernel, conv.stride, (1, 1))
        assert resolve_padding(conv.padding, size, conv.kernel, conv.stride, (1, 1)) == same, (
            "only SAME padding"
        )
        options |= {"StrideH": conv.stride[0], "StrideW": conv.stride[1], "Padding": schema.Padding.SAME}
        if isinstance(op, DepthwiseConv2d):
            options["DepthMultiplier"] = 1
            return self.emit("DEPTHWISE_CONV_2D", inputs, made, "DepthwiseConv2DOptions", **options)
        return self.emit("CONV_2D", inputs, made, "Conv2DOptions", **options)

    def weight(self, weight: Array, axis: int) -> tuple[Array, Grid]:
        """Integers for a weight in our layout: for each output channel, or for all together."""
        if self.kind == "INT8":
            scales = np.abs(weight).reshape(len(weight), -1).max(1) / 127
            scales = np.maximum(scales, 1e-8).astype(np.float32)
            q = np.round(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8)
            return q, Grid("INT8", [float(s) for s in scales], [0] * len(scales), axis)
        grid = self.grid(float(weight.min()), float(weight.max()))
        q = np.clip(np.round(weight / grid.scales[0]) + grid.zeros[0], 0, 255).astype(np.uint8)
        return q, grid

    def scalar(self, value: float) -> int:
        return self.tensor((), 0.0, value, np.float64(value)).number

    def plain_gate(self, node: Node, source: _Tensor) -> _Tensor:
        relu6 = schema.ActivationFunctionType.RELU6
        shifted = self.tensor(self.nhwc(node.name), 0.0, 6.0)
        self.emit(
            "ADD", [source.number, self.scalar(3.0)], shifted, "AddOptions", FusedActivationFunction=relu6
        )
        return self.sixth(node, shifted)

    def folded_gate(self, node: Node, source: _Tensor, gate: Node) -> _Tensor:
        shifted = self.layer(node, source, fused="RELU6", shift=3.0, ends=(0.0, 6.0))
        return shifted if self.gate == "folded without sixth" else self.sixth(gate, shifted)

    def sixth(self, node: Node, source: _Tensor) -> _Tensor:
        made = self.tensor(self.nhwc(node.name), 0.0, 1.0)
        return self.emit("MUL", [source.number, self.scalar(1 / 6)], made, "MulOptions")

    def hard_swish(self, node: Node, source: _Tensor) -> _Tensor:
        if not self.apart:
            return self.operator("HARD_SWISH", [source], node.name, "HardSwishOptions")
        return self.operator("MUL", [source, self.plain_gate(node, source)], node.name, "MulOptions")
