"""A .tflite of two layers, made by hand: small enough to damage byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
BIAS = np.array([0.5, -0.5], np.float32)


def tiny_tflite(
    classes: int = 2,
    kind: str = "FLOAT32",
    dtype: str = "<f4",
    op: str = "CONV_2D",
    grid: tuple[list[float], list[int], int] | None = None,
) -> bytes:
    """A convolution (OHWI weight, bias) of a 4x4x3 input, and a fully connected layer with `classes` outputs.

    `kind` and `dtype` are those of the convolution's weight, `grid` its scales, zero points and their axis;
    `op` replaces the convolution's operator code.
    """
    flatbuffers = pytest.importorskip("flatbuffers", reason="flatbuffers writes the file (extra convert)")
    schema = pytest.importorskip("tflite", reason="tflite has the schema of .tflite files (extra convert)")
    builder = flatbuffers.Builder(1024)
    head = np.ones((classes, 32), np.float32)
    # Tensors: shape, type, data (None: computed by the network).
    tensors: list[tuple[tuple[int, ...], str, bytes | None]] = [
        ((1, 4, 4, 3), "FLOAT32", None),
        (WEIGHT.shape, kind, WEIGHT.astype(dtype).tobytes()),
        (BIAS.shape, "FLOAT32", BIAS.tobytes()),
        ((1, 4, 4, 2), "FLOAT32", None),
        (head.shape, "FLOAT32", head.tobytes()),
        ((1, classes), "FLOAT32", None),
    ]

    def vector(start: Callable[[Any, int], Any], items: list[int]) -> int:
        start(builder, len(items))
        for item in reversed(items):
            builder.PrependUOffsetTRelative(item)
        return int(builder.EndVector())

    def integers(items: tuple[int, ...]) -> int:
        return int(builder.CreateNumpyVector(np.array(items, np.int32)))

    def table(name: str, **fields: int) -> int:
        getattr(schema, f"{name}Start")(builder)
        for field, value in fields.items():
            getattr(schema, f"{name}Add{field}")(builder, value)
        return int(getattr(schema, f"{name}End")(builder))

    buffers = [table("Buffer")]
    made = []
    for number, (shape, type_name, data) in enumerate(tensors):
        index = 0
        if data is not None:
            index = len(buffers)
            buffers.append(table("Buffer", Data=builder.CreateByteVector(data)))
        fields = {"Shape": integers(shape), "Name": builder.CreateString(f"t{number}"), "Buffer": index}
        if number == 1 and grid is not None:
            scales = builder.CreateNumpyVector(np.array(grid[0], np.float32))
            zeros = builder.CreateNumpyVector(np.array(grid[1], np.int64))
            fields["Quantization"] = table(
                "QuantizationParameters", Scale=scales, ZeroPoint=zeros, QuantizedDimension=grid[2]
            )
        made.append(table("Tensor", Type=getattr(schema.TensorType, type_name), **fields))
    codes = [
        table("OperatorCode", DeprecatedBuiltinCode=code, BuiltinCode=code)
        for code in (getattr(schema.BuiltinOperator, op), schema.BuiltinOperator.FULLY_CONNECTED)
    ]
    relu6 = schema.ActivationFunctionType.RELU6
    options = (
        table(
            "Conv2DOptions", StrideH=2, StrideW=1, Padding=schema.Padding.SAME, FusedActivationFunction=relu6
        ),
        table("FullyConnectedOptions", FusedActivationFunction=schema.ActivationFunctionType.NONE),
    )
    kinds = (schema.BuiltinOptions.Conv2DOptions, schema.BuiltinOptions.FullyConnectedOptions)
    operators = []
    for index, (inputs, outputs) in enumerate((((0, 1, 2), (3,)), ((3, 4, -1), (5,)))):
        given, made_here = integers(inputs), integers(outputs)
        operators.append(
            table(
                "Operator",
                OpcodeIndex=index,
                Inputs=given,
                Outputs=made_here,
                BuiltinOptionsType=kinds[index],
                BuiltinOptions=options[index],
            )
        )
    parts = {
        "Tensors": vector(schema.SubGraphStartTensorsVector, made),
        "Inputs": integers((0,)),
        "Outputs": integers((5,)),
        "Operators": vector(schema.SubGraphStartOperatorsVector, operators),
    }
    graph = table("SubGraph", **parts)
    whole = {
        "OperatorCodes": vector(schema.ModelStartOperatorCodesVector, codes),
        "Subgraphs": vector(schema.ModelStartSubgraphsVector, [graph]),
        "Buffers": vector(schema.ModelStartBuffersVector, buffers),
    }
    builder.Finish(table("Model", Version=3, **whole), file_identifier=b"TFL3")
    return bytes(builder.Output())
