"""A lock that does not outlive a fork: the child has no thread that could open what another had closed."""

from __future__ import annotations

import os
import threading
import weakref


class Lock:
    """For ``with``. Open in the child of a fork: what it guards must be sound at any moment of a change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _EVERY.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


_EVERY: weakref.WeakSet[Lock] = weakref.WeakSet()


def _open_all() -> None:
    for lock in _EVERY:
        lock._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
