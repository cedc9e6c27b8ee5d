"""Every format cut at every byte and with bytes flipped: a WeightsError or sound arrays, nothing else."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_h5 import tiny_h5, tiny_weights_h5
from tiny_tflite import tiny_tflite

from mininet.errors import WeightsError
from mininet.weights import read_weights
from mininet.weights.safetensors import write

FLIPS = 1500
SEED = 20240229
TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(3)}


def _safetensors(path: Path) -> None:
    write(path, TENSORS, {"lineage": "timm"})


def _npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **TENSORS)


def _npz_compressed(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **TENSORS)


def _torch(path: Path, legacy: bool = False) -> None:
    torch = pytest.importorskip("torch", reason="torch writes the files that these tests damage")
    tensors = {name: torch.from_numpy(array) for name, array in TENSORS.items()}
    torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=not legacy)
    if not legacy:
        _shrink(path)


def _shrink(path: Path) -> None:
    """Write torch's archive anew without its padding, so that more of the flips hit what matters."""
    source = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name))


def _torch_legacy(path: Path) -> None:
    _torch(path, legacy=True)


def _tflite(path: Path) -> None:
    path.write_bytes(tiny_tflite())


def _keras_h5(path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py reads .h5 files (extra convert)")
    path.write_bytes(tiny_h5())


def _keras_weights(path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py reads .h5 files (extra convert)")
    path.write_bytes(tiny_weights_h5(compression="gzip", shuffle=True))


def _keras_zip(path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py reads .h5 files (extra convert)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", tiny_weights_h5())


WRITERS = [
    *(_safetensors, _npz, _npz_compressed, _torch, _torch_legacy, _tflite),
    *(_keras_h5, _keras_weights, _keras_zip),
]
Written = tuple[Path, bytes, bool]
"""A file, its undamaged content, and whether to map it."""


@pytest.fixture(
    params=[*((writer, False) for writer in WRITERS), (_safetensors, True)],
    ids=lambda param: param[0].__name__.strip("_") + ("-mapped" if param[1] else ""),
)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    path = tmp_path / "weights"
    writer: Callable[[Path], None]
    writer, mmap = request.param
    writer(path)
    weights = read_weights(path, mmap)
    assert len(weights) >= 2, "the undamaged file is not read"
    assert weights.mapped == mmap
    return path, path.read_bytes(), mmap


def _attempt(path: Path, content: bytes, mmap: bool, what: str) -> bool:
    """Read damaged content; True if it was accepted, and then every array is sound."""
    path.write_bytes(content)
    try:
        weights = read_weights(path, mmap)
    except WeightsError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            pytest.fail(f"{what}: no short line: {error}")
        return False
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__} instead of WeightsError: {error}")
    for name, array in weights.items():
        array.tobytes()  # touches every element
        assert array.nbytes <= 64 << 20, f"{what}: {name} has {array.nbytes} bytes"
    return True


def test_every_truncation_is_refused(written: Written) -> None:
    path, whole, mmap = written
    step = max(1, len(whole) // 1500)
    accepted = [
        cut
        for cut in range(0, len(whole), step)
        if _attempt(path, whole[:cut], mmap, f"cut at {cut} of {len(whole)}")
    ]
    assert not accepted, f"files cut at {accepted} were read as whole"


def test_flipped_bytes_are_refused_or_harmless(written: Written) -> None:
    path, whole, mmap = written
    dice = random.Random(SEED)
    refused = 0
    for attempt in range(FLIPS):
        content = bytearray(whole)
        places = [dice.randrange(len(whole)) for _ in range(dice.choice((1, 1, 2, 5)))]
        for place in places:
            content[place] = dice.choice(
                (0, 0xFF, 0x7F, 0x80, dice.randrange(256), content[place] ^ 1 << dice.randrange(8))
            )
        refused += not _attempt(path, bytes(content), mmap, f"flip {attempt} at {places}")
    assert refused > FLIPS // 20, f"only {refused} of {FLIPS} damaged files were refused"
