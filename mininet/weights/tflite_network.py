"""Which network a .tflite file holds: architecture, width, input size and padding, told by its graph alone.

Every candidate's graph is laid beside the file's, site by site: what is computed, from what, with weights of
which shape, strides, padding, and through which activation. The first that agrees everywhere is it.

What a file does differently is undone, or kept as data of the configuration:

* a quantised value is clipped to what its integers can hold. Where that changes more than a step of the grid,
  on which 6 may be 5.9998, the bounds become `ModelConfig.clips`; the logits, which no layer reads, are free;
* the 3 of ``relu6(x + 3)`` may be part of the bias before it, and the sixth part of the weights behind it;
* a layer without a bias has one of zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.errors import ArgumentError, ShapeError, UnknownNameError, WeightsError
from mininet.graph.clips import Bounds
from mininet.graph.graph import Graph
from mininet.models.config import ModelConfig
from mininet.models.lineages import FAMILIES
from mininet.models.registry import BLOCKS, MODELS, build_graph, check_options
from mininet.ops import Add, Dropout, Flatten, GlobalAvgPool, Linear, Multiply
from mininet.ops.activation import Activation, activate, hard_sigmoid, relu6
from mininet.ops.base import Array
from mininet.ops.conv import Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.geometry import resolve_padding
from mininet.preprocess import Preset, get_preset
from mininet.weights.tflite_sites import OUTSIDE, PROBES, Range, Site, Value, sites_of, trimmed

WIDTHS = (1.0, 0.75, 0.5, 0.25, 0.35, 1.4, 1.3, *(step / 20 for step in range(1, 41)))
"""Multipliers that are tried: the published ones first, since several may give the same layers."""

LINEAGES = ("tflite", "keras", "torchvision", "timm")
"""In the order in which they are tried; they differ in padding and in how widths are rounded."""

VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "v1": ({}, {"activation": "relu"}, {"shallow": True}, {"separable": False}),
    "v2": ({}, {"activation": "relu"}),
    "v3": ({}, {"minimalistic": True}),
}
"""Options that change a graph, by family."""

STEPS = 255
"""Steps of an 8-bit grid."""

SLACK = 0.02
"""How far two activations may lie apart and be one: the constants of a quantised one are rounded."""

_FAR = np.array([-1e4, 1e4])
_INTERVALS = {
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "hard_swish": (-0.375, np.inf),
    "hard_sigmoid": (0.0, 1.0),
}


@dataclass(frozen=True)
class Recognised:
    """What a file holds: a configuration, weights that fit it, and how a picture becomes its input."""

    config: ModelConfig
    tensors: Mapping[str, NDArray[Any]]
    preset: Preset


def recognise(
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recognised:
    """Tell which network the tensors of a .tflite file are for.

    Parameters
    ----------
    tensors, metadata : mapping
        What `mininet.weights.tflite.read` gave.
    name : str, optional
        One of `list_models`, if the caller knows.
    options : mapping, optional
        Fields of `ModelConfig` that the caller has set; they are not looked for.

    Raises
    ------
    WeightsError
        If the file's graph is no MobileNet, or not the one that the caller names; the message says where the
        nearest one parts from it.
    UnknownNameError
        If no network is called that.
    """
    options = dict(options or {})
    check_options(options, name or "a .tflite file")
    sites = sites_of(tensors, metadata)
    source = json.loads(metadata["input"])
    _, height, width, channels = _image(source["shape"])
    nearest: tuple[tuple[int, int], str] = ((-1, -1), "")
    for widths in _candidates(sites, channels, name, options):
        for config in [widths[0], *(each for each in widths[1:] if _may_fit(each, sites))]:
            pairing = _Pairing(config, sites, (1, channels, height, width))
            if not pairing.problem:
                return Recognised(
                    replace(config, clips=options.get("clips", pairing.clips())),
                    pairing.mended(tensors),
                    _preset(config, source, (height, width)),
                )
            if pairing.agreed > nearest[0]:
                nearest = (
                    pairing.agreed,
                    f"{config.architecture} of width {config.width:g}, {pairing.problem}",
                )
    raise WeightsError(
        f"the graph of the file is no {name or 'MobileNet'} that is known; it comes nearest to {nearest[1]}"
    )


def _image(shape: list[int]) -> tuple[int, int, int, int]:
    if len(shape) != 4 or min(shape) < 1:
        raise WeightsError(f"tflite: expected an input of pictures (N, H, W, C), got {shape}")
    return shape[0], shape[1], shape[2], shape[3]


def _candidates(
    sites: list[Site], channels: int, name: str | None, options: dict[str, Any]
) -> Iterator[list[ModelConfig]]:
    """Every configuration that the file may have, the likely ones first; those of all widths together."""
    if name is not None and name not in MODELS:
        raise UnknownNameError("model", name, MODELS)
    entry = MODELS[name] if name else None
    classes = sites[-1].weight[0] if sites[-1].weight else 1
    fixed: dict[str, Any] = {"batch_norm": False, "num_classes": classes, "in_channels": channels}
    fixed |= {**(entry.options if entry else {}), **options, "clips": ()}
    refused, some = None, False
    for architecture in [entry.architecture] if entry else FAMILIES:
        for variant in VARIANTS[FAMILIES[architecture]]:
            for lineage in LINEAGES:
                fields = {"lineage": lineage, **variant, **fixed}
                widths = [fields.pop("width")] if "width" in fields else WIDTHS
                try:
                    yield [ModelConfig(architecture, width, **fields) for width in widths]
                    some = True
                except ArgumentError as error:  # an option that this architecture or lineage does not have
                    refused = error
                if "lineage" in fixed:
                    break
    if refused is not None and not some:
        raise refused


def _may_fit(config: ModelConfig, sites: list[Site]) -> bool:
    """Whether the file has layers of the widths of every block: quickly told for dozens of configurations."""
    blocks = BLOCKS[config.architecture](config)
    return sites[0].weight[:1] == (blocks[0].in_channels,) and {block.out_channels for block in blocks} <= {
        site.weight[0] for site in sites if site.weight
    }


@dataclass(frozen=True)
class _Ours:
    """A node of ours that has a site, and the activation that alone follows it, if any."""

    name: str
    site: Site
    activation: str = ""
    function: str = "identity"

    @property
    def last(self) -> str:
        return self.activation or self.name


def _sites_of_ours(graph: Graph, shape: tuple[int, int, int, int]) -> list[_Ours]:
    """Our graph in the terms of a file's."""
    shapes = graph.infer_shapes(shape)
    ours: list[_Ours] = []
    made = {"input": OUTSIDE}
    for node in graph.nodes:
        op, sources = node.op, tuple(made[name] for name in node.inputs)
        made[node.name] = sources[0]
        if isinstance(op, Activation):
            ours[sources[0]] = replace(ours[sources[0]], activation=node.name, function=op.kind)
        elif not isinstance(op, Flatten | Dropout):
            made[node.name] = len(ours)
            ours.append(_Ours(node.name, _site(op, sources, shapes[node.inputs[0]])))
    return ours


def _site(op: Any, sources: tuple[int, ...], shape: tuple[int, ...]) -> Site:
    value = Value(0, PROBES)
    if isinstance(op, Linear):
        return Site("conv", "", sources, value, (op.out_features, op.in_features))
    if isinstance(op, Conv2d | DepthwiseConv2d | PointwiseConv2d):
        conv = op.as_conv2d()
        pads = resolve_padding(conv.padding, (shape[2], shape[3]), conv.kernel, conv.stride, conv.dilation)
        kind = "depthwise" if isinstance(op, DepthwiseConv2d) else "conv"
        weight = trimmed((conv.out_channels, conv.in_channels // conv.groups, *conv.kernel))
        return Site(kind, "", sources, value, weight, conv.stride, pads)
    kinds = {Add: "add", Multiply: "multiply", GlobalAvgPool: "pool"}
    return Site(kinds.get(type(op), op.kind), "", sources, value)


class _Pairing:
    """A candidate beside the file: where they part, or what the file does differently."""

    def __init__(self, config: ModelConfig, sites: list[Site], shape: tuple[int, int, int, int]) -> None:
        self.sites = sites
        self.agreed = (0, 0)  # in outline, or also in detail, and up to which site
        self.scaled: dict[int, float] = {}  # sites whose value in the file is so many times ours
        self.shifted: set[int] = set()  # sites whose bias in the file holds the 3
        self.widened: dict[int, float] = {}  # layers whose weights make good for what they read
        try:
            self.ours = _sites_of_ours(build_graph(config), shape)
        except (ArgumentError, ShapeError) as error:
            self.problem = str(error)
            return
        self.problem = self._compare()

    def _compare(self) -> str:
        for stage, parted in enumerate((self._outline, self._detail)):
            for index, (mine, theirs) in enumerate(zip(self.ours, self.sites, strict=False)):
                self.agreed = stage, index
                problem = parted(index, mine, theirs)
                if problem:
                    return f"which parts from it at {mine.name}: {problem}"
            if len(self.ours) != len(self.sites):
                return (
                    f"which has {len(self.ours)} layers, sums, products and pools, the file {len(self.sites)}"
                )
        return ""

    def _outline(self, index: int, mine: _Ours, theirs: Site) -> str:
        """What no width changes."""
        expected, got = (_described(site) for site in (mine.site, theirs))
        if expected != got:
            return f"expected {expected}, got {got}"
        return "" if sorted(mine.site.sources) == sorted(theirs.sources) else "it reads other layers"

    def _detail(self, index: int, mine: _Ours, theirs: Site) -> str:
        for what in ("weight", "pads"):
            expected, got = getattr(mine.site, what), getattr(theirs, what)
            if expected != got:
                return f"expected {what} {expected}, got {got}"
        factor = float(np.prod([self.scaled.get(source, 1.0) for source in theirs.sources]))
        if factor != 1.0:
            if theirs.kind not in ("multiply", "conv"):
                return f"it reads {factor:g} times what ours reads"
            (self.scaled if theirs.kind == "multiply" else self.widened)[index] = factor
        return "" if self._same_function(index, mine, theirs) else f"expected the activation {mine.function}"

    def _same_function(self, index: int, mine: _Ours, theirs: Site) -> bool:
        value = theirs.seen or theirs.made
        expected = activate(mine.function, PROBES)
        if _close(value, expected):
            return True
        if mine.function != "hard_sigmoid":
            return False
        for shift, factor in ((3, 1.0), (0, 6.0), (3, 6.0)):
            written = factor * (relu6(PROBES) / 6 if shift else hard_sigmoid(PROBES))
            if _close(value, written):
                if shift:
                    self.shifted.add(index)
                if factor != 1.0:
                    self.scaled[index] = factor
                return True
        return False

    def clips(self) -> tuple[Bounds, ...]:
        """Bounds that change what the network computes, as nodes of ours."""
        found: list[Bounds] = []
        intervals: dict[int, Range] = {OUTSIDE: (-np.inf, np.inf)}
        for index, (mine, theirs) in enumerate(zip(self.ours[:-1], self.sites, strict=False)):
            before, after = self._ranges(index, mine, theirs)
            if before is not None and _changes(mine.function, before):
                found.append((mine.name, *before))
            least, most = self._interval(mine, intervals)
            if after is not None:
                step = (after[1] - after[0]) / STEPS
                if least < after[0] - step or most > after[1] + step:
                    found.append((mine.last, *after))
                    least, most = max(least, after[0]), min(most, after[1])
            intervals[index] = least, most
        return tuple(found)

    def _ranges(self, index: int, mine: _Ours, theirs: Site) -> tuple[Range | None, Range | None]:
        """What the file can hold of a site's result before its activation, and after it, in our terms."""
        made, seen = theirs.made, theirs.seen or theirs.made
        factor, shift = self.scaled.get(index, 1.0), 3.0 if index in self.shifted else 0.0
        after = seen.range and (seen.range[0] / factor, seen.range[1] / factor)
        if not mine.activation or made.range is None or seen.steps == 0 or (made.samples != PROBES).any():
            return None, after
        return (made.range[0] - shift, made.range[1] - shift), after

    @staticmethod
    def _interval(mine: _Ours, intervals: Mapping[int, Range]) -> Range:
        """Where our values lie whatever the picture."""
        sources = [intervals[source] for source in mine.site.sources]
        if mine.activation:
            return _INTERVALS.get(mine.function, (-np.inf, np.inf))
        if mine.site.kind == "pool":
            return sources[0]
        if mine.site.kind == "add":
            return sources[0][0] + sources[1][0], sources[0][1] + sources[1][1]
        return -np.inf, np.inf

    def mended(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The file's tensors as our graph wants them."""
        mended = dict(tensors)
        for index, site in enumerate(self.sites):
            if not site.key:
                continue
            weight, bias = f"{site.key}/weight", f"{site.key}/bias"
            mended.setdefault(bias, np.zeros(site.weight[0], np.float32))
            if index in self.widened:
                mended[weight] = mended[weight] * np.float32(self.widened[index])
            if index in self.shifted:
                mended[bias] = mended[bias] - np.float32(3)
        return mended


def _changes(function: str, bounds: Range) -> bool:
    """Whether clipping a value changes an activation of it by more than a step."""
    x = np.concatenate([PROBES, _FAR])
    off = np.abs(activate(function, np.clip(x, *bounds)) - activate(function, x))
    return bool(off.max() > (bounds[1] - bounds[0]) / STEPS)


def _described(site: Site) -> str:
    if not site.weight:
        return site.kind
    rows, columns = (*site.weight[2:], 1, 1)[:2]
    return f"{site.kind} of {rows}x{columns}, stride {site.stride[0]}x{site.stride[1]}"


def _close(value: Value, expected: Array) -> bool:
    """Whether a value is a function, as far as its type can tell."""
    if value.range is None:
        return bool(np.abs(value.samples - expected).max() <= SLACK)
    step = (value.range[1] - value.range[0]) / STEPS
    off = np.abs(np.clip(value.samples, *value.range) - np.clip(expected, *value.range))
    return bool(off.max() <= SLACK + step)


def _preset(config: ModelConfig, source: Mapping[str, Any], size: tuple[int, int]) -> Preset:
    """The lineage's preset at the file's size, with the numbers that its integers stand for."""
    preset = get_preset(config.conventions.preset).at(size)
    if "range" not in source or config.in_channels != preset.channels:
        return preset
    low, high = source["range"]
    scale = STEPS / (high - low)  # a pixel's 0 is the least number, its 255 the largest
    return replace(
        preset,
        name=f"tflite-{source['type'].lower()}",
        scale=scale,
        mean=(-low,) * preset.channels,
        std=(1.0,) * preset.channels,
        source="the quantisation of the file's input",
    )
