"""A batch too large for the memory: cut into pieces where that helps, refused before it starts where not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from mininet.errors import ShapeError
from mininet.graph.graph import Graph
from mininet.ops.base import Shape

PIECE_BYTES = 1 << 28
"""Where images must be copied, or the values of all nodes are kept, so much memory is used at a time."""


def pieces(graph: Graph, x: NDArray[np.float32], planned: bool) -> Iterator[NDArray[np.float32]]:
    """Cut a batch into C-contiguous pieces that bound the memory of a run; no image depends on another.

    Parameters
    ----------
    graph : Graph
        What is to run.
    x : float32 (N, C, H, W)
    planned : bool
        Whether a plan runs it, which needs nothing but a contiguous input and wants no pieces of one, or an
        executor that keeps the values of all nodes.

    Raises
    ------
    ShapeError
        Before anything runs, if the results of all pieces are more than the machine can hold.
    """
    image = 4 * prod(x.shape[1:]) if planned else _bytes_of_values(graph, (1, *x.shape[1:]))
    count = max(1, PIECE_BYTES // image)
    if len(x) > count:
        shapes = graph.infer_shapes(x.shape)
        _refuse_beyond_memory(
            graph, x.shape, 4 * sum(prod(shapes[name]) for name in graph.outputs), "results"
        )
    for first in range(0, max(len(x), 1), count):
        yield np.ascontiguousarray(x[first : first + count])


def check_memory(graph: Graph, shape: Shape) -> None:
    """Refuse to keep the values of all nodes of a batch where that takes more memory than the machine has.

    Raises
    ------
    ShapeError
        Before anything is allocated.
    """
    _refuse_beyond_memory(graph, shape, _bytes_of_values(graph, shape), "values")


def too_large(network: str, shape: Shape, why: object) -> ShapeError:
    """What to raise when there is not enough memory for an input."""
    return ShapeError(f"{network}: not enough memory for an input of shape {shape} ({why})")


def _refuse_beyond_memory(graph: Graph, shape: Shape, needed: int, what: str) -> None:
    if needed > _machine_bytes():
        raise too_large(graph.name, shape, f"its {what} take {needed:,} bytes")


def _bytes_of_values(graph: Graph, shape: Shape) -> int:
    return 4 * sum(map(prod, graph.infer_shapes(shape).values()))


def _machine_bytes() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not every system tells
        return float("inf")
