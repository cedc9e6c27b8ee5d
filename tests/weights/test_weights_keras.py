"""Keras's HDF5 files: the names in each layout; what leads out of the file or grows when read is refused."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_h5 import KERNEL, NORM, tiny_h5, tiny_weights_h5

from mininet.errors import MissingExtraError, WeightsError
from mininet.models.registry import config_for
from mininet.weights import read_weights
from mininet.weights.load import match

h5py = pytest.importorskip("h5py", reason="h5py reads .h5 files (extra convert)")

ROLES = ("gamma", "beta", "moving_mean", "moving_variance")


def _read(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_weights(path)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("suffix", ["", ":0"], ids=["keras3", "keras2"])
@pytest.mark.parametrize("slash", ["_", "/"])
def test_named_layout(whole: bool, suffix: str, slash: str, tmp_path: Path) -> None:
    """``.h5`` of a whole model or its weights; Keras 2 wrote ``:0``, and slashes in the names of V3."""
    weights = _read(tmp_path / "a", tiny_h5(suffix, whole, slash))
    assert set(weights) == {"conv/kernel", *(f"conv{slash}norm/{name}" for name in NORM)}
    np.testing.assert_array_equal(weights["conv/kernel"], KERNEL)
    for name, value in NORM.items():
        np.testing.assert_array_equal(weights[f"conv{slash}norm/{name}"], value)
    assert (weights.format, weights.metadata) == ("keras-h5", {})
    assert not weights["conv/kernel"].flags.writeable


def test_numbered_layout(tmp_path: Path) -> None:
    weights = _read(tmp_path / "a", tiny_weights_h5())
    assert set(weights) == {"conv2d/kernel", *(f"batch_normalization/{name}" for name in ROLES)}
    np.testing.assert_array_equal(weights["conv2d/kernel"], KERNEL)
    for name, value in zip(ROLES, NORM.values(), strict=True):
        np.testing.assert_array_equal(weights[f"batch_normalization/{name}"], value)


def test_text_of_variable_length_is_never_read(tmp_path: Path) -> None:
    """The library would allocate the 2 GB that this layer's name claims to be long."""
    content = bytearray(tiny_weights_h5())
    heap = content.index(b"GCOL").to_bytes(8, "little")
    at = content.index(len("conv").to_bytes(4, "little") + heap)
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    assert len(_read(tmp_path / "a", bytes(content))) == 5


def test_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", tiny_weights_h5())
    weights = read_weights(tmp_path / "a")
    assert weights.format == "keras-zip"
    np.testing.assert_array_equal(weights["conv2d/kernel"], KERNEL)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "chunks": (2, 3, 3, 1)},
        {"chunks": (2, 2, 2, 2)},
        {"dtype": ">f4"},
        {"dtype": "f8", "compression": "gzip", "shuffle": True},
        {"dtype": "f2"},
        {"dtype": "i4"},
        {"maxshape": (None, 3, 3, 2)},
    ],
    ids=str,
)
def test_storage(options: dict[str, Any], tmp_path: Path) -> None:
    kernel = _read(tmp_path / "a", tiny_weights_h5(**options))["conv2d/kernel"]
    np.testing.assert_array_equal(kernel, KERNEL)
    assert kernel.dtype == np.dtype(options.get("dtype", "f4")).newbyteorder("=")


def test_a_model_inside_a_model(tmp_path: Path) -> None:
    """An inner model's weights have the names of its own layers; the path tells equal names apart."""
    with h5py.File(tmp_path / "a", "w") as file:
        file["inner/conv/kernel:0"], file["inner/norm/gamma:0"] = 2 * KERNEL, NORM["gamma"]
        file["conv/conv/kernel:0"] = KERNEL
        file["dense/sequential/dense/kernel"] = NORM["beta"]
    weights = read_weights(tmp_path / "a")
    assert set(weights) == {"conv/kernel", "inner/conv/kernel:0", "norm/gamma", "dense/kernel"}
    np.testing.assert_array_equal(weights["conv/kernel"], KERNEL)
    np.testing.assert_array_equal(weights["inner/conv/kernel:0"], 2 * KERNEL)


def _external_link(file: Any, secret: Path) -> None:
    file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(secret), "secret")


def _external_group(file: Any, secret: Path) -> None:
    file["layers/conv2d"] = h5py.ExternalLink(str(secret), "/")


def _soft_link(file: Any, secret: Path) -> None:
    file["layers/conv2d/vars/0"] = h5py.SoftLink("/kernel")
    file["kernel"] = KERNEL


def _external_storage(file: Any, secret: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (4,), "f4", external=[(str(secret), 0, 16)])


def _virtual(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "secret", (4,))
    file.create_virtual_dataset("layers/conv2d/vars/0", layout)


def _growing_virtual(file: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f4", (None,))
    layout[: h5py.h5s.UNLIMITED] = h5py.VirtualSource(str(secret), "secret", (4,), maxshape=(None,))[
        : h5py.h5s.UNLIMITED
    ]
    file.create_virtual_dataset("layers/conv2d/vars/0", layout)


def _strings(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", data=["a", "b"], dtype=h5py.string_dtype())


def _ragged(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (2,), dtype=h5py.vlen_dtype(np.float32))


def _reference(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (2,), dtype=h5py.ref_dtype)


def _compound(file: Any, _: Path) -> None:
    file["layers/conv2d/vars/0"] = np.zeros(2, [("x", "f4"), ("y", "f4")])


def _huge_unwritten(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (1 << 40,), "f4")


def _huge_chunked(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (1 << 40,), "f4", chunks=(1 << 10,))


def _many_chunks(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (1 << 20,), "f4", chunks=(1,))


def _bomb(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", data=np.zeros(20 << 20, "f4"), compression="gzip")


def _huge_chunk(file: Any, _: Path) -> None:
    file.create_dataset(
        "layers/conv2d/vars/0", (4,), "f4", maxshape=(None,), chunks=(1 << 27,), compression="gzip"
    )


def _lying_chunk(file: Any, _: Path) -> None:
    """A chunk that unpacks to a thousand times what the shape needs."""
    import zlib

    dataset = file.create_dataset("layers/conv2d/vars/0", (4,), "f4", chunks=(4,), compression="gzip")
    dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 24)))


def _unwritten(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (4,), "f4")


def _unwritten_chunk(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", (4,), "f4", chunks=(2,))


def _other_filter(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", data=KERNEL, compression="lzf")


def _skipped_filter(file: Any, _: Path) -> None:
    dataset = file.create_dataset("layers/conv2d/vars/0", (4,), "f4", chunks=(4,), compression="gzip")
    dataset.id.write_direct_chunk((0,), bytes(16), filter_mask=1)


def _null(file: Any, _: Path) -> None:
    file.create_dataset("layers/conv2d/vars/0", data=h5py.Empty("f4"))


def _cycle(file: Any, _: Path) -> None:
    file["layers/again"] = file["/"]


def _nothing(file: Any, _: Path) -> None:
    file.create_group("layers/conv2d/vars")


REFUSED: tuple[tuple[Callable[[Any, Path], None], str], ...] = (
    (_external_link, "soft or external link, which is never followed"),
    (_external_group, "soft or external link, which is never followed"),
    (_soft_link, "soft or external link, which is never followed"),
    (_external_storage, "other files, which are never opened"),
    (_virtual, "other files, which are never opened"),
    (_growing_virtual, "other files, which are never opened"),
    (_strings, "expected an array of numbers"),
    (_ragged, "expected an array of numbers"),
    (_reference, "expected an array of numbers"),
    (_compound, "expected an array of numbers"),
    (_huge_unwritten, "declares 4398046511104 bytes: a bomb"),
    (_huge_chunked, "declares 4398046511104 bytes: a bomb"),
    (_many_chunks, "expected at most 8192 chunks"),
    (_bomb, "declares 83886080 bytes: a bomb"),
    (_huge_chunk, "declares 536870928 bytes: a bomb"),
    (_lying_chunk, "expected chunks of 16 bytes, got 17"),
    (_unwritten, "expected 16 bytes for float32 of shape"),
    (_unwritten_chunk, "is not in the file"),
    (_other_filter, "not with other filters"),
    (_skipped_filter, "the same filters for every chunk"),
    (_null, "expected values, found none"),
    (_cycle, "expected a path of at most 16 names"),
    (_nothing, "expected weights as Keras writes them, found none"),
)


@pytest.mark.parametrize(("make", "expected"), REFUSED, ids=[make.__name__.strip("_") for make, _ in REFUSED])
def test_what_is_refused(make: Callable[[Any, Path], None], expected: str, tmp_path: Path) -> None:
    """Nothing outside the file is read, and no more memory taken than the file's size allows."""
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.ones(4, np.float32)
    with h5py.File(tmp_path / "a", "w") as file:
        make(file, secret)
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(tmp_path / "a")
    assert "\n" not in str(error.value)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(tiny_h5())
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"h5py is needed.*convert"):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_real_files_equal_the_npz(ending: str, assets: Path) -> None:
    stem = assets / "weights" / "mobilenet_v1_025_224_keras"
    config = config_for("keras/MobileNet", width=0.25)
    params, report = match(config, read_weights(f"{stem}.{ending}"))
    expected, _ = match(config, read_weights(f"{stem}.npz"))
    assert (len(report.loaded), report.scheme) == (137, "keras")
    for name, array in params.items():
        assert array.tobytes() == expected[name].tobytes(), f"{name}: bits differ"
