"""Logits and intermediates of ``keras.applications``'s MobileNets, for the three backends."""

from __future__ import annotations

import pytest
from parity_driver import Case, check, needs, parameters

pytestmark = needs("torch", "keras")

#: (architecture, alpha, image shape): Keras takes 32x32 and more. At 33 and 47 the padding of an odd size
#: shows, in V1 and in the others differently; alpha 0.35 makes V1 eleven channels wide.
SETTINGS = (
    ("MobileNet", 0.25, (4, 3, 33, 47)),
    ("MobileNet", 0.35, (4, 3, 32, 32)),
    ("MobileNet", 0.5, (4, 3, 35, 64)),
    ("MobileNet", 0.75, (4, 3, 37, 32)),
    ("MobileNet", 1.0, (4, 3, 47, 33)),
    ("MobileNet", 1.3, (4, 3, 64, 48)),
    ("MobileNetV2", 0.25, (4, 3, 32, 41)),
    ("MobileNetV2", 0.35, (4, 3, 33, 47)),
    ("MobileNetV2", 0.5, (4, 3, 34, 35)),
    ("MobileNetV2", 0.75, (4, 3, 32, 32)),
    ("MobileNetV2", 1.0, (4, 3, 47, 33)),
    ("MobileNetV2", 1.3, (4, 3, 36, 36)),
    ("MobileNetV2", 1.4, (4, 3, 64, 48)),
    *((f"MobileNetV3{size}", 0.35, (4, 3, 33, 33)) for size in ("Small", "Large")),
    *((f"MobileNetV3{size}", 0.75, (4, 3, 34, 35)) for size in ("Small", "Large")),
    *((f"MobileNetV3{size}", 1.0, (4, 3, 47, 33)) for size in ("Small", "Large")),
    *((f"MobileNetV3{size}", 1.25, (4, 3, 64, 48)) for size in ("Small", "Large")),
)
MINIMALISTIC = (("MobileNetV3Small", (4, 3, 33, 47)), ("MobileNetV3Large", (4, 3, 40, 34)))
SLOW = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large")


def _cases() -> list[Case]:
    cases = [Case("keras", arch, shape, alpha) for arch, alpha, shape in SETTINGS]
    cases += [Case("keras", arch, shape, minimalistic=True) for arch, shape in MINIMALISTIC]
    cases.append(Case("keras", "MobileNetV2", (32, 3, 32, 32), 0.35, num_classes=32))
    return cases + [Case("keras", arch, (1, 3, 224, 193), slow=True) for arch in SLOW]


@pytest.mark.parametrize(("case", "part", "backend"), parameters(_cases()))
def test_parity(case: Case, part: str, backend: str) -> None:
    check(case, part, backend)
