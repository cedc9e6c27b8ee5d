"""The same weight under the names and in the layouts of each framework, as tables.

A scheme says what a weight is called: ``torchvision`` (our own names), ``timm``, ``keras``, ``tflite`` or
``onnx``. It is one thing, a network's lineage (how it computes) another: weights that Keras trained
may well be stored under torchvision's names.

Sources: state_dict() of timm 1.0's models, variable names of keras.applications 3.15 and, as
aliases, those of Keras 2 (V3 blocks had slashes, depthwise kernels were ``depthwise_kernel``) and the
numbered ones of ``.weights.h5`` files (``conv2d_1`` is the second convolution).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.errors import ArgumentError, UnknownNameError
from mininet.graph.graph import Graph, Node
from mininet.models.config import ModelConfig
from mininet.models.layers import Place
from mininet.models.registry import assemble

Shape = tuple[int, ...]

FORMS: dict[str, tuple[int, ...]] = {
    "vector": (0,),
    "oihw": (0, 1, 2, 3),  # torch, every convolution
    "oi": (0, 1),  # torch and tflite, linear
    "hwio": (3, 2, 0, 1),  # Keras, convolution
    "hwc1": (2, 3, 0, 1),  # Keras, depthwise
    "io": (1, 0),  # Keras, dense
    "ohwi": (0, 3, 1, 2),  # tflite, convolution
    "1hwc": (3, 0, 1, 2),  # tflite, depthwise
}
"""Layouts that a framework stores: the axes of theirs that make up torch's, in order."""


@dataclass(frozen=True)
class Row:
    """One weight in two worlds.

    Attributes
    ----------
    ours : str
        Name in our graph.
    theirs : str
        Name in the framework.
    form : str
        Layout of theirs, a key of `FORMS`. Where one side has a 1x1 convolution and the other a
        linear layer, the two axes of size 1 come and go.
    shape : tuple of int
        Shape of ours.
    aliases : tuple of str
        Other names of theirs, accepted when reading.
    """

    ours: str
    theirs: str
    form: str
    shape: Shape
    aliases: tuple[str, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of theirs that make up torch's, in order."""
        return FORMS[self.form]

    @property
    def _torch_shape(self) -> Shape:
        """Ours with as many axes as theirs."""
        rank = len(self.axes)
        return (*self.shape, 1, 1)[:rank] if rank > len(self.shape) else self.shape[:rank]

    @property
    def their_shape(self) -> Shape:
        """Shape of theirs."""
        return tuple(self._torch_shape[self.axes.index(axis)] for axis in range(len(self.axes)))

    def to_ours(self, array: NDArray[Any]) -> NDArray[Any]:
        """Theirs, of `their_shape`, in our layout."""
        return array.transpose(self.axes).reshape(self.shape)

    def to_theirs(self, array: NDArray[Any]) -> NDArray[Any]:
        """Ours in their layout."""
        return array.reshape(self._torch_shape).transpose(np.argsort(self.axes))


@dataclass(frozen=True)
class Table:
    """Names of one family of networks in one framework, as templates.

    Attributes
    ----------
    first, others : str
        Prefix of the first block and of the others: what ``{p}`` stands for.
    parts : dict of str to str
        Layer name of each part; ``{n}`` counts blocks from 1, ``{last}`` is the stage after the last.
    separable : dict of str to str
        Parts that are called otherwise in blocks without expansion.
    dense : tuple of str
        Parts stored as a matrix; the other linear layers are stored as 1x1 convolutions.
    """

    first: str
    others: str
    parts: dict[str, str]
    separable: dict[str, str]
    dense: tuple[str, ...] = ("classifier",)

    def layer(self, place: Place, stages: int) -> str:
        """Name of the layer at a place, in a network of so many stages; KeyError if it has none."""
        block = place.block
        template = self.parts[place.part]
        if block is not None and not block.expands:
            template = self.separable.get(place.part, template)
        values = {
            "n": place.number + 1,
            "number": place.number,
            "last": stages,
            "stage": block.stage if block else 0,
            "index": block.index if block else 0,
        }
        prefix = self.others if place.number else self.first
        return template.format(p=prefix.format(**values), **values)


_TIMM_BLOCK = "blocks.{stage}.{index}."
_TIMM_ENDS = {
    "stem.conv": "conv_stem",
    "stem.norm": "bn1",
    "last.conv": "conv_head",
    "last.norm": "bn2",
    "classifier": "classifier",
}
_TIMM_PARTS = {
    **_TIMM_ENDS,
    "expand.conv": "{p}conv_pw",
    "expand.norm": "{p}bn1",
    "depthwise.conv": "{p}conv_dw",
    "depthwise.norm": "{p}bn2",
    "squeeze.reduce": "{p}se.conv_reduce",
    "squeeze.expand": "{p}se.conv_expand",
    "project.conv": "{p}conv_pwl",
    "project.norm": "{p}bn3",
}
_TIMM_SEPARABLE = {"depthwise.norm": "{p}bn1", "project.conv": "{p}conv_pw", "project.norm": "{p}bn2"}
_TIMM_V3_ENDS = {
    "last.conv": "blocks.{last}.{number}.conv",
    "last.norm": "blocks.{last}.{number}.bn1",
    "hidden": "conv_head",
}
_KERAS_V1 = {
    "stem.conv": "conv1",
    "stem.norm": "conv1_bn",
    "depthwise.conv": "conv_dw_{n}",
    "depthwise.norm": "conv_dw_{n}_bn",
    "pointwise.conv": "conv_pw_{n}",
    "pointwise.norm": "conv_pw_{n}_bn",
    "classifier": "conv_preds",
}
_KERAS_V2 = {
    "stem.conv": "Conv1",
    "stem.norm": "bn_Conv1",
    "expand.conv": "{p}expand",
    "expand.norm": "{p}expand_BN",
    "depthwise.conv": "{p}depthwise",
    "depthwise.norm": "{p}depthwise_BN",
    "project.conv": "{p}project",
    "project.norm": "{p}project_BN",
    "last.conv": "Conv_1",
    "last.norm": "Conv_1_bn",
    "classifier": "predictions",
}
_KERAS_V3 = {
    "stem.conv": "conv",
    "stem.norm": "conv_bn",
    "expand.conv": "{p}expand",
    "expand.norm": "{p}expand_bn",
    "depthwise.conv": "{p}depthwise",
    "depthwise.norm": "{p}depthwise_bn",
    "squeeze.reduce": "{p}squeeze_excite_conv",
    "squeeze.expand": "{p}squeeze_excite_conv_1",
    "project.conv": "{p}project",
    "project.norm": "{p}project_bn",
    "last.conv": "conv_1",
    "last.norm": "conv_1_bn",
    "hidden": "conv_2",
    "classifier": "logits",
}
_KERAS_2_V3 = {
    "stem.conv": "Conv",
    "stem.norm": "Conv/BatchNorm",
    "expand.conv": "{p}expand",
    "expand.norm": "{p}expand/BatchNorm",
    "depthwise.conv": "{p}depthwise",
    "depthwise.norm": "{p}depthwise/BatchNorm",
    "squeeze.reduce": "{p}squeeze_excite/Conv",
    "squeeze.expand": "{p}squeeze_excite/Conv_1",
    "project.conv": "{p}project",
    "project.norm": "{p}project/BatchNorm",
    "last.conv": "Conv_1",
    "last.norm": "Conv_1/BatchNorm",
    "hidden": "Conv_2",
    "classifier": "Logits",
}

TABLES: dict[str, dict[str, Table]] = {
    "timm": {
        "v1": Table(
            _TIMM_BLOCK,
            _TIMM_BLOCK,
            {
                **_TIMM_ENDS,
                "depthwise.conv": "{p}conv_dw",
                "depthwise.norm": "{p}bn1",
                "pointwise.conv": "{p}conv_pw",
                "pointwise.norm": "{p}bn2",
            },
            {},
        ),
        "v2": Table(_TIMM_BLOCK, _TIMM_BLOCK, _TIMM_PARTS, _TIMM_SEPARABLE),
        "v3": Table(_TIMM_BLOCK, _TIMM_BLOCK, {**_TIMM_PARTS, **_TIMM_V3_ENDS}, _TIMM_SEPARABLE),
    },
    "keras": {
        "v1": Table("", "", _KERAS_V1, {}, dense=()),
        "v2": Table("expanded_conv_", "block_{number}_", _KERAS_V2, {}),
        "v3": Table("expanded_conv_", "expanded_conv_{number}_", _KERAS_V3, {}, dense=()),
    },
}
"""Templates by scheme and family; torchvision's names are ours, `BY_ORDER`'s have none."""

OLD_TABLES = {"keras": {"v3": Table("expanded_conv/", "expanded_conv_{number}/", _KERAS_2_V3, {}, dense=())}}
"""Former names, read but not written."""

_KERAS_ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "conv": {"weight": ("kernel",), "bias": ("bias",)},
    "depthwise_conv2d": {"weight": ("kernel", "depthwise_kernel"), "bias": ("bias",)},
    "batch_norm": {
        "weight": ("gamma",),
        "bias": ("beta",),
        "running_mean": ("moving_mean",),
        "running_var": ("moving_variance",),
    },
}
_KERAS_CLASSES = {"depthwise_conv2d": "depthwise_conv2d", "batch_norm": "batch_normalization"}
"""Keras's layer classes by our ops, as its files spell them; the rest are convolutions to it."""

TFLITE_FORMS = {"conv2d": "ohwi", "depthwise_conv2d": "1hwc", "fully_connected": "oi"}

BY_ORDER = {"tflite": TFLITE_FORMS, "onnx": {"conv": "oihw", "gemm": "oi"}}
"""Schemes without names: keys are ``000/conv/weight``, by order of execution; the layout of each operator."""

_ORDERED_KEY = re.compile(r"(\d+)/([a-z0-9_]+)/(weight|bias)")

SCHEMES = ("torchvision", "timm", "keras", *BY_ORDER)
"""Every naming scheme."""


def rows(config: ModelConfig, scheme: str, given: Iterable[str] = ()) -> list[Row]:
    """Every weight of a network in two worlds, in our order.

    Parameters
    ----------
    config : ModelConfig
        The network.
    scheme : str
        One of `SCHEMES`.
    given : iterable of str
        The names at hand; needed where weights are told apart by their order (`BY_ORDER`).

    Raises
    ------
    UnknownNameError
        If there is no such scheme.
    ArgumentError
        If the framework has no name for a layer (Keras for V1's full convolutions, say).
    """
    if scheme not in SCHEMES:
        raise UnknownNameError("naming scheme", scheme, SCHEMES)
    graph, places = assemble(config)
    if scheme in BY_ORDER:
        return list(_by_order(graph, given, BY_ORDER[scheme]))
    if scheme == "torchvision":
        return [Row(name, name, _torch_form(shape), shape) for name, shape in graph.param_shapes().items()]
    try:
        table = list(_by_table(graph, places, scheme, config.family))
    except KeyError as error:
        raise ArgumentError(f"{scheme} has no name for the part {error} of {config.architecture}") from None
    if len({row.theirs for row in table}) < len(table):
        raise ArgumentError(f"{scheme} has no names for two last convolutions of {config.architecture}")
    return table


def detect_scheme(config: ModelConfig, given: Iterable[str]) -> str:
    """The scheme that shares most names with those given; the lineage's own if none shares any."""
    given = set(given)
    operators = {match[2] for match in map(_ORDERED_KEY.fullmatch, given) if match}
    for scheme, forms in BY_ORDER.items():
        if not operators.isdisjoint(forms):
            return scheme
    found = {config.conventions.names: 0, **dict.fromkeys(("torchvision", *TABLES), 0)}
    for scheme in found:
        if scheme in BY_ORDER:
            continue
        try:
            known = rows(config, scheme)
        except ArgumentError:
            continue
        found[scheme] = sum(not given.isdisjoint((row.theirs, *row.aliases)) for row in known)
    return max(found, key=lambda scheme: found[scheme])


def _torch_form(shape: Shape) -> str:
    return {1: "vector", 2: "oi", 4: "oihw"}[len(shape)]


def _by_table(graph: Graph, places: dict[str, Place], scheme: str, family: str) -> Iterator[Row]:
    table, old = TABLES[scheme][family], OLD_TABLES.get(scheme, {}).get(family)
    stages = 1 + max(place.block.stage for place in places.values() if place.block)
    numbers: Counter[str] = Counter()
    for node in graph.nodes:
        if node.name not in places:
            continue
        place = places[node.name]
        layers = [each.layer(place, stages) for each in (table, old) if each]
        dense = place.part in table.dense
        if scheme == "keras":
            kind = "dense" if dense else _KERAS_CLASSES.get(node.op.kind, "conv2d")
            layers.append(f"{kind}_{numbers[kind]}" if numbers[kind] else kind)
            numbers[kind] += 1
        for role, shape in node.op.param_shapes().items():
            names = [name for layer in layers for name in _variables(scheme, layer, node.op.kind, role)]
            form = _form(scheme, node, shape, dense)
            yield Row(f"{node.name}.{role}", names[0], form, shape, tuple(names[1:]))


def _variables(scheme: str, layer: str, kind: str, role: str) -> list[str]:
    if scheme == "timm":
        return [f"{layer}.{role}"]
    return [f"{layer}/{name}" for name in _KERAS_ROLES.get(kind, _KERAS_ROLES["conv"])[role]]


def _form(scheme: str, node: Node, shape: Shape, dense: bool) -> str:
    if len(shape) == 1:
        return "vector"
    if scheme == "timm":
        return "oi" if dense else "oihw"
    if node.op.kind == "depthwise_conv2d":
        return "hwc1"
    return "io" if dense else "hwio"


def _by_order(graph: Graph, given: Iterable[str], forms: Mapping[str, str]) -> Iterator[Row]:
    """Pair layers with weights in order of execution: the n-th of theirs is the n-th of ours."""
    found = (_ORDERED_KEY.fullmatch(name) for name in given)
    ordered = sorted(
        {(int(match[1]), match[0].rpartition("/")[0]) for match in found if match and match[2] in forms}
    )
    theirs = iter([layer for _, layer in ordered])
    for node in graph.nodes:
        shapes = node.op.param_shapes()
        if not shapes:
            continue
        layer = "" if node.op.kind == "batch_norm" else next(theirs, "")
        for role, shape in shapes.items():
            form = _torch_form(shape)
            if role == "weight" and layer:
                form = forms[layer.partition("/")[2]]
            yield Row(f"{node.name}.{role}", f"{layer or node.name}/{role}", form, shape)
