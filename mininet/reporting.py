"""Running a network on one picture for a report, and writing what comes of it."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from mininet.errors import ArgumentError, ShapeError
from mininet.images import ImageSource
from mininet.inspect.report import Report, make_report
from mininet.ops.base import Array
from mininet.preprocess import Preset
from mininet.weights.atomic import atomic_write

if TYPE_CHECKING:  # Network.report calls this module
    from mininet.network import Float32, Network

RUNS = 3
"""Each node is timed so often; the shortest time has least of everything else in it."""
TOP = 5


def report_on(
    net: Network,
    image: ImageSource | Float32,
    path: str | os.PathLike[str] | None = None,
    *,
    top: int = TOP,
    source: str = "",
) -> Report:
    """Look at a network at work on one picture.

    Parameters
    ----------
    net : Network
    image : path, PIL image, uint8 array (H, W, 3) or (H, W), or float32 array (N, C, H, W)
        A picture, or a prepared input, of which the first image is taken.
    path : path, optional
        Where to write the report as one HTML page. The file appears whole or not at all.
    top : int
        How many classes to name.
    source : str
        What to call the input; by default the name of the file.

    Returns
    -------
    Report
        ``print`` it, or take its ``to_dict()`` or ``to_html()``.

    Raises
    ------
    ShapeError, DTypeError, ImageError
        If the image is none, or does not fit the network.
    ArgumentError
        If the file cannot be written.
    """
    x = _prepared(net, image)
    report = make_report(
        net.graph,
        net.trace(x),
        net.cost(input_shape=x.shape),
        seconds=node_seconds(net, x),
        plan_seconds=min(_timed(net, x) for _ in range(RUNS)),
        top=net.top(net(x)[0], top) if net.config.num_classes else [],
        picture=as_picture(x[0], net.preset),
        source=source or _name_of(image),
        about=_about(net),
    )
    if path is not None:
        with atomic_write(path, ArgumentError) as file:
            file.write(report.to_html().encode("utf-8"))
    return report


def node_seconds(net: Network, x: Float32) -> dict[str, float]:
    """Seconds that each node takes by its own kernel: the shortest of `RUNS`."""
    runs = [net.trace(x).steps.values() for _ in range(RUNS)]
    return {steps[0].name: min(step.seconds for step in steps) for steps in zip(*runs, strict=True)}


def as_picture(x: Array, preset: Preset) -> NDArray[np.uint8]:
    """What a network's input (C, H, W) shows, uint8 (H, W, 1) or (H, W, 3).

    The preset's normalisation is undone where it made as many channels; otherwise the first channel is
    shown, stretched from its least to its greatest value.
    """
    if len(x) == preset.channels:
        mean, std = (np.array(values)[:, None, None] for values in (preset.mean, preset.std))
        pixels = (x * std + mean) * preset.scale
    else:
        first = np.nan_to_num(x[:1], posinf=0.0, neginf=0.0)
        pixels = (first - first.min()) * (255 / max(float(np.ptp(first)), 1e-12))
    finite = np.nan_to_num(pixels, nan=0.0, posinf=255.0, neginf=0.0)
    shown: NDArray[np.uint8] = np.clip(finite.round(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return shown


def _prepared(net: Network, image: ImageSource | Float32) -> Float32:
    if not (isinstance(image, np.ndarray) and image.dtype == np.float32):
        return net.preprocess(cast("ImageSource", image))
    x = cast("Float32", image)
    if x.ndim != 4 or not len(x):
        raise ShapeError(f"{net.name}: expected an input of shape (N, C, H, W) with N >= 1, got {x.shape}")
    return x[:1]


def _timed(net: Network, x: Float32) -> float:
    start = perf_counter()
    net(x)
    return perf_counter() - start


def _name_of(image: object) -> str:
    return Path(os.fsdecode(image)).name if isinstance(image, (str, bytes, os.PathLike)) else "array"


def _about(net: Network) -> dict[str, str]:
    c = net.config
    options = f"width {c.width:g}, {c.num_classes} classes, {c.in_channels} input channels"
    return {"Network": f"{options}, conventions of {c.lineage}", "Preprocessing": str(net.preset)}
