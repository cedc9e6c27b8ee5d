"""Logits and intermediates of every MobileNet V1, V2 and V3 that timm has, for the three backends."""

from __future__ import annotations

import pytest
import twins
from parity_driver import Case, check, needs, parameters

pytestmark = needs("torch", "timm")

#: Written out, so that collecting the tests imports neither torch nor timm; the first test asks timm itself.
NAMES = (
    *(f"mobilenetv1_{variant}" for variant in ("100", "100h", "125")),
    *(f"mobilenetv2_{variant}" for variant in ("035", "050", "075", "100", "110d", "120d", "140")),
    *(f"mobilenetv3_{variant}" for variant in ("large_075", "large_100", "large_150d", "rw")),
    *(f"mobilenetv3_small_{variant}" for variant in ("050", "075", "100")),
    *(f"tf_mobilenetv3_large_{variant}" for variant in ("075", "100", "minimal_100")),
    *(f"tf_mobilenetv3_small_{variant}" for variant in ("075", "100", "minimal_100")),
)
#: One of each padding and head, at the sizes where they could differ.
PROBES = ("mobilenetv1_100h", "mobilenetv2_050", "mobilenetv3_rw", "tf_mobilenetv3_small_100")
PROBE_SHAPES = ((1, 3, 1, 1), (4, 3, 28, 28), (4, 3, 64, 51))


def _cases() -> list[Case]:
    cases = []
    for name in NAMES:
        cases.append(Case("timm", name))
        if name in PROBES:
            cases += [Case("timm", name, shape) for shape in PROBE_SHAPES]
            cases.append(Case("timm", name, (1, 3, 224, 224), slow=True))
    return cases


def test_names_are_all_that_timm_has() -> None:
    assert sorted(NAMES) == sorted(twins.timm_names())


@pytest.mark.parametrize(("case", "part", "backend"), parameters(_cases()))
def test_parity(case: Case, part: str, backend: str) -> None:
    check(case, part, backend)
