"""A .tflite whose numbers lie: sizes, links and offsets patched in a small true file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import WEIGHT, tiny_tflite

from mininet.errors import WeightsError
from mininet.weights import read_weights

LEAST, MOST = -(2**31), 2**31 - 1


def _vector(*values: int) -> bytes:
    """A vector of int32 as it lies in the file, its length in front."""
    return np.array([len(values), *values], "<i4").tobytes()


SHAPE = _vector(*WEIGHT.shape)
INPUTS = _vector(0, 1, 2)
DATA = len(WEIGHT.tobytes()).to_bytes(4, "little") + WEIGHT.tobytes()[:16]

PATCHES: dict[str, tuple[bytes, bytes, str]] = {
    "negative size": (SHAPE, _vector(2, 2, 2, -3), "sizes of 0 or more, got -3"),
    "negative sizes with a sound product": (SHAPE, _vector(2, 2, -2, -3), "got -2"),
    "another product": (SHAPE, _vector(2, 2, 2, 4), "expected 128 bytes"),
    "a product that overflows": (SHAPE, _vector(MOST, MOST, MOST, MOST), "more than"),
    "no size": (SHAPE, _vector(2, 2, 0, 3), "expected 0 bytes"),
    "least size": (SHAPE, _vector(LEAST, 2, 2, 3), "got -2147483648"),
    "huge rank": (SHAPE, b"\xff\xff\xff\x7f" + SHAPE[4:], "dimensions"),
    "negative rank": (SHAPE, b"\xff\xff\xff\xff" + SHAPE[4:], "dimensions"),
    "rank beyond the file": (SHAPE, b"\x40\0\0\0" + SHAPE[4:], "."),
    "a tensor that is not there": (INPUTS, _vector(0, 6, 2), "tensor 6 does not exist"),
    "a negative tensor": (INPUTS, _vector(0, -2, 2), "tensor -2 does not exist"),
    "inputs without end": (INPUTS, b"\xff\xff\xff\x7f" + INPUTS[4:], "inputs or outputs"),
    "data without end": (DATA, b"\xff\xff\xff\x7f" + DATA[4:], "bytes"),
    "data a little too long": (DATA, (len(WEIGHT.tobytes()) + 1).to_bytes(4, "little") + DATA[4:], "got 97"),
}


@pytest.mark.parametrize(("old", "new", "expected"), PATCHES.values(), ids=PATCHES)
def test_lies_in_a_tflite_file(old: bytes, new: bytes, expected: str, tmp_path: Path) -> None:
    content = tiny_tflite()
    assert content.count(old) == 1, "the patch has no place, or several"
    _refused(tmp_path / "a", content.replace(old, new), expected)


@pytest.mark.parametrize("root", [0, 4, 2**31 - 1, 2**32 - 1])
def test_a_root_that_is_elsewhere(root: int, tmp_path: Path) -> None:
    _refused(tmp_path / "a", root.to_bytes(4, "little") + tiny_tflite()[4:], "damaged|expected one graph")


def _refused(path: Path, content: bytes, expected: str) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
