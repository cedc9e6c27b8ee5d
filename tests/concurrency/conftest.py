"""What every test here shares: a watch for deadlocks, and the number of threads put back."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest

import mininet

DEADLOCK = 240
"""Seconds after which a test that waits for ever shows every thread and ends the run."""


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test here can hang the suite, nor change how many threads later ones use."""
    before, slow = mininet.get_num_threads(), request.node.get_closest_marker("slow")
    faulthandler.dump_traceback_later(DEADLOCK * (3 if slow else 1), exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    mininet.set_num_threads(before)
