"""The matrix product is cut into tiles of many shapes; no result shows which."""

from __future__ import annotations

import numpy as np
import pytest
from running import run_step

from mininet import _native
from mininet.ops import PointwiseConv2d

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
