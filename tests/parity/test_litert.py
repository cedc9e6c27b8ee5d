"""Real .tflite files on 150 photos beside the LiteRT interpreter, which runs here and now.

LiteRT computes quantised networks in 8-bit integers, mininet computes them in float32 with the same clips, so
logits differ by the rounding of every layer. The interpreter's two sets of kernels (XNNPACK, its default, and
its own) round differently too: on the uint8 file they put the same class first on 140 of the 150 photos. Its
scores are bytes, of which several may be the largest; a class among them counts as first.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mininet

pytest.importorskip("tflite", reason="tflite files need the extra 'convert'")
litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT comes with the extra 'parity'")

FLOAT = "mobilenet_v1_025_224_float.tflite"
QUANTISED = {
    "mobilenet_v2_ptq_int8.tflite": ("mobilenet_v2", 1.0, 224),
    "mobilenet_v1_025_128_uint8.tflite": ("mobilenet_v1", 0.25, 128),
}
LEAST_AGREEMENT = 0.95
MOST_OFF = 1e-5  # between two float32 probabilities


def scores_of(path: Path, frames: list[np.ndarray], kernels: str = "AUTO") -> np.ndarray:
    """What LiteRT says of each input (H, W, C), as it says it: probabilities, or bytes."""
    resolver = getattr(litert.OpResolverType, kernels)
    runner: Any = litert.Interpreter(str(path), experimental_op_resolver_type=resolver, num_threads=1)
    runner.allocate_tensors()
    source, result = runner.get_input_details()[0]["index"], runner.get_output_details()[0]["index"]
    scores = []
    for frame in frames:
        runner.set_tensor(source, frame[None])
        runner.invoke()
        scores.append(runner.get_tensor(result)[0])
    return np.array(scores)


@pytest.fixture(scope="module")
def pictures(assets: Path) -> list[Any]:
    """The centre 224x224 of every photo."""
    image = pytest.importorskip("PIL.Image", reason="photos need the extra 'images'")
    with open(assets / "labels.csv", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    return [image.open(assets / "photos" / name).convert("RGB").crop((1, 1, 225, 225)) for name in names]


@pytest.mark.parametrize("kernels", ["AUTO", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"])
@pytest.mark.parametrize("file", QUANTISED)
def test_quantised_files_name_the_same_class(
    file: str, kernels: str, assets: Path, pictures: list[Any]
) -> None:
    net = mininet.create_model(weights=assets / "weights" / file)
    architecture, width, size = QUANTISED[file]
    assert (net.name, net.config.width, net.preset.size) == (architecture, width, (size, size))
    frames = [net.preset.frame(picture) for picture in pictures]
    ours = np.concatenate([net(net.preset.normalise(frame)) for frame in frames]).argmax(1)
    scores = scores_of(assets / "weights" / file, frames, kernels)
    first = scores[np.arange(len(ours)), ours] == scores.max(1)
    alone = (scores == scores.max(1, keepdims=True)).sum(1) == 1
    print(
        f"{file}, LiteRT's kernels {kernels}: {first.sum()} of {len(ours)} photos agree, "
        f"{(first & alone).sum()} of the {alone.sum()} on which one class alone is first; "
        f"{(ours == scores.argmax(1)).sum()} by argmax"
    )
    assert first.mean() >= LEAST_AGREEMENT, f"{file}: {first.sum()} of {len(ours)} photos agree with LiteRT"


def test_float_file_gives_the_same_probabilities(assets: Path, pictures: list[Any]) -> None:
    net = mininet.create_model(weights=assets / "weights" / FLOAT)
    inputs = [net.preset.apply(picture) for picture in pictures]
    logits = np.concatenate([net(x) for x in inputs])
    ours = np.exp(logits - logits.max(1, keepdims=True))
    ours /= ours.sum(1, keepdims=True)
    scores = scores_of(assets / "weights" / FLOAT, [x[0].transpose(1, 2, 0) for x in inputs])
    off = np.abs(ours - scores).max()
    assert off <= MOST_OFF, f"{FLOAT}: a probability is off by {off:g}"
    np.testing.assert_array_equal(ours.argmax(1), scores.argmax(1))
