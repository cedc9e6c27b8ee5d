"""Writes the files of one format version that every later mininet must read: networks, pictures' logits.

    python tests/data/saved/make_saved.py

Run it once after `mininet.metadata.FORMAT_VERSION` has grown, and commit the new folder; it never touches the
folder of a version that is there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import mininet
from mininet.metadata import FORMAT_VERSION
from mininet.preset import Preset

HERE = Path(__file__).parent
CASES: dict[str, dict[str, Any]] = {
    "v1-keras": {
        "name": "mobilenet_v1",
        "lineage": "keras",
        "shallow": True,
        "labels": ["cat", "dog", "emu"],
    },
    "v3-small": {
        "name": "mobilenet_v3_small",
        "in_channels": 1,
        "clips": (("features.0.2", -0.25, 0.5),),
        "preprocessing": Preset("of its own", resize=36, crop=32, mode="L", mean=(0.5,), std=(0.25,)),
    },
    "v3-timm": {"name": "mobilenet_v3_small", "lineage": "timm", "minimalistic": True, "batch_norm": False},
}
WIDTH = 0.05
CLASSES = 3


def picture(channels: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One input (1, channels, 32, 32), the same on every machine: no random numbers, no transcendentals."""
    y, x, c = np.meshgrid(np.arange(32), np.arange(32), np.arange(channels), indexing="ij")
    values = (7 * x + 13 * y + 29 * c + x * y) % 256 / np.float32(128) - 1
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis], np.float32)


def main() -> int:
    folder = HERE / f"format-{FORMAT_VERSION}"
    if folder.exists():
        print(f"{folder} is there already, and what was released does not change", file=sys.stderr)
        return 2
    folder.mkdir()
    logits = {}
    for case, options in CASES.items():
        net = mininet.create_model(weights="random:0", width=WIDTH, num_classes=CLASSES, **options)
        net.save(folder / f"{case}.safetensors")
        logits[case] = net(picture(net.config.in_channels), backend="reference")
    np.savez(folder / "logits.npz", allow_pickle=False, **logits)
    return 0


if __name__ == "__main__":
    sys.exit(main())
