"""Images and weights from a seed, the same bits on every machine and NumPy version.

The rule, so that anybody can repeat it without this file: the stream of a tensor is
``numpy.random.PCG64(crc32(name) + seed).random_raw()``, of which the upper 24 bits of each
64-bit word make one number ``u`` in [0, 1), in C order of the tensor's own layout. Only integer
operations and float64 products follow, never a library function whose last digit depends on the platform.

==========================  =============================================================
parameter                   value
==========================  =============================================================
convolution, linear weight  (2u - 1) * sqrt(3) * sqrt(2 / fan_in): He's variance, uniform
batch-norm scale            0.5 + u
batch-norm variance         (0.5 + u) * s, where s is 1 or the layer's given scale
batch-norm mean             (2u - 1) * 0.2 * sqrt(s)
any bias                    (2u - 1) * 0.2
``num_batches_tracked``     0
==========================  =============================================================
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

#: What torch and Keras call the running variance of a batch norm.
VARIANCES = ("running_var", "moving_variance")
_IMAGE_CELL = 8  # pixels: the coarse pattern's grid, so that images have structure beyond pixel noise
_BIAS_SPAN = 0.2


def unit(name: str, seed: int, shape: Sequence[int]) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 of the given shape, by the rule above."""
    count = int(np.prod(shape, dtype=np.int64))
    words = np.random.PCG64(zlib.crc32(name.encode()) + seed).random_raw(count)
    return ((words >> np.uint64(40)) * 2.0**-24).reshape(shape)


def images(seed: int, shape: Sequence[int]) -> np.ndarray:
    """Random images: a coarse pattern plus pixel noise, mean 0 and variance 1.

    Parameters
    ----------
    seed : int
        The seed.
    shape : sequence of int
        (N, C, H, W).

    Returns
    -------
    numpy.ndarray
        float32 (N, C, H, W).
    """
    n, c, h, w = shape
    coarse = unit("coarse", seed, (n, c, -(-h // _IMAGE_CELL), -(-w // _IMAGE_CELL)))
    coarse = coarse.repeat(_IMAGE_CELL, axis=2).repeat(_IMAGE_CELL, axis=3)[:, :, :h, :w]
    # Two independent uniforms on (-1, 1) have the variance 1/3 each.
    total = (2.0 * coarse - 1.0) + (2.0 * unit("fine", seed, shape) - 1.0)
    return (total * np.sqrt(1.5)).astype(np.float32)


def state(
    shapes: Mapping[str, Sequence[int]], seed: int, scales: Mapping[str, float] | None = None
) -> dict[str, np.ndarray]:
    """A value for every named parameter of a network.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Name to shape, in the lineage's own names and layouts (torch's or Keras's).
    seed : int
        The seed.
    scales : mapping of str to float, optional
        Batch-norm layer to the scale of its variance, so that a deep network neither explodes nor fades.

    Returns
    -------
    dict of str to numpy.ndarray
        float32 arrays (int64 for ``num_batches_tracked``), in sorted order of the names.
    """
    scales = scales or {}
    values = {}
    for name in sorted(shapes):
        layer, kind = split(name)
        values[name] = _parameter(name, kind, tuple(shapes[name]), seed, scales.get(layer, 1.0))
    return values


def split(name: str) -> tuple[str, str]:
    """Layer and kind of a parameter: ``features.0.0.weight`` and ``conv1/kernel`` alike."""
    cut = max(name.rfind("."), name.rfind("/"))
    return name[:cut], name[cut + 1 :]


def _parameter(name: str, kind: str, shape: tuple[int, ...], seed: int, scale: float) -> np.ndarray:
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    u = unit(name, seed, shape)
    if len(shape) > 1:
        value = (2.0 * u - 1.0) * np.sqrt(6.0 / _fan_in(kind, shape))
    elif kind in ("weight", "gamma"):
        value = 0.5 + u
    elif kind in VARIANCES:
        value = (0.5 + u) * scale
    elif kind in ("running_mean", "moving_mean"):
        value = (2.0 * u - 1.0) * (_BIAS_SPAN * np.sqrt(scale))
    elif kind in ("bias", "beta"):
        value = (2.0 * u - 1.0) * _BIAS_SPAN
    else:
        raise ValueError(f"no rule for the parameter {name!r} of shape {shape}")
    return value.astype(np.float32)


def _fan_in(kind: str, shape: tuple[int, ...]) -> int:
    """Products per output element, from torch's (out, in, ...) or Keras's (..., in, out) layout."""
    if kind == "weight":
        return int(np.prod(shape[1:]))
    if len(shape) == 4 and shape[3] == 1:  # Keras's depthwise kernels are (kh, kw, C, 1)
        return int(np.prod(shape[:2]))
    return int(np.prod(shape[:-1]))
