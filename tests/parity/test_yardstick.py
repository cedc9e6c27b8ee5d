"""The yardstick itself: a twin's float64 run is exact enough to measure float32 with."""

from __future__ import annotations

import numpy as np
import pytest
import seeded
import twins
from parity_driver import Case, needs
from tolerances import YARDSTICK, rms

from mininet.graph import run_reference

pytestmark = needs("torch", "torchvision", "timm", "keras")

CASES = (
    Case("torchvision", "mobilenet_v3_small"),
    Case("timm", "mobilenetv1_100"),
    Case("keras", "MobileNet", width=0.25),
    Case("keras", "MobileNetV2", width=0.35),
    Case("keras", "MobileNetV3Small", width=0.75),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_float64_run_is_float64_throughout(case: Case) -> None:
    """A single operation in float32 would leave an error of 1e-8 and more."""
    twin, x = case.twin(), seeded.images(2, (1, 3, 33, 47))
    logits, _ = twin.run(x, "float64")
    *_, ours = run_reference(twin.build().graph, x.astype(np.float64))
    off = rms(ours.value - logits) / rms(logits)
    assert off <= YARDSTICK, f"{case}: the two float64 runs differ by {off:.1e} of the logits' rms"


def test_a_float64_run_leaves_keras_as_it_was() -> None:
    keras_twin, x = twins.keras_twin("MobileNet", 0.25), seeded.images(2, (1, 3, 32, 32))
    before, _ = keras_twin.run(x)
    keras_twin.run(x, "float64")
    after, _ = keras_twin.run(x)
    assert before.dtype == after.dtype == np.float32
    assert np.array_equal(before, after)
