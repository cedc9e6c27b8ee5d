"""ONNX: the weights of a graph, under the names that the exporter kept, or by their order.

``torch.onnx.export`` keeps the module's own names where it keeps its batch norms. Where it has folded them
into the convolutions (its default), the names are gone or say something else, so the keys are then
``000/conv/weight``: the place among the layers in order of execution, the operator, and the role. A layer
without a bias has one of zeros in that case, since exporters leave such a bias out.

Constants of numbers that no layer takes are kept under their own names, so that a load reports them as
unused; single numbers (the bounds of a clip) are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mininet.errors import WeightsError, require
from mininet.weights.protobuf import check_message
from mininet.weights.source import Array, Contents, SourceFile, decode, element_count, shown

MAX_FILE_BYTES = 512 << 20
MAX_NODES = 20_000
MAX_IDENTITIES = 16  # One behind the other; exporters write one.

# Weights of an operator by the place among its inputs.
_ROLES: dict[str, dict[int, str]] = {
    "Conv": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
}
_MATRICES = (("Conv", "weight"), ("Gemm", "weight"))
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType
_FIELDS = {1: "float_data", 11: "double_data"}  # where values may lie instead of in raw_data


def read(file: SourceFile) -> Contents:
    """Read the weights of an ONNX file.

    Raises
    ------
    WeightsError
        If the file is damaged, keeps its tensors in other files, or has weights of another kind than floats.
    MissingExtraError
        If the package onnx is not installed.
    """
    onnx = require("onnx", "convert")
    message = require("google.protobuf.message", "convert")
    if file.size > MAX_FILE_BYTES:
        raise WeightsError(f"expected at most {MAX_FILE_BYTES} bytes, got {file.size}")
    data = file.read_exact(file.size, "file")
    check_message(data, onnx.ModelProto.DESCRIPTOR)
    try:
        graph = onnx.ModelProto.FromString(data).graph
    except message.DecodeError as error:
        raise WeightsError("damaged or truncated: expected an ONNX model as protobuf") from error
    if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_NODES:
        raise WeightsError(f"expected at most {MAX_NODES} nodes and constants")
    arrays = _Graph(graph).weights()
    if not arrays:
        raise WeightsError("expected at least one layer with weights, found none")
    return arrays, {}


class _Graph:
    def __init__(self, graph: Any) -> None:
        self.nodes = graph.node
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.output:
                values = [each.t for each in node.attribute if each.name == "value"]
                self.tensors.update((node.output[0], value) for value in values)
        self.aliases = {
            node.output[0]: node.input[0]
            for node in self.nodes
            if node.op_type == "Identity" and node.input and node.output
        }
        self.arrays: dict[
            str, Array
        ] = {}  # by the constant's own name: exporters let layers share equal ones

    def weights(self) -> dict[str, Array]:
        """All weights by their keys, then the constants that are left over."""
        layers = [node for node in self.nodes if node.op_type in _ROLES]
        named = any(node.op_type == "BatchNormalization" for node in layers)
        found: dict[str, Array] = {}
        for index, node in enumerate(layers):
            stem = f"{index:03d}/{node.op_type.lower()}"
            for role, name, array in self.layer(node, named):
                found[name if named else f"{stem}/{role}"] = array
            if not named and f"{stem}/weight" in found and f"{stem}/bias" not in found:
                found[f"{stem}/bias"] = np.zeros(found[f"{stem}/weight"].shape[:1], np.float32)
                found[f"{stem}/bias"].flags.writeable = False
        rest = {name: self.array(name) for name in self.tensors if self.left_over(name)}
        return {**{name: array for name, array in rest.items() if name not in found}, **found}

    def layer(self, node: Any, named: bool) -> Iterator[tuple[str, str, Array]]:
        """Role, name and values of each constant that a layer takes; loading names those that are missing."""
        names = dict(enumerate(node.input))
        for place, role in _ROLES[node.op_type].items():
            name = names.get(place, "")
            source = self.source(name)
            if source not in self.tensors:
                if name and not named:
                    raise WeightsError(
                        f"{node.op_type} {shown(node.name)}: its {role} is computed, not stored"
                    )
                continue
            array = self.array(source)
            if (node.op_type, role) in _MATRICES and (array.ndim < 2 or not array.size):
                raise WeightsError(
                    f"{node.op_type} {shown(node.name)}: expected a weight of two dimensions or more, "
                    f"got shape {array.shape}"
                )
            if node.op_type == "Gemm" and role == "weight":
                array = _oriented(node, array)
            yield role, name, array

    def source(self, name: str) -> str:
        """The constant behind a name, through identities."""
        for _ in range(MAX_IDENTITIES):
            if name not in self.aliases:
                break
            name = self.aliases[name]
        return name

    def left_over(self, name: str) -> bool:
        """Whether a constant is an array of floats that no layer has taken."""
        tensor = self.tensors[name]
        return (
            name not in self.arrays and tensor.data_type in _FLOATS and any(size > 1 for size in tensor.dims)
        )

    def array(self, name: str) -> Array:
        """Values of a constant, checked."""
        if name not in self.arrays:
            self.arrays[name] = _values(self.tensors[name], name)
        return self.arrays[name]


def _oriented(node: Any, array: Array) -> Array:
    """A Gemm's matrix as torch stores it: (out, in)."""
    given = {each.name: each for each in node.attribute}
    if any(name in given and given[name].f != 1.0 for name in ("alpha", "beta")):
        raise WeightsError(f"Gemm {shown(node.name)}: expected alpha and beta of 1")
    return array if "transB" in given and given["transB"].i else array.T


def _values(tensor: Any, name: str) -> Array:
    if tensor.data_location or tensor.external_data:
        raise WeightsError(
            f"tensor {shown(name)} lies in another file, which is never opened; "
            "export with the weights inside (external_data=False)"
        )
    if tensor.data_type not in _FLOATS:
        raise WeightsError(
            f"tensor {shown(name)}: expected floating-point numbers, got type {tensor.data_type}"
        )
    shape = tuple(int(size) for size in tensor.dims)
    count = element_count(shape, name)
    dtype = np.dtype(_FLOATS[tensor.data_type])
    if tensor.HasField("raw_data"):
        data = tensor.raw_data
    else:
        data = np.array(getattr(tensor, _FIELDS.get(tensor.data_type, "float_data")), dtype).tobytes()
    if len(data) != count * dtype.itemsize:
        raise WeightsError(
            f"tensor {shown(name)}: expected {count * dtype.itemsize} bytes for {dtype} of shape {shape}, "
            f"got {len(data)}"
        )
    return decode(data, dtype, name).reshape(shape)
