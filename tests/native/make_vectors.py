"""Write programs with inputs and expected outputs to a file, for ``kernel_vectors.c`` to run without Python.

    PYTHONPATH=tests:tests/ops python tests/native/make_vectors.py WIDTH FILE

Constants are packed for an instruction set whose registers hold WIDTH floats, which need not be one that
this machine has. Cases are those of the kernel tests, drawn the same way on every run, and a few
whole networks; results come from the NumPy reference in float64, bounds from the same table.

The file is a stream of little-endian int64, strings (length, bytes) and floats; `kernel_vectors.c` is its
only reader and says what follows what.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from running import error_bound, in_memory, reference64
from strategies import LARGE, STRATEGIES, VALUES, Case, cases
from tolerances import GRAPH_SHARE

import mininet
from mininet import _native
from mininet.graph import Graph, Plan, run_reference, turns
from mininet.ops.step import Step

Array = np.ndarray
Operand = tuple[int, int]
Call = tuple[Step, Sequence[Operand], Operand]

PER_OP = 24
#: (name, width, input shape): small, and every kernel of a plan at work.
NETWORKS = (
    ("mobilenet_v1", 0.25, (2, 3, 33, 47)),
    ("mobilenet_v2", 0.35, (2, 3, 65, 41)),
    ("mobilenet_v3_small", 0.5, (3, 3, 64, 64)),
    ("mobilenet_v3_large", 0.35, (1, 3, 57, 70)),
)
TURN_FLOATS = 4000
"""Of a turn where all that can takes turns: a few rows, several turns a strip."""

NO_BOUND = -1.0
"""In place of a bound: the lane is a surplus one and may hold anything."""


@dataclass(frozen=True)
class Vector:
    """A program as `_native.Program` takes it, with one input array each, and what must come out."""

    name: str
    calls: Sequence[Call]
    arena: int
    batch: int
    inputs: Sequence[Array]
    expected: Sequence[Array]
    bounds: Sequence[Array]

    @property
    def workspace(self) -> int:
        """Floats of scratch memory of one thread; not one more, so that a sanitizer sees an overrun."""
        return max(step.workspace for step, _, _ in self.calls)


def op_vectors() -> Iterator[Vector]:
    """Every registered op by itself, in all kinds of geometry and values."""
    for kind in sorted(STRATEGIES):
        for i, case in enumerate(_drawn(kind)):
            inputs = case.inputs()
            if i % 4 == 3:  # a NaN or an infinity must come out where the reference has it
                x = inputs[i % len(inputs)].reshape(-1)
                x[i * 37 % x.size] = (np.nan, np.inf, -np.inf)[i // 4 % 3]
            yield _op_vector(case, inputs)
    for drawn in LARGE:
        case = Case(*drawn, seed=7, values="normal")
        yield _op_vector(case, case.inputs())


def _drawn(kind: str) -> list[Case]:
    found: list[Case] = []

    @seed(0)
    @settings(
        max_examples=PER_OP,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
        derandomize=False,
    )
    @given(cases(kind, tuple(VALUES)))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def _op_vector(case: Case, inputs: list[Array]) -> Vector:
    params, shapes = case.params(), [(1, *shape[1:]) for shape in case.shapes]
    exact = reference64(case.op, params, inputs)
    bound = np.broadcast_to(error_bound(case.op, params, inputs, exact), exact.shape)
    operands = [(1 + i, 0) for i in range(len(inputs) + 1)]
    step = case.op.lower(params, *shapes)
    return Vector(
        str(case),
        [(step, operands[:-1], operands[-1])],
        0,
        len(inputs[0]),
        [in_memory(x) for x in inputs],
        [_blocked(exact, 0.0)],
        [_blocked(bound, NO_BOUND)],
    )


def network_vectors() -> Iterator[Vector]:
    """Whole plans: many steps, an arena, and several tasks at once."""
    for i, (name, width, shape) in enumerate(NETWORKS):
        net = mininet.create_model(name, width=width, num_classes=101, weights=f"random:{i}")
        x = np.random.default_rng(i).standard_normal(shape).astype(np.float32)
        yield _network_vector(net.graph, x, f"{name}, width {width}, on {shape}")


def _network_vector(graph: Graph, x: Array, name: str) -> Vector:
    with patch.object(_native, "Program") as program:
        Plan(graph, x.shape)
    calls, arena, _, _ = program.call_args.args
    values = {result.node.name: result.value for result in run_reference(graph, x.astype(np.float64))}
    allowed = GRAPH_SHARE * max(1.0, *(float(np.abs(value).max()) for value in values.values()))
    exact = [values[output] for output in graph.outputs]
    return Vector(name, calls, arena, len(x), [x], exact, [np.full(y.shape, allowed) for y in exact])


def _blocked(values: Array, surplus: float) -> Array:
    """float64 (N, C, H, W) or (N, F) as kernels lay it out, (N, C / 16, H, W, 16)."""
    n, c, h, w = (*values.shape, 1, 1)[:4]
    filled = np.full((n, -(-c // _native.BLOCK) * _native.BLOCK, h, w), surplus)
    filled[:, :c] = values.reshape(n, c, h, w)
    return filled.reshape(n, -1, _native.BLOCK, h, w).transpose(0, 1, 3, 4, 2)


class Writer:
    """One file of vectors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def numbers(self, *values: int) -> None:
        self._file.write(struct.pack(f"<{len(values)}q", *values))

    def text(self, value: str) -> None:
        self.numbers(len(value.encode()))
        self._file.write(value.encode())

    def array(self, values: Array, dtype: str) -> None:
        self._file.write(np.ascontiguousarray(values, dtype).tobytes())

    def vector(self, vector: Vector) -> None:
        """A program, then its inputs, then per output the exact values and their bounds."""
        arrays = [*vector.inputs, *vector.expected]
        self.text(vector.name)
        self.numbers(len(vector.calls), vector.arena, vector.workspace, vector.batch)
        self.numbers(len(vector.inputs), len(arrays), *(array.size // vector.batch for array in arrays))
        for step, sources, target in vector.calls:
            self.step(step)
            second = sources[1] if len(sources) > 1 else (0, 0)
            self.numbers(len(sources), *sources[0], *second, *target)
        for x in vector.inputs:
            self.array(x, "<f4")
        for exact, bound in zip(vector.expected, vector.bounds, strict=True):
            self.array(exact, "<f8")
            self.array(bound, "<f8")

    def step(self, step: Step) -> None:
        """A step without its operands; the first and the last part of a fused one follow it."""
        for name in (step.kernel, step.activation):
            self.text(name)
        second = step.inputs[1] if len(step.inputs) > 1 else (0, 0, 0)
        self.numbers(len(step.inputs), *self._extent(step.inputs[0], step.planar_input))
        self.numbers(*self._extent(second, False), *self._extent(step.output, step.planar_output))
        self.numbers(*step.window, *step.stride, *step.dilation, step.padding[0], step.padding[2])
        self.numbers(step.slots, step.groups, step.means, step.halved, step.turn, len(step.constants))
        for constant in step.constants:
            self.numbers(constant.size)
            self.array(constant, "<f4")
        for inner in (step.first, step.last):
            self.numbers(inner is not None)
            if inner is not None:
                self.step(inner)

    @staticmethod
    def _extent(image: tuple[int, int, int], planar: bool) -> tuple[int, int, int, int]:
        c, h, w = image
        return h, w, c, 1 if planar else _native.BLOCK


def main(width: int, path: Path) -> None:
    """Write all vectors for registers of that many floats."""
    vectors = []
    with patch.object(_native, "vector_width", return_value=width):
        for double in (False, True) if width == _native.BLOCK else (False,):  # what plans differ by
            with patch.object(_native, "double_pumped", return_value=double):
                vectors += [*op_vectors(), *network_vectors()]
                with patch.object(turns, "LEAST_FLOATS", 0), patch.object(turns, "TURN_FLOATS", TURN_FLOATS):
                    vectors += network_vectors()
    with path.open("wb") as file:
        writer = Writer(file)
        writer.numbers(width, len(vectors))
        for vector in vectors:
            writer.vector(vector)
    print(f"{len(vectors)} programs for registers of {width} floats: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
