"""Matrix products and windows are cut into tiles of many shapes; no result shows which."""

from __future__ import annotations

import numpy as np
import pytest
from running import run_plan, run_step

from mininet import _native
from mininet.ops import Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.geometry import Padding

WIDE = 96
"""Output channels that fill whole panels, an even number of them, on every instruction set."""

ENDINGS = {
    "relu6": {"activation": "relu6"},
    "hard_swish": {"activation": "hard_swish"},
    "residual": {"residual": True},
}
PIXELS = (*range(2, 32), 57, 113)


@pytest.mark.parametrize("double", [False, True], ids=["whole registers", "half registers where they pay"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("depth", [1, 4, 5, 16, 37])
def test_channels_more_change_no_bit_of_those_before(
    depth: int, ending: str, double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd panels in threes, half panels of which two pixels share a register, a last pixel without a mate."""
    monkeypatch.setattr(_native, "double_pumped", lambda: double)
    random = np.random.default_rng(depth)
    weight = random.standard_normal((WIDE, depth, 1, 1)).astype(np.float32)
    bias = random.standard_normal(WIDE).astype(np.float32)
    for pixels in PIXELS:
        x, residual = (
            random.standard_normal((2, channels, 1, pixels)).astype(np.float32) for channels in (depth, WIDE)
        )

        def of_the_first(outputs: int, x: np.ndarray = x, residual: np.ndarray = residual) -> np.ndarray:
            op = PointwiseConv2d(depth, outputs, bias=True, **ENDINGS[ending])
            params = {"weight": weight[:outputs], "bias": bias[:outputs]}
            return run_step(op, params, [x, residual[:, :outputs]][: op.arity])

        expected = of_the_first(WIDE)
        for outputs in (1, 7, 8, 9, 16, 17, 20, 24, 25, 33, 40, 41, 48, 56, 72, 80, 88):
            got, want = of_the_first(outputs), expected[:, :outputs]
            where = f"{depth} to {outputs} channels, {pixels} pixels, {ending}"
            assert np.array_equal(got, want), f"{where}: off by up to {np.abs(got - want).max():.1e}"


WIDTHS = (*range(1, 20), 29, 31, 64, 71)


@pytest.mark.parametrize("activation", ["relu6", "hard_swish"])
@pytest.mark.parametrize("padding", ["symmetric", "same", (0, 0, 0, 0), (2, 1, 4, 3)], ids=str)
def test_pairs_of_columns_of_half_a_panel_change_no_bit_of_a_first_convolution(
    padding: Padding, activation: str
) -> None:
    """Eight channels, where two neighbours may share a register, against as many of 16 and of 32."""
    random = np.random.default_rng(0)
    for planes in (1, 3, 5):
        weight = random.standard_normal((32, planes, 3, 3)).astype(np.float32)
        bias = random.standard_normal(32).astype(np.float32)
        for width in WIDTHS[2:]:
            x = random.standard_normal((2, planes, 5, width)).astype(np.float32)

            results = {}
            for outputs in (32, 1, 7, 8, 9, 16, 24):
                op = Conv2d(planes, outputs, (3, 3), (2, 2), padding, bias=True, activation=activation)
                results[outputs] = run_plan(op, {"weight": weight[:outputs], "bias": bias[:outputs]}, x)
            for outputs, got in results.items():
                want = results[32][:, :outputs]
                where = f"{planes} to {outputs} channels, {width} columns, {padding}, {activation}"
                assert np.array_equal(got, want), f"{where}: off by up to {np.abs(got - want).max():.1e}"


@pytest.mark.parametrize("activation", ["relu6", "hard_swish"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_pairs_of_columns_of_half_a_block_change_no_bit_of_a_window(
    size: int, stride: int, activation: str
) -> None:
    """A last block of up to eight channels, where two neighbours may share a register, against a full one."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((48, 1, size, size)).astype(np.float32)
    bias = random.standard_normal(48).astype(np.float32)
    for width in WIDTHS:
        x = random.standard_normal((2, 48, 7, width)).astype(np.float32)

        def of_the_first(channels: int, x: np.ndarray = x) -> np.ndarray:
            op = DepthwiseConv2d(channels, (size, size), (stride, stride), bias=True, activation=activation)
            params = {"weight": weight[:channels], "bias": bias[:channels]}
            return run_step(op, params, [x[:, :channels]])

        expected = of_the_first(48)
        for channels in (1, 8, 9, 24, 40):
            got, want = of_the_first(channels), expected[:, :channels]
            where = f"{size}x{size} at stride {stride}, {channels} channels, {width} columns, {activation}"
            assert np.array_equal(got, want), f"{where}: off by up to {np.abs(got - want).max():.1e}"
