"""Running a graph by any of the three executions, with what was compiled kept for the next call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import check_choice
from mininet.graph.executor import KernelExecutor, Result, run_reference
from mininet.graph.graph import Graph
from mininet.graph.memory import check_memory, pieces, too_large
from mininet.graph.plan import Plan
from mininet.locks import Lock
from mininet.ops.base import Shape

Float32 = NDArray[np.float32]

Compiled = TypeVar("Compiled", Plan, KernelExecutor)

BACKENDS = ("plan", "kernels", "reference")
PLANS_KEPT = 8
"""Compiled input sizes per runner; the one not used for longest is dropped."""


class Runner:
    """Runs the graphs of one network, which differ in their outputs or weights; threads may share it."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[tuple[Any, ...], tuple[Any, Any]] = OrderedDict()
        self._latest: tuple[Any, Any, Any] | None = None
        self._lock = Lock()

    def run(self, graph: Graph, x: Float32, backend: str) -> Float32:
        """The one output of a graph for an input (N, C, H, W).

        Raises
        ------
        UnknownNameError, DTypeError
            If there is no such backend.
        ShapeError
            If the input does not fit the graph, or not the memory.
        """
        check_choice("backend", backend, BACKENDS)
        try:
            if backend == "plan" and x.flags.c_contiguous:  # nothing to cut or copy
                return self._value(graph, x, backend)
            values = [self._value(graph, piece, backend) for piece in pieces(graph, x, backend == "plan")]
            return values[0] if len(values) == 1 else np.concatenate(values)
        except MemoryError as error:
            raise too_large(graph.name, x.shape, error) from None

    def results(self, graph: Graph, x: Float32, backend: str) -> Iterator[Result]:
        """What each node makes, or each step of the plan, one after the other; errors as for `run`."""
        check_choice("backend", backend, BACKENDS)
        check_memory(graph, x.shape)
        return self._results(graph, np.ascontiguousarray(x), backend)

    def plan(self, graph: Graph, shape: Shape) -> Plan:
        """The compiled plan for one input shape."""
        return self._compile(Plan, graph, shape)

    def forget(self) -> None:
        """Drop what was compiled, which holds weights of its own."""
        with self._lock:
            self._compiled.clear()
            self._latest = None

    def _value(self, graph: Graph, x: Float32, backend: str) -> Float32:
        if backend == "plan":
            return self.plan(graph, x.shape).run(x)[0]
        value = x
        for result in self._results(graph, x, backend):
            value = result.value  # the graph's output is its last node
        return value

    def _results(self, graph: Graph, x: Float32, backend: str) -> Iterator[Result]:
        if backend == "reference":
            return run_reference(graph, x)
        if backend == "plan":
            return self.plan(graph, x.shape).trace(x)
        return self._compile(KernelExecutor, graph, x.shape).run(x)

    def _compile(self, kind: type[Compiled], graph: Graph, shape: Shape) -> Compiled:
        """A plan or executor from the cache, or a new one if there is none for these very weights."""
        key = (kind, graph.outputs, tuple(shape[1:]))
        latest = self._latest  # most calls are like the one before, and need no lock
        if latest is not None and latest[0] is graph.params and latest[1] == key:
            return cast(Compiled, latest[2])
        with self._lock:
            weights, compiled = self._compiled.get(key, (None, None))
            if weights is not graph.params:
                compiled = kind(graph, shape)
            self._compiled[key] = (graph.params, compiled)
            self._compiled.move_to_end(key)
            self._latest = (graph.params, key, compiled)
            while len(self._compiled) > PLANS_KEPT:
                self._compiled.popitem(last=False)
            return cast(Compiled, compiled)
