"""How mininet runs on this machine: threads, instruction set, build."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mininet import __version__, _native
from mininet._native import get_num_threads, set_num_threads

__all__ = ["build_info", "get_num_threads", "set_num_threads", "using_threads"]


def build_info() -> dict[str, object]:
    """What runs: versions, instruction sets and threads.

    Returns
    -------
    dict
        ``version``, ``isa`` (in use; the environment variable ``MININET_ISA`` chooses another),
        ``available_isas``, ``vector_width`` (floats), ``cpus``, ``threads``, ``numpy``, ``python``,
        ``machine``.
    """
    return {
        "version": __version__,
        "isa": _native.isa(),
        "available_isas": list(_native.available_isas()),
        "vector_width": _native.vector_width(),
        "cpus": _native.cpu_count(),
        "threads": get_num_threads(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


@contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Use at most ``count`` threads within a block, in the whole process; None changes nothing."""
    before = get_num_threads()
    if count is not None:
        set_num_threads(count)
    try:
        yield
    finally:
        if count is not None:
            set_num_threads(before)
