"""The best classes of one logit vector, with their probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mininet.arguments import check_integer, check_numbers
from mininet.errors import ShapeError


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
    values = check_numbers("logits", logits)
    if values.ndim != 1:
        raise ShapeError(f"logits must be one vector (classes,), got shape {values.shape}")
    count = check_integer("k", k, least=1)
    if not values.size:
        return []
    wide = values.astype(np.float64)
    # A stable sort keeps the lower index first among equals; NumPy sorts NaN behind everything.
    best = np.argsort(-wide, kind="stable")[:count]
    with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN, as it should be
        exponentials = np.exp(wide - wide.max())
        probabilities = exponentials / exponentials.sum()
    return [(int(index), float(probabilities[index])) for index in best]
