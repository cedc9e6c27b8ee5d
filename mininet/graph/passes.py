"""Rewrites of a graph into an equal, cheaper one. Each takes a Graph and returns a Graph.

A value that something outside still wants, because it is an output or has a second reader, is never
rewritten away. The rewritten node keeps the name of the node whose weights it holds, and remembers
whose value it makes (`Node.makes`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mininet.graph.graph import Graph, Node
from mininet.ops import (
    Add,
    BatchNorm,
    Conv2d,
    ConvDepthwise,
    DepthwiseConv2d,
    Dropout,
    ExpandDepthwise,
    Linear,
    Op,
    PointwiseConv2d,
)
from mininet.ops.activation import Activation
from mininet.ops.base import Array
from mininet.ops.conv import MOST_WINDOW_ROWS

Convolution = (Conv2d, DepthwiseConv2d, PointwiseConv2d)


class _Rewrite:
    """A graph being edited: nodes by name, single readers, and names that moved."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.params = dict(graph.params)
        self.moved: dict[str, str] = {}
        self._readers = graph.consumers()

    def only_reader(self, name: str) -> Node | None:
        """The node that alone reads a value, or None if it has several readers or is an output."""
        readers = self._readers[name]
        return readers[0] if len(readers) == 1 and name not in self.graph.outputs else None

    def source(self, node: Node, index: int = 0) -> Node | None:
        """The current node that makes an input, or None for the graph's input."""
        name = node.inputs[index]
        return self.nodes.get(self.current(name))

    def current(self, name: str) -> str:
        """What a value is called by now."""
        return self.moved.get(name, name)

    def borrow(self, node: Node, role: str, source: Node) -> None:
        """Make the weights of ``source`` those of ``node`` under ``<role>.``."""
        for kind in ("weight", "bias"):
            if f"{source.name}.{kind}" in self.params:
                self.params[f"{node.name}.{role}.{kind}"] = self.params[f"{source.name}.{kind}"]

    def rename(self, source: Node, place: Node, merged: Node) -> None:
        """Put ``merged`` where ``place`` was and remove ``source``, whose name it keeps."""
        position = list(self.nodes)
        nodes = {name: self.nodes[name] for name in position if name not in (source.name, place.name)}
        at = [name for name in position if name != source.name].index(place.name)
        items = list(nodes.items())
        self.nodes = dict([*items[:at], (source.name, merged), *items[at:]])
        self.moved[place.name] = source.name

    def drop(self, node: Node, in_favour_of: str) -> None:
        """Remove a node; whoever read it reads another value instead."""
        del self.nodes[node.name]
        self.moved[node.name] = self.moved.get(in_favour_of, in_favour_of)

    def done(self) -> Graph:
        nodes = tuple(
            replace(node, inputs=tuple(self.moved.get(name, name) for name in node.inputs))
            for node in self.nodes.values()
        )
        outputs = tuple(self.moved.get(name, name) for name in self.graph.outputs)
        graph = replace(self.graph, nodes=nodes, outputs=outputs)
        wanted = graph.param_shapes()
        return graph.with_params({name: value for name, value in self.params.items() if name in wanted})


def fold_batchnorm(graph: Graph) -> Graph:
    """Merge every batch norm that follows a convolution into that convolution.

    ``(conv(x, W) + b - mean) s + beta = conv(x, W s) + (b - mean) s + beta`` with ``s = gamma /
    sqrt(var + eps)``; computed in float64 and rounded once.
    """
    edit = _Rewrite(graph)
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            continue
        conv = edit.source(node)
        if conv is None or not isinstance(conv.op, Convolution) or edit.only_reader(node.inputs[0]) is None:
            continue
        if conv.op.activation != "identity" or _adds_residual(conv.op):
            continue
        edit.params.update(_folded_params(conv, node, edit.params))
        merged = replace(conv.op, bias=True, activation=node.op.activation)
        edit.nodes[conv.name] = replace(conv, op=merged, fused=node.makes)
        edit.drop(node, conv.name)
    return edit.done()


def _adds_residual(op: Op) -> bool:
    return isinstance(op, PointwiseConv2d) and op.residual


def _folded_params(conv: Node, norm: Node, params: dict[str, Array]) -> dict[str, Array]:
    assert isinstance(norm.op, BatchNorm)
    if not params:
        return {}  # a graph of shapes alone
    old, stats = conv.select(params), norm.select(params)
    scale = norm.op.scale(stats)
    shift = old["bias"].astype(np.float64) if "bias" in old else 0.0
    bias = (shift - stats["running_mean"]) * scale + stats["bias"]
    weight = old["weight"] * scale[:, None, None, None]
    return {
        f"{conv.name}.weight": weight.astype(np.float32),
        f"{conv.name}.bias": bias.astype(np.float32),
    }


def fuse_activation(graph: Graph) -> Graph:
    """Let the op before an activation apply it while the result is still in a register."""
    edit = _Rewrite(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Activation):
            continue
        before = edit.source(node)
        if before is None or not isinstance(before.op, (*Convolution, BatchNorm, Linear, Add)):
            continue
        if before.op.activation != "identity" or edit.only_reader(node.inputs[0]) is None:
            continue
        if _adds_residual(before.op):  # the activation would come before the sum
            continue
        merged = replace(before.op, activation=node.op.kind)
        edit.nodes[before.name] = replace(before, op=merged, fused=node.makes)
        edit.drop(node, before.name)
    return edit.done()


def fuse_depthwise(graph: Graph) -> Graph:
    """Make a convolution and the depthwise one that alone reads it one op: expansions, the first layer."""
    edit = _Rewrite(graph)
    for node in graph.nodes:
        depthwise = node.op
        if not isinstance(depthwise, DepthwiseConv2d) or edit.only_reader(node.inputs[0]) is None:
            continue
        source = edit.source(node)
        if source is None or not depthwise.bias or depthwise.kernel[0] > MOST_WINDOW_ROWS:
            continue
        op: Op
        if isinstance(source.op, PointwiseConv2d) and source.op.bias and not source.op.residual:
            op = ExpandDepthwise(source.op, depthwise)
        elif isinstance(source.op, Conv2d) and source.op.bias and source.op.groups == 1:
            op = ConvDepthwise(source.op, depthwise)
        else:
            continue
        edit.borrow(node, "first", source)
        edit.borrow(node, "depthwise", node)
        edit.nodes[node.name] = replace(node, op=op, inputs=source.inputs)
        edit.drop(source, node.name)
    return edit.done()


def fuse_residual(graph: Graph) -> Graph:
    """Let a linear 1x1 convolution add the residual to its result."""
    edit = _Rewrite(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Add) or node.op.activation != "identity":
            continue
        for index in (1, 0):
            source = edit.source(node, index)
            other = edit.current(node.inputs[1 - index])
            if source is None or not isinstance(source.op, PointwiseConv2d) or source.op.residual:
                continue
            if source.op.activation != "identity" or edit.only_reader(node.inputs[index]) is None:
                continue
            op = replace(source.op, residual=True)
            merged = replace(source, op=op, inputs=(*source.inputs, other), fused=node.makes)
            # The sum takes the place of the add, where both operands are known to be there.
            edit.rename(source, node, merged)
            break
    return edit.done()


def drop_identity(graph: Graph) -> Graph:
    """Leave out dropout, which does nothing at inference."""
    edit = _Rewrite(graph)
    for node in graph.nodes:
        if isinstance(node.op, Dropout) and node.name not in graph.outputs:
            edit.drop(node, node.inputs[0])
    return edit.done()


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    drop_identity,
    fold_batchnorm,
    fuse_activation,
    fuse_residual,
    fuse_depthwise,
)
"""What the plan applies, in this order."""
