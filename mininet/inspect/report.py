"""One run of a network as a report: a page of HTML to click through, a table, or plain data.

`mininet.reporting.report_on` makes one from a network and a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.graph import INPUT, Graph, Node
from mininet.inspect.cost import NetworkCost
from mininet.inspect.formula_text import Comparison, Formula, compare_separable, formula_of, kind_of
from mininet.inspect.pictures import Maps, channel_maps, histogram, is_image, thumbnail, tile_side
from mininet.inspect.png import data_uri, encode_png
from mininet.inspect.table import shape_text, text_lines
from mininet.inspect.trace import Statistics, Trace
from mininet.ops.base import Array, Shape

FOLDER = Path(__file__).parent
BLOCK_HEADER = ("block", "what", "output", "MAdds", "share", "params", "ms", "separable", "full", "ratio")
NODE_HEADER = (
    *("node", "op", "output", "formula", "share", "params", "ms"),
    *("min", "max", "mean", "std", "zeros", "sixes", "dead"),
)


@dataclass(frozen=True)
class NodeReport:
    """One node: what it computes, what that costs, what came out.

    Attributes
    ----------
    name, op : str
    inputs : tuple of (str, shape)
        What it reads.
    output : tuple of int
        Shape (N, C, H, W) or (N, F).
    attributes : str
        Of the op, where they differ from their defaults.
    formula : Formula
    madds, params : int
    share : float
        Of the network's multiply-adds, 0 to 1.
    seconds : float
    statistics : Statistics
    histogram : dict
        See `mininet.inspect.pictures.histogram`.
    maps : Maps or None
        Channels as pictures, where there is more than one pixel.
    values : tuple of float
        One value per channel, where there is only one pixel.
    gate : bool
        Whether those are the gates of a squeeze-and-excite.
    """

    name: str
    op: str
    inputs: tuple[tuple[str, Shape], ...]
    output: Shape
    attributes: str
    formula: Formula
    madds: int
    params: int
    share: float
    seconds: float
    statistics: Statistics
    histogram: dict[str, Any] = field(repr=False)
    maps: Maps | None = field(repr=False)
    values: tuple[float, ...] = field(repr=False)
    gate: bool

    def to_dict(self, pictures: bool) -> dict[str, Any]:
        """As plain numbers and text; without pictures neither maps nor single values."""
        shown = {
            **vars(self),
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs],
            "output": list(self.output),
            "formula": vars(self.formula),
            "statistics": self.statistics.to_dict(),
            "maps": self.maps and self.maps.to_dict(),
            "values": [float(f"{value:.4g}") if np.isfinite(value) else None for value in self.values],
        }
        return shown if pictures else {key: shown[key] for key in shown if key not in ("maps", "values")}

    def cells(self) -> tuple[str, ...]:
        """As text."""
        share = f"{self.share:.1%}" if self.madds else ""
        params = f"{self.params:,}" if self.params else ""
        about = self.name, self.op, shape_text(self.output), self.formula.numbers or self.formula.text
        return *about, share, params, _milliseconds(self.seconds), *self.statistics.cells()[:7]


@dataclass(frozen=True)
class BlockReport:
    """One building block: its nodes, and what its convolution would cost the other way.

    Attributes
    ----------
    name, kind : str
        ``kind`` in words, for example ``"inverted residual, skip"``.
    input, output : tuple of int
        Shapes of its first input and its last output.
    madds, params : int
        Exact.
    share : float
        Of the network's multiply-adds, 0 to 1.
    seconds : float
        Of its nodes.
    comparison : Comparison or None
        Depthwise separable against full convolution.
    thumbnail : str
        Of its output, as a data URI; empty where that has no pixels.
    nodes : tuple of NodeReport
    """

    name: str
    kind: str
    input: Shape
    output: Shape
    madds: int
    params: int
    share: float
    seconds: float
    comparison: Comparison | None
    thumbnail: str = field(repr=False)
    nodes: tuple[NodeReport, ...] = field(repr=False)

    def to_dict(self, pictures: bool) -> dict[str, Any]:
        """As plain numbers and text."""
        shown = {
            **vars(self),
            "input": list(self.input),
            "output": list(self.output),
            "comparison": self.comparison and self.comparison.to_dict(),
            "nodes": [node.to_dict(pictures) for node in self.nodes],
        }
        return shown if pictures else {key: shown[key] for key in shown if key != "thumbnail"}

    def cells(self) -> tuple[str, ...]:
        """As text; the two forms of its convolution last, the one that runs with a star."""
        about = self.name, self.kind, shape_text(self.output), f"{self.madds:,}", f"{self.share:.1%}"
        counts = f"{self.params:,}", _milliseconds(self.seconds)
        c = self.comparison
        if c is None:
            return *about, *counts, "", "", ""
        forms = (f"{getattr(c, form):,}{'*' if c.runs == form else ' '}" for form in ("separable", "full"))
        return *about, *counts, *forms, f"{float(c.ratio):.1%}"


@dataclass(frozen=True)
class Report:
    """A network at work on one picture. ``str()`` is a table, ``to_html()`` a page.

    Attributes
    ----------
    name : str
        Of the network.
    about : dict of str to str
        What else there is to say of it, by title.
    source : str
        What the input is called.
    input_shape : (1, C, H, W)
    picture : str
        The input as the network got it, as a data URI.
    top : tuple of (str, float)
        Most probable classes with their probabilities, best first.
    madds, params : int
        Exact, by the convention of the papers.
    seconds : float
        Of all nodes, each by its own kernel.
    plan_seconds : float
        Of one call of the network, which merges nodes.
    blocks : tuple of BlockReport
    """

    name: str
    about: Mapping[str, str]
    source: str
    input_shape: Shape
    picture: str = field(repr=False)
    top: tuple[tuple[str, float], ...]
    madds: int
    params: int
    seconds: float
    plan_seconds: float
    blocks: tuple[BlockReport, ...] = field(repr=False)

    def to_dict(self, pictures: bool = False) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON; pictures as data URIs."""
        shown = {
            **vars(self),
            "about": dict(self.about),
            "input_shape": list(self.input_shape),
            "top": [{"label": label, "probability": share} for label, share in self.top],
            "blocks": [block.to_dict(pictures) for block in self.blocks],
        }
        return shown if pictures else {key: shown[key] for key in shown if key != "picture"}

    def to_html(self) -> str:
        """One page with everything in it, that no network is needed for."""
        import html
        import json

        parts = {
            "title": html.escape(f"{self.name}: {self.source}"),
            "style": (FOLDER / "report.css").read_text(encoding="utf-8"),
            "script": (FOLDER / "report.js").read_text(encoding="utf-8"),
            # Within a script element nothing is an escape, so a label must not be able to end it.
            "data": json.dumps(_finite(self.to_dict(pictures=True)), separators=(",", ":")).replace(
                "<", "\\u003c"
            ),
        }
        page = (FOLDER / "report_template.html").read_text(encoding="utf-8")
        pieces = page.split("@@")  # text and names of parts by turns
        return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))

    def __str__(self) -> str:
        nodes = [node.cells() for block in self.blocks for node in block.nodes]
        blocks = [block.cells() for block in self.blocks]
        return "\n".join(
            [
                f"{self.name}, input {self.source} {shape_text(self.input_shape)}",
                *(f"{title.lower()}: {text}" for title, text in self.about.items()),
                "",
                *text_lines(BLOCK_HEADER, blocks, range(3, len(BLOCK_HEADER))),
                "separable, full: multiply-adds as depthwise and pointwise and as one full convolution, "
                "* what runs; ratio: separable over full, 1/N + 1/(kh kw)",
                "",
                *text_lines(NODE_HEADER, nodes, range(4, len(NODE_HEADER))),
                f"multiply-adds {self.madds:,} (convention: paper), parameters {self.params:,}",
                f"time {_milliseconds(self.seconds)} ms node by node, "
                f"{_milliseconds(self.plan_seconds)} ms with nodes merged",
            ]
        )


def make_report(
    graph: Graph,
    trace: Trace,
    cost: NetworkCost,
    *,
    seconds: Mapping[str, float],
    plan_seconds: float,
    top: Sequence[tuple[str, float]],
    picture: NDArray[np.uint8],
    source: str = "",
    about: Mapping[str, str] | None = None,
) -> Report:
    """Put a report together.

    Parameters
    ----------
    graph : Graph
        As built.
    trace : Trace
        Every node of it, for one image.
    cost : NetworkCost
        For the same input.
    seconds : mapping of str to float
        Time of each node.
    plan_seconds : float
        Time of a whole call.
    top : sequence of (str, float)
        Classes, the best first.
    picture : uint8 (H, W, 1) or (H, W, 3)
        What the network got, for the eye.
    source : str
        What the input is called.
    about : mapping of str to str, optional
        More to say of the network, by title.
    """
    shapes = graph.infer_shapes(cost.input_shape)
    madds = {each.name: each for each in cost.nodes}
    side = tile_side(step.value.shape for step in trace.steps.values())
    gates = {node.inputs[1] for node in graph.nodes if node.op.kind == "multiply"}
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes:
        groups.setdefault(node.block, []).append(node)
    blocks = []
    for name, members in groups.items():
        nodes = []
        for node in members:
            step, count = trace.steps[node.name], madds[node.name]
            inputs = tuple((source, shapes[source]) for source in node.inputs)
            report = NodeReport(
                node.name,
                node.op.kind,
                inputs,
                shapes[node.name],
                node.op.describe(),
                formula_of(node.op, *(shape for _, shape in inputs)),
                count.madds,
                count.params,
                count.madds / max(cost.madds, 1),
                seconds[node.name],
                step.statistics,
                histogram(step.value),
                channel_maps(step.value, side) if is_image(step.value.shape) else None,
                () if is_image(step.value.shape) else tuple(map(float, step.value.ravel())),
                node.name in gates,
            )
            nodes.append(report)
        blocks.append(_block(name, members, nodes, shapes, trace.steps[members[-1].name].value))
    return Report(
        graph.name,
        dict(about or {}),
        source,
        cost.input_shape,
        data_uri(encode_png(picture)),
        tuple(top),
        cost.madds,
        cost.params,
        sum(seconds[node.name] for node in graph.nodes),
        plan_seconds,
        tuple(blocks),
    )


def _block(
    name: str, members: Sequence[Node], nodes: Sequence[NodeReport], shapes: Mapping[str, Shape], value: Array
) -> BlockReport:
    return BlockReport(
        name,
        kind_of(members),
        shapes[members[0].inputs[0]] if members[0].inputs else shapes[INPUT],
        shapes[members[-1].name],
        sum(node.madds for node in nodes),
        sum(node.params for node in nodes),
        sum(node.share for node in nodes),
        sum(node.seconds for node in nodes),
        compare_separable(members, shapes),
        thumbnail(value) if is_image(value.shape) else "",
        tuple(nodes),
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def _finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
