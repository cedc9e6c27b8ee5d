"""Rounding of widths, and the table of conventions."""

import pytest

from mininet.errors import ArgumentError, UnknownNameError
from mininet.models.lineages import FAMILIES, LINEAGES, WIDTH_POLICIES, get_lineage, make_divisible, scale


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, 8),
        (8, 8),
        (11.9, 16),
        (12, 16),
        (16, 16),
        (19.9, 24),
        (20, 24),
        (59, 56),
        (83.2, 80),
        (18.0, 24),
    ],
)
def test_make_divisible(value, expected):
    assert make_divisible(value) == expected


@pytest.mark.parametrize("divisor", [1, 4, 8])
def test_make_divisible_never_loses_ten_percent(divisor):
    for value in range(1, 2000):
        rounded = make_divisible(value / 3, divisor)
        assert rounded % divisor == 0
        assert rounded >= 0.9 * value / 3


@pytest.mark.parametrize("policy", WIDTH_POLICIES)
@pytest.mark.parametrize("channels", [16, 32, 96, 1280])
def test_width_one_changes_nothing(policy, channels):
    assert scale(policy, channels, 1.0) == channels


@pytest.mark.parametrize(
    ("policy", "width", "expected"),
    [
        ("divisible", 0.35, 32),
        ("truncate", 0.35, 33),
        ("truncate_8", 0.01, 8),
        ("truncate_divisible", 0.35, 32),
        ("fixed", 0.35, 96),
        ("fixed_below_075", 0.35, 96),
        ("fixed_below_075", 0.75, 72),
        ("never_shrunk", 0.35, 96),
        ("never_shrunk", 1.4, 136),
    ],
)
def test_policies_on_96_channels(policy, width, expected):
    assert scale(policy, 96, width) == expected


def test_no_channel_left():
    with pytest.raises(ArgumentError, match=r"width 0\.01 leaves none of 32 channels"):
        scale("truncate", 32, 0.01)


def test_every_lineage_names_known_policies():
    for lineage in (table for families in LINEAGES.values() for table in families.values()):
        policies = {lineage.channels, lineage.stem, lineage.last, lineage.hidden}
        assert policies - {"sixfold"} <= set(WIDTH_POLICIES)
        assert lineage.names in ("torchvision", "timm", "keras", "tflite")


@pytest.mark.parametrize("lineage", ["torchvision", "timm", "keras", "tflite"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_four_public_lineages_have_every_architecture(lineage, architecture):
    assert get_lineage(lineage, architecture).eps in (1e-3, 1e-5)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="unknown lineage 'kears'; did you mean 'keras'"):
        get_lineage("kears", "mobilenet_v1")
    with pytest.raises(UnknownNameError, match="unknown architecture"):
        get_lineage("keras", "mobilenet_v4")
    with pytest.raises(ArgumentError, match="'timm-tf' has no mobilenet_v2; expected one of torchvision"):
        get_lineage("timm-tf", "mobilenet_v2")
