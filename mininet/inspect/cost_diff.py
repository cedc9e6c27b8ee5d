"""Where two counts of a network part, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mininet.inspect.table import text_lines


@dataclass(frozen=True)
class DiffLine:
    """One node, or one kind of op, that two counts value differently.

    Attributes
    ----------
    name : str
        Of the node; of the kind of op in `CostDiff.by_op`.
    op : str
        Kind of op.
    left, right : int
        The two counts; 0 where a network has no such node.
    left_rule, right_rule : str
        What each convention counts there, in words.
    nodes : int
        How many nodes the line sums.
    """

    name: str
    op: str
    left: int
    right: int
    left_rule: str
    right_rule: str
    nodes: int = 1

    @property
    def difference(self) -> int:
        """Right minus left."""
        return self.right - self.left


@dataclass(frozen=True)
class CostDiff:
    """The nodes that two counts value differently; empty, and false, if they agree everywhere.

    Attributes
    ----------
    left, right : str
        The two conventions.
    left_total, right_total : int
        Multiply-adds of the whole network, by each.
    lines : tuple of DiffLine
        In order of execution.
    """

    left: str
    right: str
    left_total: int
    right_total: int
    lines: tuple[DiffLine, ...]

    def __bool__(self) -> bool:
        return bool(self.lines)

    @property
    def difference(self) -> int:
        """Right minus left, of the whole network: the sum of all lines."""
        return self.right_total - self.left_total

    def by_op(self) -> tuple[DiffLine, ...]:
        """One line per kind of op, in order of first use."""
        groups: dict[tuple[str, str, str], list[DiffLine]] = {}
        for line in self.lines:
            groups.setdefault((line.op, line.left_rule, line.right_rule), []).append(line)
        return tuple(
            DiffLine(op, op, sum(m.left for m in group), sum(m.right for m in group), left, right, len(group))
            for (op, left, right), group in groups.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        return {
            "left": self.left,
            "right": self.right,
            "left_total": self.left_total,
            "right_total": self.right_total,
            "difference": self.difference,
            "lines": [{**vars(line), "difference": line.difference} for line in self.lines],
            "by_op": [{**vars(line), "difference": line.difference} for line in self.by_op()],
        }

    def __str__(self) -> str:
        rows = [_cells(line.name, line.left, line.right) for line in self.lines]
        rows.append(_cells("total", self.left_total, self.right_total))
        table = text_lines(("node", self.left, self.right, "difference"), rows, (1, 2, 3))
        why = [
            f"{line.op}, {line.nodes} node{'s' if line.nodes > 1 else ''}, {line.difference:+,}: "
            f"{self.left}: {line.left_rule or 'absent'}; {self.right}: {line.right_rule or 'absent'}"
            for line in self.by_op()
        ]
        return "\n".join([*table, *(["", *why] if why else [])])


def _cells(name: str, left: int, right: int) -> tuple[str, ...]:
    return name, f"{left:,}", f"{right:,}", f"{right - left:+,}"
