"""Sliding windows: padding policies, output sizes, and the view that the references share."""

from __future__ import annotations

import numpy as np

from mininet.errors import GraphError, ShapeError
from mininet.ops.base import Array

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
Padding = str | Pads

PADDING_POLICIES = ("symmetric", "same", "keras")
LARGEST = 2**31 - 1
"""Bound of every attribute of a window, so that kernels can multiply any two of them."""


def check_window(kind: str, window: Pair, stride: Pair, dilation: Pair, padding: Padding) -> None:
    """Refuse attributes that describe no sliding window.

    Raises
    ------
    GraphError
        If a size is not positive, a padding is negative, either is 2^31 or more, or the policy is unknown.
    """
    for label, pair in (("kernel", window), ("stride", stride), ("dilation", dilation)):
        if len(pair) != 2 or not 1 <= min(pair) <= max(pair) <= LARGEST:
            raise GraphError(f"{kind}: {label} must be two positive integers below 2^31, got {pair}")
    if isinstance(padding, str):
        if padding not in PADDING_POLICIES:
            raise GraphError(
                f"{kind}: padding must be one of {PADDING_POLICIES} or four integers, got {padding!r}"
            )
    elif len(padding) != 4 or not 0 <= min(padding) <= max(padding) <= LARGEST:
        raise GraphError(
            f"{kind}: padding must be (top, bottom, left, right), from 0 to below 2^31, got {padding}"
        )


def resolve_padding(padding: Padding, size: Pair, window: Pair, stride: Pair, dilation: Pair) -> Pads:
    """Zeros above, below, left and right that a policy means for an input of this size.

    ``"symmetric"`` is torchvision's ``(kernel - 1) // 2`` times the dilation on every side. ``"same"`` is
    TensorFlow's SAME: ``ceil(size / stride)`` outputs, the odd zero below and right. ``"keras"`` is
    what ``keras.applications.MobileNet`` does around its depthwise convolutions: SAME at stride 1,
    but always one row below and one column right at stride 2, whatever the size
    (keras/src/applications/mobilenet.py).
    """
    if not isinstance(padding, str):
        return padding
    if padding == "keras" and stride != (1, 1):
        return (0, 1, 0, 1)
    pads: list[int] = []
    for length, k, s, d in zip(size, window, stride, dilation, strict=True):
        if padding == "symmetric":
            pads += [(k - 1) // 2 * d] * 2
        else:
            total = max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
            pads += [total // 2, total - total // 2]
    return pads[0], pads[1], pads[2], pads[3]


def output_size(kind: str, size: Pair, pads: Pads, window: Pair, stride: Pair, dilation: Pair) -> Pair:
    """Rows and columns that a window yields; raises `ShapeError` if it fits nowhere."""
    padded = (size[0] + pads[0] + pads[1], size[1] + pads[2] + pads[3])
    rows, columns = (
        (length - d * (k - 1) - 1) // s + 1
        for length, k, s, d in zip(padded, window, stride, dilation, strict=True)
    )
    if rows < 1 or columns < 1:
        raise ShapeError(
            f"{kind}: a {window[0]}x{window[1]} window (dilation {dilation[0]}x{dilation[1]}) does not fit "
            f"an input of {size[0]}x{size[1]} padded by {pads}"
        )
    return rows, columns


def windows(x: Array, pads: Pads, window: Pair, stride: Pair, dilation: Pair) -> Array:
    """View of every window of a zero-padded input: (N, C, H, W) -> (N, C, OH, OW, KH, KW)."""
    padded = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]))
    extent = (dilation[0] * (window[0] - 1) + 1, dilation[1] * (window[1] - 1) + 1)
    every = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))
    return every[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
