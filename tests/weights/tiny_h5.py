"""HDF5 files in both of Keras's layouts, made with h5py: small enough to damage byte by byte."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pytest

KERNEL = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)
NORM = {name: np.full(2, at, np.float32) for at, name in enumerate(("gamma", "beta", "mean", "variance"))}


def tiny_h5(suffix: str = "", whole: bool = True, slash: str = "/") -> bytes:
    """The layout of ``.h5``: a convolution and its batch norm.

    ``suffix`` is ``":0"`` in Keras 2; ``whole`` says whether there is a model around the weights; ``slash``
    parts the two words of the norm's name.
    """
    norm = f"conv{slash}norm"
    layers: dict[str, Mapping[str, Any]] = {
        "input": {},
        "conv": {f"conv/kernel{suffix}": KERNEL},
        norm: {f"{norm}/{name}{suffix}": value for name, value in NORM.items()},
    }
    content = BytesIO()
    with _h5py().File(content, "w") as file:
        group = file.create_group("model_weights") if whole else file
        if whole:
            file.create_dataset("optimizer_weights/adam/momentum", data=KERNEL)
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, tensors in layers.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [key.encode() for key in tensors]
            for key, value in tensors.items():
                layer.create_dataset(key, data=value)
    return content.getvalue()


def tiny_weights_h5(**options: Any) -> bytes:
    """The layout of ``.weights.h5``: the same two layers.

    ``options`` are those of ``create_dataset``, for the convolution's kernel.
    """
    content = BytesIO()
    with _h5py().File(content, "w") as file:
        file.create_dataset("optimizer/vars/0", data=KERNEL)
        for folder, name, values in (
            ("conv2d", "conv", [KERNEL]),
            ("batch_normalization", "conv_norm", NORM.values()),
        ):
            group = file.create_group(f"layers/{folder}/vars")
            group.attrs["name"] = name
            for number, value in enumerate(values):
                group.create_dataset(str(number), data=value, **(options if value is KERNEL else {}))
    return content.getvalue()


def _h5py() -> Any:
    return pytest.importorskip("h5py", reason="h5py writes the file (extra convert)")
