"""The best classes of one logit vector, with their probabilities."""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt

from mininet.errors import ArgumentError, DTypeError, ShapeError


def softmax_top(logits: npt.ArrayLike, k: int = 5) -> list[tuple[int, float]]:
    """Give the k classes with the largest logits and their softmax probabilities.

    Parameters
    ----------
    logits : array_like
        One vector of real numbers, shape (classes,). The sum runs in float64, shifted by the largest logit,
        so neither large logits nor many classes cost accuracy.
    k : int
        How many, at least 1; all classes if there are fewer.

    Returns
    -------
    list of (int, float)
        Class index and probability, best first. Equal logits go by index, the lower first; NaN logits come
        last. As in any softmax, one NaN or one positive infinity makes every probability NaN or zero.

    Raises
    ------
    ShapeError
        If the logits are no vector.
    DTypeError
        If they are no real numbers, or k is no integer.
    ArgumentError
        If k is less than 1.
    """
    values = np.asarray(logits)
    if values.ndim != 1:
        raise ShapeError(f"logits must be one vector (classes,), got shape {values.shape}")
    if values.dtype.kind not in "fiu" and values.size:
        raise DTypeError(f"logits must be real numbers, got {values.dtype}")
    try:
        count = operator.index(k)
    except TypeError as error:
        raise DTypeError(f"k must be an integer, got {type(k).__name__}") from error
    if count < 1:
        raise ArgumentError(f"k must be at least 1, got {count}")
    if not values.size:
        return []
    wide = values.astype(np.float64)
    # A stable sort keeps the lower index first among equals; NumPy sorts NaN behind everything.
    best = np.argsort(-wide, kind="stable")[:count]
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, as it should be
        exponentials = np.exp(wide - wide.max())
        probabilities = exponentials / exponentials.sum()
    return [(int(index), float(probabilities[index])) for index in best]
