"""Padding policies against their definitions, found by search where a definition says "the least"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mininet.errors import GraphError, ShapeError
from mininet.ops.geometry import PADDING_POLICIES, check_window, output_size, resolve_padding

LENGTH = st.integers(1, 40)
KERNEL = st.integers(1, 7)
STRIDE = st.integers(1, 4)
DILATION = st.integers(1, 3)


def _one_axis(policy: str, length: int, k: int, s: int, d: int) -> tuple[int, int]:
    """The policy along one axis; the other axis is a single pixel under a 1x1 window."""
    pads = resolve_padding(policy, (length, 1), (k, 1), (s, 1), (d, 1))
    assert policy == "keras" or pads[2:] == (0, 0)
    return pads[0], pads[1]


@given(LENGTH, KERNEL, STRIDE, DILATION)
def test_same_is_the_least_padding_that_gives_ceil_outputs(length: int, k: int, s: int, d: int) -> None:
    before, after = _one_axis("same", length, k, s, d)
    wanted, reach = -(-length // s), d * (k - 1) + 1
    # Fewer zeros than the answer would give fewer windows; more than needed is never asked for.
    least = next(zeros for zeros in range(reach + 1) if (wanted - 1) * s + reach <= length + zeros)
    assert before + after == least, (length, k, s, d)
    assert after - before in (0, 1), "the odd zero goes behind"
    assert output_size("conv2d", (length, 1), (before, after, 0, 0), (k, 1), (s, 1), (d, 1))[0] == wanted


@given(LENGTH, KERNEL, STRIDE, DILATION)
def test_same_is_tensorflows_formula(length: int, k: int, s: int, d: int) -> None:
    reach = d * (k - 1) + 1
    total = max(reach - (s if length % s == 0 else length % s), 0)
    assert _one_axis("same", length, k, s, d) == (total // 2, total - total // 2)


@pytest.mark.parametrize(("length", "expected"), [(224, (0, 1)), (225, (1, 1)), (1, (1, 1)), (2, (0, 1))])
def test_same_at_stride_two_depends_on_parity(length: int, expected: tuple[int, int]) -> None:
    assert _one_axis("same", length, 3, 2, 1) == expected


@given(LENGTH, st.sampled_from([1, 3, 5, 7]), STRIDE, DILATION)
def test_symmetric_is_torchvisions_formula(length: int, k: int, s: int, d: int) -> None:
    assert _one_axis("symmetric", length, k, s, d) == ((k - 1) // 2 * d,) * 2
    if s == 1:
        assert (
            output_size("conv2d", (length, 1), ((k - 1) // 2 * d,) * 2 + (0, 0), (k, 1), (1, 1), (d, 1))[0]
            == length
        )


@given(LENGTH, LENGTH, st.sampled_from([3, 5]))
def test_keras_pads_one_row_below_and_one_column_right_at_stride_two(h: int, w: int, k: int) -> None:
    assert resolve_padding("keras", (h, w), (k, k), (2, 2), (1, 1)) == (0, 1, 0, 1)
    same = resolve_padding("same", (h, w), (k, k), (1, 1), (1, 1))
    assert resolve_padding("keras", (h, w), (k, k), (1, 1), (1, 1)) == same


@given(st.tuples(*[st.integers(0, 9)] * 4), LENGTH, LENGTH)
def test_explicit_padding_is_kept(pads: tuple[int, int, int, int], h: int, w: int) -> None:
    assert resolve_padding(pads, (h, w), (3, 3), (2, 2), (1, 1)) == pads


@given(LENGTH, KERNEL, STRIDE, DILATION, st.integers(0, 5), st.integers(0, 5))
def test_output_size_counts_the_windows_that_fit(
    length: int, k: int, s: int, d: int, before: int, after: int
) -> None:
    starts = range(0, length + before + after - d * (k - 1), s)
    arguments = ("conv2d", (length, 1), (before, after, 0, 0), (k, 1), (s, 1), (d, 1))
    if starts:
        assert output_size(*arguments) == (len(starts), 1)
    else:
        with pytest.raises(ShapeError, match="does not fit"):
            output_size(*arguments)


BAD = {
    "kernel of zero": {"window": (0, 3)},
    "kernel of three numbers": {"window": (3, 3, 3)},
    "stride of zero": {"stride": (1, 0)},
    "negative dilation": {"dilation": (-1, 1)},
    "negative padding": {"padding": (0, -1, 0, 0)},
    "two paddings": {"padding": (1, 1)},
    "unknown policy": {"padding": "valid"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_window_that_makes_no_sense_is_refused(name: str) -> None:
    good = {"window": (3, 3), "stride": (1, 1), "dilation": (1, 1), "padding": "same"}
    check_window("conv2d", **good)
    with pytest.raises(GraphError, match=r"^conv2d: [^\n]+$"):
        check_window("conv2d", **{**good, **BAD[name]})


def test_the_policies_are_the_documented_ones() -> None:
    assert PADDING_POLICIES == ("symmetric", "same", "keras")
