"""One network made into another that does a task of the user's own, most of its weights kept.

Every function takes a `Network` and returns a new one; the old one stays as it was. Arrays are never written
to, so the two share those that are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph
from mininet.ops.base import Array

if TYPE_CHECKING:  # Network.without_head calls this module
    from mininet.network import Network


def without_head(net: Network, pool: str | None = "avg") -> Network:
    """The network up to its last feature map; `Network.without_head` explains."""
    config = replace(net.config, num_classes=0, pool=pool or "none")
    return _remade(net, config, net.graph.params, None, 0)


def _remade(
    net: Network,
    config: ModelConfig,
    params: Mapping[str, Array],
    labels: str | Sequence[str] | None,
    class_offset: int,
) -> Network:
    """A network of another configuration that keeps the preset, and all that it has a place for."""
    plain = build_graph(replace(config, clips=()))
    config = replace(config, clips=tuple(clip for clip in config.clips if clip[0] in plain.names()))
    kept = {name: params[name] for name in plain.param_shapes()}
    return type(net)(config, kept, net.preset, labels, class_offset, net.load_report)
