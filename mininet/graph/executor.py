"""The two backends that show every node: plain NumPy, and one C kernel per node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mininet import _native
from mininet._native import BLOCK
from mininet.errors import DTypeError, ShapeError
from mininet.graph.graph import INPUT, Graph, Node
from mininet.ops.base import Array, Shape
from mininet.ops.step import blocked, floats_of, image_of


@dataclass(frozen=True, eq=False)
class Result:
    """What one node made: an array (N, C, H, W) or (N, F) of its own, and the seconds it took."""

    node: Node
    value: Array
    seconds: float


def run_reference(graph: Graph, x: Array) -> Iterator[Result]:
    """Run node by node in NumPy, in the dtype of ``x`` (float64 serves as a yardstick).

    Yields
    ------
    Result
        Of every node in order; overflow and NaN pass through quietly, as they do in C.
    """
    values: dict[str, Array] = {INPUT: x}
    for node in graph.nodes:
        params = {role: value.astype(x.dtype) for role, value in node.select(graph.params).items()}
        inputs = [values[name] for name in node.inputs]
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            value = node.op.reference(params, *inputs)
        seconds = time.perf_counter() - start
        # An identity returns its input: a result is never somebody else's memory.
        values[node.name] = value.copy() if any(np.shares_memory(value, i) for i in inputs) else value
        yield Result(node, values[node.name], seconds)


class KernelExecutor:
    """A graph prepared for one input size as one program per node."""

    def __init__(self, graph: Graph, input_shape: Shape) -> None:
        self._graph = graph
        self._shapes = graph.infer_shapes((1, *input_shape[1:]))
        self._programs = [self._program(node) for node in graph.nodes]

    def _program(self, node: Node) -> _native.Program:
        sources = [self._shapes[name] for name in node.inputs]
        step = node.op.lower(node.select(self._graph.params), *sources)
        operands = [(1 + i, 0) for i in range(len(sources) + 1)]
        return _native.Program(
            [(step, operands[:-1], operands[-1])],
            0,
            [floats_of(image) for image in step.reads],
            [floats_of(step.output)],
        )

    def run(self, x: Array) -> Iterator[Result]:
        """Run node by node; yields each node's result in the order of execution.

        Raises
        ------
        ShapeError, DTypeError
            If ``x`` is not float32 of the shape this was prepared for; only the batch is free.
        """
        expected = self._shapes[INPUT][1:]
        if x.shape[1:] != expected:
            raise ShapeError(f"prepared for (N, {', '.join(map(str, expected))}), got {x.shape}")
        if x.dtype != np.float32:
            raise DTypeError(f"expected a float32 array, got {x.dtype}")
        batch = len(x)
        values: dict[str, Array] = {INPUT: to_blocked(x)}
        for node, program in zip(self._graph.nodes, self._programs, strict=True):
            shape = self._shapes[node.name]
            value = np.zeros((batch, floats_of(image_of(shape))), np.float32)
            start = time.perf_counter()
            program.run([values[name] for name in node.inputs], [value], batch)
            seconds = time.perf_counter() - start
            values[node.name] = value
            yield Result(node, from_blocked(value, shape), seconds)


def to_blocked(x: Array) -> Array:
    """(N, C, H, W) or (N, F) in the layout of the kernels: (N, floats), channels in blocks of 16."""
    n, c, h, w = (*x.shape, 1, 1)[:4]
    padded = np.zeros((n, blocked(c), h * w), np.float32)
    padded[:, :c] = x.reshape(n, c, h * w)
    split = padded.reshape(n, blocked(c) // BLOCK, BLOCK, h * w)
    return split.transpose(0, 1, 3, 2).reshape(n, blocked(c) * h * w)


def from_blocked(value: Array, shape: Shape) -> Array:
    """A new array (N, *shape[1:]) from the layout of the kernels; the inverse of `to_blocked`."""
    (c, h, w), n = image_of(shape), len(value)
    split = value.reshape(n, blocked(c) // BLOCK, h * w, BLOCK)
    planar = split.transpose(0, 1, 3, 2).reshape(n, blocked(c), h * w)
    return np.array(planar[:, :c].reshape(n, *shape[1:]), order="C")
