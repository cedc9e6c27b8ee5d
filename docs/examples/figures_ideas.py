"""Figures of what the papers say: convolution, bottleneck, activations, multipliers, the ends of V3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

import mininet
from mininet.images import read_image
from mininet.inspect import formulas
from mininet.ops import DepthwiseConv2d, PointwiseConv2d, Relu
from mininet.ops.activation import hard_swish, sigmoid

Floats = NDArray[np.float64]

GREY, TEAL, RED, BLUE, SAND = "#9aa5ad", "#00897b", "#c2402a", "#3568a8", "#e8d9b5"

FILTERS: dict[str, Floats] = {
    "as it is": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "blur": np.full((3, 3), 1 / 9),
    "left to right": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4,
    "top to bottom": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]) / 4,
}
COMBINATIONS: dict[str, tuple[float, ...]] = {
    "sharpen: 2 a - b": (2, -1, 0, 0),
    "detail: a - b": (1, -1, 0, 0),
    "diagonal: c + d": (0, 0, 1, 1),
    "other diagonal: c - d": (0, 0, 1, -1),
}


def bare(axes: Axes, title: str = "") -> Axes:
    """Axes for a picture: no ticks, no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title)
    return axes


def _signed(axes: Axes, image: Floats, title: str) -> None:
    """A picture with zero in white and its largest value in full colour."""
    reach = np.abs(image).max()
    bare(axes, title).imshow(image, cmap="RdBu_r", vmin=-reach, vmax=reach)


def two_views() -> Figure:
    """Depthwise filtering of one picture, and linear combinations of what comes out."""
    digit = np.pad(read_image(mininet.sample_images()[2], "L")[:, :, 0] / 255, 4)  # no edge at the border
    x = np.repeat(digit[None], len(FILTERS), axis=0)[None]
    depthwise = DepthwiseConv2d(len(FILTERS))
    filtered = depthwise.reference({"weight": np.stack(list(FILTERS.values()))[:, None]}, x)
    pointwise = PointwiseConv2d(len(FILTERS), len(COMBINATIONS))
    mixed = pointwise.reference({"weight": np.array(list(COMBINATIONS.values()))[:, :, None, None]}, filtered)
    figure, rows = plt.subplots(3, 4, figsize=(7.2, 5.6), height_ratios=(0.55, 1, 1))
    for i, (name, kernel) in enumerate(FILTERS.items()):
        _signed(rows[0, i], kernel, "")
        for (row, column), value in np.ndenumerate(kernel):
            shade = "white" if abs(value) > 0.7 * np.abs(kernel).max() else "black"
            rows[0, i].text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=7, color=shade)
        _signed(rows[1, i], filtered[0, i], f"{'abcd'[i]}: {name}")
    for i, name in enumerate(COMBINATIONS):
        _signed(rows[2, i], mixed[0, i], name)
    for axes, label in zip(rows[:, 0], ("filter", "depthwise", "pointwise"), strict=True):
        axes.set_ylabel(label)
    return figure


def separable_cost() -> Figure:
    """V1 block by block: the separable pair against the full convolution it stands for."""
    pair = mininet.create_model("mobilenet_v1").cost(224).by_block()
    full = mininet.create_model("mobilenet_v1", separable=False).cost(224).by_block()
    names = [name for name in pair if name.startswith("features") and name != "features.0"]
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    at = np.arange(len(names))
    axes.bar(at - 0.2, [full[name].madds / 1e6 for name in names], 0.4, color=GREY, label="full 3x3")
    axes.bar(at + 0.2, [pair[name].madds / 1e6 for name in names], 0.4, color=TEAL, label="separable")
    for i, name in enumerate(names):
        ratio = full[name].madds / pair[name].madds
        axes.text(i - 0.2, full[name].madds / 1e6, f"{ratio:.1f}x", ha="center", va="bottom", fontsize=7)
    axes.set_xticks(at, [name.removeprefix("features.") for name in names])
    axes.set(xlabel="block of MobileNetV1", ylabel="million multiply-adds")
    axes.legend(frameon=False, loc="upper right", ncols=2, bbox_to_anchor=(1, 1.15))
    return figure


def spiral(points: int = 1000) -> Floats:
    """A flat spiral of two turns, (points, 2)."""
    angle = np.linspace(0, 4 * np.pi, points)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / (4 * np.pi)


def through_relu(x: Floats, dimensions: int, seed: int = 0) -> Floats:
    """Embed in ``dimensions`` by a random matrix, ReLU, and back by its pseudo-inverse (V2, figure 1)."""
    matrix = np.random.default_rng(seed).standard_normal((2, dimensions))
    return Relu().reference({}, x @ matrix) @ np.linalg.pinv(matrix)


def manifold() -> Figure:
    """What ReLU leaves of a spiral in 2, 3, 5, 15 and 30 dimensions."""
    x = spiral()
    figure, panels = plt.subplots(1, 6, figsize=(9, 1.9))
    shown = {"input": x} | {f"n = {n}": through_relu(x, n, seed=n) for n in (2, 3, 5, 15, 30)}
    for axes, (title, y) in zip(panels, shown.items(), strict=True):
        bare(axes, title).scatter(*y.T, c=np.linspace(0, 1, len(y)), s=1.5)
        axes.set_aspect("equal", "datalim")
        axes.margins(0.15)
    return figure


def recoverable(n: int) -> float:
    """Chance that at least two of n coordinates survive ReLU: then two dimensions can be solved for."""
    return 1 - (n + 1) / 2**n


def survivors() -> Figure:
    """Share of points that ReLU leaves recoverable, by formula and by experiment."""
    x, dimensions = spiral(), np.arange(2, 17)
    random = np.random.default_rng(0)
    measured = [
        np.mean([((x @ random.standard_normal((2, n)) > 0).sum(axis=1) >= 2).mean() for _ in range(200)])
        for n in dimensions
    ]
    figure, axes = plt.subplots(figsize=(4.6, 2.6))
    axes.plot(dimensions, [recoverable(int(n)) for n in dimensions], color=TEAL, label="1 - (n + 1) / 2^n")
    axes.plot(dimensions, measured, "o", color=RED, markersize=4, label="spiral, 200 random matrices")
    axes.set(xlabel="n, dimensions before ReLU", ylabel="recoverable points", ylim=(0, 1.05))
    axes.legend(frameon=False, loc="lower right")
    return figure


def hard_swish_error() -> Figure:
    """Swish, hard swish, and the difference."""
    x = np.linspace(-6, 6, 1201)
    soft, hard = x * sigmoid(x), hard_swish(x)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    left.plot(x, soft, color=BLUE, label="swish: x sigmoid(x)")
    left.plot(x, hard, color=RED, linestyle="--", label="hard swish: x relu6(x + 3) / 6")
    left.legend(frameon=False, loc="upper left")
    right.plot(x, hard - soft, color=TEAL)
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set_title("hard swish - swish")
    for axes in (left, right):
        axes.set_xlabel("x")
        axes.set_xticks(range(-6, 7, 3))
    return figure


def multipliers() -> Figure:
    """Cost of V1 against width and resolution, and the share that the papers' squares predict."""
    widths, sizes = np.arange(0.25, 1.26, 0.125), (128, 160, 192, 224)
    figure, axes = plt.subplots(figsize=(5.4, 3))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(sizes)))
    for size, colour in zip(sizes, colours, strict=True):
        nets = [mininet.create_model("mobilenet_v1", width=float(width), lineage="keras") for width in widths]
        cost = [net.cost(size).madds / 1e6 for net in nets]
        axes.loglog(widths, cost, "o-", color=colour, markersize=3, label=f"{size} pixels")
    whole = mininet.create_model("mobilenet_v1").cost(224).madds / 1e6
    axes.loglog(widths, whole * widths**2, color=RED, linestyle=":", label="width squared, 224")
    axes.set_xticks([0.25, 0.5, 0.75, 1], ["0.25", "0.5", "0.75", "1"], minor=False)
    axes.xaxis.set_minor_locator(plt.NullLocator())
    axes.set(xlabel="width multiplier", ylabel="million multiply-adds")
    axes.legend(frameon=False)
    return figure


LAST_STAGES: dict[str, dict[str, int]] = {
    "as V2 would end": {
        "expand 160 to 960": formulas.pointwise_convolution(160, 960, (7, 7)),
        "depthwise 3x3": formulas.depthwise_convolution((3, 3), 960, (7, 7)),
        "project to 320": formulas.pointwise_convolution(960, 320, (7, 7)),
        "1280 features": formulas.pointwise_convolution(320, 1280, (7, 7)),
        "1000 classes": formulas.linear(1280, 1000),
    },
    "as V3 ends": {
        "expand 160 to 960": formulas.pointwise_convolution(160, 960, (7, 7)),
        "1280 features": formulas.linear(960, 1280),
        "1000 classes": formulas.linear(1280, 1000),
    },
}
"""Layers after the last 160-channel block of V3-Large, before and after the redesign (V3, figure 5)."""


def last_stage() -> Figure:
    """Multiply-adds of both ends, layer by layer."""
    figure, axes = plt.subplots(figsize=(7.2, 2))
    colours = dict(zip(LAST_STAGES["as V2 would end"], (TEAL, RED, BLUE, SAND, GREY), strict=True))
    for row, layers in enumerate(LAST_STAGES.values()):
        left = 0.0
        for layer, madds in layers.items():
            label = layer if row == 0 else None
            axes.barh(row, madds / 1e6, left=left, color=colours[layer], edgecolor="white", label=label)
            left += madds / 1e6
        axes.text(left + 0.4, row, f"{sum(layers.values()) / 1e6:.1f}", va="center")
    axes.set_yticks(range(len(LAST_STAGES)), list(LAST_STAGES))
    axes.invert_yaxis()
    axes.set(xlabel="million multiply-adds", xlim=(0, 49))
    figure.legend(frameon=False, loc="outside upper center", ncols=5, fontsize=7)
    return figure


_BLOCKS: dict[str, tuple[tuple[str, float], ...]] = {
    "V1: separable": (("depthwise 3x3", 1.6), ("1x1", 1.6)),
    "V2: inverted residual": (("1x1 expand", 2.8), ("depthwise 3x3", 2.8), ("1x1, linear", 1.4)),
    "V3: with squeeze and excite": (
        ("1x1 expand", 2.8),
        ("depthwise 3x3 or 5x5", 2.8),
        ("squeeze and excite", 2.8),
        ("1x1, linear", 1.4),
    ),
}


def blocks() -> Figure:
    """The three building blocks: a box is a layer, its width the channels that come out."""
    figure, panels = plt.subplots(1, 3, figsize=(7.6, 2.8))
    for axes, (title, layers) in zip(panels, _BLOCKS.items(), strict=True):
        bare(axes, title).set(xlim=(-2, 2.3), ylim=(-4.95, 0.7))
        _arrow(axes, (0, 0.6), (0, 0))
        for i, (layer, width) in enumerate(layers):
            half, y = 0.52 * width, -1.2 * i
            colour = SAND if "linear" in layer else "#cfe6e2"
            box = FancyBboxPatch((-half, y - 0.6), 2 * half, 0.6, "round,pad=0.02", fc=colour, ec=GREY)
            axes.add_patch(box)
            axes.text(0, y - 0.3, layer, ha="center", va="center", fontsize=7)
            _arrow(axes, (0, y - 0.64), (0, y - 1.2))
        if len(layers) > 2:
            end = -1.2 * (len(layers) - 1) - 0.95
            axes.plot([0, 1.75, 1.75, 0], [0.35, 0.35, end, end], color=TEAL, linewidth=1)
            axes.text(1.82, end / 2, "add", color=TEAL, fontsize=7, rotation=270, va="center")
    return figure


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=GREY, shrinkA=0))


FIGURES: dict[str, Callable[[], Any]] = {
    "two-views": two_views,
    "separable-cost": separable_cost,
    "blocks": blocks,
    "manifold": manifold,
    "survivors": survivors,
    "hard-swish": hard_swish_error,
    "multipliers": multipliers,
    "last-stage": last_stage,
}
