"""Every tensor of one forward pass, by name, with its statistics and its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np

from mininet.arguments import check_name
from mininet.errors import ArgumentError, UnknownNameError
from mininet.graph import INPUT, Graph, Result
from mininet.inspect.explain import explain
from mininet.inspect.explanation import Explanation
from mininet.inspect.table import figure, shape_text, text_lines
from mininet.inspect.trace_diff import ATOL, RTOL, TraceDiff, diff_traces
from mininet.ops.base import Array

HEADER = (
    *("name", "op", "shape", "min", "max", "mean", "std"),
    *("zeros", "sixes", "dead", "NaN", "Inf", "ms"),
)
SIX = 6.0
"""Where ReLU6 saturates: a value clipped by it is exactly that."""


@dataclass(frozen=True)
class Statistics:
    """What a tensor looks like.

    Attributes
    ----------
    min, max, mean, std : float
        Of its finite values; NaN if it has none.
    zeros, sixes : float
        Share of values that are exactly 0 and exactly 6 (saturated, after a ReLU6); 0 to 1.
    dead : float
        Share of channels that are 0 in every pixel of every image of the batch; 0 to 1.
    nan, inf : int
        How many values are not a number, and infinite.
    """

    min: float
    max: float
    mean: float
    std: float
    zeros: float
    sixes: float
    dead: float
    nan: int
    inf: int

    @classmethod
    def of(cls, value: Array) -> Statistics:
        """Statistics of an array (N, C, ...); of an empty one every share is NaN."""
        undefined = float("nan")
        finite = value[np.isfinite(value)]
        zero = value == 0
        dead = zero.all(axis=tuple(axis for axis in range(value.ndim) if axis != 1))
        return cls(
            min=float(finite.min()) if finite.size else undefined,
            max=float(finite.max()) if finite.size else undefined,
            mean=float(finite.mean(dtype=np.float64)) if finite.size else undefined,
            std=float(finite.std(dtype=np.float64)) if finite.size else undefined,
            zeros=float(zero.mean()) if value.size else undefined,
            sixes=float(np.mean(value == SIX)) if value.size else undefined,
            dead=float(dead.mean()) if value.size else undefined,
            nan=int(np.isnan(value).sum()),
            inf=int(np.isinf(value).sum()),
        )

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain numbers; None, which JSON knows, instead of NaN."""
        return {key: None if isnan(value) else value for key, value in vars(self).items()}

    def cells(self) -> tuple[str, ...]:
        """As text: four figures, three shares, two counts (empty for none)."""
        shares = (f"{share:.1%}" for share in (self.zeros, self.sixes, self.dead))
        counts = (f"{count:,}" if count else "" for count in (self.nan, self.inf))
        return (*map(figure, (self.min, self.max, self.mean, self.std)), *shares, *counts)


@dataclass(frozen=True, eq=False)
class Step:
    """One node of a trace: its value (N, C, H, W) or (N, F), and the seconds it took."""

    name: str
    op: str
    value: Array
    seconds: float

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the value, computed when first asked for."""
        return Statistics.of(self.value)

    def to_dict(self) -> dict[str, Any]:
        """All but the value itself, as plain numbers, lists and text."""
        about = {"name": self.name, "op": self.op, "shape": list(self.value.shape), "seconds": self.seconds}
        return {**about, "statistics": self.statistics.to_dict()}


class Trace(Mapping[str, Array]):
    """Ordered mapping from node name to the array it made; ``str()`` gives a table of statistics.

    A container's name (``"features.0"``) works too and stands for its last node. The arrays belong to
    the trace alone: no later call overwrites them.

    Attributes
    ----------
    steps : dict of str to Step
        Value, time and statistics by node name.
    input : float32 (N, C, H, W)
        A copy of what went in.

    Raises
    ------
    ArgumentError
        If the run has no value of its own for a node that is wanted (the plan fuses nodes).
    """

    def __init__(
        self, graph: Graph, image: Array, results: Iterable[Result], wanted: Sequence[str] | None = None
    ) -> None:
        self._graph = graph
        self.input = np.array(image)
        self.steps: dict[str, Step] = {}
        kept = None if wanted is None else set(wanted)
        for result in results:
            name = result.node.makes
            if kept is None or name in kept:
                self.steps[name] = Step(name, result.node.op.kind, result.value, result.seconds)
        absent = [name for name in wanted or () if name not in self.steps]
        if absent:
            raise ArgumentError(
                f"the plan makes no value of its own for {absent[0]!r}, which it merges into another step; "
                "trace with backend='kernels'"
            )

    def _resolve(self, name: str) -> str:
        return name if check_name("node", name) in self.steps else self._graph.resolve(name)

    def __getitem__(self, name: str) -> Array:
        return self.step(name).value

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self._resolve(name) in self.steps
        except UnknownNameError:
            return False

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a node or container, or ``default`` if the trace has none."""
        try:
            return self[name]
        except UnknownNameError:
            return default

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def step(self, name: str) -> Step:
        """Value, time and statistics of a node or container.

        Raises
        ------
        UnknownNameError
            If there is no such node, or the trace did not keep its value.
        """
        resolved = self._resolve(name)
        if resolved not in self.steps:
            raise UnknownNameError("node of this trace", name, self.steps)
        return self.steps[resolved]

    @property
    def seconds(self) -> float:
        """Time of all kept nodes together."""
        return sum(step.seconds for step in self.steps.values())

    def diff(self, other: Mapping[str, Array], rtol: float = RTOL, atol: float = ATOL) -> TraceDiff:
        """Compare with another trace, or with another framework's tensors under our names.

        See `diff_traces`; this trace's order says which node is the first beyond tolerance.
        """
        return diff_traces(self, other, rtol, atol)

    def explain(self, node: str, n: int = 0, c: int = 0, y: int = 0, x: int = 0) -> Explanation:
        """The products that sum to one value of this trace; see `mininet.inspect.explain.explain`."""
        return explain(self._graph, {INPUT: self.input, **self}, node, n, c, y, x)

    def to_dict(self) -> dict[str, Any]:
        """Shapes, times and statistics, without the values, for JSON."""
        nodes = [step.to_dict() for step in self.steps.values()]
        return {"name": self._graph.name, "input_shape": list(self.input.shape), "nodes": nodes}

    def __str__(self) -> str:
        rows = [
            (s.name, s.op, shape_text(s.value.shape), *s.statistics.cells(), f"{s.seconds * 1e3:.3f}")
            for s in self.steps.values()
        ]
        title = f"{self._graph.name}, input {shape_text(self.input.shape)}"
        return "\n".join([title, *text_lines(HEADER, rows, range(3, len(HEADER)))])
