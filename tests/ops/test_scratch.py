"""Scratch memory: each thread's own, as large as its kernel needs, and of no influence on a result."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
import pytest
from brute import explicit_pads
from hypothesis import given
from hypothesis import strategies as st
from running import run_step
from strategies import LARGE, STRATEGIES, Case, Drawn

from mininet import _native
from mininet.ops import Conv2d, ConvDepthwise, DepthwiseConv2d, ExpandDepthwise, Op, PointwiseConv2d
from mininet.ops.base import Shape
from mininet.ops.fused_depthwise import TOGETHER
from mininet.ops.step import RING_FLOATS

LANES = _native.BLOCK


@pytest.fixture
def restore_threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = _native.get_num_threads()
    yield
    _native.set_num_threads(before)


@pytest.mark.parametrize("kind", ["depthwise_conv2d", "expand_depthwise", "conv_depthwise"])
@given(data=st.data())
def test_a_window_gets_a_ring_of_the_rows_that_it_touches(kind: str, data: st.DataObject) -> None:
    """Counted by sliding the window along: columns under all of a row, rows under so many rows of output.

    These are all, or the most pairs that fit; or one, if none does. Fused kernels have two rings.
    """
    op, shapes = data.draw(STRATEGIES[kind])
    assert isinstance(op, DepthwiseConv2d | ExpandDepthwise | ConvDepthwise)
    case = Case(op, shapes, 0, "normal")
    window, under = (op, shapes[0]) if isinstance(op, DepthwiseConv2d) else (op.depthwise, _between(case))
    (_, _, h, w), (_, _, outputs, columns) = under, op.infer_shape(*shapes)
    left = explicit_pads(window.padding, (h, w), window)[2]
    (kh, kw), stride, (dh, dw) = window.kernel, window.stride, window.dilation
    next_row = stride[0] if outputs > 1 else 1
    touched = 1 + max(ox * stride[1] + kx * dw for ox in range(columns) for kx in range(kw))
    row = max(touched, left + w) * LANES

    def ring(together: int) -> int:
        return row * (1 + max(ky * dh + oy * next_row for ky in range(kh) for oy in range(together)))

    fits = [n for n in (*range(2, outputs, 2), max(outputs, 2)) if n == 2 or ring(n) <= RING_FLOATS]
    step = op.lower(case.params(), (1, *shapes[0][1:]))
    blocks = 1 if isinstance(op, DepthwiseConv2d) else TOGETHER
    assert step.workspace == blocks * ring(fits[-1]), str(case)


def _between(case: Case) -> Shape:
    """What the first of two fused convolutions makes."""
    assert isinstance(case.op, ExpandDepthwise | ConvDepthwise)
    return case.op.first.infer_shape(*case.shapes)


def test_the_largest_need_of_all_steps_is_each_threads() -> None:
    small = Case(DepthwiseConv2d(4, (3, 3)), ((1, 4, 5, 5),), 0, "normal")
    large = Case(DepthwiseConv2d(4, (5, 5)), ((1, 4, 5, 5),), 0, "normal")
    steps = [case.op.lower(case.params(), *case.shapes) for case in (small, large, small)]
    size = LANES * 25
    program = _native.Program([(step, [(1, 0)], (2, 0)) for step in steps], 0, [size], [size])
    assert program.workspace_bytes == 4 * (5 + 4) * (5 + 4) * LANES
    assert program.arena_bytes == 0


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("drawn", LARGE, ids=lambda drawn: drawn[0].kind)
def test_threads_do_not_share_scratch(drawn: Drawn) -> None:
    case = Case(*drawn, seed=11, values="normal")
    _native.set_num_threads(1)
    expected = run_step(case.op, case.params(), case.inputs())
    assert prod(expected.shape) > 0
    for threads in (2, 3, 5):
        _native.set_num_threads(threads)
        got = run_step(case.op, case.params(), case.inputs())
        assert np.array_equal(got, expected), f"{threads} threads give other bits: {case}"


def _windows(channels: int, window: int, stride: int) -> tuple[Op, ...]:
    """Every op with a sliding window, on so few blocks of channels that it is cut into strips of rows."""
    kernel, strides = (window, window), (stride, stride)
    depthwise = DepthwiseConv2d(channels, kernel, strides, bias=True, activation="hard_swish")
    first = Conv2d(3, channels, (3, 3), bias=True, activation="relu")
    expand = PointwiseConv2d(3, channels, bias=True, activation="relu6")
    return depthwise, ExpandDepthwise(expand, depthwise), ConvDepthwise(first, depthwise)


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("channels", [7, 16, 40])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (4, 3)])
def test_strips_of_rows_give_the_bits_of_the_whole(channels: int, window: int, stride: int) -> None:
    """With threads to come the caller itself does runs of a few strips, which begin and end anywhere."""
    for op in _windows(channels, window, stride):
        case = Case(op, ((1, channels if isinstance(op, DepthwiseConv2d) else 3, 66, 19),), 5, "normal")
        _native.set_num_threads(1)
        expected = run_step(case.op, case.params(), case.inputs())
        for threads in (2, 3, 4, 7):
            _native.set_num_threads(threads)
            got = run_step(case.op, case.params(), case.inputs())
            assert np.array_equal(got, expected), f"{threads} threads give other bits: {case}"
