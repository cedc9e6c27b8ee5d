"""The default backend: a graph folded, fused and laid out in memory, run as one native call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from mininet import _native
from mininet.errors import ShapeError
from mininet.graph.arena import Lifetime, layout
from mininet.graph.executor import KernelExecutor, Result
from mininet.graph.graph import INPUT, Graph
from mininet.graph.passes import PASSES
from mininet.graph.turns import in_turns, take_turns
from mininet.ops import Conv2d, ConvDepthwise, GlobalAvgPool
from mininet.ops.base import Array, Shape
from mininet.ops.step import Step, floats_of, image_of

Float32 = NDArray[np.float32]
PLANAR_INPUT = "input (planar)"
Call = tuple[Step, tuple[str, ...], str]
"""A kernel call: the step, the names it reads, the name it writes."""
IN_PLACE = {"activation", "add", "clip", "multiply"}
"""Kernels whose output may be the same memory as an input (the promise of csrc/kernels/elementwise.c)."""


@dataclass(frozen=True)
class PlanStep:
    """One native step: which node it computes, by which kernel, and at what cost.

    Two steps that are done in turns of a few rows are one: it has the name of the second, and `before` is the
    node of the first, whose result is in no memory as a whole.
    """

    name: str
    op: str
    kernel: str
    activation: str
    output: Shape
    madds: int
    before: str | None = None

    def with_last(self, name: str, op: str, step: Step, output: Shape, madds: int) -> PlanStep:
        """This step and another in turns."""
        return PlanStep(
            name,
            f"{self.op} + {op}",
            f"{self.kernel} + mn_{step.kernel}_f32",
            f"{self.activation} + {step.activation}",
            output,
            self.madds + madds,
            self.name,
        )


class Plan:
    """A graph compiled for one input size; holds packed weights and scratch memory.

    Parameters
    ----------
    graph : Graph
        With its weights.
    input_shape : (N, C, H, W)
        N is of no matter: a batch runs image by image, or one image on each thread, each in an arena.

    Attributes
    ----------
    steps : list of PlanStep
    graph : Graph
        The rewritten graph that runs; without weights, which the program holds packed.
    """

    def __init__(self, graph: Graph, input_shape: Shape) -> None:
        self.input_shape = (1, *input_shape[1:])
        graph.infer_shapes(self.input_shape)  # complain in the user's names, before rewriting
        self._output_shapes = [graph.infer_shapes(self.input_shape)[name] for name in graph.outputs]
        self._source = graph
        rewritten = _rewritten(graph)
        self.graph = rewritten.with_params({})
        self.steps: list[PlanStep] = []
        self._program = self._compile(rewritten.params)

    def _compile(self, params: Mapping[str, Array]) -> _native.Program:
        shapes = self.graph.infer_shapes(self.input_shape)
        self._behind = _means(self.graph)
        calls = self._calls(shapes, params)
        outside = {PLANAR_INPUT: (1, 0)}
        outside |= {name: (2 + i, 0) for i, name in enumerate(self._final_names())}
        last_read = {  # the last call that reads each tensor, or a mean behind it
            self._behind.get(name, name): i for i, (_, sources, _) in enumerate(calls) for name in sources
        }
        homes = _homes(calls, set(outside), last_read)
        offsets, total = layout(_lifetimes(calls, homes, last_read))

        def operand(name: str) -> tuple[int, int]:
            if name in self._behind:
                maker = self._behind[name]
                return 0, offsets[maker] + floats_of(image_of(shapes[maker]))
            return outside[name] if name in outside else (0, offsets[homes[name]])

        bound = [
            (step, [operand(source) for source in sources], operand(target))
            for step, sources, target in calls
        ]
        sizes = [prod(shape) for shape in self._output_shapes]
        return _native.Program(bound, total, [prod(self.input_shape)], sizes)

    def _calls(self, shapes: dict[str, Shape], params: Mapping[str, Array]) -> list[Call]:
        """Every kernel call, layout changes included."""
        calls: list[Call] = []

        def call(step: Step, sources: tuple[str, ...], target: str, op: str, madds: int = 0) -> None:
            calls.append((step, sources, target))
            shape = shapes.get(target, (1, *step.output))
            self.steps.append(PlanStep(target, op, f"mn_{step.kernel}_f32", step.activation, shape, madds))

        readers = self.graph.consumers()[INPUT]
        planar = len(readers) > 0 and all(isinstance(node.op, (Conv2d, ConvDepthwise)) for node in readers)
        planar = planar and INPUT not in self.graph.outputs
        if not planar:
            image = image_of(self.input_shape)
            call(Step("to_blocked", (image,), image, planar_input=True), (PLANAR_INPUT,), INPUT, "layout")
        for node in self.graph.nodes:
            if node.name in self._behind:
                continue
            sources = [shapes[name] for name in node.inputs]
            step = node.op.lower(node.select(params), *sources)
            names = node.inputs
            if names == (INPUT,) and planar:  # the general convolution reads the picture as it came
                step, names = step.planar(), (PLANAR_INPUT,)
            step = replace(step, means=node.name in self._behind.values())
            madds = node.op.multiply_adds(*sources)
            if self._joins(calls, names[0], step):
                (before, others, _), done = calls.pop(), self.steps.pop()
                calls.append((in_turns(before, step), (*others, *names[1:]), node.name))
                self.steps.append(done.with_last(node.name, node.op.kind, step, shapes[node.name], madds))
            else:
                call(step, names, node.name, node.op.kind, madds)
        for name, final in zip(self.graph.outputs, self._final_names(), strict=True):
            image = image_of(shapes[name])
            call(Step("to_planar", (image,), image, planar_output=True), (name,), final, "layout")
        return calls

    def _joins(self, calls: list[Call], source: str, step: Step) -> bool:
        """Whether a step should be done in turns with the call before it, whose result nothing else reads."""
        once = len(self.graph.consumers().get(source, ())) == 1 and source not in self.graph.outputs
        return once and len(calls) > 0 and calls[-1][2] == source and take_turns(calls[-1][0], step)

    def _final_names(self) -> list[str]:
        """What each output is called once it is planar."""
        return [f"output {i}" for i in range(len(self.graph.outputs))]

    @property
    def activation_bytes(self) -> int:
        """Peak memory for intermediate tensors of one run, in bytes."""
        return self._program.arena_bytes

    @property
    def packed_bytes(self) -> int:
        """Memory for the weights as the kernels want them, in bytes."""
        return self._program.packed_bytes

    def run(self, x: Float32, seconds: NDArray[np.float64] | None = None) -> list[Float32]:
        """Run a batch.

        Parameters
        ----------
        x : float32 (N, C, H, W), C-contiguous
        seconds : float64 (len(self.steps),), optional
            Receives the time of each step.

        Returns
        -------
        list of float32 arrays, one per output of the graph, each new.
        """
        if x.shape[1:] != self.input_shape[1:]:
            raise ShapeError(
                f"this plan is for (N, {', '.join(map(str, self.input_shape[1:]))}), got {x.shape}"
            )
        outputs = [np.empty((len(x), *shape[1:]), np.float32) for shape in self._output_shapes]
        self._program.run([x], outputs, len(x), seconds)
        return outputs

    @cached_property
    def _stepwise(self) -> KernelExecutor:
        return KernelExecutor(_rewritten(self._source), self.input_shape)

    def trace(self, x: Float32) -> Iterator[Result]:
        """Run a batch step by step, by the kernels of the plan, and keep every value.

        Parameters
        ----------
        x : float32 (N, C, H, W), C-contiguous

        Yields
        ------
        Result
            Of every node of the rewritten graph, in order; `Node.makes` says whose value it is. The
            seconds are those that the step takes within the plan's one native call; of two nodes that are
            one step, done in turns, the second has the time of both.
        """
        seconds = np.zeros(len(self.steps))
        self.run(x, seconds)
        spent = {step.name: float(time) for step, time in zip(self.steps, seconds, strict=True)}
        for result in self._stepwise.run(x):
            name = result.node.name  # none of its own: a mean, the first of two in turns
            yield replace(result, seconds=spent.get(name, 0.0))

    def __str__(self) -> str:
        rows = [
            (
                str(i),
                s.name,
                s.op,
                s.kernel,
                s.activation,
                "x".join(map(str, s.output[1:])),
                f"{s.madds:,}",
            )
            for i, s in enumerate(self.steps)
        ]
        header = ("step", "node", "op", "kernel", "activation", "output", "MAdds")
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ]
        shape = "x".join(map(str, self.input_shape[1:]))
        total = sum(step.madds for step in self.steps)
        return "\n".join(
            [
                f"plan of {self.graph.name} for {shape} on {_native.isa()}: "
                f"{len(rows)} steps, {total:,} MAdds",
                *lines,
                f"memory in bytes: {self.packed_bytes:,} for packed weights, {self.activation_bytes:,} for "
                f"activations at their peak, {self._program.workspace_bytes:,} of scratch per thread",
            ]
        )


def _rewritten(graph: Graph) -> Graph:
    """The graph after every pass."""
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph


def _means(graph: Graph) -> dict[str, str]:
    """Global means that the depthwise convolution before them leaves behind its output, and its name."""
    return {
        node.name: node.inputs[0]
        for node in graph.nodes
        if isinstance(node.op, GlobalAvgPool)
        and node.inputs[0] != INPUT
        and graph[node.inputs[0]].op.leaves_means
    }


def _homes(calls: list[Call], outside: set[str], last_read: Mapping[str, int]) -> dict[str, str]:
    """Whose memory each tensor in the arena takes: its own, or that of what its step reads for the last time.

    A kernel that works in place leaves its result in the cache of the core that has it, and takes no memory.
    """
    homes: dict[str, str] = {}
    for i, (step, sources, target) in enumerate(calls):
        dying = [
            source
            for source, image in zip(sources, step.reads, strict=True)
            if step.kernel in IN_PLACE and image == step.output and source in homes and last_read[source] == i
        ]
        if target not in outside:
            homes[target] = homes[dying[0]] if dying else target
    return homes


def _lifetimes(
    calls: list[Call], homes: Mapping[str, str], last_read: Mapping[str, int]
) -> dict[str, Lifetime]:
    """Lifetime of every home in the arena; a mean that lies behind a tensor is part of it."""
    lifetimes: dict[str, Lifetime] = {}
    for i, (step, _, target) in enumerate(calls):
        if target in homes:
            home = homes[target]
            life = lifetimes.get(home, Lifetime(step.writes, i, i))
            lifetimes[home] = replace(life, last=max(life.last, last_read.get(target, i)))
    return lifetimes
