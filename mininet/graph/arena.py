"""Where each intermediate tensor lives: offsets in one block of memory, from lifetimes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

ALIGN = 16
"""Floats to which sizes are rounded up: one cache line of 64 bytes."""


LITTLE = 64
"""The vectors of a squeeze-and-excite block take less than such a part of the arena."""


@dataclass(frozen=True)
class Lifetime:
    """A tensor of ``size`` floats, written by step ``first`` and read for the last time by ``last``."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Whether both must exist at some step."""
        return self.first <= other.last and other.first <= self.last


def layout(lifetimes: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Give every tensor an offset so that tensors alive together do not share memory.

    The smaller of two layouts. *Both ends*: in the order of execution, in turn at the lowest and at
    the highest place that is free throughout the tensor's life. On a chain, where each tensor meets only
    its neighbours, that takes no more than `lower_bound`. *Largest first*: by size, each at the
    lowest place, which is better where lifetimes are tangled.

    Returns
    -------
    offsets : dict
        Offset in floats by key, a multiple of :data:`ALIGN`.
    total : int
        Floats of the whole block.
    """
    by_time = sorted(lifetimes, key=lambda key: lifetimes[key].first)
    by_size = sorted(lifetimes, key=lambda key: -lifetimes[key].size)
    both_ends = _pack(lifetimes, by_time, lower_bound(lifetimes))
    largest_first = _pack(lifetimes, by_size, 0)
    return min(both_ends, largest_first, key=lambda packed: packed[1])


def lower_bound(lifetimes: Mapping[str, Lifetime]) -> int:
    """The largest sum of sizes alive at one step: no layout is smaller."""
    starts = {life.first for life in lifetimes.values()}
    return max(
        (sum(padded(t.size) for t in lifetimes.values() if t.first <= step <= t.last) for step in starts),
        default=0,
    )


def _pack(lifetimes: Mapping[str, Lifetime], order: Iterable[str], room: int) -> tuple[dict[str, int], int]:
    """Place tensors one by one: every second one as high as ``room`` allows, all others as low as can be.

    A tensor of less than ``1 / LITTLE`` of the room has the turn of the one that follows.
    """
    offsets: dict[str, int] = {}
    turn = 0
    for key in order:
        life, size = lifetimes[key], padded(lifetimes[key].size)
        taken = sorted(
            (offset, offset + padded(lifetimes[other].size))
            for other, offset in offsets.items()
            if lifetimes[other].overlaps(life)
        )
        gaps = [(low, high) for low, high in _gaps(taken, room) if high - low >= size]
        if not gaps:
            offsets[key] = max((high for _, high in taken), default=0)
        else:
            offsets[key] = gaps[-1][1] - size if room and turn % 2 else gaps[0][0]
        turn += size * LITTLE > room  # what fits in beside the others anyway does not change ends
    total = max((offset + padded(lifetimes[key].size) for key, offset in offsets.items()), default=0)
    return offsets, total


def _gaps(taken: list[tuple[int, int]], room: int) -> Iterator[tuple[int, int]]:
    """What lies free between sorted intervals, and above them up to ``room``."""
    start = 0
    for low, high in taken:
        yield start, low
        start = max(start, high)
    yield start, room


def padded(size: int) -> int:
    """``size`` rounded up to whole cache lines."""
    return -(-size // ALIGN) * ALIGN
