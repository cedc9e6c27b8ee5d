"""Charts: what each block costs, and published accuracy against multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import inf
from typing import Any

from mininet.errors import require
from mininet.inspect.cost import NetworkCost
from mininet.inspect.published import Published, load_published
from mininet.inspect.table import shape_text

COLOURS = {
    "mobilenet_v1": "#6b7280",
    "mobilenet_v2": "#2a66ae",
    "mobilenet_v3_large": "#a8480f",
    "mobilenet_v3_small": "#d99a2b",
}
"""Of the architectures, told apart in gray as well; with one marker each, for who sees no colours."""
MARKERS = {"mobilenet_v1": "o", "mobilenet_v2": "s", "mobilenet_v3_large": "^", "mobilenet_v3_small": "v"}
INK, FAINT, BAR = "#1b1d22", "#dedbd4", "#a8480f"
DOTS_PER_INCH = 150


def blocks_figure(cost: NetworkCost, seconds: Mapping[str, float]) -> Any:
    """Multiply-adds, parameters and time of each block, side by side.

    Parameters
    ----------
    cost : NetworkCost
    seconds : mapping of str to float
        Time of each node.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure = _figure(11, 1.6 + 0.24 * len(cost.by_block()))
    _blocks(figure, cost, seconds)
    return figure


def cost_figure(cost: NetworkCost, seconds: Mapping[str, float]) -> Any:
    """`blocks_figure`, and below it published accuracy against multiply-adds, this network marked.

    Arguments, result and errors as for `blocks_figure`.
    """
    height = 1.6 + 0.24 * len(cost.by_block())
    figure = _figure(11, height + 5.6)
    above, below = figure.subfigures(2, 1, height_ratios=(height, 5.6))
    _blocks(above, cost, seconds)
    _accuracy(below, load_published(), cost.under("paper").madds, cost.name)
    return figure


def render(figure: Any, path: str) -> bytes:
    """A figure as the bytes of a file, of the kind that the end of its name says: PNG, SVG or another."""
    buffer = BytesIO()
    kind = path.rpartition(".")[2].lower()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "mininet"}  # text stays text, and ids the same
    with require("matplotlib", "plots").rc_context(settings):
        figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


def _figure(width: float, height: float) -> Any:
    # Not pyplot: it keeps figures in a list of its own and looks for a screen.
    return require("matplotlib.figure", "plots").Figure(figsize=(width, height), layout="constrained")


def _blocks(figure: Any, cost: NetworkCost, seconds: Mapping[str, float]) -> None:
    blocks = cost.by_block()
    times = dict.fromkeys(blocks, 0.0)
    for node in cost.nodes:
        times[node.block] += seconds[node.name] * 1e3
    panels = (
        ("multiply-adds, millions", [block.madds / 1e6 for block in blocks.values()]),
        ("parameters, thousands", [block.params / 1e3 for block in blocks.values()]),
        ("time, ms (each node by its own kernel)", list(times.values())),
    )
    for axes, (title, values) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        bars = axes.barh(list(blocks), values, color=BAR, height=0.7)
        axes.bar_label(bars, list(map(_label, values)), padding=3, fontsize=7.5)
        axes.set_title(title, fontsize=9.5, loc="left", color=INK)
        axes.margins(x=0.14, y=0.01)
        axes.tick_params(length=0, labelsize=8.5)
        axes.xaxis.set_visible(False)
        axes.spines[:].set_visible(False)
    axes.invert_yaxis()  # of all, as they share it
    totals = f"{cost.madds:,} multiply-adds ({cost.convention}), {cost.params:,} parameters"
    figure.suptitle(f"{cost.name}, input {shape_text(cost.input_shape)}: {totals}", fontsize=11, color=INK)


def _accuracy(figure: Any, rows: Sequence[Published], madds: int, name: str) -> None:
    axes = figure.subplots()
    for model, colour in COLOURS.items():
        points = [(float(row.madds_millions), float(row.top1)) for row in rows if _is_plain(row, model)]
        for places, style in ((points, MARKERS[model]), (_front(points), "-")):
            x, y = [place[0] for place in places], [place[1] for place in places]
            label = model if places is points else None
            axes.plot(x, y, style, color=colour, label=label, markersize=5, linewidth=1.2, alpha=0.8)
    axes.axvline(madds / 1e6, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        f" {name}: {madds / 1e6:.1f}",
        (madds / 1e6, 0.015),
        xycoords=axes.get_xaxis_transform(),
        fontsize=8.5,
        color=INK,
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("multiply-adds, millions", fontsize=9)
    axes.set_ylabel("ImageNet top-1, %", fontsize=9)
    axes.set_title("Published accuracy (float) against multiply-adds", fontsize=11, color=INK)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _is_plain(row: Published, model: str) -> bool:
    """Whether a row gives both figures, rightly, for a float classifier of separable convolutions."""
    told = row.model == model and row.madds_millions and row.top1 and not row.head
    return bool(told) and not any(word in row.variant for word in ("quant", "wrong", "full-conv"))


def _label(value: float) -> str:
    """Three digits, or all before the point."""
    return "" if not value else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both: fewer multiply-adds and higher accuracy."""
    best, front = -inf, []
    for madds, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if accuracy > best:
            front.append((madds, accuracy))
            best = accuracy
    return front
