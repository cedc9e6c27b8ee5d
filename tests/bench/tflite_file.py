"""Writes one of our graphs as a float32 .tflite file, so that LiteRT can run the same network.

Batch norms are folded and ReLUs fused, as TensorFlow's converter does. Padding that TFLite has no word for
(symmetric padding at stride 2) becomes a PAD of its own, which XNNPACK merges into the convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite as schema

from mininet.graph import Graph, Node
from mininet.graph.passes import drop_identity, fold_batchnorm, fuse_activation
from mininet.ops import (
    Add,
    Conv2d,
    DepthwiseConv2d,
    Flatten,
    GlobalAvgPool,
    HardSigmoid,
    HardSwish,
    Linear,
    Multiply,
    PointwiseConv2d,
)
from mininet.ops.geometry import resolve_padding

FUSED = {"identity": "NONE", "relu": "RELU", "relu6": "RELU6"}
SEPARATE = {"hard_swish", "hard_sigmoid"}


def tflite_of(graph: Graph, shape: tuple[int, int, int, int]) -> bytes:
    """The file for inputs of shape (N, C, H, W), which it takes as (N, H, W, C)."""
    for rewrite in (fold_batchnorm, fuse_activation, drop_identity):
        graph = rewrite(graph)
    writer = Writer()
    shapes = graph.infer_shapes(shape)
    tensors = {"input": writer.tensor(_nhwc(shape))}
    for node in graph.nodes:
        sources = [tensors[name] for name in node.inputs]
        inputs = [shapes[name] for name in node.inputs]
        tensors[node.name] = _write(writer, node, node.select(graph.params), sources, inputs)
    return writer.finish(tensors["input"], tensors[graph.outputs[0]])


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape


def _write(writer: Writer, node: Node, params: Any, sources: list[int], inputs: list[Any]) -> int:
    """Write a node, and its activation where TFLite cannot fuse it; returns the tensor it makes."""
    op: Any = node.op
    target = _nhwc(op.infer_shape(*inputs))
    if isinstance(op, HardSwish | HardSigmoid):
        return _activate(writer, op.kind, sources[0], target)
    if isinstance(op, GlobalAvgPool):
        axes = writer.constant(np.array([1, 2], np.int32))
        return writer.operator("MEAN", [*sources, axes], target, "ReducerOptions", KeepDims=True)
    if isinstance(op, Flatten):
        size = writer.constant(np.array(target, np.int32))
        return writer.operator("RESHAPE", [*sources, size], target)
    activation = getattr(op, "activation", "identity")
    fused = {"FusedActivationFunction": _activation(activation)}
    if isinstance(op, Add | Multiply):
        kind = "ADD" if isinstance(op, Add) else "MUL"
        made = writer.operator(kind, sources, target, f"{kind.title()}Options", **fused)
    elif isinstance(op, Linear):
        weights = [writer.constant(params["weight"]), writer.constant(params["bias"])]
        made = writer.operator(
            "FULLY_CONNECTED", [*sources, *weights], target, "FullyConnectedOptions", **fused
        )
    else:
        made = _convolution(writer, op, params, sources[0], inputs[0], target, fused)
    return _activate(writer, activation, made, target) if activation in SEPARATE else made


def _convolution(
    writer: Writer, op: Any, params: Any, source: int, shape: Any, target: tuple[int, ...], fused: Any
) -> int:
    if not isinstance(op, Conv2d | DepthwiseConv2d | PointwiseConv2d):
        raise NotImplementedError(f"no TFLite operator for {op.kind}")
    conv = op.as_conv2d()
    size = shape[2:]
    pads = resolve_padding(conv.padding, size, conv.kernel, conv.stride, conv.dilation)
    padding = "VALID"
    if any(pads) and pads == resolve_padding("same", size, conv.kernel, conv.stride, conv.dilation):
        padding = "SAME"
    elif any(pads):
        rows = np.array([[0, 0], pads[:2], pads[2:], [0, 0]], np.int32)
        padded = (shape[0], size[0] + sum(pads[:2]), size[1] + sum(pads[2:]), shape[1])
        source = writer.operator("PAD", [source, writer.constant(rows)], padded)
    options = {"StrideH": conv.stride[0], "StrideW": conv.stride[1], **fused}
    options |= {"Padding": getattr(schema.Padding, padding)}
    weight, bias = params["weight"], writer.constant(params["bias"])
    if isinstance(op, DepthwiseConv2d):
        kernel = writer.constant(weight.transpose(1, 2, 3, 0))
        options["DepthMultiplier"] = 1
        return writer.operator(
            "DEPTHWISE_CONV_2D", [source, kernel, bias], target, "DepthwiseConv2DOptions", **options
        )
    kernel = writer.constant(weight.transpose(0, 2, 3, 1))
    return writer.operator("CONV_2D", [source, kernel, bias], target, "Conv2DOptions", **options)


def _activate(writer: Writer, activation: str, source: int, shape: tuple[int, ...]) -> int:
    if activation == "hard_swish":
        return writer.operator("HARD_SWISH", [source], shape)
    three, sixth = (writer.constant(np.float32(value)) for value in (3, 1 / 6))
    relu6 = {"FusedActivationFunction": _activation("relu6")}
    shifted = writer.operator("ADD", [source, three], shape, "AddOptions", **relu6)
    return writer.operator("MUL", [shifted, sixth], shape, "MulOptions")


def _activation(name: str) -> int:
    return int(getattr(schema.ActivationFunctionType, FUSED.get(name, "NONE")))


@dataclass(frozen=True)
class Grid:
    """Integers of a type, and the numbers ``scale (q - zero)`` that they stand for, along one axis."""

    kind: str
    scales: Sequence[float]
    zeros: Sequence[int]
    axis: int = 0


class Writer:
    """Collects tensors and operators, then lays them out as a flatbuffer."""

    def __init__(self) -> None:
        self.tensors: list[tuple[tuple[int, ...], np.ndarray | None]] = []
        self.grids: dict[int, Grid] = {}
        self.operators: list[tuple[str, list[int], int, str, dict[str, Any]]] = []

    def tensor(self, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        self.tensors.append((shape, data))
        return len(self.tensors) - 1

    def constant(self, value: Any) -> int:
        value = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        return self.tensor(value.shape, value)

    def operator(
        self, kind: str, inputs: list[int], shape: tuple[int, ...], options: str = "", **fields: Any
    ) -> int:
        made = self.tensor(shape)
        self.operators.append((kind, inputs, made, options, fields))
        return made

    def quantise(self, number: int, grid: Grid) -> int:
        """Say what the integers of a tensor stand for."""
        self.grids[number] = grid
        return number

    def finish(self, source: int, result: int) -> bytes:
        b = self.builder = flatbuffers.Builder(1 << 20)
        buffers, tensors = [self._table("Buffer")], []
        for number, (shape, data) in enumerate(self.tensors):
            at, kind = 0, "FLOAT32"
            if data is not None:
                at = len(buffers)
                kind = "INT32" if data.dtype == np.int32 else kind
                buffers.append(self._table("Buffer", Data=b.CreateByteVector(data.tobytes())))
            fields = {"Shape": self._integers(shape), "Name": b.CreateString(f"t{number}"), "Buffer": at}
            if number in self.grids:
                grid = self.grids[number]
                kind = grid.kind
                fields["Quantization"] = self._table(
                    "QuantizationParameters",
                    Scale=b.CreateNumpyVector(np.asarray(grid.scales, np.float32)),
                    ZeroPoint=b.CreateNumpyVector(np.asarray(grid.zeros, np.int64)),
                    QuantizedDimension=grid.axis,
                )
            tensors.append(self._table("Tensor", Type=getattr(schema.TensorType, kind), **fields))
        kinds = list(dict.fromkeys(operator[0] for operator in self.operators))
        codes = []
        for kind in kinds:
            code = getattr(schema.BuiltinOperator, kind)
            codes.append(self._table("OperatorCode", DeprecatedBuiltinCode=code, BuiltinCode=code, Version=1))
        graph = self._table(
            "SubGraph",
            Tensors=self._vector(schema.SubGraphStartTensorsVector, tensors),
            Inputs=self._integers((source,)),
            Outputs=self._integers((result,)),
            Operators=self._vector(
                schema.SubGraphStartOperatorsVector, [self._operator(kinds, op) for op in self.operators]
            ),
        )
        parts = {
            "OperatorCodes": self._vector(schema.ModelStartOperatorCodesVector, codes),
            "Subgraphs": self._vector(schema.ModelStartSubgraphsVector, [graph]),
            "Buffers": self._vector(schema.ModelStartBuffersVector, buffers),
        }
        b.Finish(self._table("Model", Version=3, **parts), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _operator(self, kinds: list[str], operator: tuple[str, list[int], int, str, dict[str, Any]]) -> int:
        kind, inputs, made, options, fields = operator
        extra = {}
        if options:
            extra["BuiltinOptionsType"] = getattr(schema.BuiltinOptions, options)
            extra["BuiltinOptions"] = self._table(options, **fields)
        given, makes = self._integers(tuple(inputs)), self._integers((made,))
        return self._table("Operator", OpcodeIndex=kinds.index(kind), Inputs=given, Outputs=makes, **extra)

    def _table(self, name: str, **fields: Any) -> int:
        getattr(schema, f"{name}Start")(self.builder)
        for field, value in fields.items():
            getattr(schema, f"{name}Add{field}")(self.builder, value)
        return int(getattr(schema, f"{name}End")(self.builder))

    def _vector(self, start: Any, items: list[int]) -> int:
        start(self.builder, len(items))
        for item in reversed(items):
            self.builder.PrependUOffsetTRelative(item)
        return int(self.builder.EndVector())

    def _integers(self, items: tuple[int, ...]) -> int:
        return int(self.builder.CreateNumpyVector(np.array(items, np.int32)))
