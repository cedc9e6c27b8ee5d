"""Our networks against committed outputs of torchvision, timm and Keras; none of them is needed here."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import seeded
from tolerances import parity_problem

import mininet

GOLDEN = sorted((pathlib.Path(__file__).parent / "golden").glob("*.npz"))
BACKENDS = ("reference", "kernels", "plan")


@functools.lru_cache(maxsize=1)
def _load(path: pathlib.Path) -> tuple[dict[str, Any], np.ndarray, Any]:
    """Metadata, logits, and our network with the weights that the metadata describe."""
    with np.load(path) as archive:
        meta, logits = json.loads(archive["meta"].tobytes()), archive["logits"]
    weights = seeded.state(meta["parameters"], meta["weight_seed"], meta["variance_scales"])
    return meta, logits, mininet.create_model(meta["name"], weights=weights, **meta["create_kwargs"])


def test_golden_files_are_there() -> None:
    assert GOLDEN, "no golden files: run make_golden.py"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path: pathlib.Path, backend: str) -> None:
    meta, logits, net = _load(path)
    ours = net(seeded.images(meta["image_seed"], meta["image_shape"]), backend=backend)
    what = f"{path.stem} ({meta['name']} {meta['create_kwargs']}) backend={backend} logits"
    problem = parity_problem(ours, logits, meta["rms_float32_error"], what)
    assert problem is None, f"{problem}; made with {meta['versions']}"
