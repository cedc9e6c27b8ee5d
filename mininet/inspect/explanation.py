"""What an explanation of one value holds: products, what is added, an activation; and how it prints."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Any, cast

import numpy as np

from mininet.inspect.table import figure, shape_text, text_lines
from mininet.ops.activation import activate
from mininet.ops.base import Array, Shape

HEADER = ("input", "at", "weight at", "input value", "weight", "product")
SHOWN = 64
"""Longest sum that is printed whole; of a longer one the largest products."""


@dataclass(frozen=True)
class Term:
    """One product.

    Attributes
    ----------
    source : str
        The node whose value goes in, or ``"input"``; ``"<node>.first"`` for what the first half of a fused
        node makes.
    at : tuple of int
        Where in it: (n, c, y, x) or (n, c). Rows and columns on padding lie outside the image.
    value : float
        The input value; 0 on padding.
    weight : float
        What it is multiplied by.
    weight_at : tuple of int
        Where in the node's ``weight``; empty for a factor that is no element of it.
    padding : bool
        Whether the window hangs over the border here, so that a zero stands for a pixel.
    """

    source: str
    at: Shape
    value: float
    weight: float
    weight_at: Shape = ()
    padding: bool = False

    @property
    def product(self) -> float:
        """Value times weight, in float64; 0 on padding."""
        return 0.0 if self.padding else self.value * self.weight


@dataclass(frozen=True)
class Explanation:
    """How one value came about: ``activation(sum of products + sum of addends)``. ``str()`` is a table.

    Attributes
    ----------
    node, op : str
        What was computed.
    at : tuple of int
        Where: (n, c, y, x) or (n, c).
    formula : str
        What the terms are.
    terms : tuple of Term
    addends : tuple of (str, float)
        What is added to the sum of products, by what it is.
    activation : str
        Applied at last; ``"identity"`` for none.
    traced : float
        The value that the run made.
    """

    node: str
    op: str
    at: Shape
    formula: str
    terms: tuple[Term, ...]
    addends: tuple[tuple[str, float], ...]
    activation: str
    traced: float

    @property
    def products(self) -> float:
        """Sum of all products, in float64."""
        return fsum(term.product for term in self.terms)

    @property
    def total(self) -> float:
        """Sum of products and addends."""
        return fsum([*(term.product for term in self.terms), *(value for _, value in self.addends)])

    @property
    def result(self) -> float:
        """The value, computed anew in float64."""
        return float(activate(self.activation, cast(Array, np.float64(self.total))))

    @property
    def error(self) -> float:
        """How far the traced float32 value is from `result`."""
        return abs(self.traced - self.result)

    @property
    def magnitude(self) -> float:
        """Sum of the absolute values of all summands: what the rounding of a sum is proportional to."""
        return fsum([*(abs(term.product) for term in self.terms), *(abs(value) for _, value in self.addends)])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        terms = [
            {**vars(t), "at": list(t.at), "weight_at": list(t.weight_at), "product": t.product}
            for t in self.terms
        ]
        return {
            "node": self.node,
            "op": self.op,
            "at": list(self.at),
            "formula": self.formula,
            "terms": terms,
            "addends": [{"what": what, "value": value} for what, value in self.addends],
            "total": self.total,
            "activation": self.activation,
            "result": self.result,
            "traced": self.traced,
        }

    def __str__(self) -> str:
        place = ", ".join(f"{axis}={i}" for axis, i in zip("ncyx", self.at, strict=False))
        shown = self.terms
        if len(shown) > SHOWN:
            largest = sorted(range(len(shown)), key=lambda i: -abs(shown[i].product))[:SHOWN]
            shown = tuple(shown[i] for i in sorted(largest))
        rows = [
            (
                t.source,
                shape_text(t.at),
                shape_text(t.weight_at) if t.weight_at else "",
                "padding" if t.padding else figure(t.value),
                figure(t.weight),
                figure(t.product),
            )
            for t in shown
        ]
        table = text_lines(HEADER, rows, (3, 4, 5))
        return "\n".join(
            [f"{self.node} ({self.op}) at {place}: {self.formula}", *table, *self._sums(len(shown))]
        )

    def _sums(self, shown: int) -> list[str]:
        omitted = f" (of which the {shown} largest are shown)" if shown < len(self.terms) else ""
        count = f"{len(self.terms)} products" if len(self.terms) != 1 else "1 product"
        lines = [f"sum of {count}{omitted}: {self.products:.7g}"]
        lines += [f"plus {what}: {value:.7g}" for what, value in self.addends]
        if self.addends:
            lines.append(f"total: {self.total:.7g}")
        if self.activation != "identity":
            lines.append(f"{self.activation}: {self.result:.7g}")
        return [*lines, f"traced value: {self.traced:.7g}, which differs by {self.error:.1e}"]
