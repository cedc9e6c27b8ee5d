"""Logits and every named intermediate of torchvision's MobileNets, for the three backends."""

from __future__ import annotations

import pytest
from parity_driver import Case, check, needs, parameters

pytestmark = needs("torch", "torchvision")

ARCHS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
#: (width, classes, image shape): odd, non-square and tiny sizes. Small images come in batches: rounding
#: errors within one image hang together, so that a single one makes a poor sample of either framework's.
SETTINGS = (
    (1.0, 1000, (1, 3, 1, 1)),
    (1.0, 1000, (4, 3, 28, 28)),
    (1.0, 1000, (4, 3, 33, 50)),
    (1.0, 1000, (3, 3, 64, 64)),
    (1.0, 10, (100, 3, 9, 5)),
    (0.35, 1000, (4, 3, 45, 37)),
    (0.5, 1000, (4, 3, 32, 96)),
    (0.75, 1000, (8, 3, 2, 61)),
    (1.4, 1000, (3, 3, 48, 48)),
)
SLOW_SETTINGS = ((1.0, 1000, (2, 3, 224, 224)), (1.4, 1000, (1, 3, 193, 160)))


def _cases() -> list[Case]:
    table = [(setting, False) for setting in SETTINGS] + [(setting, True) for setting in SLOW_SETTINGS]
    return [
        Case("torchvision", arch, shape, width, num_classes, slow=slow)
        for arch in ARCHS
        for (width, num_classes, shape), slow in table
    ]


@pytest.mark.parametrize(("case", "part", "backend"), parameters(_cases()))
def test_parity(case: Case, part: str, backend: str) -> None:
    check(case, part, backend)
