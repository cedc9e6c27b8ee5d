"""Figures of what happens to one image: the shipped digit, from pixels to classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from figures_ideas import GREY, TEAL, bare
from matplotlib.figure import Figure

import mininet
from mininet.images import read_image
from mininet.inspect import Trace

DIGIT = 0
"""Which of the sample images the tour follows."""


@cache
def network() -> mininet.Network:
    """The network that ships with the package."""
    return mininet.create_model(weights="digits")


@cache
def traced(index: int = DIGIT) -> Trace:
    """Every tensor of one sample image."""
    net = network()
    return net.trace(net.preprocess(mininet.sample_images()[index]))


def pixels() -> Figure:
    """The picture as bytes and as the network's input."""
    raw = read_image(mininet.sample_images()[DIGIT], "L")[:, :, 0]
    figure, panels = plt.subplots(1, 2, figsize=(5.6, 2.5))
    shown = (("bytes, 0 to 255", raw), ("input, -1 to 1", traced().input[0, 0]))
    for axes, (title, image) in zip(panels, shown, strict=True):
        drawn = bare(axes, title).imshow(image, cmap="gray")
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    return figure


def stem() -> Figure:
    """The first convolution: its eight filters, and its channels after each of the three nodes."""
    weights = network().state_dict()["features.0.0.weight"][:, 0]
    rows = {"filter": weights, **{f"features.0.{i}": traced()[f"features.0.{i}"][0] for i in range(3)}}
    figure, panels = plt.subplots(len(rows), 8, figsize=(7.6, 4))
    for line, (name, channels) in zip(panels, rows.items(), strict=True):
        reach = np.abs(channels).max()
        for channel, (axes, image) in enumerate(zip(line, channels, strict=True)):
            bare(axes, f"channel {channel}" if name == "filter" else "")
            axes.imshow(image, cmap="RdBu_r", vmin=-reach, vmax=reach)
        line[0].set_ylabel(name, fontsize=7)
    return figure


def blocks() -> Figure:
    """The output of every block: eight of its channels."""
    names = [f"features.{i}" for i in range(13)]
    figure, panels = plt.subplots(8, len(names), figsize=(9, 5.6))
    for column, name in zip(panels.T, names, strict=True):
        value = traced()[name][0]
        reach = np.abs(value[: len(column)]).max()
        for axes, image in zip(column, value, strict=False):
            bare(axes).imshow(image, cmap="RdBu_r", vmin=-reach, vmax=reach)
        size = "x".join(map(str, value.shape))
        column[0].set_title(f"{name.removeprefix('features.')}\n{size}", fontsize=7)
    return figure


def gates() -> Figure:
    """Squeeze-and-excite gates of two blocks for all six sample digits."""
    digits = [path.stem.removeprefix("digit_") for path in mininet.sample_images()]
    figure, panels = plt.subplots(2, 1, figsize=(7.6, 3.2))
    for axes, block in zip(panels, ("features.4", "features.9"), strict=True):
        name = f"{block}.block.2.scale_activation"
        values = np.stack([traced(i)[name][0, :, 0, 0] for i in range(len(digits))])
        drawn = axes.imshow(values, vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(digits)), digits)
        axes.set(title=name, xlabel="channel", ylabel="digit")
        figure.colorbar(drawn, ax=axes, label="gate")
    return figure


def head() -> Figure:
    """The pooled features, the logits, and the probabilities."""
    trace = traced()
    logits = trace["classifier.3"][0]
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    figure, panels = plt.subplot_mosaic("aa;bc", figsize=(7.2, 3.6), height_ratios=(0.5, 1))
    panels["a"].bar(range(240), trace["flatten"][0], width=1, color=GREY)
    panels["a"].set(title="flatten: 240 features", xlim=(-1, 240))
    for key, title, values in (
        ("b", "classifier.3: logits", logits),
        ("c", "probabilities", probabilities),
    ):
        panels[key].bar(range(10), values, color=TEAL)
        panels[key].set(title=title, xticks=range(10), xlabel="class")
        panels[key].axhline(0, color=GREY, linewidth=0.8)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "tour-pixels": pixels,
    "tour-stem": stem,
    "tour-blocks": blocks,
    "gates": gates,
    "tour-head": head,
}
