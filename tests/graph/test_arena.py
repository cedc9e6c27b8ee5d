"""The memory layout: nothing that lives at the same time shares a float."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mininet
from mininet.graph.arena import ALIGN, Lifetime, layout, lower_bound, padded
from mininet.graph.passes import PASSES
from mininet.models.registry import build_graph, config_for
from mininet.ops.step import floats_of, image_of

LIFETIMES = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 500) | st.sampled_from([1, ALIGN - 1, ALIGN, ALIGN + 1]),
    st.integers(0, 12),
    st.integers(0, 6),
)


def most_alive(lifetimes: Mapping[str, Lifetime]) -> int:
    """The most that lives at one step, found by asking every step."""
    last = max((life.last for life in lifetimes.values()), default=-1)
    alive = [
        [life for life in lifetimes.values() if life.first <= step <= life.last] for step in range(last + 1)
    ]
    return max((sum(padded(life.size) for life in group) for group in alive), default=0)


@given(st.lists(LIFETIMES, max_size=14))
def test_no_two_that_live_together_share_memory(lives: list[Lifetime]) -> None:
    lifetimes = {f"t{i}": life for i, life in enumerate(lives)}
    offsets, total = layout(lifetimes)
    assert set(offsets) == set(lifetimes)
    for key, life in lifetimes.items():
        assert offsets[key] >= 0
        assert offsets[key] % ALIGN == 0, f"{key} does not start on a cache line"
        assert offsets[key] + life.size <= total, f"{key} ends behind the arena"
        for other, second in lifetimes.items():
            together = any(life.first <= step <= life.last for step in range(second.first, second.last + 1))
            if key < other and together:
                apart = (
                    offsets[key] + life.size <= offsets[other] or offsets[other] + second.size <= offsets[key]
                )
                assert apart, f"{key} {life} at {offsets[key]} and {other} {second} at {offsets[other]}"
    assert lower_bound(lifetimes) == most_alive(lifetimes)
    assert lower_bound(lifetimes) <= total <= sum(padded(life.size) for life in lives)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=14))
def test_a_chain_takes_no_more_than_its_widest_pair(sizes: list[int]) -> None:
    chain = {f"t{i}": Lifetime(size, i, i + 1) for i, size in enumerate(sizes)}
    pairs = [padded(a) + padded(b) for a, b in pairwise(sizes)]
    assert layout(chain)[1] == lower_bound(chain) == max([padded(sizes[0]), *pairs])


@pytest.mark.parametrize("name", mininet.list_models())
@pytest.mark.parametrize("size", [(224, 224), (161, 97)])
def test_every_network_takes_the_least_that_is_possible(name: str, size: tuple[int, int]) -> None:
    """No proof says so for residual networks; if a new one takes more, `layout` may want a better order."""
    graph = build_graph(config_for(name))
    shape = (1, graph.in_channels, *size)
    for rewrite in PASSES:
        graph = rewrite(graph)
    shapes, readers = graph.infer_shapes(shape), graph.consumers()
    order = {node.name: i for i, node in enumerate(graph.nodes)}
    lifetimes = {
        node.name: Lifetime(
            floats_of(image_of(shapes[node.name])),
            i,
            len(order) if node.name in graph.outputs else max(order[r.name] for r in readers[node.name]),
        )
        for i, node in enumerate(graph.nodes)
    }
    total, least = layout(lifetimes)[1], lower_bound(lifetimes)
    assert total == least, f"{name}: {total} floats where {least} might do"


def test_nothing_takes_nothing() -> None:
    assert layout({}) == ({}, 0)


@given(st.integers(0, 10_000))
def test_sizes_are_rounded_up_to_cache_lines(size: int) -> None:
    assert padded(size) % ALIGN == 0
    assert 0 <= padded(size) - size < ALIGN


@given(LIFETIMES, LIFETIMES)
def test_overlap_is_symmetric_and_means_a_step_in_common(a: Lifetime, b: Lifetime) -> None:
    common = set(range(a.first, a.last + 1)) & set(range(b.first, b.last + 1))
    assert a.overlaps(b) == b.overlaps(a) == bool(common)
