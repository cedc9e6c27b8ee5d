"""NaN of any kind, infinities, denormals and signed zeros: weights like any others, to the bit."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_tflite import WEIGHT, tiny_tflite
from tiny_torch import both_files, dumped, legacy_file, state_dict, tensor, zip_file

import mininet
from mininet.weights import read_weights
from mininet.weights.safetensors import write

#: float32 by their bits: quiet NaN with a payload, signalling NaN, negative NaN, infinities, denormals, -0.
BITS = np.array(
    [0x7FC12345, 0x7F812345, 0xFFC00001, 0x7F800000, 0xFF800000, 0x00000001, 0x807FFFFF, 0x80000000], "<u4"
)


def _npz(save: Callable[..., None]) -> Callable[[Path, np.ndarray], None]:
    def write_npz(path: Path, values: np.ndarray) -> None:
        with path.open("wb") as file:
            save(file, w=values)

    return write_npz


def _torch(legacy: bool) -> Callable[[Path, np.ndarray], None]:
    def write_torch(path: Path, values: np.ndarray) -> None:
        root = state_dict(tensor(count=values.size, shape=values.shape, stride=(1,)))
        data = values.astype("<f4").tobytes()
        tail = values.size.to_bytes(8, "little") + data
        path.write_bytes(
            legacy_file(root, keys=dumped(["0"]), data=tail) if legacy else zip_file(root, data_0=data)
        )

    return write_torch


def _tflite(path: Path, values: np.ndarray) -> None:
    content = tiny_tflite()
    assert content.count(WEIGHT.tobytes()) == 1
    path.write_bytes(content.replace(WEIGHT.tobytes(), np.resize(values, WEIGHT.shape).tobytes()))


def _h5(path: Path, values: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("layer/w", data=values)
    path.write_bytes(stream.getvalue())


WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "safetensors": lambda path, values: write(path, {"w": values}),
    "npz": _npz(np.savez),
    "npz, deflated": _npz(np.savez_compressed),
    "torch": _torch(legacy=False),
    "torch, legacy": _torch(legacy=True),
    "tflite": _tflite,
    "keras": _h5,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_readers_keep_every_bit(writer: Callable[[Path, Any], None], tmp_path: Path) -> None:
    writer(tmp_path / "a", BITS.view("<f4"))
    read = next(iter(read_weights(tmp_path / "a").values()))
    found = np.ascontiguousarray(read).view("<u4").ravel()[: BITS.size]
    assert [f"{bits:08x}" for bits in found] == [f"{bits:08x}" for bits in BITS]


def test_files_of_the_other_byte_order_too(tmp_path: Path) -> None:
    """Swapping bytes must not pass through the floating-point unit, which would quieten a NaN."""
    np.savez(tmp_path / "a.npz", w=BITS.byteswap().view(">f4"))
    assert read_weights(tmp_path / "a.npz")["w"].view("<u4").tolist() == BITS.tolist()
    _, legacy = both_files(state_dict(tensor()), big_endian=True)
    one = b"\x3f\x80\0\0"
    assert legacy.count(one) == 1
    (tmp_path / "a").write_bytes(legacy.replace(one, b"\x7f\x81\x23\x45"))
    assert read_weights(tmp_path / "a")["w"].view("<u4")[0, 1] == 0x7F812345


@pytest.fixture
def digits() -> mininet.Network:
    return mininet.create_model(weights="digits")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-45, 1e-40])
def test_a_network_computes_with_them_as_numpy_does(
    value: float, digits: mininet.Network, tmp_path: Path
) -> None:
    state = digits.state_dict()
    state["classifier.3.weight"][3] = value
    digits.load_state_dict(state)
    digits.save(tmp_path / "a.safetensors")
    again = mininet.create_model(weights=tmp_path / "a.safetensors")
    for name, array in again.state_dict().items():
        assert array.tobytes() == state[name].tobytes(), name
    x = digits.preprocess(mininet.sample_images()[0])
    expected = digits(x, "reference")
    with np.errstate(all="ignore"):
        for backend in ("plan", "kernels"):
            found = again(x, backend)
            assert np.isfinite(np.delete(found, 3)).all(), "the other classes caught it"
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
