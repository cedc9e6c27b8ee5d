"""The embedded default: the held-out digits are rebuilt here and the shipped network must read them."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parent.parent / "docs" / "examples" / "train_digits.py"
DATA = Path(str(resources.files("mininet"))) / "data"
WEIGHTS = DATA / "digits.safetensors"
LEAST_ACCURACY = 0.98


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The training script as a module; its data functions need no torch."""
    spec = importlib.util.spec_from_file_location("train_digits", SCRIPT)
    assert spec is not None and spec.loader is not None, f"no script at {SCRIPT}"
    module = importlib.util.module_from_spec(spec)
    had_torch = "torch" in sys.modules
    spec.loader.exec_module(module)
    assert had_torch or "torch" not in sys.modules, "importing the training script imported torch"
    return module


@pytest.fixture(scope="module")
def data(script: ModuleType) -> Any:
    """Both parts of the digits, as the script makes them."""
    pytest.importorskip("sklearn", reason="scikit-learn, which holds the digits, is not installed")
    return script.load_data()


@pytest.fixture(scope="module")
def network() -> Any:
    """The network that ships inside the package."""
    import mininet

    return mininet.create_model(weights="digits")


def read_metadata() -> dict[str, str]:
    """The metadata straight from the file: eight bytes of length, then the header as JSON."""
    raw = WEIGHTS.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata


def read_pgm(path: Path) -> np.ndarray:
    """A 32x32 binary PGM as written by the script: header ``P5 32 32 255``, then the bytes."""
    raw = path.read_bytes()
    head = b"P5\n32 32\n255\n"
    assert raw.startswith(head), f"{path.name} begins with {raw[:16]!r}, not with {head!r}"
    return np.frombuffer(raw, np.uint8, offset=len(head)).reshape(32, 32)


def test_upscaling_is_bilinear(script: ModuleType) -> None:
    """A flat picture stays flat, and one bright pixel spreads by the weights 1, 3, 5, 7 eighths."""
    assert (script.upscale(np.full((1, 8, 8), 16)) == 255).all()
    dot = np.zeros((1, 8, 8))
    dot[0, 3, 3] = 16
    eighths = np.array([1, 3, 5, 7, 7, 5, 3, 1])
    expected = np.zeros((32, 32))
    expected[10:18, 10:18] = np.floor(np.outer(eighths, eighths) / 64 * 255 + 0.5)
    np.testing.assert_array_equal(script.upscale(dot)[0], expected)


def test_split_is_fixed_stratified_and_disjoint(script: ModuleType, data: Any) -> None:
    """Same split each time, no image in both parts or lost, a quarter of each digit held out."""
    labels = np.arange(1797) % 10
    train, held_out = script.split(labels)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(len(labels)))
    np.testing.assert_array_equal(held_out, script.split(labels)[1])
    shares = np.bincount(data.held_out_labels) / np.bincount(
        np.concatenate([data.train_labels, data.held_out_labels])
    )
    assert np.abs(shares - 0.25).max() < 0.005, f"share of each digit held out: {shares.round(4)}"
    assert (len(data.train_labels), len(data.held_out_labels)) == (1347, 450)


def test_shipped_samples_are_the_held_out_images(script: ModuleType, data: Any) -> None:
    """The six files hold what the rule chooses, byte for byte, and there is no seventh."""
    chosen = script.choose_samples(data)
    assert sorted(p.name for p in (DATA / "digits").iterdir()) == [f"digit_{d}.pgm" for d in sorted(chosen)]
    for digit, image in chosen.items():
        np.testing.assert_array_equal(
            read_pgm(DATA / "digits" / f"digit_{digit}.pgm"), image, f"digit {digit}"
        )


def test_file_is_small_and_says_what_it_is(script: ModuleType) -> None:
    """Under a megabyte, with all that ``create_model(weights=path)`` needs."""
    assert WEIGHTS.stat().st_size < 1_000_000
    metadata = read_metadata()
    expected = script.describe(float(metadata["held_out_accuracy"]), epochs=0, seed=0)
    assert metadata == expected | {"source": metadata["source"]}
    assert metadata["source"].startswith("docs/examples/train_digits.py, seed ")


def test_held_out_accuracy(script: ModuleType, data: Any, network: Any) -> None:
    """At least 98 %, and what the file claims to within one image (sums are ordered otherwise in torch)."""
    logits = network(script.normalise(data.held_out_images))
    assert logits.shape == (len(data.held_out_labels), 10) and logits.dtype == np.float32
    wrong = np.flatnonzero(logits.argmax(1) != data.held_out_labels)
    accuracy = 1 - len(wrong) / len(logits)
    claimed = float(read_metadata()["held_out_accuracy"])
    assert accuracy >= LEAST_ACCURACY, f"{accuracy:.4%} of the held-out digits are right; wrong: {wrong}"
    assert abs(accuracy - claimed) * len(logits) < 1.5, (
        f"computed {accuracy:.4%}, the file says {claimed:.4%}"
    )


def test_samples_are_read_right(script: ModuleType, network: Any) -> None:
    """Each shipped sample gets its own label: the README's first command shows these."""
    for digit in script.SAMPLE_DIGITS:
        image = read_pgm(DATA / "digits" / f"digit_{digit}.pgm")
        logits = network(script.normalise(image[np.newaxis]))
        assert logits.argmax() == digit, f"digit_{digit}.pgm was read as {logits.argmax()}"
