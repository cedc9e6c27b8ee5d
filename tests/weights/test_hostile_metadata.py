"""Metadata of a saved network that lies: one line, at once, never a network of another size than its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mininet
from mininet.errors import MininetError
from mininet.weights import Weights, read_weights
from mininet.weights.safetensors import write

NESTED = "[" * 100_000
DIGITS = "9" * 5000  # more than Python converts
LONG = "x" * 100_000
PRESET = '{"name":"x","crop":32,"mode":"L","mean":[0],"std":[1],%s}'

HOSTILE: dict[str, dict[str, str]] = {
    "width of infinity": {"width": "inf"},
    "width of a galaxy": {"width": "1e308"},
    "no width": {"width": "nan"},
    "another width": {"width": "16"},
    "classes for every atom": {"num_classes": DIGITS},
    "classes beyond the bound": {"num_classes": str(1 << 40)},
    "classes within the bound": {"num_classes": str(1 << 18)},
    "channels within the bound": {"in_channels": str(1 << 18)},
    "deepest": {"depth": "16", "lineage": "timm"},
    "long architecture": {"architecture": LONG},
    "architecture of two lines": {"architecture": "a\nb"},
    "long lineage": {"lineage": LONG},
    "long activation": {"activation": LONG},
    "neither true nor false": {"batch_norm": LONG},
    "dropout of everything": {"dropout": "1"},
    "offset of digits": {"class_offset": DIGITS},
    "negative offset": {"class_offset": "-1"},
    "nested labels": {"labels": NESTED},
    "labels no strings": {"labels": "[1,[]]"},
    "labels of digits": {"labels": f"[{DIGITS}]"},
    "unknown labels": {"labels": LONG},
    "nested clips": {"clips": NESTED},
    "clips of digits": {"clips": f"[{DIGITS}]"},
    "clips beyond floats": {"clips": '[["features.0.2",-1e999,1e999]]'},
    "clip of no node": {"clips": f'[["{LONG}",0,1]]'},
    "nested preset": {"preprocessing": '{"a":' + NESTED},
    "empty preset": {"preprocessing": "{}"},
    "long preset": {"preprocessing": LONG},
    "preset with a field too many": {"preprocessing": PRESET % '"evil":1'},
    "preset of a galaxy": {"preprocessing": PRESET % '"resize":[100000,100000]'},
    "preset of digits": {"preprocessing": PRESET % f'"resize":{DIGITS}'},
    "preset without a scale": {"preprocessing": PRESET % '"scale":0'},
    "preset of a long string": {"preprocessing": PRESET % f'"fit":"{LONG}"'},
}


@pytest.fixture(scope="module")
def digits() -> Weights:
    return read_weights(mininet.data.DIGITS)


@pytest.mark.parametrize("lies", HOSTILE.values(), ids=HOSTILE)
def test_hostile_metadata(lies: dict[str, str], digits: Weights, tmp_path: Path) -> None:
    write(tmp_path / "a", digits, {**digits.metadata, **lies})
    with pytest.raises(MininetError) as error:
        mininet.create_model(weights=tmp_path / "a")
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1000, f"{len(message)} characters: {message[:200]}"


def test_nothing_of_a_declared_size_is_allocated(digits: Weights) -> None:
    """The shapes of 2**18 classes are compared with the file's before any array is made of them."""
    import tracemalloc

    lies: dict[str, Any] = {**digits.metadata, "num_classes": str(1 << 18), "in_channels": str(1 << 18)}
    tracemalloc.start()
    try:
        with pytest.raises(MininetError, match="weights do not fit"):
            mininet.create_model(weights=Weights(digits, lies, "safetensors", "a"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20, f"{peak} bytes"


@pytest.mark.parametrize("labels", ['["a\\nb","c","d","e","f","g","h","i","j","k"]', '["\\u001b[2J"]'])
def test_labels_cannot_break_lines_of_output(
    labels: str, digits: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mininet.cli import main

    write(tmp_path / "a", digits, {**digits.metadata, "labels": labels})
    assert main(["classify", "--weights", str(tmp_path / "a"), str(mininet.sample_images()[0])]) == 0
    out = capsys.readouterr().out
    assert "a\nb" not in out and "\x1b" not in out
