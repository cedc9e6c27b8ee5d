"""Other ways to count, and other networks, that published figures turn out to follow.

Each is a rule that gives an integer for any network, so that it can be tried on every figure. None is
bound to a row: a rule explains a figure only if it also gives the figures beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mininet.graph import Graph
from mininet.graph.graph import substitute
from mininet.inspect.conventions import CONVENTIONS
from mininet.inspect.cost import NetworkCost
from mininet.models.config import ModelConfig
from mininet.models.lineages import Lineage
from mininet.ops import Add, Conv2d, DepthwiseConv2d, Linear, Op

Build = Callable[[ModelConfig], Graph]
"""Makes a network from its configuration; `mininet.models.registry.build_graph` unless told otherwise."""

PLAIN = ""
"""Name of the network as it is, and of the plain count."""

SAME_NETWORK = ("source", "network")
"""Peers: what the same source says of the same network at any resolution."""
SAME_MODEL = ("source", "model")
"""Peers: what the same source says of the same architecture at any width and resolution."""
SAME_SOURCE = ("source",)
"""Peers: all that the same source says."""


@dataclass(frozen=True)
class Rule:
    """A way to count.

    Attributes
    ----------
    name, text : str
        What it is called, and what it says, to be read after "counted".
    count : callable
        From the count of the papers to an integer.
    peers : tuple of str
        Which other figures it must give as well.
    """

    name: str
    text: str
    count: Callable[[NetworkCost], int]
    peers: tuple[str, ...] = SAME_NETWORK


def _without(wanted: type[Op]) -> Callable[[NetworkCost], int]:
    """Multiply-adds less those of the first node that is of a kind of op."""

    def count(cost: NetworkCost) -> int:
        first = next((node.madds for node in cost.nodes if node.op == wanted.kind), 0)
        return cost.madds - first

    return count


def _norm_channels(cost: NetworkCost) -> int:
    """Channels of all batch norms: each has a weight and a bias."""
    return (cost.params - cost.params_without_bn) // 2


def _written(cost: NetworkCost, *kinds: str) -> int:
    return sum(node.outputs for node in cost.nodes if node.op in kinds)


MADDS = (
    Rule(PLAIN, "", lambda cost: cost.madds),
    Rule("no-stem", "without the first convolution", _without(Conv2d)),
    Rule("no-classifier", "without the classifier", _without(Linear)),
    Rule(
        "folded-bias",
        "with one addition per batch-norm channel",
        lambda cost: cost.madds + _norm_channels(cost),
        SAME_MODEL,
    ),
    Rule(
        "gate-products",
        "with the products within h-swish and of SE's channel scaling",
        lambda cost: cost.madds + _written(cost, "hard_swish", "multiply"),
        SAME_SOURCE,
    ),
    *(
        Rule(name, f"as {name} counts", lambda cost, name=name: cost.under(name).madds, SAME_MODEL)  # type: ignore[misc]
        for name in CONVENTIONS
        if name != "paper"
    ),
)
"""Ways to count multiply-adds; the plain one first."""

PARAMS = (
    Rule(PLAIN, "", lambda cost: cost.params),
    Rule("no-norm", "without batch norm", lambda cost: cost.params_without_bn),
    Rule("folded", "with batch norm folded into biases", lambda cost: cost.params_folded),
    Rule(
        "three-per-norm",
        "with three values per batch-norm channel (two are running statistics)",
        lambda cost: cost.params_without_bn + 3 * _norm_channels(cost),
    ),
    Rule(
        "four-per-norm",
        "with four values per batch-norm channel (two are running statistics)",
        lambda cost: cost.params_without_bn + 4 * _norm_channels(cost),
    ),
)
"""Ways to count parameters; the plain one first."""


@dataclass(frozen=True)
class Variant:
    """Another network that went by the same name.

    Attributes
    ----------
    name, text : str
        What it is called, and what it says, to be read after "the network".
    build : callable
        Makes its graph from a builder and a configuration; None where there is no such variant.
    """

    name: str
    text: str
    build: Callable[[Build, ModelConfig], Graph | None]


def _plain(build: Build, config: ModelConfig) -> Graph | None:
    return build(config)


class _FourfoldConfig(ModelConfig):
    """Channels are multiples of 4."""

    @property
    def conventions(self) -> Lineage:
        return replace(super().conventions, channels="divisible_4", stem="divisible_4")


def _fourfold(build: Build, config: ModelConfig) -> Graph | None:
    return build(_FourfoldConfig(**vars(config))) if config.family == "v2" else None


def _wide_head(build: Build, config: ModelConfig) -> Graph | None:
    if config.architecture != "mobilenet_v3_small":
        return None
    graph = build(config)
    (first, narrow), (last, final) = ((n, n.op) for n in graph.nodes if isinstance(n.op, Linear))
    hidden = narrow.out_features * 1280 // 1024
    changed = {
        first.name: replace(first, op=replace(narrow, out_features=hidden)),
        last.name: replace(last, op=replace(final, in_features=hidden)),
    }
    return replace(graph, nodes=tuple(changed.get(node.name, node) for node in graph.nodes))


def _early(build: Build, config: ModelConfig) -> Graph | None:
    graph = _wide_head(build, config)
    return graph and _later_stride(graph, 2)


def _later_stride(graph: Graph, index: int) -> Graph:
    """Move the stride of a strided depthwise convolution to the next one, which loses its residual."""
    layers = [(node, node.op) for node in graph.nodes if isinstance(node.op, DepthwiseConv2d)]
    at = [number for number, (_, op) in enumerate(layers) if op.stride != (1, 1)][index]
    (here, strided), (there, dense) = layers[at], layers[at + 1]
    changed = {
        here.name: replace(here, op=replace(strided, stride=(1, 1))),
        there.name: replace(there, op=replace(dense, stride=strided.stride)),
    }
    nodes = [changed.get(node.name, node) for node in graph.nodes]
    residuals = [node for node in nodes if node.block == there.block and isinstance(node.op, Add)]
    lost = {node.name: node.inputs[0] for node in residuals}
    return replace(graph, nodes=tuple(substitute([node for node in nodes if node.name not in lost], lost)))


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(PLAIN, "", _plain),
        Variant("multiples-of-4", "with channels in multiples of 4", _fourfold),
        Variant("wide-head", "with a head of 1280 instead of 1024", _wide_head),
        Variant(
            "early-revision",
            "with its third stride one block later and a head of 1280 instead of 1024",
            _early,
        ),
    )
}
"""Networks to try; the one that is meant first."""
