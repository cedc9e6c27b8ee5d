"""Bounds on the values of a network that was quantised: what its integers could hold, kept in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mininet.errors import UnknownNameError
from mininet.graph.graph import Graph, Node
from mininet.ops import Clip, Op, Relu, Relu6

Bounds = tuple[str, float, float]
"""Name of a node, and the least and the largest value that leaves it."""

_INSTEAD: dict[type[Op], tuple[float, float]] = {Relu: (0.0, float("inf")), Relu6: (0.0, 6.0)}
"""Activations that are a clip themselves, so that a narrower one takes their place."""


def insert_clips(graph: Graph, clips: Iterable[Bounds]) -> Graph:
    """The graph with bounded values.

    A ReLU or ReLU6 is replaced by a `Clip` to its own bounds and those given. Behind any other node comes a
    new one, called ``<name>.clip``, which is read in its place.

    Parameters
    ----------
    graph : Graph
    clips : iterable of (name, low, high)

    Raises
    ------
    UnknownNameError
        If there is no node of that name.
    """
    bounds = {name: (low, high) for name, low, high in clips}
    if not bounds:
        return graph
    for name in bounds:
        if name not in graph.names():
            raise UnknownNameError("node to clip", name, graph.names())
    nodes: list[Node] = []
    moved: dict[str, str] = {}
    for node in graph.nodes:
        node = replace(node, inputs=tuple(moved.get(source, source) for source in node.inputs))
        nodes.append(node)
        if node.name not in bounds:
            continue
        low, high = bounds[node.name]
        own = _INSTEAD.get(type(node.op))
        if own is not None:
            nodes[-1] = replace(node, op=Clip(max(low, own[0]), min(high, own[1])))
            continue
        moved[node.name] = f"{node.name}.clip"
        nodes.append(Node(moved[node.name], Clip(low, high), (node.name,), node.block))
    return replace(graph, nodes=tuple(nodes), outputs=tuple(moved.get(name, name) for name in graph.outputs))
