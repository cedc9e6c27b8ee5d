"""What distinguishes one network from another, as one validated record."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mininet.arguments import check_choice, check_flag, check_integer, check_number
from mininet.errors import ArgumentError, brief
from mininet.graph.clips import Bounds
from mininet.models.lineages import FAMILIES, Lineage, get_lineage
from mininet.ops import GlobalAvgPool, GlobalMaxPool, Op
from mininet.ops.activation import ACTIVATIONS

MOST_MULTIPLIER = 16
"""Of width and depth: well beyond every published network, within the memory of a machine of today."""

MOST_CHANNELS = 1 << 18
"""Of classes and of input channels, for the same reason."""

POOLS: dict[str, type[Op] | None] = {"avg": GlobalAvgPool, "max": GlobalMaxPool, "none": None}
"""Ops that make one vector of the last feature map."""

_REQUIRED = ("architecture", "width", "num_classes", "in_channels", "lineage")

_APPLIES: dict[str, tuple[tuple[str, ...], str]] = {
    "activation": (("v1", "v2"), ""),
    "separable": (("v1",), ""),
    "shallow": (("v1",), ""),
    "head_conv": (("v1",), "timm"),
    "minimalistic": (("v3",), ""),
    "depth": (("v2", "v3"), "timm"),
    "fix_stem_head": (("v2",), "timm"),
}
"""Options that only some networks have: the families, and how the lineage's name must begin."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that the builder of a network needs to know.

    Attributes
    ----------
    architecture : str
        ``mobilenet_v1``, ``mobilenet_v2``, ``mobilenet_v3_large`` or ``mobilenet_v3_small``.
    width : float
        Width multiplier: every layer's channels times this, rounded as the lineage does.
    num_classes : int
        Outputs of the last layer; 0 for a network without a classifier, which ends with its features (what
        torchvision calls ``features``, Keras ``include_top=False``).
    in_channels : int
        Channels of the input image.
    lineage : str
        Whose conventions hold: a key of `mininet.models.lineages.LINEAGES`.
    pool : str
        What makes one vector of the last feature map: a key of `POOLS`. ``"none"`` leaves it a map, so there
        can be no classifier then.
    dropout : float or None
        Rate of the dropout before the last layer; None for the lineage's.
    batch_norm : bool
        False for the network whose batch norms are folded away: its convolutions have biases.
    activation : str or None
        V1, V2: instead of the lineage's ReLU6 (the V1 paper says ``"relu"``).
    separable : bool
        V1: False for the paper's twin with full 3x3 convolutions (V1 paper, table 4).
    shallow : bool
        V1: without the five 14x14x512 layers (V1 paper, table 5).
    head_conv : bool
        V1, timm: a 1x1 convolution before pooling (mobilenetv1_100h).
    minimalistic : bool
        V3: 3x3 kernels and ReLU everywhere, no squeeze-and-excite.
    depth : float
        V2 and V3, timm: multiplies the number of blocks of each stage.
    fix_stem_head : bool
        V2, timm: neither width nor depth touches the first and last layers.
    clips : tuple of (str, float, float)
        Nodes whose values are bounded, with the least and the largest value: what a quantised file could
        hold (see `mininet.graph.clips`).

    Raises
    ------
    UnknownNameError
        If there is no such architecture, lineage or activation.
    ArgumentError
        If a value makes no sense or is larger than `MOST_MULTIPLIER` or `MOST_CHANNELS`, or the option does
        not exist in that architecture or lineage.
    """

    architecture: str
    width: float = 1.0
    num_classes: int = 1000
    in_channels: int = 3
    lineage: str = "torchvision"
    pool: str = "avg"
    dropout: float | None = None
    batch_norm: bool = True
    activation: str | None = None
    separable: bool = True
    shallow: bool = False
    head_conv: bool = False
    minimalistic: bool = False
    depth: float = 1.0
    fix_stem_head: bool = False
    clips: tuple[Bounds, ...] = ()

    def __post_init__(self) -> None:
        conventions = get_lineage(self.lineage, self.architecture)
        self._set("width", _multiplier("width", self.width))
        self._set("depth", _multiplier("depth", self.depth))
        self._set("num_classes", _count("num_classes", self.num_classes, 0))
        self._set("in_channels", _count("in_channels", self.in_channels))
        self._set("clips", _clips(self.clips))
        check_choice("pool", self.pool, POOLS)
        if self.pool == "none" and self.num_classes:
            raise ArgumentError("pool: a classifier needs a vector, so 'none' wants num_classes=0")
        if self.dropout is not None:
            self._set("dropout", _rate(self.dropout))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool):
                self._set(field.name, check_flag(field.name, value))
        if isinstance(self.activation, str) and self.activation == conventions.activation:
            self._set("activation", None)
        if self.activation is not None:
            check_choice("activation", self.activation, ACTIVATIONS)
        self._check_options()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_options(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name, (families, prefix) in _APPLIES.items():
            if getattr(self, name) == defaults[name]:
                continue
            if self.family not in families or not self.lineage.startswith(prefix):
                owners = [key for key, family in FAMILIES.items() if family in families]
                where = f" of the lineage {prefix}" if prefix else ""
                raise ArgumentError(
                    f"the option {name!r} is for {', '.join(owners)}{where}, "
                    f"not for {self.architecture} of the lineage {self.lineage}"
                )

    @property
    def family(self) -> str:
        """``"v1"``, ``"v2"`` or ``"v3"``."""
        return FAMILIES[self.architecture]

    @property
    def conventions(self) -> Lineage:
        """The lineage's conventions for this architecture."""
        return get_lineage(self.lineage, self.architecture)

    @property
    def dropout_rate(self) -> float:
        """The rate given, or the lineage's."""
        return self.conventions.dropout if self.dropout is None else self.dropout

    def to_metadata(self) -> dict[str, str]:
        """The record as the text that a safetensors header holds; options at their default are left out."""
        return {
            field.name: _to_text(getattr(self, field.name))
            for field in fields(self)
            if field.name in _REQUIRED or getattr(self, field.name) != field.default
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelConfig:
        """The record that `to_metadata` wrote; keys that belong to others are passed over.

        Raises
        ------
        ArgumentError
            If the architecture is missing or a value is not of its type.
        UnknownNameError
            If there is no such architecture or lineage.
        """
        if "architecture" not in metadata:
            raise ArgumentError("metadata: expected an entry 'architecture', found none")
        parsed = {
            name: _from_text(name, str(metadata[name]), parse)
            for name, parse in _PARSERS.items()
            if name in metadata
        }
        return cls(**parsed)


def option_names() -> list[str]:
    """Names of everything that a `ModelConfig` can be given, the architecture excepted."""
    return [field.name for field in fields(ModelConfig) if field.name != "architecture"]


def _multiplier(name: str, value: Any) -> float:
    number = check_number(name, value)
    if not 0 < number <= MOST_MULTIPLIER:
        raise ArgumentError(
            f"{name}: expected a number above 0 and up to {MOST_MULTIPLIER}, got {brief(value)}"
        )
    return number


def _count(name: str, value: Any, least: int = 1) -> int:
    whole = check_integer(name, value)
    if not least <= whole <= MOST_CHANNELS:
        raise ArgumentError(
            f"{name}: expected an integer from {least} to {MOST_CHANNELS}, got {brief(value)}"
        )
    return whole


def _rate(value: Any) -> float:
    rate = check_number("dropout", value)
    if not 0 <= rate < 1:
        raise ArgumentError(f"dropout: expected a rate from 0 to below 1, got {brief(value)}")
    return rate


def _clips(value: Any) -> tuple[Bounds, ...]:
    try:
        clips = tuple((str(name), float(low), float(high)) for name, low, high in value)
    except (TypeError, ValueError):
        clips = None
    if clips is None or not all(-math.inf < low <= high < math.inf for _, low, high in clips):
        raise ArgumentError(f"clips: expected (node, low, high) with finite low <= high, got {brief(value)}")
    return clips


def _to_text(value: Any) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_PARSERS: dict[str, Any] = {
    "architecture": str,
    "width": float,
    "num_classes": int,
    "in_channels": int,
    "lineage": str,
    "pool": str,
    "dropout": float,
    "activation": str,
    "depth": float,
    "clips": json.loads,
    **{field.name: _boolean for field in fields(ModelConfig) if isinstance(field.default, bool)},
}


_KINDS: dict[Any, str] = {
    float: "a number",
    int: "an integer",
    _boolean: "true or false",
    json.loads: "a JSON list",
}


def _from_text(name: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except (ValueError, KeyError, RecursionError):
        kind = _KINDS[parse]
        raise ArgumentError(f"metadata: expected {kind} under {name!r}, got {brief(text)}") from None
