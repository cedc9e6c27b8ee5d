"""Timing networks beside the peak of the machine that they run on.

A machine that others use too is now fast, now slow. So the peak of fused multiply-adds is sampled again
every few calls, in the same process: what slows both cancels in their ratio.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet import _native
from mininet.graph import Plan
from mininet.inspect.cost import FLOAT32
from mininet.network import Float32, Network
from mininet.ops.base import Shape
from mininet.runtime import build_info, get_num_threads, set_num_threads

ROUND_SECONDS = 0.02
"""Calls between two samples of the peak: short against the swings of a shared machine."""
PEAK_SECONDS = 0.001
LEAST_ROUNDS = 3
STEP_SECONDS = 0.3
LEAST_STEP_RUNS = 5
TICKS = 10
"""How often `measure` reports that it is getting on."""
TAIL = 95
"""Percentile of the slow calls."""


@dataclass(frozen=True)
class Round:
    """One sample of the peak and the calls right after it.

    Attributes
    ----------
    peak : float
        Multiply-adds per second of one thread.
    calls : tuple of float
        Seconds of each call.
    """

    peak: float
    calls: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """How long calls of one network took, for one input shape and number of threads.

    Attributes
    ----------
    network : str
        What the network is called in print.
    input_shape : (N, C, H, W)
    threads : int
    cores : int
        Of the peak that it is compared with: as many as threads, but no more than there are.
    madds : int
        Multiply-adds of one image.
    rounds : tuple of Round
    """

    network: str
    input_shape: Shape
    threads: int
    cores: int
    madds: int
    rounds: tuple[Round, ...]

    @property
    def calls(self) -> list[float]:
        """Seconds of every call, in order."""
        return [seconds for each in self.rounds for seconds in each.calls]

    @property
    def minimum(self) -> float:
        """Seconds of the shortest call: what network and machine can do."""
        return min(self.calls)

    @property
    def median(self) -> float:
        """Seconds of a usual call: what to expect."""
        return float(np.median(self.calls))

    @property
    def tail(self) -> float:
        """Seconds that 95 % of the calls keep within."""
        return float(np.percentile(self.calls, TAIL))

    @property
    def peaks(self) -> list[float]:
        """Every sample of one thread's peak, in multiply-adds per second."""
        return [each.peak for each in self.rounds]

    @property
    def share_best(self) -> float:
        """Share of the peak that the shortest call reached, by the greatest peak ever sampled."""
        return self._share(self.minimum, max(self.peaks))

    @property
    def share_median(self) -> float:
        """Median over the rounds of the share of the peak, by the peak sampled in that round."""
        return float(np.median([self._share(float(np.median(r.calls)), r.peak) for r in self.rounds]))

    def _share(self, seconds: float, peak: float) -> float:
        return self.madds * self.input_shape[0] / (seconds * peak * self.cores)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and lists, for JSON; times in seconds of one call."""
        return {
            "network": self.network,
            "input_shape": list(self.input_shape),
            "threads": self.threads,
            "batch": self.input_shape[0],
            "madds": self.madds,
            "rounds": len(self.rounds),
            "calls": len(self.calls),
            "seconds": {"minimum": self.minimum, "median": self.median, "p95": self.tail},
            "images_per_second": self.input_shape[0] / self.median,
            "peak_madds_per_second": {"best": max(self.peaks), "median": float(np.median(self.peaks))},
            "share_of_peak": {"best": self.share_best, "median": self.share_median},
        }


@dataclass(frozen=True)
class StepTime:
    """One step of a plan, for one image.

    Attributes
    ----------
    name, op, kernel : str
    output : (1, C, H, W) or (1, F)
    madds : int
    bytes : int
        Inputs and weights read once and outputs written once, as float32.
    seconds : float
        The shortest of several runs.
    share : float
        Of the peak; NaN for a step that multiplies nothing.
    """

    name: str
    op: str
    kernel: str
    output: Shape
    madds: int
    bytes: int
    seconds: float
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text, for JSON."""
        return {**vars(self), "output": list(self.output)}


def measure(
    net: Network,
    shape: Shape,
    threads: int = 1,
    seconds: float = 1.0,
    *,
    name: str = "",
    tick: Callable[[], None] = lambda: None,
) -> Timing:
    """Time calls of a network.

    Parameters
    ----------
    net : Network
    shape : (N, C, H, W)
        Of the input, which is random.
    threads : int
        The number in use before comes back afterwards.
    seconds : float
        How long to go on; there are `LEAST_ROUNDS` rounds in any case.
    name : str
        By default the architecture's.
    tick : callable
        Called `TICKS` times, evenly spread over the time.

    Raises
    ------
    ShapeError
        If the network does not take such an input.
    """
    x = _random_input(shape)
    before = get_num_threads()
    set_num_threads(threads)
    try:
        plan = net.plan(shape)
        net(x)  # first touch of all memory is no call's time
        rounds = tuple(_rounds(net, x, seconds, tick))
    finally:
        set_num_threads(before)
    madds = sum(step.madds for step in plan.steps)
    cores = min(threads, _native.cpu_count())
    return Timing(name or net.name, tuple(shape), threads, cores, madds, rounds)


def _rounds(net: Network, x: Float32, seconds: float, tick: Callable[[], None]) -> Iterator[Round]:
    start, done, ticks = perf_counter(), 0, 0
    while done < LEAST_ROUNDS or perf_counter() - start < seconds:
        peak = _native.fma_peak(PEAK_SECONDS)
        net(x)  # not counted: worker threads have fallen asleep meanwhile
        calls = [_timed(net, x)]
        while sum(calls) < ROUND_SECONDS:
            calls.append(_timed(net, x))
        yield Round(peak, tuple(calls))
        done += 1
        while ticks < TICKS - 1 and perf_counter() - start > (ticks + 1) * seconds / TICKS:
            ticks += 1
            tick()
    for _ in range(ticks, TICKS):
        tick()


def _timed(net: Network, x: Float32) -> float:
    start = perf_counter()
    net(x)
    return perf_counter() - start


def step_times(net: Network, shape: Shape, threads: int = 1) -> list[StepTime]:
    """Time every step of a network's plan.

    Parameters
    ----------
    net : Network
    shape : (N, C, H, W)
    threads : int

    Returns
    -------
    list of StepTime
        In order, as `Network.plan` prints them. The steps run within one native call, as always.
    """
    plan, x = net.plan(shape), _random_input(shape)
    before = get_num_threads()
    set_num_threads(threads)
    peaks: list[float] = []
    runs: list[NDArray[np.float64]] = []
    try:
        start = perf_counter()
        while len(runs) < LEAST_STEP_RUNS or perf_counter() - start < STEP_SECONDS:
            peaks.append(_native.fma_peak(PEAK_SECONDS))
            plan.run(x)  # not counted: worker threads have fallen asleep meanwhile
            seconds = np.zeros(len(plan.steps))
            plan.run(x, seconds)
            runs.append(seconds / len(x))
    finally:
        set_num_threads(before)
    limit = max(peaks) * min(threads, _native.cpu_count())
    return [
        StepTime(
            step.name,
            step.op,
            step.kernel,
            step.output,
            step.madds,
            moved,
            float(best),
            step.madds / (float(best) * limit) if step.madds else float("nan"),
        )
        for step, moved, best in zip(plan.steps, _bytes_moved(plan), np.min(runs, axis=0), strict=True)
    ]


def _bytes_moved(plan: Plan) -> list[int]:
    """Bytes that each step reads and writes for one image."""
    shapes = plan.graph.infer_shapes(plan.input_shape)
    nodes = {node.name: node for node in plan.graph.nodes}
    moved = []
    for step in plan.steps:
        node = nodes.get(step.name)
        if node is None:  # a change of layout: as much in as out
            values = 2 * prod(step.output)
        else:
            both = [nodes[step.before], node] if step.before else [node]
            read = {
                source: shapes[source] for each in both for source in each.inputs if source != step.before
            }
            weights = [shape for each in both for shape in each.param_shapes().values()]
            values = sum(map(prod, [*read.values(), *weights])) + prod(step.output)
        moved.append(values * FLOAT32)
    return moved


def _random_input(shape: Sequence[int]) -> Float32:
    return np.random.default_rng(0).standard_normal(tuple(shape), dtype=np.float32)


def machine() -> dict[str, Any]:
    """What was measured and on what: `build_info`, the processor's name, the load average."""
    return {**build_info(), "processor": _processor(), "load_average": load_average()}


def load_average() -> float | None:
    """Processes that ran or waited to, over the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return named[1] if named else platform.processor() or platform.machine()
