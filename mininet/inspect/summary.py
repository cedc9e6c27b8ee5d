"""The table that says what a network is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from mininet.arguments import check_integer
from mininet.graph import Graph, Node
from mininet.inspect.cost import NetworkCost, count_cost
from mininet.inspect.table import markdown_lines, shape_text, text_lines
from mininet.ops.base import Op, Shape

HEADER = ("name", "op", "output (N, C, H, W)", "kernel", "params", "MAdds", "share")
NUMBERS = (4, 5, 6)
"""Columns of figures."""

MEASURED = ("running_mean", "running_var")
"""Weights that are measured, not learned: torch calls them buffers, Keras non-trainable."""


@dataclass(frozen=True)
class Row:
    """One node, or one container with all nodes below it.

    Attributes
    ----------
    name : str
        Dotted name.
    op : str
        Kind of op; for a container how many nodes it holds.
    output : tuple of int
        Shape (N, C, H, W) or (N, F) of what it yields.
    kernel : str
        ``3x3/2`` for a window of 3 by 3 at stride 2; of a container every window but 1x1, in order.
    params, buffers : int
        Learned values, and measured ones (running statistics of batch norms).
    madds : int
        Multiply-adds.
    share : float
        Of all multiply-adds of the network, 0 to 1.
    nodes : int
        How many nodes the row stands for.
    """

    name: str
    op: str
    output: Shape
    kernel: str
    params: int
    buffers: int
    madds: int
    share: float
    nodes: int = 1

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        share = f"{self.share:.1%}" if self.madds else ""
        madds = f"{self.madds:,}" if self.madds else ""
        params = f"{self.params:,}" if self.params else ""
        return self.name, self.op, shape_text(self.output), self.kernel, params, madds, share


@dataclass(frozen=True)
class Summary:
    """A network, or a part of one, as a table: ``str()`` prints it.

    Attributes
    ----------
    name : str
        Of the network.
    rows : tuple of Row
    cost : NetworkCost
        Of the whole network.
    node : str
        The node or container shown; empty for the whole network.
    """

    name: str
    rows: tuple[Row, ...]
    cost: NetworkCost
    node: str = ""

    @property
    def params(self) -> int:
        """Learned parameters of all rows: what torch's ``parameters()`` hold."""
        return sum(row.params for row in self.rows)

    @property
    def buffers(self) -> int:
        """Measured values of all rows: the running statistics of batch norms."""
        return sum(row.buffers for row in self.rows)

    @property
    def total_params(self) -> int:
        """Learned and measured values together: what Keras's ``count_params()`` counts."""
        return self.params + self.buffers

    @property
    def madds(self) -> int:
        """Multiply-adds of all rows."""
        return sum(row.madds for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        return {
            "name": self.name,
            "node": self.node,
            "input_shape": list(self.cost.input_shape),
            "convention": self.cost.convention,
            "madds": self.madds,
            "params": self.params,
            "buffers": self.buffers,
            "total_params": self.total_params,
            "nodes": [{**vars(row), "output": list(row.output)} for row in self.rows],
        }

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        import json  # not needed by `import mininet`

        return json.dumps(self.to_dict(), indent=indent)

    def to_markdown(self) -> str:
        """The table in Markdown, totals below."""
        table = markdown_lines(HEADER, [row.cells() for row in self.rows], NUMBERS)
        return "\n".join([f"**{self._title()}**", "", *table, "", *(f"- {line}" for line in self._totals())])

    def __str__(self) -> str:
        table = text_lines(HEADER, [row.cells() for row in self.rows], NUMBERS)
        return "\n".join([self._title(), *table, *self._totals()])

    def _title(self) -> str:
        part = f", {self.node}" if self.node else ""
        return f"{self.name}{part}, input {shape_text(self.cost.input_shape)}"

    def _totals(self) -> list[str]:
        share = f", {self.madds / max(self.cost.madds, 1):.1%} of the network" if self.node else ""
        return [
            f"parameters {self.params:,}",
            f"running statistics {self.buffers:,} (with the parameters {self.total_params:,})",
            f"multiply-adds {self.madds:,} (convention: {self.cost.convention}){share}",
        ]


def summarise(graph: Graph, input_shape: Shape, depth: int | None = None, node: str | None = None) -> Summary:
    """Make the table of a graph for one input shape.

    Parameters
    ----------
    graph : Graph
        With or without weights.
    input_shape : (N, C, H, W)
    depth : int, optional
        Show so many levels of dotted names, below ``node`` if one is given; what lies deeper is summed
        up in its container's row. By default every node has a row.
    node : str, optional
        Show only this node or container.

    Raises
    ------
    ArgumentError
        If the depth is below 1.
    UnknownNameError
        If there is no such node or container.
    ShapeError
        If the input does not fit the graph.
    """
    if depth is not None:
        depth = check_integer("depth", depth, least=1)
    if node is not None:
        graph.resolve(node)
    shapes = graph.infer_shapes(input_shape)
    cost = count_cost(graph, input_shape)
    madds = {each.name: each.madds for each in cost.nodes}
    rows = [_row(each, shapes[each.name], madds[each.name], cost.madds) for each in graph.nodes]
    if node is not None:
        rows = [row for row in rows if row.name == node or row.name.startswith(f"{node}.")]
    if depth is not None:
        rows = _collapsed(rows, depth + (node.count(".") + 1 if node else 0))
    return Summary(graph.name, tuple(rows), cost, node or "")


def _row(node: Node, output: Shape, madds: int, total: int) -> Row:
    sizes = {role: prod(shape) for role, shape in node.op.param_shapes().items()}
    buffers = sum(size for role, size in sizes.items() if role in MEASURED)
    return Row(
        node.name,
        node.op.kind,
        output,
        _kernel(node.op),
        sum(sizes.values()) - buffers,
        buffers,
        madds,
        madds / max(total, 1),
    )


def _collapsed(rows: Iterable[Row], levels: int) -> list[Row]:
    """One row for all rows whose names agree in so many levels."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(".".join(row.name.split(".")[:levels]), []).append(row)
    return [_sum(name, members) for name, members in groups.items()]


def _sum(name: str, members: list[Row]) -> Row:
    if len(members) == 1:
        return replace(members[0], name=name)
    windows = [row.kernel for row in members if row.kernel and not row.kernel.startswith("1x1")]
    return Row(
        name,
        f"{len(members)} nodes",
        members[-1].output,  # as the output of a torch module is that of its last child
        " ".join(windows),
        sum(row.params for row in members),
        sum(row.buffers for row in members),
        sum(row.madds for row in members),
        sum(row.share for row in members),
        len(members),
    )


def _kernel(op: Op) -> str:
    """``3x3/2`` for a window of 3 by 3 at stride 2; empty for ops without one."""
    if op.kind == "pointwise_conv2d":
        return "1x1"
    window = getattr(op, "kernel", None)
    if window is None:
        return ""
    rows, columns = getattr(op, "stride", (1, 1))
    stride = f"/{rows}" if rows == columns else f"/{rows}x{columns}"
    return f"{window[0]}x{window[1]}" + (stride if stride != "/1" else "")
