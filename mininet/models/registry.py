"""Networks by name: the four architectures, and every network that timm and Keras call by a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mininet.arguments import check_choice, check_name
from mininet.errors import ArgumentError
from mininet.graph.clips import insert_clips
from mininet.graph.graph import Graph
from mininet.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from mininet.models.config import ModelConfig, option_names
from mininet.models.layers import Block, LayerBuilder, Place

ASSEMBLERS: dict[str, Callable[[ModelConfig], LayerBuilder]] = {
    "mobilenet_v1": mobilenet_v1.assemble,
    "mobilenet_v2": mobilenet_v2.assemble,
    "mobilenet_v3_large": mobilenet_v3.assemble,
    "mobilenet_v3_small": mobilenet_v3.assemble,
}
"""The builder of each architecture."""

BLOCKS: dict[str, Callable[[ModelConfig], list[Block]]] = {
    "mobilenet_v1": mobilenet_v1.blocks,
    "mobilenet_v2": mobilenet_v2.blocks,
    "mobilenet_v3_large": mobilenet_v3.blocks,
    "mobilenet_v3_small": mobilenet_v3.blocks,
}
"""The table of each architecture, row by row, with its widths resolved: much less work than the graph."""


@dataclass(frozen=True)
class Entry:
    """A name: an architecture, what the name implies about it, and its preprocessing if not the lineage's."""

    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)
    preset: str = ""


def _timm(architecture: str, width: float, preset: str = "", **options: Any) -> Entry:
    return Entry(architecture, {"width": width, "lineage": "timm", **options}, preset)


_LARGE, _SMALL = "mobilenet_v3_large", "mobilenet_v3_small"
_TIMM_TABLE = {
    "mobilenetv1_100": _timm("mobilenet_v1", 1.0),
    "mobilenetv1_100h": _timm("mobilenet_v1", 1.0, head_conv=True),
    "mobilenetv1_125": _timm("mobilenet_v1", 1.25, "timm-ra4-125"),
    "mobilenetv2_035": _timm("mobilenet_v2", 0.35),
    "mobilenetv2_050": _timm("mobilenet_v2", 0.5),
    "mobilenetv2_075": _timm("mobilenet_v2", 0.75),
    "mobilenetv2_100": _timm("mobilenet_v2", 1.0),
    "mobilenetv2_110d": _timm("mobilenet_v2", 1.1, depth=1.2, fix_stem_head=True),
    "mobilenetv2_120d": _timm("mobilenet_v2", 1.2, depth=1.4, fix_stem_head=True),
    "mobilenetv2_140": _timm("mobilenet_v2", 1.4),
    "mobilenetv3_large_075": _timm(_LARGE, 0.75),
    "mobilenetv3_large_100": _timm(_LARGE, 1.0),
    "mobilenetv3_large_150d": _timm(_LARGE, 1.5, "timm-ra4-150d", depth=1.2),
    "mobilenetv3_rw": _timm(_LARGE, 1.0, lineage="timm-rw"),
    "mobilenetv3_small_050": _timm(_SMALL, 0.5),
    "mobilenetv3_small_075": _timm(_SMALL, 0.75),
    "mobilenetv3_small_100": _timm(_SMALL, 1.0),
    "tf_mobilenetv3_large_075": _timm(_LARGE, 0.75, lineage="timm-tf"),
    "tf_mobilenetv3_large_100": _timm(_LARGE, 1.0, lineage="timm-tf"),
    "tf_mobilenetv3_large_minimal_100": _timm(_LARGE, 1.0, lineage="timm-tf", minimalistic=True),
    "tf_mobilenetv3_small_075": _timm(_SMALL, 0.75, lineage="timm-tf"),
    "tf_mobilenetv3_small_100": _timm(_SMALL, 1.0, lineage="timm-tf"),
    "tf_mobilenetv3_small_minimal_100": _timm(_SMALL, 1.0, lineage="timm-tf", minimalistic=True),
}
_KERAS_TABLE = {
    "MobileNet": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Large": _LARGE,
    "MobileNetV3Small": _SMALL,
}

MODELS: dict[str, Entry] = {
    **{name: Entry(name) for name in ASSEMBLERS},
    **{f"timm/{name}": entry for name, entry in _TIMM_TABLE.items()},
    **{f"keras/{name}": Entry(arch, {"lineage": "keras"}) for name, arch in _KERAS_TABLE.items()},
}
"""Every name that `config_for` knows."""


def list_models(pattern: str = "*") -> list[str]:
    """Names of networks, those that a pattern matches.

    Parameters
    ----------
    pattern : str
        With ``*``, ``?`` and ``[...]`` as in a shell; the case counts.
    """
    check_name("pattern", pattern)
    return [name for name in MODELS if fnmatchcase(name, pattern)]


def config_for(name: str, **overrides: Any) -> ModelConfig:
    """The configuration that a name stands for.

    Parameters
    ----------
    name : str
        One of `list_models`.
    **overrides
        Fields of `ModelConfig`, instead of what the name implies.

    Raises
    ------
    UnknownNameError
        If no network is called that.
    ArgumentError
        If an override is no field of `ModelConfig`, or its value makes no sense.
    """
    check_choice("model", name, MODELS)
    check_options(overrides, name)
    entry = MODELS[name]
    return ModelConfig(entry.architecture, **{**entry.options, **overrides})


def check_options(options: Iterable[str], name: str) -> None:
    """Raise `ArgumentError` for an option that is no field of `ModelConfig`."""
    known = option_names()
    for option in options:
        if option not in known:
            raise ArgumentError(f"unknown option {option!r} for {name}; expected one of {', '.join(known)}")


def preset_for(name: str, config: ModelConfig) -> str:
    """Name of the preprocessing preset that the published weights of a network want.

    Parameters
    ----------
    name : str
        One of `list_models`, or an architecture.
    config : ModelConfig
        Its configuration, whose lineage may be another than the name implies.
    """
    return MODELS[name].preset or config.conventions.preset


def build_graph(config: ModelConfig) -> Graph:
    """The network as a graph without weights."""
    return assemble(config)[0]


def assemble(config: ModelConfig) -> tuple[Graph, dict[str, Place]]:
    """The network as a graph without weights, and the place of each node that has weights."""
    builder = ASSEMBLERS[config.architecture](config)
    graph = builder.build(builder.nodes[-1].name)
    return insert_clips(graph, config.clips), builder.places
