"""The graph of a .tflite file in the terms of ours: layers, sums, products and pools, and functions between.

A converter may write one activation in many ways: fused into the operator before it, as an operator of its
own, or taken apart into sums and products with constants. So it is not looked for by pattern: what happens to
a value between two sites is computed on a row of sample numbers, and what comes out is compared with the
functions that we have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.errors import WeightsError
from mininet.ops.activation import activate
from mininet.ops.base import Array
from mininet.ops.geometry import Pads, resolve_padding
from mininet.weights.names import FORMS, TFLITE_FORMS

Range = tuple[float, float]

PROBES: Array = np.linspace(-12.0, 12.0, 97)
"""Where functions are compared: beyond the kinks of every activation, at -3, 0, 3 and 6."""

OUTSIDE = -1
"""The site of the network's input."""

_PASSING = ("quantize", "dequantize", "reshape", "squeeze")
_FUNCTIONS = {"relu": "relu", "relu6": "relu6", "hard_swish": "hard_swish", "logistic": "sigmoid"}
_FUSED = {"NONE": "identity", "RELU": "relu", "RELU6": "relu6"}
_ARITHMETIC: dict[str, Callable[..., Any]] = {"add": np.add, "mul": np.multiply, "sub": np.subtract}
_POOLS = ("mean", "average_pool2d")
_KINDS = {"add": "add", "mul": "multiply"}


@dataclass(frozen=True)
class Value:
    """A tensor as a function of what a site computes.

    Attributes
    ----------
    site : int
        Whose result it is made of.
    samples : float64 (probes,)
        What `PROBES` become on their way from there.
    range : (float, float) or None
        What a quantised tensor can hold.
    steps : int
        Operators on the way.
    """

    site: int
    samples: Array
    range: Range | None = None
    steps: int = 0


@dataclass
class Site:
    """A computation of the file that is a node of ours.

    Attributes
    ----------
    kind : str
        ``"conv"``, ``"depthwise"``, ``"add"``, ``"multiply"`` or ``"pool"``.
    key : str
        Of a layer: what the names of its weights begin with.
    sources : tuple of int
        The sites that it reads.
    weight : tuple of int
        Shape in torch's layout, without trailing sizes of 1.
    stride, pads
        As in our ops, the zeros resolved for the file's input size.
    made, seen : Value
        Its result, and what others read of it.
    """

    kind: str
    key: str
    sources: tuple[int, ...]
    made: Value
    weight: tuple[int, ...] = ()
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    seen: Value | None = field(default=None)


def sites_of(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> list[Site]:
    """Every site of a file, in order of execution.

    Parameters
    ----------
    tensors, metadata : mapping
        What `mininet.weights.tflite.read` gave.

    Raises
    ------
    WeightsError
        If the file has an operator that no MobileNet has, or one used as none does.
    """
    return _Walk(tensors, metadata).sites


class _Walk:
    def __init__(self, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
        self.tensors = tensors
        self.sites: list[Site] = []
        source = json.loads(metadata["input"])
        self.values = {source["tensor"]: Value(OUTSIDE, PROBES)}
        self.shapes: dict[int, list[int]] = {source["tensor"]: source["shape"]}
        self.padded: dict[int, Pads] = {}
        self.probabilities: set[int] = set()
        for operator in json.loads(metadata["operators"]):
            self.visit(operator)
        for number in operator["outputs"]:
            if number in self.values:
                self.read(self.values[number])

    def visit(self, operator: dict[str, Any]) -> None:
        op, target = operator["op"], operator["outputs"][0]
        self.shapes[target] = operator["output_shape"]
        if not self.probabilities.isdisjoint(operator["inputs"]):
            self.probabilities.add(target)  # of no interest: the logits are what we compute
            return
        inputs = [self.values[number] for number in operator["inputs"] if number in self.values]
        if op not in TFLITE_FORMS and not self.padded.keys().isdisjoint(operator["inputs"]):
            raise _strange(operator, "reads a padded picture, but is no convolution")
        if not inputs:
            if op != "dequantize":  # which unpacks constants
                raise _strange(operator, "reads nothing that the network computes")
            return
        value = inputs[0]
        if op in _PASSING:
            made = self.stepped(value, value.samples, operator)
        elif op in _FUNCTIONS:
            made = self.stepped(value, activate(_FUNCTIONS[op], value.samples), operator)
        elif op == "pad":
            rows = self.constant(operator, 1).astype(int).reshape(-1)
            if len(rows) != 8 or rows.min() < 0 or rows[[0, 1, 6, 7]].any():
                raise _strange(operator, "pads other than rows and columns")
            self.padded[target] = (int(rows[2]), int(rows[3]), int(rows[4]), int(rows[5]))
            made = value
        elif op == "softmax":
            self.read(value)
            self.probabilities.add(target)
            return
        elif op in _POOLS:
            shape = operator["output_shape"]
            if not shape or np.prod(shape) != shape[-1]:
                raise _strange(operator, "does not pool the whole picture")
            made = self.site("pool", operator, inputs)
        elif op in _ARITHMETIC:
            made = self.arithmetic(operator, inputs)
        elif op in TFLITE_FORMS:
            made = self.layer(operator, inputs)
        else:
            raise _strange(operator, "is none that a MobileNet has")
        self.values[target] = made

    def arithmetic(self, operator: dict[str, Any], inputs: list[Value]) -> Value:
        """A sum or product with a constant, of two functions of one value, or of two sites."""
        if len(operator["inputs"]) != 2:
            raise _strange(operator, f"has {len(operator['inputs'])} inputs")
        compute = _ARITHMETIC[operator["op"]]
        if len(inputs) == 1:
            at = 0 if operator["inputs"][1] in self.values else 1
            constant = self.constant(operator, at)
            if constant.size == 0 or np.ptp(constant) != 0:
                raise _strange(operator, "has a constant for each channel")
            pair = [inputs[0].samples, np.float64(constant.reshape(-1)[0])]
            samples = compute(*(pair if at == 1 else pair[::-1]))
        elif inputs[0].site == inputs[1].site:
            samples = compute(inputs[0].samples, inputs[1].samples)
        elif operator["op"] in _KINDS:
            return self.site(_KINDS[operator["op"]], operator, inputs)
        else:
            raise _strange(operator, "subtracts one layer from another")
        return self.stepped(inputs[0], activate(_fused(operator), samples), operator)

    def layer(self, operator: dict[str, Any], inputs: list[Value]) -> Value:
        source = operator["inputs"][0]
        if len(inputs) != 1 or source not in self.values:
            raise _strange(operator, "computes its weights")
        key = f"{operator['index']:03d}/{operator['op']}"
        weight = self.tensors.get(f"{key}/weight")
        axes = FORMS[TFLITE_FORMS[operator["op"]]]
        if weight is None or weight.ndim != len(axes):
            raise _strange(operator, f"has no weight of {len(axes)} dimensions")
        shape = (*(weight.shape[axis] for axis in axes), 1, 1)[:4]
        kind = "depthwise" if operator["op"] == "depthwise_conv2d" else "conv"
        if tuple(operator.get("dilation", (1, 1))) != (1, 1) or operator.get("depth_multiplier", 1) != 1:
            raise _strange(operator, "is dilated or has a depth multiplier")
        made = self.site(kind, operator, inputs)
        site = self.sites[-1]
        site.key, site.weight = key, trimmed(shape)
        rows, columns = operator.get("stride", (1, 1))
        if min(rows, columns) < 1:
            raise _strange(operator, "has no stride")
        site.stride = (rows, columns)
        site.pads = self.padded.get(source, (0, 0, 0, 0))
        if operator.get("padding") == "SAME":
            size = self.shapes[source]
            if len(size) != 4 or any(site.pads):
                raise _strange(operator, "is padded twice, or does not read pictures")
            site.pads = resolve_padding("same", (size[1], size[2]), shape[2:], site.stride, (1, 1))
        return made

    def site(self, kind: str, operator: dict[str, Any], inputs: list[Value]) -> Value:
        for value in inputs:
            self.read(value)
        samples = activate(_fused(operator), PROBES)
        value = Value(len(self.sites), samples, _range(operator))
        self.sites.append(Site(kind, "", tuple(each.site for each in inputs), value))
        return value

    def stepped(self, value: Value, samples: Array, operator: dict[str, Any]) -> Value:
        return replace(value, samples=samples, range=_range(operator) or value.range, steps=value.steps + 1)

    def read(self, value: Value) -> None:
        """Note what others see of a site; all must see the same."""
        if value.site == OUTSIDE:
            return
        site = self.sites[value.site]
        if site.seen is not None and not np.array_equal(site.seen.samples, value.samples):
            raise WeightsError(f"tflite: {site.key or site.kind} is read in two ways, as in no MobileNet")
        site.seen = value

    def constant(self, operator: dict[str, Any], at: int) -> NDArray[Any]:
        name = f"{operator['index']:03d}/{operator['op']}/input{at}"
        if name not in self.tensors:
            raise _strange(operator, f"computes its input {at}")
        return np.asarray(self.tensors[name])


def _strange(operator: dict[str, Any], what: str) -> WeightsError:
    return WeightsError(f"tflite: operator {operator['index']} ({operator['op']}) {what}")


def _fused(operator: dict[str, Any]) -> str:
    name = operator.get("activation", "NONE")
    if name not in _FUSED:
        raise _strange(operator, f"has the activation {name}")
    return _FUSED[name]


def _range(operator: dict[str, Any]) -> Range | None:
    return tuple(operator["range"]) if "range" in operator else None


def trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without trailing ones: a linear layer and a 1x1 convolution have the same."""
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
