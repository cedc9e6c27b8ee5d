"""A network as data: an ordered tuple of named nodes, each one op over earlier values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mininet.arguments import check_name
from mininet.errors import GraphError, ShapeError, UnknownNameError
from mininet.ops.base import Array, Op, Shape

INPUT = "input"
"""Name of the value that every graph starts from."""


@dataclass(frozen=True)
class Node:
    """One application of an op.

    Attributes
    ----------
    name : str
        Unique dotted name; its weights are called ``<name>.<role>``.
    op : Op
        What is done.
    inputs : tuple of str
        Names of earlier nodes, or ``"input"``.
    block : str
        The building block it belongs to, for tables by block.
    fused : str
        Name of the last of the later nodes that a pass merged into this one; empty for none.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    block: str = ""
    fused: str = field(default="", compare=False)

    @property
    def makes(self) -> str:
        """Whose value this node makes: its own, or that of the node merged into it."""
        return self.fused or self.name

    def param_shapes(self) -> dict[str, Shape]:
        """Shape of each weight of this node, by its full name."""
        return {f"{self.name}.{role}": shape for role, shape in self.op.param_shapes().items()}

    def select(self, params: Mapping[str, Array]) -> dict[str, Array]:
        """This node's weights by role, out of the graph's weights by full name."""
        chosen = {}
        for role, shape in self.op.param_shapes().items():
            name = f"{self.name}.{role}"
            if name not in params:
                raise GraphError(f"node {self.name!r} ({self.op.kind}) has no weight {name!r}")
            if params[name].shape != shape:
                raise GraphError(f"weight {name!r}: expected shape {shape}, got {params[name].shape}")
            chosen[role] = params[name]
        return chosen


@dataclass(frozen=True)
class Graph:
    """An immutable network: passes take one and return another.

    Attributes
    ----------
    name : str
        What it is called in print.
    in_channels : int
        Channels of the one input, ``"input"``, of shape (N, in_channels, H, W).
    nodes : tuple of Node
        In an order in which every node comes after its inputs.
    outputs : tuple of str
        Names of the values that a run returns.
    params : mapping of str to array
        Weights by full name; may be empty while only shapes and costs are asked for.

    Raises
    ------
    GraphError
        If a name stands twice, an input is not made before it is used, an op gets the wrong number
        of inputs, or an output does not exist.
    """

    name: str
    in_channels: int
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {INPUT}
        for node in self.nodes:
            if node.name in known:
                raise GraphError(f"graph {self.name!r}: the name {node.name!r} stands twice")
            if len(node.inputs) != node.op.arity:
                raise GraphError(
                    f"node {node.name!r}: {node.op.kind} takes {node.op.arity} inputs, got {len(node.inputs)}"
                )
            for source in node.inputs:
                if source not in known:
                    raise GraphError(f"node {node.name!r} reads {source!r}, which no earlier node makes")
            known.add(node.name)
        for output in self.outputs:
            if output not in known:
                raise GraphError(f"graph {self.name!r}: output {output!r} is made by no node")

    def names(self) -> list[str]:
        """Names of all nodes, in order of execution."""
        return [node.name for node in self.nodes]

    def __getitem__(self, name: str) -> Node:
        resolved = self.resolve(name)
        return next(node for node in self.nodes if node.name == resolved)

    def resolve(self, name: str) -> str:
        """Name of the node that makes the value called ``name``.

        A container (``"features.0"``, ``"features"``) stands for the last node below it, as the
        output of a torch module is that of its last child.

        Raises
        ------
        UnknownNameError
            If neither a node nor a container is called that.
        """
        check_name("node", name)
        inside = [node.name for node in self.nodes if node.name == name or node.name.startswith(f"{name}.")]
        if name in inside:
            return name
        if not inside:
            raise UnknownNameError("node", name, self.names())
        return inside[-1]

    def param_shapes(self) -> dict[str, Shape]:
        """Shape of every weight by full name, in the order of a torch state dict."""
        return {name: shape for node in self.nodes for name, shape in node.param_shapes().items()}

    def infer_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Shape of every value, ``"input"`` included, for one input shape (N, C, H, W).

        Raises
        ------
        ShapeError
            If the input does not fit; the message names the node at which it fails.
        """
        if len(input_shape) != 4 or input_shape[1] != self.in_channels:
            raise ShapeError(
                f"{self.name}: expected an input of shape (N, {self.in_channels}, H, W), "
                f"got {tuple(input_shape)}"
            )
        shapes: dict[str, Shape] = {INPUT: tuple(input_shape)}
        for node in self.nodes:
            try:
                shapes[node.name] = node.op.infer_shape(*(shapes[source] for source in node.inputs))
            except ShapeError as error:
                where = f"node {node.name!r}, for a network input of {tuple(input_shape)}"
                raise ShapeError(f"{where}: {error}") from None
        return shapes

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each value, by its name."""
        readers: dict[str, list[Node]] = {INPUT: [], **{node.name: [] for node in self.nodes}}
        for node in self.nodes:
            for source in node.inputs:
                readers[source].append(node)
        return readers

    def upto(self, *names: str) -> Graph:
        """The smallest graph that still makes these values, which become its outputs."""
        outputs = tuple(self.resolve(name) for name in names)
        needed = set(outputs)
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return replace(self, nodes=tuple(n for n in self.nodes if n.name in needed), outputs=outputs)

    def with_params(self, params: Mapping[str, Array]) -> Graph:
        """The same graph over other weights."""
        return replace(self, params=params)

    def __str__(self) -> str:
        lines = [f"graph {self.name}(input: {self.in_channels} channels)"]
        for node in self.nodes:
            described = node.op.describe()
            arguments = ", ".join(node.inputs) + (f"; {described}" if described else "")
            lines.append(f"  {node.name} = {node.op.kind}({arguments})")
        return "\n".join([*lines, f"  return {', '.join(self.outputs)}"])


class GraphBuilder:
    """Collects nodes in order; ``add`` returns the new node's name, to be the next one's input."""

    def __init__(self, name: str, in_channels: int) -> None:
        self.name = name
        self.in_channels = in_channels
        self.nodes: list[Node] = []
        self.block = ""

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node to the current ``block`` and return its name."""
        self.nodes.append(Node(name, op, inputs, self.block))
        return name

    def build(self, *outputs: str) -> Graph:
        """The finished, validated graph."""
        return Graph(self.name, self.in_channels, tuple(self.nodes), outputs)


def substitute(nodes: Iterable[Node], renamed: Mapping[str, str], **changes: Any) -> list[Node]:
    """Nodes whose inputs follow ``renamed`` (old value name to new), other fields kept."""
    return [
        replace(node, inputs=tuple(renamed.get(source, source) for source in node.inputs), **changes)
        for node in nodes
    ]
