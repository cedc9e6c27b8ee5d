"""What may go into a network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import is_masked
from mininet.errors import DTypeError, ShapeError

FLOAT32 = np.dtype(np.float32)
"""To compare an array's type with ``np.float32`` would make this anew in every call."""


def checked_input(network: str, channels: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Check that ``x`` is float32 (N, channels, H, W) and return it as a plain array.

    Parameters
    ----------
    network : str
        Whose input it is, for the message.
    channels : int
        How many it takes.
    x : float32 (N, channels, H, W)
        Any N >= 0, any H, W >= 1.

    Raises
    ------
    DTypeError, ShapeError
        If it is not.
    """
    if type(x) is not np.ndarray:
        if not isinstance(x, np.ndarray):
            raise DTypeError(f"{network}: expected a NumPy array, got {type(x).__name__}")
        if is_masked(x):
            raise DTypeError(
                f"{network}: expected an array without a mask; say what stands there with x.filled(0)"
            )
        x = np.asarray(x)
    if x.dtype != FLOAT32:
        raise DTypeError(
            f"{network}: expected an array of float32, got {x.dtype}; convert it with x.astype('float32')"
        )
    if x.ndim != 4 or x.shape[1] != channels or min(x.shape[2:]) < 1:
        raise ShapeError(
            f"{network}: expected an input of shape (N, {channels}, H, W) with H, W >= 1, got {x.shape}"
        )
    return x
