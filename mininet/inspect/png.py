"""The little of PNG that a page with pictures in it needs, so that none of it needs Pillow."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from mininet.errors import DTypeError, ShapeError

Pixels = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, INDEXED = 0, 2, 3
"""Colour types of the PNG specification (ISO/IEC 15948, section 11.2.2)."""


def encode_png(pixels: Pixels, palette: Pixels | None = None) -> bytes:
    """Write a picture of 8 bits per value.

    Parameters
    ----------
    pixels : uint8 (H, W), (H, W, 1) or (H, W, 3)
        Gray or colour; with a palette, indices into it.
    palette : uint8 (colours, 3), optional
        At most 256 colours.

    Raises
    ------
    DTypeError, ShapeError
        If the arrays are not such.
    """
    if pixels.dtype != np.uint8:
        raise DTypeError(f"pixels must be uint8, got {pixels.dtype}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if not (pixels.ndim == 2 or (colour and palette is None)) or pixels.size == 0:
        raise ShapeError(f"pixels must be (H, W) or (H, W, 3), and not empty, got {pixels.shape}")
    height, width = pixels.shape[:2]
    kind = INDEXED if palette is not None else RGB if colour else GRAY
    rows = pixels.reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # filter 0: none
    return b"".join(
        [
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
            b"" if palette is None else _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it, for the ``src`` of an ``<img>``."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
