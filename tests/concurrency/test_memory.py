"""Memory that stays flat: over calls, over networks made and dropped, and no reference kept by anybody."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from small import network, picture

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell")

MOST_GROWTH = 2_000_000
"""Bytes by which heaps may settle: in the long loops 20 for each call and 200 for each network."""

#: Runs in a process of its own, so that nothing but the loop can grow.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import gc, resource
import mininet
from small import network, picture

mininet.set_num_threads(2)

def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def loop(work, count):
    for i in range(max(count // 10, 50)):      # until heaps and caches have their size
        work(i)
    before, objects = resident(), len(gc.get_objects())
    for i in range(count):
        work(i)
    print(resident() - before, len(gc.get_objects()) - objects)

net, pictures = network(), [picture(i, 8 + i) for i in range(4)]

def call(i):
    net(pictures[i % 4])

def make(i):
    one = mininet.create_model("mobilenet_v1", width=0.25, shallow=True, num_classes=10, weights="random:0")
    one(pictures[0])
"""


def _grown(work: str, count: int) -> tuple[int, int]:
    """Bytes and Python objects by which a process grows."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM + f"loop({work}, {count})"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    growth, objects = map(int, run.stdout.split())
    print(f"{count} times {work}: {growth:+,} bytes resident, {objects:+} Python objects")
    return growth, objects


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_calls_leave_nothing_behind(count: int) -> None:
    growth, objects = _grown("call", count)
    assert growth < MOST_GROWTH, f"{growth} bytes more after {count} calls"
    assert objects <= 10, f"{objects} Python objects more after {count} calls"


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_networks_that_are_dropped_leave_nothing_behind(count: int) -> None:
    """Their weights, packed weights and arenas are 2 MB each."""
    growth, objects = _grown("make", count)
    assert growth < MOST_GROWTH, f"{growth} bytes more after {count} networks"
    assert objects <= 10, f"{objects} Python objects more after {count} networks"


def test_nothing_refers_to_a_network_that_is_dropped() -> None:
    """Not even a circle, which would wait for the collector."""
    net = network()
    net(picture(0))
    plan, program, known = weakref.ref(net.plan()), net.plan()._program, weakref.ref(net)
    gc.disable()
    try:
        del net
        assert known() is None, "a network is kept by somebody"
        assert plan() is None, "a plan is kept by somebody"
        assert sys.getrefcount(program) == 2, "a program is kept by somebody"
    finally:
        gc.enable()
