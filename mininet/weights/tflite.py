""".tflite files, float and quantised: the constants that the operators use, keyed by structure.

Tensor names in these files are leftovers of the converter, so the keys come from the graph:
``"{index:03d}/{op}/{role}"``, where `index` counts the operators in execution order, `op` is ``conv2d``,
``depthwise_conv2d``, ``fully_connected``, ``average_pool2d``, ... (the schema's names in lower case, ``_2D``
as ``2d``), and `role` is ``weight``, ``bias`` or ``input<n>``.

Layouts are the file's: ``conv2d`` weights OHWI, ``depthwise_conv2d`` 1HWC, ``fully_connected`` (out, in).
Batch norm is folded. Quantised constants are given as the float32 numbers that they stand for,
``scale (q - zero_point)``, with one scale for the tensor or one for each output channel; so are float16 ones.

Metadata: ``operators``, a JSON list with, for each operator, index, op, name (of its output), inputs and
outputs (tensor numbers), output_shape, and where the operator has them stride, dilation, padding, activation,
depth_multiplier, filter, and range, the least and the largest number that the type of a quantised output can
hold; ``input``, a JSON object with the tensor, shape and type of the network's input, and its range if it is
quantised; ``class_offset`` "1" if the last layer has 1001 outputs (0 is the background class), else "0".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mininet.errors import WeightsError, require
from mininet.weights.source import Array, Contents, SourceFile, decode, element_count, shown

MAX_FILE_BYTES = 256 << 20
# Bounds on what a hostile file can make us loop over; a MobileNet has about a hundred operators.
MAX_OPERATORS = 4096
MAX_TENSORS = 16384
MAX_LINKS = 64
MAX_BUFFERS_BYTES_RATIO = 2  # Several tensors may share a buffer, but not for ever.

BACKGROUND_CLASSES = 1001
WEIGHTED = ("conv2d", "depthwise_conv2d", "fully_connected")
_ROLES = {1: "weight", 2: "bias"}
_DTYPES = {
    "FLOAT16": "<f2",
    "FLOAT32": "<f4",
    "FLOAT64": "<f8",
    "INT8": "<i1",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "BOOL": "?",
}
_ACTIVATIONS = ("INT8", "UINT8", "INT16")
"""Types of quantised tensors that a network computes."""
# Options that matter to a MobileNet: schema class -> key in the JSON -> getters of the class.
_OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "Conv2DOptions": {"stride": ("StrideH", "StrideW"), "dilation": ("DilationHFactor", "DilationWFactor")},
    "DepthwiseConv2DOptions": {
        "stride": ("StrideH", "StrideW"),
        "dilation": ("DilationHFactor", "DilationWFactor"),
        "depth_multiplier": ("DepthMultiplier",),
    },
    "Pool2DOptions": {"stride": ("StrideH", "StrideW"), "filter": ("FilterHeight", "FilterWidth")},
    "FullyConnectedOptions": {},
    "AddOptions": {},
    "MulOptions": {},
    "SubOptions": {},
}


def read(file: SourceFile) -> Contents:
    """Read the constants of a .tflite file; see the module's text for keys, layouts and metadata.

    Raises
    ------
    WeightsError
        If the file is damaged, sparse, holds several graphs, or weights of a type that is not read.
    MissingExtraError
        If the packages tflite and flatbuffers are not installed.
    """
    require("flatbuffers", "convert")
    schema = require("tflite", "convert")
    if file.size > MAX_FILE_BYTES:
        raise WeightsError(f"expected at most {MAX_FILE_BYTES} bytes, got {file.size}")
    data = file.read_exact(file.size, "file")
    try:
        return _Reader(schema, data).contents()
    # The flatbuffers package follows offsets unchecked inside the buffer; a wrong one ends in one of these.
    except (struct.error, TypeError, AttributeError, LookupError, OverflowError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"damaged or truncated: an offset leads nowhere ({type(error).__name__})"
        ) from error


class _Reader:
    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema = schema
        self.data = data
        self.model = schema.Model.GetRootAs(data, 0)
        if self.model.SubgraphsLength() != 1:
            raise WeightsError(f"expected one graph, found {self.model.SubgraphsLength()}")
        self.graph = self.model.Subgraphs(0)
        self.codes = {
            code: name.lower().replace("_2d", "2d")
            for name, code in vars(schema.BuiltinOperator).items()
            if name.isupper()
        }
        self.types = {code: name for name, code in vars(schema.TensorType).items() if name.isupper()}
        self.tensors = _count(self.graph.TensorsLength(), MAX_TENSORS, "tensors")
        self.constant_bytes = 0
        self.unpacked: dict[int, Array] = {}
        """Constants that the file itself turns into floats before they are used (float16 weights)."""

    def contents(self) -> Contents:
        arrays: dict[str, Array] = {}
        operators: list[dict[str, Any]] = []
        for index in range(_count(self.graph.OperatorsLength(), MAX_OPERATORS, "operators")):
            operator = self.graph.Operators(index)
            described = self.describe(index, operator)
            operators.append(described)
            constants = [self.constant(number) for number in described["inputs"]]
            if described["op"] == "dequantize" and constants and constants[0] is not None:
                self.unpacked[described["outputs"][0]] = constants[0]
                continue
            for position, constant in enumerate(constants):
                if constant is not None:
                    role = _role(described["op"], position)
                    arrays[f"{index:03d}/{described['op']}/{role}"] = _as_weight(role, constant, described)
        weighted = [key for key in arrays if key.endswith("/weight")]
        if not weighted:
            raise WeightsError("expected at least one layer with weights, found none")
        offset = arrays[weighted[-1]].shape[:1] == (BACKGROUND_CLASSES,)
        return arrays, {
            "operators": json.dumps(operators),
            "input": json.dumps(self.input()),
            "class_offset": str(int(offset)),
        }

    def input(self) -> dict[str, Any]:
        """The network's input: which tensor it is, and what it can hold."""
        inputs = self.links(self.graph.InputsLength(), self.graph.Inputs)
        if len(inputs) != 1 or inputs[0] < 0:
            raise WeightsError(f"expected a network of one input, found {len(inputs)}")
        kind = self.types.get(self.graph.Tensors(inputs[0]).Type(), "unknown")
        return {
            "tensor": inputs[0],
            "shape": self.shape(inputs[0]),
            "type": kind,
            **self.range(inputs[0]),
        }

    def describe(self, index: int, operator: Any) -> dict[str, Any]:
        op = self.operator_name(operator)
        inputs = self.links(operator.InputsLength(), operator.Inputs)
        outputs = self.links(operator.OutputsLength(), operator.Outputs)
        if not outputs or outputs[0] < 0:
            raise WeightsError(f"operator {index} ({op}): expected an output, found none")
        for number in (*inputs, *outputs):
            self.refuse_sparse(number)
        first = self.graph.Tensors(outputs[0])
        return {
            "index": index,
            "op": op,
            "name": _text(first.Name()),
            "inputs": inputs,
            "outputs": outputs,
            "output_shape": self.shape(outputs[0]),
            **self.options(operator),
            **self.range(outputs[0]),
        }

    def operator_name(self, operator: Any) -> str:
        number = operator.OpcodeIndex()
        if number >= self.model.OperatorCodesLength():
            raise WeightsError(f"damaged: operator code {number} does not exist")
        code = self.model.OperatorCodes(number)
        # Files older than schema 3a have the code in the narrow field only, newer ones in the wide field.
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin not in self.codes:
            raise WeightsError(f"operator code {builtin} is not known")
        name: str = self.codes[builtin]
        return name

    def links(self, count: int, get: Callable[[int], int]) -> list[int]:
        numbers = [int(get(i)) for i in range(_count(count, MAX_LINKS, "inputs or outputs"))]
        for number in numbers:
            if not -1 <= number < self.tensors:  # -1: an optional input that is left out
                raise WeightsError(f"damaged: tensor {number} does not exist")
        return numbers

    def options(self, operator: Any) -> dict[str, Any]:
        kinds = vars(self.schema.BuiltinOptions)
        kind = next((name for name in _OPTIONS if kinds[name] == operator.BuiltinOptionsType()), None)
        table = operator.BuiltinOptions()
        if kind is None or table is None:
            return {}
        options = getattr(self.schema, kind)()
        options.Init(table.Bytes, table.Pos)
        found: dict[str, Any] = {}
        for key, getters in _OPTIONS[kind].items():
            values = [int(getattr(options, getter)()) for getter in getters]
            found[key] = values if len(values) > 1 else values[0]
        if hasattr(options, "Padding"):
            found["padding"] = _enum(self.schema.Padding, options.Padding(), "padding")
        if hasattr(options, "FusedActivationFunction"):
            code = options.FusedActivationFunction()
            found["activation"] = _enum(self.schema.ActivationFunctionType, code, "activation")
        return found

    def shape(self, number: int) -> list[int]:
        tensor = self.graph.Tensors(number)
        rank = _count(tensor.ShapeLength(), MAX_LINKS, "dimensions")
        return [int(tensor.Shape(i)) for i in range(rank)]

    def refuse_sparse(self, number: int) -> None:
        if number >= 0 and self.graph.Tensors(number).Sparsity() is not None:
            name = _text(self.graph.Tensors(number).Name())
            raise WeightsError(f"tensor {shown(name)} is sparse, which is not supported")

    def grid(self, number: int) -> Grid | None:
        """How a tensor's integers stand for numbers; None if they are what they are."""
        tensor = self.graph.Tensors(number)
        found = tensor.Quantization()
        if found is None or found.ScaleLength() == 0:
            return None
        name, shape, axis = _text(tensor.Name()), self.shape(number), found.QuantizedDimension()
        count = found.ScaleLength()
        wanted = shape[axis] if 0 <= axis < len(shape) else 1
        if count not in (1, wanted) or found.ZeroPointLength() not in (0, count):
            raise WeightsError(
                f"tensor {shown(name)}: expected 1 or {wanted} scales and as many zero points, "
                f"got {count} and {found.ZeroPointLength()}"
            )
        scale = _vector(found.ScaleAsNumpy, name)
        zero_point = np.zeros(count, np.int64)
        if found.ZeroPointLength():
            zero_point = _vector(found.ZeroPointAsNumpy, name)
        small = (zero_point == zero_point.astype(np.int32)).all()
        if not (np.isfinite(scale).all() and (scale > 0).all() and small):
            raise WeightsError(f"tensor {shown(name)}: expected positive scales and 32-bit zero points")
        return Grid(scale, zero_point, axis if count > 1 else 0)

    def range(self, number: int) -> dict[str, list[float]]:
        """The least and the largest number that a quantised tensor of the network can hold."""
        kind = self.types.get(self.graph.Tensors(number).Type())
        grid = self.grid(number)
        if grid is None or kind not in _ACTIVATIONS or len(grid.scale) != 1:
            return {}
        limits = np.iinfo(_DTYPES[kind])
        return {"range": [float((q - grid.zero_point[0]) * grid.scale[0]) for q in (limits.min, limits.max)]}

    def constant(self, number: int) -> Array | None:
        """Return a tensor's numbers, None if the network computes it (its buffer is empty)."""
        if number < 0 or number in self.unpacked:
            return self.unpacked.get(number)
        tensor = self.graph.Tensors(number)
        name = _text(tensor.Name())
        index = tensor.Buffer()
        if index >= self.model.BuffersLength():
            raise WeightsError(f"tensor {shown(name)}: buffer {index} does not exist")
        buffer = self.model.Buffers(index)
        length = buffer.DataLength()
        if length == 0:
            if buffer.Offset() > 1:
                raise WeightsError(f"tensor {shown(name)}: data outside the flatbuffer is not supported")
            return None
        kind = self.types.get(tensor.Type(), "unknown")
        if kind not in _DTYPES:
            raise WeightsError(f"tensor {shown(name)}: expected one of {', '.join(_DTYPES)}, got {kind}")
        dtype = np.dtype(_DTYPES[kind])
        shape = self.shape(number)
        needed = element_count(shape, name) * dtype.itemsize
        if length != needed:
            raise WeightsError(
                f"tensor {shown(name)}: expected {needed} bytes for {dtype} of {tuple(shape)}, got {length}"
            )
        self.constant_bytes += needed
        if self.constant_bytes > MAX_BUFFERS_BYTES_RATIO * len(self.data):
            raise WeightsError("damaged: the constants are larger than the file")
        values = decode(_buffer_bytes(buffer, needed, name), dtype, name).reshape(shape)
        grid = self.grid(number) if dtype.kind in "iu" else None
        return (
            values.astype(np.float32) if kind == "FLOAT16" else values if grid is None else grid.read(values)
        )


@dataclass(frozen=True)
class Grid:
    """The numbers that integers stand for: ``scale (q - zero_point)``; several scales lie along one axis."""

    scale: Array
    zero_point: Array
    axis: int

    def read(self, values: Array) -> Array:
        """The float32 numbers that integers stand for, each rounded once."""
        shape = [1] * values.ndim
        if values.ndim:
            shape[self.axis] = len(self.scale)
        scale, zero_point = self.scale.reshape(shape), self.zero_point.reshape(shape)
        # Differences of 16-bit integers are exact in float32, those of biases in float64 only.
        exact = np.float32 if values.itemsize < 4 and np.abs(self.zero_point).max() < 2**16 else np.float64
        numbers = (values.astype(exact) - zero_point.astype(exact)) * scale.astype(exact)
        found: Array = np.asarray(numbers, np.float32)  # of one number NumPy makes a scalar
        found.flags.writeable = False
        return found


def _as_weight(role: str, constant: Array, operator: dict[str, Any]) -> Array:
    if role in _ROLES.values() and constant.dtype.kind != "f":
        raise WeightsError(
            f"operator {operator['index']} ({operator['op']}): expected its {role} as floats or with scales, "
            f"got {constant.dtype} without"
        )
    return constant


def _vector(read: Callable[[], Any], name: str) -> Array:
    try:
        return np.asarray(read())
    except ValueError as error:
        raise WeightsError(f"truncated: the scales of tensor {shown(name)} are cut off") from error


def _buffer_bytes(buffer: Any, needed: int, name: str) -> bytes:
    try:
        return bytes(buffer.DataAsNumpy().tobytes())
    except ValueError as error:
        raise WeightsError(f"truncated: tensor {shown(name)} needs {needed} bytes") from error


def _role(op: str, position: int) -> str:
    return _ROLES.get(position, f"input{position}") if op in WEIGHTED else f"input{position}"


def _count(count: int, most: int, what: str) -> int:
    if not 0 <= count <= most:
        raise WeightsError(f"damaged: expected at most {most} {what}, {count} are declared")
    return count


def _text(name: Iterable[int] | None) -> str:
    return "" if name is None else bytes(name).decode("utf-8", "replace")


def _enum(kind: Any, code: int, what: str) -> str:
    for name, value in vars(kind).items():
        if name.isupper() and value == code:
            return str(name)
    raise WeightsError(f"damaged: {what} {code} does not exist")
