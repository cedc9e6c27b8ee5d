"""Every reader of files, with small real files from which fuzzing starts.

A new reader is one entry in :data:`READERS`; a test says so if one is missing.
"""

from __future__ import annotations

import functools
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny_h5 import tiny_h5, tiny_weights_h5
from tiny_tflite import tiny_tflite
from tiny_torch import DATA, both_files, dumped, legacy_file, state_dict, tensor, zip_file

from mininet.create import create_model
from mininet.data import DIGITS
from mininet.images import read_image
from mininet.weights import Weights, read_weights
from mininet.weights.safetensors import DTYPES, write

FOUND = Path(__file__).parent / "found"
"""Files that once did harm, one folder per reader."""

Seeds = Callable[[Path], Iterator[bytes]]


@dataclass(frozen=True)
class Reader:
    """A reader to fuzz.

    Attributes
    ----------
    read : callable
        Reads a file and touches everything in it.
    seeds : callable
        Yields small real files; may use the folder that it is given.
    code : tuple of str
        Packages whose branches guide the fuzzer.
    """

    read: Callable[[Path], Any]
    seeds: Seeds
    code: tuple[str, ...]


def _read_weights(path: Path) -> None:
    for array in read_weights(path).values():
        array.tobytes()


def _read_and_map(path: Path) -> None:
    _read_weights(path)
    for array in read_weights(path, mmap=True).values():
        array.tobytes()


def _torch_seeds(place: int) -> Seeds:
    def seeds(_: Path) -> Iterator[bytes]:
        tied = state_dict(tensor(), tensor(name="transposed", shape=(3, 2), stride=(1, 3)))
        nested = b"\x80\x02}" + dumped("state_dict")[2:-1] + state_dict(tensor())[2:-1] + b"s."
        for root in (
            state_dict(tensor()),
            state_dict(tensor(kind="BFloat16Storage", count=12)),
            tied,
            nested,
        ):
            yield both_files(root)[place]
        yield both_files(state_dict(tensor()), big_endian=True)[place]
        ordered = b"\x80\x02ccollections\nOrderedDict\n)R" + tensor() + b"."
        yield (
            zip_file(ordered, zipfile.ZIP_DEFLATED, data_0=DATA)
            if place == 0
            else legacy_file(ordered, keys=dumped(["0"]), data=(6).to_bytes(8, "little") + DATA)
        )

    return seeds


def _safetensors_seeds(folder: Path) -> Iterator[bytes]:
    path = folder / "seed"
    for tensors, metadata in (
        ({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"lineage": "timm"}),
        ({code: np.zeros((1, 2), dtype) for code, dtype in DTYPES.items()}, {}),
        ({"empty": np.zeros((0, 3)), "scalar": np.array(1)}, {}),
    ):
        write(path, tensors, metadata)
        yield path.read_bytes()
    header = b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    yield len(header).to_bytes(8, "little") + header + bytes(4)


def _npz_seeds(_: Path) -> Iterator[bytes]:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f": np.asfortranarray(np.ones((2, 2), ">i2")),
        "s": np.array("keras"),
        "b": np.array([True, False]),
    }
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, allow_pickle=False, **arrays)
        yield stream.getvalue()


def _h5_seeds(_: Path) -> Iterator[bytes]:
    yield tiny_h5()
    yield tiny_h5(suffix=":0", whole=False)
    yield tiny_weights_h5()
    yield tiny_weights_h5(chunks=(3, 3, 1, 2), compression="gzip", shuffle=True)


def _keras_seeds(folder: Path) -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for content in (tiny_weights_h5(), tiny_weights_h5(chunks=(3, 3, 3, 2), compression="gzip")):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w", method) as archive:
                archive.writestr("metadata.json", "{}")
                archive.writestr("model.weights.h5", content)
            yield stream.getvalue()


def _tflite_seeds(_: Path) -> Iterator[bytes]:
    yield tiny_tflite()
    yield tiny_tflite(op="DEPTHWISE_CONV_2D")
    yield tiny_tflite(kind="INT8", dtype="i1", grid=([0.5, 0.25], [0, 0], 0))
    yield tiny_tflite(kind="UINT8", dtype="u1", grid=([0.5], [128], 0))
    yield tiny_tflite(op="AVERAGE_POOL_2D")


def _onnx_seeds(_: Path) -> Iterator[bytes]:
    import onnx

    node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    kernel, vector = np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32)
    constants = [tensor(kernel, "conv.weight"), tensor(vector, "conv.bias")]
    norm = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    convolution = node("Conv", ["x", "conv.weight", "conv.bias"], ["y"], name="c")
    for nodes, more in (
        ([convolution], []),
        ([convolution, node("BatchNormalization", ["y", *norm], ["z"])], [tensor(vector, n) for n in norm]),
        (
            [convolution, node("Identity", ["m"], ["n"]), node("Gemm", ["y", "n"], ["z"], transB=1)],
            [tensor(kernel[:, :, 0, 0].astype(np.float16), "m")],
        ),
        (
            [convolution, node("Constant", [], ["w"], value=tensor(kernel)), node("Conv", ["y", "w"], ["z"])],
            [onnx.helper.make_tensor("d", onnx.TensorProto.DOUBLE, [2], [1.0, 2.0])],
        ),
    ):
        graph = onnx.helper.make_graph(nodes, "net", [], [], constants + more)
        yield onnx.helper.make_model(graph).SerializeToString()


def _image_seeds(_: Path) -> Iterator[bytes]:
    from PIL import Image

    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    yield b"P6 4 5 255\n" + pixels.tobytes()
    yield b"P5 # gray\n4 5\n255\n" + bytes(20)
    yield b"P5 4 5 65535\n" + bytes(40)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    for mode in ("RGB", "L", "P", "RGBA", "CMYK", "I;16", "1"):
        image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(pixels[:, :, 0].astype(np.uint16))
        for suffix in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
            stream = io.BytesIO()
            try:
                image.save(stream, suffix, exif=exif)
            except (OSError, KeyError, ValueError):  # not every format has every mode
                continue
            yield stream.getvalue()
    for options in ({"progressive": True}, {"subsampling": 0}):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "jpeg", **options)
        yield stream.getvalue()


def _read_metadata(path: Path) -> None:
    """What a saved network says about itself, as JSON, beside weights that are sound."""
    try:
        metadata = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    if isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values()):
        create_model(weights=Weights(_digits(), metadata, "safetensors", "fuzzed"))


@functools.cache
def _digits() -> Weights:
    return read_weights(DIGITS)


def _metadata_seeds(_: Path) -> Iterator[bytes]:
    known = _digits().metadata
    own = create_model(weights="digits").preset.to_json()
    for more in (
        {},
        {"preprocessing": own, "class_offset": "1"},
        {"labels": json.dumps(list("abcdefghij")), "minimalistic": "true", "dropout": "0.5"},
        {"lineage": "timm", "depth": "1.2", "batch_norm": "false", "activation": "relu"},
        {"clips": '[["features.0.2", -1.0, 6.0]]'},
    ):
        yield json.dumps({**known, **more}).encode()


READERS: dict[str, Reader] = {
    "torch-zip": Reader(_read_weights, _torch_seeds(0), ("mininet", "zipfile", "pickletools")),
    "torch-legacy": Reader(_read_weights, _torch_seeds(1), ("mininet", "pickletools")),
    "safetensors": Reader(_read_and_map, _safetensors_seeds, ("mininet", "json")),
    "npz": Reader(_read_weights, _npz_seeds, ("mininet", "zipfile")),
    "keras-h5": Reader(_read_weights, _h5_seeds, ("mininet",)),
    "keras-zip": Reader(_read_weights, _keras_seeds, ("mininet", "zipfile")),
    "tflite": Reader(_read_weights, _tflite_seeds, ("mininet", "tflite", "flatbuffers")),
    "onnx": Reader(_read_weights, _onnx_seeds, ("mininet",)),
    "metadata": Reader(_read_metadata, _metadata_seeds, ("mininet", "json")),
    "image": Reader(read_image, _image_seeds, ("mininet", "PIL")),
}

NEEDS = {
    "image": ["PIL"],
    "keras-h5": ["h5py"],
    "keras-zip": ["h5py"],
    "onnx": ["onnx"],
    "tflite": ["tflite", "flatbuffers"],
}
"""Packages without which a reader only says which extra is missing."""
