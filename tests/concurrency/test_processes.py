"""Processes: forked at any moment or started by multiprocessing, all of them give the same bits."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small import answers, network, picture

import mininet

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
PATIENCE = 60
"""Seconds until SIGALRM ends a child: one that waits for a thread it does not have waits for ever."""


def _in_child(work: Callable[[], bool]) -> int:
    """Exit code of a forked child: 0 if ``work`` returned true there."""
    child = os.fork()
    if child == 0:
        code = 4
        try:
            signal.alarm(PATIENCE)
            code = 0 if work() else 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _works(net: mininet.Network, pictures: list[np.ndarray], expected: list[bytes]) -> Callable[[], bool]:
    return lambda: [net(x).tobytes() for x in pictures] == expected


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("forks", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_a_fork_in_the_middle_of_other_threads_calls(threads: int, forks: int) -> None:
    """While they compile plans, hold the pool and hold its locks; the child compiles and calls at once."""
    mininet.set_num_threads(threads)
    net = network()
    pictures = [picture(size, size) for size in range(12, 24)]
    expected, ended = answers(net, pictures), threading.Event()

    def call(first: int) -> None:
        for i in range(10**9):
            if ended.is_set():
                return
            net(pictures[(first + i) % len(pictures)])

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    try:
        for i in range(forks):
            some = [i % len(pictures), (i + 5) % len(pictures)]
            work = _works(net, [pictures[k] for k in some], [expected[k] for k in some])
            assert _in_child(work) == 0, f"child {i}: other bits, or no end"
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    assert _works(net, pictures, expected)(), "the parent suffered"


def test_a_lock_that_another_thread_holds_is_open_in_a_forked_child() -> None:
    net, x = network(), picture(0)
    expected = answers(network(), [x])
    held, release = threading.Event(), threading.Event()
    locks = [net._runner._lock, net._lock]

    def hold() -> None:
        with locks[0], locks[1]:
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    state = net.state_dict()

    def work() -> bool:
        net.load_state_dict(state)
        return net(x).tobytes() == expected[0]

    try:
        assert _in_child(work) == 0
    finally:
        release.set()
        holder.join()
    assert work()


def test_no_lock_of_threading_is_used_beside_the_one_that_survives_a_fork() -> None:
    package = Path(mininet.__file__).parent
    users = [path.name for path in package.rglob("*.py") if "threading" in path.read_text("utf-8")]
    assert users == ["locks.py"], f"{users}: take mininet.locks.Lock"


def test_a_child_of_a_child_and_its_brothers() -> None:
    mininet.set_num_threads(2)
    net, pictures = network(), [picture(4)]
    expected = answers(net, pictures)
    works = _works(net, pictures, expected)
    net(pictures[0])

    def twice() -> bool:
        return works() and _in_child(works) == 0 and _in_child(works) == 0 and works()

    assert [_in_child(twice) for _ in range(3)] == [0, 0, 0]


def _call(arguments: tuple[int, int]) -> bytes:
    """What a worker of multiprocessing does: with a network of its own, on two threads."""
    seed, threads = arguments
    mininet.set_num_threads(threads)
    return network()(picture(seed)).tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str) -> None:
    """After use in the parent, whose pool has threads."""
    mininet.set_num_threads(2)
    pictures = [picture(seed) for seed in range(8)]
    expected = answers(network(), pictures)
    network()(pictures[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        got = pool.map_async(_call, [(seed, 1 + seed % 3) for seed in range(8)]).get(timeout=120)
    assert got == expected, f"{method}: other bits"
