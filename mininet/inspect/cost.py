"""Multiply-adds, parameters and memory traffic as exact integers, per node, block, op and network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

from mininet.arguments import check_choice
from mininet.errors import UnknownNameError
from mininet.graph import Graph, Node
from mininet.graph.passes import fold_batchnorm
from mininet.inspect.conventions import CONVENTIONS, Convention, Site, code_for, forms
from mininet.inspect.cost_diff import CostDiff, DiffLine
from mininet.inspect.table import shape_text, text_lines
from mininet.ops import BatchNorm
from mininet.ops.base import Shape

BUFFERS = ("running_mean", "running_var")
"""Weights that are measured, not learned: no parameters."""

FLOAT32 = 4
"""Bytes of one value."""

GROUPINGS = ("block", "op", "node")
"""What a line of a table can be."""


@dataclass(frozen=True)
class NodeCost:
    """The cost of one node, or of several together.

    Attributes
    ----------
    name, op, block : str
        ``op`` and ``block`` are empty where several are summed.
    madds : int
        Multiply-adds, as the convention counts them.
    params : int
        Learned values, batch norm's two per channel among them; running statistics are not learned.
    outputs : int
        Values written (activations).
    params_without_bn : int
        The same without batch norm's.
    params_folded : int
        The same after `mininet.graph.passes.fold_batchnorm`: batch norms are gone, convolutions have
        biases.
    bytes_read, bytes_written : int
        float32 traffic of the node on its own (as ``backend="kernels"`` runs it): each input, weight and
        running statistic read once, each output written once.
    rule : str
        What the convention counts here, in words.
    """

    name: str
    op: str
    block: str
    madds: int
    params: int
    outputs: int
    params_without_bn: int = 0
    params_folded: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    rule: str = ""

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: multiply-adds per byte read or written."""
        return _intensity(self.madds, self.bytes_read, self.bytes_written)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text, for JSON."""
        return {**vars(self), "intensity": self.intensity}


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network for one input shape. ``str()`` prints it by block.

    Attributes
    ----------
    input_shape : (N, C, H, W)
    convention : str
    nodes : tuple of NodeCost
        In order of execution.
    name : str
        The network's.
    """

    input_shape: Shape
    convention: str
    nodes: tuple[NodeCost, ...]
    name: str = ""
    _count: Callable[[str], NetworkCost] | None = field(default=None, repr=False, compare=False)

    @property
    def madds(self) -> int:
        """Multiply-adds of the whole network."""
        return sum(node.madds for node in self.nodes)

    @property
    def params(self) -> int:
        """Learned parameters of the whole network."""
        return sum(node.params for node in self.nodes)

    @property
    def params_without_bn(self) -> int:
        """Learned parameters without batch norm's."""
        return sum(node.params_without_bn for node in self.nodes)

    @property
    def params_folded(self) -> int:
        """Parameters once batch norms are folded into the convolutions before them."""
        return sum(node.params_folded for node in self.nodes)

    @property
    def outputs(self) -> int:
        """Values written by all nodes together."""
        return sum(node.outputs for node in self.nodes)

    @property
    def bytes_read(self) -> int:
        """Bytes that all nodes together read, each on its own."""
        return sum(node.bytes_read for node in self.nodes)

    @property
    def bytes_written(self) -> int:
        """Bytes that all nodes together write, each on its own."""
        return sum(node.bytes_written for node in self.nodes)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: multiply-adds per byte read or written."""
        return _intensity(self.madds, self.bytes_read, self.bytes_written)

    def by_block(self) -> dict[str, NodeCost]:
        """Sums per building block, in order."""
        return self._grouped(lambda node: node.block)

    def by_op(self) -> dict[str, NodeCost]:
        """Sums per kind of op, in order of first use."""
        return self._grouped(lambda node: node.op)

    def under(self, convention: str) -> NetworkCost:
        """The same network and input, counted by another convention.

        Raises
        ------
        UnknownNameError
            If there is no such convention.
        """
        if self._count is None:
            raise UnknownNameError("counting convention of this record", convention, (self.convention,))
        return self._count(convention)

    def diff(self, other: NetworkCost | str) -> CostDiff:
        """Where this count and another part, node by node.

        Parameters
        ----------
        other : NetworkCost or str
            A count of this or another network (nodes are matched by name), or the name of a convention
            to count this network by.
        """
        right = self.under(other) if isinstance(other, str) else other
        ours = {node.name: node for node in self.nodes}
        theirs = {node.name: node for node in right.nodes}
        lines = [_line(name, ours.get(name), theirs.get(name)) for name in {**ours, **theirs}]
        parting = tuple(line for line in lines if line.difference)
        return CostDiff(self.convention, right.convention, self.madds, right.madds, parting)

    def _grouped(self, key: Callable[[NodeCost], str]) -> dict[str, NodeCost]:
        groups: dict[str, list[NodeCost]] = {}
        for node in self.nodes:
            groups.setdefault(key(node), []).append(node)
        return {name: _summed(name, members) for name, members in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        totals = ("madds", "params", "params_without_bn", "params_folded", "outputs", "bytes_read")
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "convention": self.convention,
            **{total: getattr(self, total) for total in (*totals, "bytes_written", "intensity")},
            "nodes": [node.to_dict() for node in self.nodes],
        }

    def table(self, by: str = "block") -> str:
        """The cost as text.

        Parameters
        ----------
        by : {"block", "op", "node"}
            What a line is.

        Raises
        ------
        UnknownNameError
            If it is none of them.
        """
        if by not in GROUPINGS:
            raise UnknownNameError("grouping", by, GROUPINGS)
        groups = {"block": self.by_block, "op": self.by_op}
        lines = groups[by]() if by in groups else {node.name: node for node in self.nodes}
        head = (by, "multiply-adds", "share", "params", "outputs", "MB moved", "MAdds/byte")
        total = _summed("total", list(self.nodes))
        rows = [self._row(name, each) for name, each in lines.items()]
        rows.append(self._row("total", total))
        return "\n".join(
            [
                f"{self.name}, input {shape_text(self.input_shape)}, convention {self.convention}",
                *text_lines(head, rows, range(1, len(head))),
                f"convention: {CONVENTIONS[self.convention].about}",
                f"parameters: {self.params:,} with batch norm, {self.params_without_bn:,} without, "
                f"{self.params_folded:,} with it folded",
            ]
        )

    def _row(self, name: str, cost: NodeCost) -> tuple[str, ...]:
        moved = (cost.bytes_read + cost.bytes_written) / 1e6
        share = cost.madds / max(self.madds, 1)
        return (
            name,
            f"{cost.madds:,}",
            f"{share:.1%}",
            f"{cost.params:,}",
            f"{cost.outputs:,}",
            f"{moved:.3f}",
            f"{cost.intensity:.2f}",
        )

    def __str__(self) -> str:
        return self.table()


def count_cost(
    graph: Graph, input_shape: Shape, convention: str = "paper", lineage: str = "torchvision"
) -> NetworkCost:
    """Count a graph for one input shape (N, C, H, W); weights are not needed and not touched.

    Parameters
    ----------
    graph : Graph
        As built: the tools' conventions know no fused ops.
    input_shape : (N, C, H, W)
    convention : str
        One of `mininet.inspect.conventions.CONVENTIONS`.
    lineage : str
        Whose torch code a tool's convention imagines being run on, timm's or torchvision's: they
        write batch norm and pooling differently, and tools see that. V1 is always timm's.

    Raises
    ------
    UnknownNameError
        If there is no such convention.
    ShapeError
        If the input does not fit the graph.
    """
    check_choice("counting convention", convention, CONVENTIONS)
    rules = CONVENTIONS[convention]
    shapes = graph.infer_shapes(input_shape)
    written = forms(graph, code_for(graph.name, lineage))
    folded = {node.name: _learned(node) for node in fold_batchnorm(graph.with_params({})).nodes}
    nodes = tuple(
        _node_cost(rules, node, shapes, written[node.name], folded.get(node.name, 0)) for node in graph.nodes
    )
    return NetworkCost(
        tuple(input_shape),
        convention,
        nodes,
        graph.name,
        lambda other: count_cost(graph, input_shape, other, lineage),
    )


def _node_cost(
    convention: Convention, node: Node, shapes: dict[str, Shape], written: str, folded: int
) -> NodeCost:
    inputs = tuple(shapes[name] for name in node.inputs)
    output = shapes[node.name]
    rule = convention.rule_for(node.op)
    learned = _learned(node)
    weights = sum(map(prod, node.op.param_shapes().values()))
    return NodeCost(
        node.name,
        node.op.kind,
        node.block,
        rule.count(Site(node.op, inputs, output, written)),
        learned,
        prod(output),
        params_without_bn=0 if isinstance(node.op, BatchNorm) else learned,
        params_folded=folded,
        bytes_read=FLOAT32 * (sum(map(prod, inputs)) + weights),
        bytes_written=FLOAT32 * prod(output),
        rule=rule.text,
    )


def _learned(node: Node) -> int:
    return sum(prod(shape) for role, shape in node.op.param_shapes().items() if role not in BUFFERS)


def _summed(name: str, members: list[NodeCost]) -> NodeCost:
    """Several costs as one; what they do not share is left empty."""

    def shared(values: set[str]) -> str:
        return values.pop() if len(values) == 1 else ""

    counts = ("params_without_bn", "params_folded", "bytes_read", "bytes_written")
    return NodeCost(
        name,
        shared({m.op for m in members}),
        shared({m.block for m in members}),
        sum(m.madds for m in members),
        sum(m.params for m in members),
        sum(m.outputs for m in members),
        **{count: sum(getattr(m, count) for m in members) for count in counts},
        rule=shared({m.rule for m in members}),
    )


def _line(name: str, left: NodeCost | None, right: NodeCost | None) -> DiffLine:
    known = left or right
    assert known is not None
    return DiffLine(
        name,
        known.op,
        left.madds if left else 0,
        right.madds if right else 0,
        left.rule if left else "",
        right.rule if right else "",
    )


def _intensity(madds: int, read: int, written: int) -> float:
    return madds / max(read + written, 1)
