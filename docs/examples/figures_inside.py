"""Figures of how a network is computed: memory layout, arena, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from figures_ideas import BLUE, GREY, RED, SAND, TEAL, bare
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import mininet
from mininet.graph.arena import Lifetime, layout
from mininet.graph.plan import Plan
from mininet.ops.geometry import output_size, resolve_padding
from mininet.ops.step import floats_of, image_of


def blocked_layout() -> Figure:
    """The order of 40 channels of a 2x3 picture in memory: planar, NHWC, blocked."""
    figure, panels = plt.subplots(3, 1, figsize=(7.6, 3))
    channel, pixel = np.meshgrid(np.arange(48), np.arange(6), indexing="ij")
    orders = {
        "planar (C, H, W): one channel after the other": pixel + 6 * channel,
        "NHWC: all channels of a pixel, then the next pixel": channel + 40 * pixel,
        "blocked (C/16, H, W, 16): 16 channels of a pixel, then the next pixel": (
            channel % 16 + 16 * pixel + 96 * (channel // 16)
        ),
    }
    for axes, (title, place) in zip(panels, orders.items(), strict=True):
        row = np.full(288, np.nan)
        kept = np.ones_like(channel, bool) if "blocked" in title else channel < 40
        row[place[kept]] = np.where(channel < 40, pixel, np.nan)[kept]
        bare(axes, title).imshow(row[None], aspect="auto", cmap="viridis", vmin=0, vmax=5)
        axes.add_patch(Rectangle((-0.5, -0.5), 288 if "blocked" in title else 240, 1, fill=False, ec=GREY))
        axes.set_xlim(-1, 288.5)
    panels[-1].set_xlabel("address; the colour tells the pixel; white: 8 lanes that fill up the last block")
    return figure


def lifetimes(plan: Plan) -> dict[str, Lifetime]:
    """When each tensor of a plan is written and last read, by step; none that two in turns hand on."""
    shapes = plan.graph.infer_shapes(plan.input_shape)
    at = {name: i for i, step in enumerate(plan.steps) for name in (step.before, step.name) if name in shapes}
    last = {source: at[node.name] for node in plan.graph.nodes for source in node.inputs}
    return {
        name: Lifetime(floats_of(image_of(shapes[name])), i, last[name])
        for name, i in at.items()
        if name in last and name not in {step.before for step in plan.steps}
    }


def arena() -> Figure:
    """Where the tensors of V2 live, and for how long."""
    lives = lifetimes(mininet.create_model("mobilenet_v2").plan((1, 3, 224, 224)))
    offsets, total = layout(lives)
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    for i, (name, life) in enumerate(lives.items()):
        size = 4 * life.size / 1e6
        corner = (life.first - 0.5, 4 * offsets[name] / 1e6)
        colour = (TEAL, SAND, BLUE)[i % 3]
        axes.add_patch(Rectangle(corner, life.last - life.first + 1, size, fc=colour, ec="white", lw=0.5))
    axes.axhline(4 * total / 1e6, color=RED, linestyle="--", linewidth=1)
    axes.text(len(lives), 4 * total / 1e6, f"arena: {4 * total / 1e6:.2f} MB ", ha="right", va="bottom")
    axes.set(xlim=(-1, len(lives) + 1), ylim=(0, 4.6 * total / 1e6), xlabel="step", ylabel="address, MB")
    return figure


def padding() -> Figure:
    """Which pixels a 3-wide window of stride 2 sees along one row, symmetric and SAME."""
    figure, panels = plt.subplots(2, 2, figsize=(7.2, 3))
    for column, size in enumerate((8, 7)):
        for row, policy in enumerate(("symmetric", "same")):
            _windows(panels[row, column], size, policy)
    return figure


def _windows(axes: Axes, size: int, policy: str) -> None:
    pads = resolve_padding(policy, (size, size), (3, 3), (2, 2), (1, 1))
    _, count = output_size("figure", (size, size), pads, (3, 3), (2, 2), (1, 1))
    bare(axes, f"{policy}, {size} pixels: pads ({pads[2]}, {pads[3]})")
    for i in range(-pads[2], size + pads[3]):
        inside = 0 <= i < size
        axes.add_patch(Rectangle((i, 0), 0.9, 0.9, fc="#cfe6e2" if inside else "white", ec=GREY, ls="-"))
        axes.text(i + 0.45, 0.45, str(i) if inside else "0", ha="center", va="center", fontsize=7)
    for o in range(count):
        left, y = 2 * o - pads[2], -0.35 - 0.35 * (o % 2)
        axes.plot([left + 0.1, left + 2.8], [y, y], color=RED, linewidth=2)
    axes.set(xlim=(-1.4, 9.2), ylim=(-1, 1.1))


FIGURES: dict[str, Callable[[], Any]] = {"layout": blocked_layout, "arena": arena, "padding": padding}
