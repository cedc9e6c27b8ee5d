"""Tensors as pictures: channels as tiles in colour, values as a histogram."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.inspect.png import data_uri, encode_png
from mininet.ops.base import Array, Shape

TILES = 12
"""Channels shown of one tensor."""
COLUMNS = 6
"""Tiles to a row, at most."""
SIDES = (64, 56, 48, 40, 32, 24, 16, 8, 4)
"""Longest sides that a tile may have; the first with which all pictures fit the budget is taken."""
BUDGET = 5_000_000
"""Bytes for the pixels of all tiles: a third more as base64, and room is left below 10 MB."""
BINS = 40
PERCENTILE = 99.0
"""Colour saturates here, lest one outlier leave everything else dark."""

# Blue below zero, black at it, amber above. Lightness grows with magnitude on both sides.
_ANCHORS = (
    (0.00, (222, 240, 255)),
    (0.20, (104, 178, 240)),
    (0.36, (38, 96, 168)),
    (0.50, (13, 14, 20)),
    (0.62, (134, 54, 34)),
    (0.78, (232, 134, 38)),
    (0.90, (252, 208, 92)),
    (1.00, (255, 250, 226)),
)


def _palette() -> NDArray[np.uint8]:
    """255 colours, so that zero has the one in the middle."""
    places = [place for place, _ in _ANCHORS]
    channels = zip(*(colour for _, colour in _ANCHORS), strict=True)
    steps = np.linspace(0, 1, 255)
    return np.stack([np.interp(steps, places, channel) for channel in channels], axis=1).round().astype("u1")


PALETTE = _palette()
ZERO = len(PALETTE) // 2
"""Index of the colour of 0."""


@dataclass(frozen=True)
class Maps:
    """Some channels of a tensor, side by side.

    Attributes
    ----------
    picture : str
        A PNG as a data URI, `columns` tiles to a row.
    channels : tuple of int
        Which ones, in order: those that vary most over the picture.
    total : int
        Channels of the tensor.
    limit : float
        Where colour saturates, up and down.
    width, height, columns : int
        Of the picture in pixels, and tiles to a row.
    """

    picture: str
    channels: tuple[int, ...]
    total: int
    limit: float
    width: int
    height: int
    columns: int

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and text."""
        return {**vars(self), "channels": list(self.channels)}


def tile_side(shapes: Iterable[Shape]) -> int:
    """The longest side of a tile with which the maps of tensors (N, C, H, W) fit `BUDGET`."""
    images = [shape for shape in shapes if is_image(shape)]

    def area(shape: Shape, side: int) -> int:
        step = _step(shape[2:], side)
        return -(-shape[2] // step) * -(-shape[3] // step) * min(shape[1], TILES)

    return next((s for s in SIDES if sum(area(shape, s) for shape in images) <= BUDGET), SIDES[-1])


def is_image(shape: Shape) -> bool:
    """Whether a tensor of this shape has pixels, not just one value per channel."""
    return len(shape) == 4 and shape[2] * shape[3] > 1


def channel_maps(value: Array, side: int) -> Maps:
    """Draw the channels of the first image of a tensor (N, C, H, W) that vary most.

    Parameters
    ----------
    value : float (N, C, H, W)
    side : int
        Longest side of a tile; larger maps are averaged down by a whole number.
    """
    image = _finite(value[0])
    # A stable order, so that a report of the same picture is the same report.
    chosen = np.sort(np.argsort(-image.std(axis=(1, 2)), kind="stable")[:TILES])
    shown = _shrunk(image[chosen], _step(image.shape[1:], side))
    limit = float(np.percentile(np.abs(shown), PERCENTILE)) or float(np.abs(shown).max()) or 1.0
    levels = np.clip(shown / limit, -1, 1) * ZERO + ZERO
    columns = -(-len(chosen) // -(-len(chosen) // COLUMNS))  # rows as even as can be
    sheet = _sheet(levels.round().astype(np.uint8), columns)
    return Maps(
        data_uri(encode_png(sheet, PALETTE)),
        tuple(int(channel) for channel in chosen),
        len(image),
        limit,
        sheet.shape[1],
        sheet.shape[0],
        columns,
    )


def thumbnail(value: Array, side: int = 64) -> str:
    """The mean magnitude over all channels of the first image (N, C, H, W), as a data URI.

    It runs from the least to the greatest: where a block responds, whatever channel does.
    """
    magnitude = np.abs(_finite(value[0])).mean(axis=0, keepdims=True)
    (shown,) = _shrunk(magnitude, _step(magnitude.shape[1:], side))
    spread = max(float(np.ptp(shown)), float(np.finfo(np.float64).tiny))
    levels = (shown - shown.min()) / spread * ZERO + ZERO
    return data_uri(encode_png(levels.round().astype(np.uint8), PALETTE))


def histogram(value: Array, bins: int = BINS) -> dict[str, Any]:
    """How the finite values of a tensor spread: ``{"low", "high", "counts"}``, empty of bars for none."""
    finite = value[np.isfinite(value)].astype(np.float64)
    if not finite.size:
        return {"low": 0.0, "high": 0.0, "counts": []}
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return {"low": low, "high": high, "counts": [int(finite.size)]}
    counts, _ = np.histogram(finite, bins, (low, high))
    return {"low": low, "high": high, "counts": counts.tolist()}


def _finite(value: Array) -> NDArray[np.float64]:
    """In float64, with 0 for NaN and infinity."""
    return np.nan_to_num(value.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _step(size: Shape, side: int) -> int:
    return -(-max(size) // side)


def _shrunk(maps: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Means of squares of ``step`` by ``step`` pixels; at the far edges of what is left of them."""
    if step == 1:
        return maps
    means = maps
    for axis, along in ((1, (-1, 1)), (2, (-1,))):
        starts = np.arange(0, maps.shape[axis], step)
        lengths = np.diff(np.append(starts, maps.shape[axis])).reshape(along)
        means = np.add.reduceat(means, starts, axis=axis) / lengths
    return means


def _sheet(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles (count, h, w) in rows, with gaps of the colour of zero: thin ones between small tiles."""
    count, h, w = tiles.shape
    gap = 1 + (max(h, w) > 40)
    rows = -(-count // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap), ZERO, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = tile
    return sheet
