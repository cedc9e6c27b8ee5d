"""Real weights on 150 real photos: logits as the framework that wrote them gives, and the same answers.

The files and the figures beside them are described in the README of the assets folder. 150 photos show
agreement with a reference; they are no ImageNet accuracy.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import LOGITS_OF_REAL_PHOTOS

import mininet


@dataclass(frozen=True)
class Case:
    """A weights file: the model, whose logits it must reproduce, and its hits among 150 (top-1, top-5)."""

    file: str
    model: str
    logits: str | None
    hits: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)


V2 = {"model": "mobilenet_v2", "logits": "mobilenet_v2_torchvision", "hits": (115, 136)}
CASES = (
    Case("mobilenet_v2_torchvision.pth", **V2),
    Case("mobilenet_v2_torchvision_legacy.pth", **V2),
    Case("mobilenet_v2_torchvision.safetensors", **V2),
    Case(
        "mobilenet_v3_small_keras_lineage.safetensors",
        "mobilenet_v3_small",
        "mobilenet_v3_small_keras_lineage",
        (117, 139),
        {"lineage": "keras"},
    ),
    *(
        Case(
            f"mobilenet_v1_025_224_keras.{ending}",
            "mobilenet_v1",
            "mobilenet_v1_025_224_keras",
            (88, 125),
            {"lineage": "keras", "width": 0.25},
        )
        for ending in ("npz", "h5", "weights.h5", "keras")
    ),
    Case(
        "mobilenet_v1_025_224_float.tflite",
        "mobilenet_v1",
        None,
        (90, 122),
        {"lineage": "tflite", "width": 0.25},
    ),
)


@pytest.fixture(scope="module")
def photos(assets: Path) -> list[tuple[Path, int]]:
    """Every photo and its class, in the order of the reference logits."""
    pytest.importorskip("PIL.Image", reason="photos need the extra 'images'")
    with open(assets / "labels.csv", newline="") as file:
        return [(assets / "photos" / row["file"], int(row["label"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_150_photos(case: Case, assets: Path, photos: list[tuple[Path, int]]) -> None:
    for ending, package in ((".tflite", "tflite"), (".h5", "h5py"), (".keras", "h5py")):
        if case.file.endswith(ending):
            pytest.importorskip(package, reason=f"{ending} files need the extra 'convert'")
    net = mininet.create_model(case.model, weights=assets / "weights" / case.file, **case.options)
    preset = net.preset.without_resize()  # the photos are 227x227: the centre 224x224 is what counts
    logits = np.concatenate([net(preset.apply(path)) for path, _ in photos])
    assert np.isfinite(logits).all(), f"{case.file}: some logits are not finite"

    # 1001 classes start with the background
    classes = np.array([label for _, label in photos]) + (logits.shape[1] - 1000)
    first, five = logits.argmax(1), np.argsort(-logits, axis=1)[:, :5]
    hits = (int((first == classes).sum()), int((five == classes[:, None]).any(1).sum()))
    assert hits == case.hits, f"{case.file}: (top-1, top-5) hits {hits}, the reference has {case.hits}"

    if case.logits is not None:
        reference = np.load(assets / "weights" / f"{case.logits}.logits.npz")["logits"]
        off = np.abs(logits - reference)
        worst = np.unravel_index(off.argmax(), off.shape)
        assert off.max() <= LOGITS_OF_REAL_PHOTOS, (
            f"{case.file}: logit {worst[1]} of {photos[worst[0]][0].name} is off by {off.max():g}"
        )
        print(f"{case.file}: logits differ by {off.max():.2e} at most")
        other = np.flatnonzero(reference[np.arange(len(first)), first] < reference.max(1))
        assert not other.size, (
            f"{case.file}: another class comes first for {[photos[i][0].name for i in other]}"
        )
