"""Many Python threads, one network or several: the bits of a single thread, and no thread left over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small import answers, network, picture, tasks

import mininet

THREADS = 32
MOST = 4
"""Threads that one call may use here."""

CALLS = pytest.mark.parametrize("calls", [640, pytest.param(10_000, marks=pytest.mark.slow)])


def _together(count: int, work: Callable[[int], None]) -> None:
    """Run ``work`` on that many threads, all begun at once, and raise what any of them raised."""
    barrier, errors = threading.Barrier(count), []

    def run(index: int) -> None:
        try:
            barrier.wait()
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def _restless() -> Iterator[None]:
    """The number of threads changes all the time."""
    ended = threading.Event()

    def change() -> None:
        for i in range(10**9):
            mininet.set_num_threads(1 + i % MOST)
            if ended.wait(0.0005):
                return

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@CALLS
def test_one_network_from_32_threads(calls: int) -> None:
    """The plan is compiled in the middle of it: 32 first calls come at once."""
    pictures = [picture(seed) for seed in range(5)]
    expected = answers(network(), pictures)
    net = network()

    def work(index: int) -> None:
        for i in range(index, calls, THREADS):
            got = net(pictures[i % 5]).tobytes()
            assert got == expected[i % 5], f"call {i} on thread {index} gives other bits"

    with _restless():
        _together(THREADS, work)


@CALLS
def test_several_networks_and_sizes_at_once(calls: int) -> None:
    """More sizes than a network keeps plans for: plans are dropped and compiled during other calls."""
    nets = [network(seed) for seed in range(3)]
    pictures = [picture(size, size) for size in range(15, 25)]
    expected = [answers(net, pictures) for net in nets]
    rare = max(calls // 60, 1)  # how long a thread stays with a size: compiling takes a hundred calls' time

    def work(index: int) -> None:
        for i in range(index, calls, 8):
            which, at = (index + i) % 3, (index + i // rare) % 10
            got = nets[which](pictures[at]).tobytes()
            assert got == expected[which][at], f"network {which}, picture {at}, thread {index}: other bits"

    with _restless():
        _together(8, work)


def test_every_backend_at_once() -> None:
    net, x = network(), picture(1)
    expected = {backend: net(x, backend=backend).tobytes() for backend in ("plan", "kernels", "reference")}
    traced = {name: value.tobytes() for name, value in net.trace(x).items()}

    def work(index: int) -> None:
        for _ in range(4):
            for backend, bits in expected.items():
                assert net(x, backend=backend).tobytes() == bits, backend
            assert {name: value.tobytes() for name, value in net.trace(x).items()} == traced

    _together(6, work)


def test_weights_replaced_during_calls_are_the_old_or_the_new_ones() -> None:
    net, x = network(0), picture(2)
    states = [network(seed).state_dict() for seed in (0, 1)]
    expected = [answers(network(seed), [x])[0] for seed in (0, 1)]

    def work(index: int) -> None:
        for i in range(40):
            if index == 0:
                net.load_state_dict(states[i % 2])
            else:
                assert net(x).tobytes() in expected, "a mixture of two sets of weights"

    _together(4, work)
    assert net(x).tobytes() == expected[1], "the last weights are not those in use"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list threads")
def test_no_thread_is_left_over() -> None:
    """Beside the pool's own, of which there are never more than the largest number of threads asked for."""
    mininet.set_num_threads(MOST)
    net, x = network(), picture(3)
    net(x)
    before = tasks()

    def work(index: int) -> None:
        for _ in range(10):
            net(x)

    for _ in range(5):
        with _restless():
            _together(THREADS, work)
        mininet.set_num_threads(MOST)
        net(x)
    deadline = time.monotonic() + 30
    while tasks() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the system counts a joined thread for a moment longer
    assert tasks() <= before, f"{before} threads before, {tasks()} now"


def test_idle_workers_sleep() -> None:
    """A worker that went on spinning would take as long of a processor as the main thread sleeps."""
    net, x = network(), picture(0)
    mininet.set_num_threads(MOST)
    net(x)
    before = time.process_time()
    time.sleep(0.5)
    used = time.process_time() - before
    assert used < 0.05, f"{used:.3f} s of processor time in half a second without a call"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
def test_workers_may_run_wherever_the_process_may() -> None:
    """A sleeping worker is woken away from the caller's processor; the ban must not outlive the waking."""
    net, x = network(), picture(0)
    mininet.set_num_threads(MOST)
    for _ in range(20):
        time.sleep(0.01)  # workers fall asleep
        net(x)
    deadline = time.monotonic() + 30
    while (banned := _banned()) and time.monotonic() < deadline:
        time.sleep(0.01)  # a worker that came late may still be on its way
    assert not banned, f"threads with other processors than the caller: {banned}"


def _banned() -> dict[int, set[int]]:
    """Threads of this process that may run elsewhere than the caller, and where."""
    allowed = {
        int(task.name): os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()
    }
    return {task: where for task, where in allowed.items() if where != os.sched_getaffinity(0)}
