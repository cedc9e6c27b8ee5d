"""The two backends that show every node: equal to one another, and never sharing memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_graphs import all_ops, by_name, chain, graphs, image, reference

from mininet.errors import ShapeError
from mininet.graph import INPUT, Graph, KernelExecutor, Result, run_reference
from mininet.graph.executor import from_blocked, to_blocked
from mininet.ops import Dropout, Flatten, GlobalAvgPool, Relu

SHAPE = (1, 3, 13, 10)


def _run(backend: str, graph: Graph, x: np.ndarray) -> list[Result]:
    return list(run_reference(graph, x) if backend == "reference" else KernelExecutor(graph, x.shape).run(x))


BACKENDS = pytest.mark.parametrize("backend", ["reference", "kernels"])


@given(graphs(), st.integers(1, 3))
def test_kernels_make_every_value_that_the_reference_makes(
    drawn: tuple[Graph, tuple[int, ...]], batch: int
) -> None:
    graph, shape = drawn
    x = image(shape, batch)
    exact = by_name(x, run_reference(graph, x.astype(np.float64)))
    allowed = reference(graph, x)[1]
    results = _run("kernels", graph, x)
    assert [result.node for result in results] == list(graph.nodes)
    for result in results:
        expected = exact[result.node.name]
        assert result.value.shape == expected.shape, f"{result.node.name} in\n{graph}"
        off = np.abs(result.value - expected).max()
        assert off <= allowed, f"{result.node.name} is off by {off:.3e}, allowed {allowed:.3e}, in\n{graph}"


@BACKENDS
def test_every_op_together(backend: str) -> None:
    graph, x = all_ops(), image(SHAPE, 2)
    exact = by_name(x, run_reference(graph, x.astype(np.float64)))
    allowed = reference(graph, x)[1]
    for result in _run(backend, graph, x):
        assert result.value.dtype == np.float32, result.node.name
        assert backend == "reference" or result.value.flags.c_contiguous, result.node.name
        assert result.value.flags.writeable, result.node.name
        assert result.seconds >= 0
        off = np.abs(result.value - exact[result.node.name]).max()
        assert off <= allowed, f"{backend}: {result.node.name} is off by {off:.3e}, allowed {allowed:.3e}"


@BACKENDS
@given(drawn=graphs())
def test_no_result_is_anybody_elses_memory(backend: str, drawn: tuple[Graph, tuple[int, ...]]) -> None:
    graph, shape = drawn
    x = image(shape)
    before = x.copy()
    values = [x, *graph.params.values(), *(result.value for result in _run(backend, graph, x))]
    for i, result in enumerate(values):
        assert not any(np.shares_memory(result, other) for other in values[:i]), f"value {i} of\n{graph}"
    assert np.array_equal(x, before), "the input was changed"


@BACKENDS
def test_writing_into_a_result_changes_no_later_one(backend: str) -> None:
    """Once handed out, a value belongs to whoever asked for it."""
    graph = chain(Dropout(), Relu(), Dropout(), GlobalAvgPool(), Flatten())
    x = image((1, 3, 1, 1))
    results = _run(backend, graph, x)
    for earlier, later in pairwise(results):
        expected = later.value.copy()
        earlier.value[...] = -7.0
        assert np.array_equal(later.value, expected), f"{later.node.name} changed with {earlier.node.name}"


@BACKENDS
def test_the_same_values_come_out_twice(backend: str) -> None:
    graph, x = all_ops(), image(SHAPE, 2)
    for first, second in zip(_run(backend, graph, x), _run(backend, graph, x), strict=True):
        assert np.array_equal(first.value, second.value), first.node.name


@BACKENDS
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_poisoned_input_runs_and_shows(backend: str, poison: float) -> None:
    graph, x = all_ops(), image(SHAPE, 2)
    x[1, 2, 5, 5] = poison
    values = by_name(x, _run(backend, graph, x))
    assert np.isnan(values["probabilities"][1]).all(), "a NaN or infinity vanished on its way"
    assert np.isfinite(values["probabilities"][0]).all(), "it leaked into another image"


@BACKENDS
def test_an_empty_batch_gives_empty_values(backend: str) -> None:
    graph = all_ops()
    shapes = graph.infer_shapes((0, *SHAPE[1:]))
    for result in _run(backend, graph, image(SHAPE, 0)):
        assert result.value.shape == shapes[result.node.name], result.node.name


def test_another_size_is_refused() -> None:
    """Even one that takes as much memory: as many pixels, or as many blocks of channels."""
    executor = KernelExecutor(chain(Relu()), (1, 3, 4, 4))
    for shape in ((1, 3, 4, 5), (1, 3, 2, 8), (1, 4, 4, 4), (3, 4, 4), (1, 3, 4, 4, 1)):
        with pytest.raises(ShapeError, match=r"prepared for \(N, 3, 4, 4\)"):
            list(executor.run(np.zeros(shape, np.float32)))


@given(st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)))
def test_blocks_hold_sixteen_channels_of_a_pixel_side_by_side(shape: tuple[int, ...]) -> None:
    n, c, h, w = shape
    x = np.arange(1, n * c * h * w + 1, dtype=np.float32).reshape(shape)
    blocks = to_blocked(x).reshape(n, -(-c // 16), h, w, 16)
    for channel in range(c):
        assert np.array_equal(blocks[:, channel // 16, :, :, channel % 16], x[:, channel])
    assert np.count_nonzero(blocks) == x.size, "surplus lanes are not zero"
    assert np.array_equal(from_blocked(to_blocked(x), shape), x)
    vector = x.reshape(n, c * h * w)
    assert np.array_equal(from_blocked(to_blocked(vector), vector.shape), vector)


def test_the_reference_follows_the_dtype_of_its_input() -> None:
    graph = all_ops()
    assert {r.value.dtype for r in run_reference(graph, image(SHAPE).astype(np.float64))} == {np.dtype("f8")}


def test_a_graph_without_nodes_gives_nothing() -> None:
    empty = Graph("empty", 3, (), (INPUT,))
    assert _run("kernels", empty, image((1, 3, 2, 2))) == []
    assert _run("reference", empty, image((1, 3, 2, 2))) == []
