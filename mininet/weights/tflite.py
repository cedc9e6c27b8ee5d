"""Float .tflite files: the constants that the operators use, keyed by structure, in the file's own layout.

Tensor names in these files are leftovers of the converter, so the keys come from the graph:
``"{index:03d}/{op}/{role}"``, where `index` counts the operators in execution order, `op` is ``conv2d``,
``depthwise_conv2d``, ``fully_connected``, ``average_pool2d``, ... (the schema's names in lower case, ``_2D``
as ``2d``), and `role` is ``weight``, ``bias`` or ``input<n>``.

Layouts: ``conv2d`` weights OHWI, ``depthwise_conv2d`` 1HWC, ``fully_connected`` (out, in). Batch norm is
folded.

Metadata: ``operators``, a JSON list with, for each operator, index, op, name (of its output), inputs and
outputs (tensor numbers), output_shape, and where the operator has them stride, dilation, padding, activation,
depth_multiplier, filter; ``class_offset`` "1" if the last layer has 1001 outputs (index 0 is the background
class), else "0".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
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
_QUANTISING = ("quantize", "dequantize", "fake_quant")
_DTYPES = {"FLOAT32": "<f4", "FLOAT64": "<f8", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}
_QUANTISED = (
    "INT8",
    "UINT8",
    "INT16",
    "UINT16",
    "INT4",
    "UINT4",
    "FLOAT16",
    "BFLOAT16",
    "FLOAT8E4M3FN",
    "FLOAT8E5M2",
)
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
    """Read the constants of a float .tflite file; see the module's text for keys, layouts and metadata.

    Raises
    ------
    WeightsError
        If the file is damaged, quantised, sparse, or holds several graphs.
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

    def contents(self) -> Contents:
        arrays: dict[str, Array] = {}
        operators: list[dict[str, Any]] = []
        for index in range(_count(self.graph.OperatorsLength(), MAX_OPERATORS, "operators")):
            operator = self.graph.Operators(index)
            described = self.describe(index, operator)
            operators.append(described)
            for position, number in enumerate(described["inputs"]):
                constant = self.constant(number)
                if constant is not None:
                    role = _role(described["op"], position)
                    arrays[f"{index:03d}/{described['op']}/{role}"] = constant
        weighted = [key for key in arrays if key.endswith("/weight")]
        if not weighted:
            raise WeightsError("expected at least one layer with weights, found none")
        offset = arrays[weighted[-1]].shape[:1] == (BACKGROUND_CLASSES,)
        return arrays, {"operators": json.dumps(operators), "class_offset": str(int(offset))}

    def describe(self, index: int, operator: Any) -> dict[str, Any]:
        op = self.operator_name(operator)
        if op in _QUANTISING:
            raise _quantised(f"operator {index} is {op}")
        inputs = self.links(operator.InputsLength(), operator.Inputs)
        outputs = self.links(operator.OutputsLength(), operator.Outputs)
        if not outputs or outputs[0] < 0:
            raise WeightsError(f"operator {index} ({op}): expected an output, found none")
        for number in (*inputs, *outputs):
            self.refuse_quantised(number)
        first = self.graph.Tensors(outputs[0])
        return {
            "index": index,
            "op": op,
            "name": _text(first.Name()),
            "inputs": inputs,
            "outputs": outputs,
            "output_shape": self.shape(outputs[0]),
            **self.options(operator),
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

    def refuse_quantised(self, number: int) -> None:
        if number < 0:
            return
        tensor = self.graph.Tensors(number)
        kind = self.types.get(tensor.Type())
        if kind in _QUANTISED:
            raise _quantised(f"tensor {shown(_text(tensor.Name()))} is {kind}")
        if tensor.Sparsity() is not None:
            raise WeightsError(f"tensor {shown(_text(tensor.Name()))} is sparse, which is not supported")

    def constant(self, number: int) -> Array | None:
        """Return a tensor's values, None if the network computes it (its buffer is empty)."""
        if number < 0:
            return None
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
        return decode(_buffer_bytes(buffer, needed, name), dtype, name).reshape(shape)


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


def _quantised(reason: str) -> WeightsError:
    return WeightsError(f"expected a float network; quantised tflite files are not supported yet ({reason})")
