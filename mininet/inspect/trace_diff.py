"""Two traces side by side: the first node that differs is where a porting error sits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from mininet.arguments import check_mapping, check_number, check_numbers
from mininet.errors import ArgumentError, UnknownNameError
from mininet.inspect.table import figure, shape_text, text_lines
from mininet.ops.base import Array, Shape

RTOL, ATOL = 1e-4, 1e-6
"""Default tolerances: above what float32 sums in another order amount to, and below what another
epsilon, padding or order of layers does."""

HEADER = ("", "name", "shape", "max abs error", "rms error", "rms", "worst at")


@dataclass(frozen=True)
class NodeDiff:
    """How far two values of one node are apart.

    Attributes
    ----------
    name : str
    shape, other_shape : tuple of int
    ok : bool
        Whether they agree within tolerance.
    max_abs, rms_error : float
        Largest and root-mean-square difference; infinite where shapes differ or only one value is finite.
    rms : float
        Root-mean-square of the other value, the yardstick.
    worst : tuple of int
        Where the largest difference is.
    """

    name: str
    shape: Shape
    other_shape: Shape
    ok: bool
    max_abs: float
    rms_error: float
    rms: float
    worst: Shape

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, lists and text; None, which JSON knows, instead of infinity."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in plain.items()
        }

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        same = self.shape == self.other_shape
        shape = shape_text(self.shape) + ("" if same else f" and {shape_text(self.other_shape)}")
        errors = map(figure, (self.max_abs, self.rms_error, self.rms))
        return "" if self.ok else "!", self.name, shape, *errors, shape_text(self.worst) if same else ""


@dataclass(frozen=True)
class TraceDiff:
    """Two traces compared by name; ``str()`` names the first node beyond tolerance.

    Attributes
    ----------
    nodes : tuple of NodeDiff
        Every node that both have, in the order of the first trace.
    only_first, only_second : tuple of str
        Names that only one of them has.
    rtol, atol : float
        The tolerances used.
    """

    nodes: tuple[NodeDiff, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    rtol: float
    atol: float

    @property
    def first(self) -> NodeDiff | None:
        """The first node beyond tolerance, or None: whatever feeds it agrees, so the error is here."""
        return next((node for node in self.nodes if not node.ok), None)

    @property
    def ok(self) -> bool:
        """Whether all common nodes agree."""
        return self.first is None

    def __getitem__(self, name: str) -> NodeDiff:
        for node in self.nodes:
            if node.name == name:
                return node
        raise UnknownNameError("node of both traces", name, [node.name for node in self.nodes])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        return {
            "ok": self.ok,
            "first": None if self.first is None else self.first.name,
            "rtol": self.rtol,
            "atol": self.atol,
            "nodes": [node.to_dict() for node in self.nodes],
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
        }

    def __str__(self) -> str:
        beyond = sum(not node.ok for node in self.nodes)
        verdict = (
            f"{len(self.nodes)} nodes agree"
            if self.first is None
            else f"first beyond tolerance: {self.first.name} ({beyond} of {len(self.nodes)} nodes)"
        )
        table = text_lines(HEADER, [node.cells() for node in self.nodes], (3, 4, 5))
        alone = [
            f"only in the {which}: {', '.join(names)}"
            for which, names in (("first", self.only_first), ("second", self.only_second))
            if names
        ]
        return "\n".join([f"{verdict} (rtol {self.rtol:g}, atol {self.atol:g})", *table, *alone])


def diff_traces(
    first: Mapping[str, Array], second: Mapping[str, Array], rtol: float = RTOL, atol: float = ATOL
) -> TraceDiff:
    """Compare two traces by name.

    Parameters
    ----------
    first, second : Trace or mapping of str to array
        What two runs made: two networks, two backends, or a network and another framework's tensors
        under our names.
    rtol, atol : float
        A node agrees if ``rms(a - b) <= atol + rtol rms(b)`` over the whole tensor: rounding, which deep
        networks amplify in single elements, stays far below, and one pixel that is wrong by as much as
        its value stands out. Equal infinities agree, and so do two NaNs.

    Raises
    ------
    ArgumentError
        If no name is common, or a tolerance is negative or no number.
    """
    rtol, atol = check_number("rtol", rtol, least=0), check_number("atol", atol, least=0)
    first, second = check_mapping("first trace", first), check_mapping("second trace", second)
    common = [name for name in first if name in second]
    if not common:
        raise ArgumentError("the two traces have no node's name in common")
    return TraceDiff(
        tuple(_compare(name, first[name], second[name], rtol, atol) for name in common),
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
        rtol,
        atol,
    )


def _compare(name: str, a: Array, b: Array, rtol: float, atol: float) -> NodeDiff:
    a, b = (check_numbers(f"node {name!r}", value, np.float64) for value in (a, b))
    finite = b[np.isfinite(b)]
    rms = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    if a.shape != b.shape:
        return NodeDiff(name, a.shape, b.shape, False, float("inf"), float("inf"), rms, ())
    if not a.size:
        return NodeDiff(name, a.shape, b.shape, True, 0.0, 0.0, rms, ())
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(alike, 0.0, np.abs(a - b))
    error[~alike & ~(np.isfinite(a) & np.isfinite(b))] = np.inf
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
    rms_error = float(np.sqrt(np.mean(np.square(error))))
    within = rms_error <= atol + rtol * rms
    return NodeDiff(name, a.shape, b.shape, within, float(error.max()), rms_error, rms, worst)
