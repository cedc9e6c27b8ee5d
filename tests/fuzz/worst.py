"""The most expensive files that we know for each reader, bad or just within its bounds.

A fuzzer starts small and would take ages to get there. Prints the time and memory that each takes, in a
process of its own::

    python tests/fuzz/worst.py [FILE ...]
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = map(str, (HERE, HERE.parent / "weights", HERE.parent))

from judge import forget_peak, peak  # noqa: E402
from readers import READERS  # noqa: E402
from tiny_torch import DATA, dumped, legacy_file, state_dict, tensor, zip_file  # noqa: E402

from mininet.errors import MininetError  # noqa: E402
from mininet.weights.safetensors import MAX_HEADER_BYTES  # noqa: E402


def _safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _items(item: bytes) -> bytes:
    """A list of as many items as the longest header holds."""
    return b'{"a":[' + b",".join([item] * ((MAX_HEADER_BYTES - 9) // (len(item) + 1))) + b"]}"


def _many_tensors(count: int) -> bytes:
    entries = {
        f"t{i}": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(count)
    }
    return _safetensors(json.dumps(entries, separators=(",", ":")).encode(), bytes(4 * count))


def _archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _npy(shape: tuple[int, ...], data: bytes, descr: str = "<f4", fortran: bool = False) -> bytes:
    header = f"{{'descr':'{descr}','fortran_order':{fortran},'shape':{shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def _pickle(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def _h5(fill: Callable[[Any], object]) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        fill(file)
    return stream.getvalue()


def _onnx(field: int, part: bytes, count: int) -> bytes:
    """A model whose graph has a field of `part` so many times."""
    one = bytes((field << 3 | 2, len(part))) + part
    graph = one * count
    return (
        b"\x08\x08\x3a"
        + b"".join(bytes((len(graph) >> 7 * i & 0x7F | (0x80 if i < 4 else 0),)) for i in range(5))
        + graph
    )


def _onnx_chain(length: int) -> bytes:
    import onnx

    identities = [onnx.helper.make_node("Identity", [f"{i}"], [f"{i + 1}"]) for i in range(length)]
    layers = [onnx.helper.make_node("Conv", ["x", f"{length}"], ["y"]) for _ in range(length)]
    weight = onnx.helper.make_tensor("0", onnx.TensorProto.FLOAT, [1, 1, 1, 1], [1.0])
    graph = onnx.helper.make_graph(identities + layers, "net", [], [], [weight])
    return bytes(onnx.helper.make_model(graph).SerializeToString())


def _most_chunks(file: Any) -> None:
    dataset = file.create_dataset("a/d", shape=(8192,), dtype="u1", chunks=(1,))
    for at in range(8192):
        dataset.id.write_direct_chunk((at,), b"x")


def _image(suffix: str, side: int, mode: str = "RGB", **options: object) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, suffix, **options)
    return stream.getvalue()


def jpeg_of_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose refinement scan comes again and again, each over the whole picture."""
    data = _image("jpeg", side, "L", progressive=True)
    last = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


def _png_lines(side: int) -> bytes:
    """Interlaced, 16 bits, alpha, cut off: everything that costs at once."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes((16, 6, 0, 0, 1))
    body = zlib.compress(bytes(side * side * 8), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _png_text(count: int) -> bytes:
    """Compressed texts of a megabyte each."""
    data = _image("png", 5)
    text = b"key\0\0" + zlib.compress(bytes(1 << 20), 9)
    chunk = len(text).to_bytes(4, "big") + b"zTXt" + text + zlib.crc32(b"zTXt" + text).to_bytes(4, "big")
    return data[:33] + chunk * count + data[33:]


def tiff_of_one_tile(side: int, tile: int) -> bytes:
    """One deflated tile, far larger than its picture."""
    body = zlib.compress(bytes(1 << 20), 9)
    tags = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile)]
    tags += [(324, 8), (325, len(body))]
    directory = len(tags).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags
    )
    return b"II*\0" + (8 + len(body)).to_bytes(4, "little") + body + directory + bytes(4)


NULLS = bytes(60 << 20)
WORST: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pickle of the most opcodes": ("torch-zip", lambda: zip_file(_pickle(b"N0" * 124_999))),
    "pickle of the most lists": ("torch-zip", lambda: zip_file(_pickle(b"]" * 249_998))),
    "pickle of the most memos": ("torch-zip", lambda: zip_file(_pickle(b"N" + b"".join(
        b"r" + i.to_bytes(4, "little") for i in range(249_990))))),
    "pickle of marks": ("torch-zip", lambda: zip_file(_pickle(b"(" * 249_990))),
    "pickle of the most dictionaries": ("torch-zip", lambda: zip_file(_pickle(b"}" * 249_990))),
    "pickle of a long string": ("torch-zip", lambda: zip_file(
        _pickle(b"X" + len(NULLS).to_bytes(4, "little") + NULLS))),
    "pickle of a long integer": ("torch-zip", lambda: zip_file(
        _pickle(b"\x8b" + (8 << 20).to_bytes(4, "little") + b"\x7f" * (8 << 20)))),
    "pickle of a million digits": ("torch-legacy", lambda: b"".join(
        (dumped(0x1950A86A20F9469CFC6C), b"\x80\x02L" + b"9" * (4 << 20) + b"L\n."))),
    "pickle of a text without end": ("torch-legacy", lambda: b"".join(
        (dumped(0x1950A86A20F9469CFC6C), b"\x80\x02V" + b"\\u1234" * (4 << 20)))),
    "tensors that share a storage": ("torch-zip", lambda: zip_file(state_dict(*(
        tensor(name=f"t{i}", shape=(2**20,), stride=(0,)) for i in range(2000))), data_0=DATA)),
    "tensors expanded to the bound": ("torch-zip", lambda: zip_file(state_dict(
        tensor(shape=((16 << 20) - 1,), stride=(0,))), data_0=DATA)),
    "the most tensors in a pickle": ("torch-zip", lambda: zip_file(state_dict(*(
        tensor(name=f"t{i}") for i in range(6000))), data_0=DATA)),
    "the most storages": ("torch-zip", lambda: zip_file(
        state_dict(*(tensor(name=f"t{i}", key=f"{i}") for i in range(5000))),
        **{f"data_{i}": DATA for i in range(5000)})),
    "the most storages, legacy": ("torch-legacy", lambda: legacy_file(
        state_dict(*(tensor(name=f"t{i}", key=f"{i}") for i in range(5000))),
        keys=dumped([f"{i}" for i in range(5000)]), data=((6).to_bytes(8, "little") + DATA) * 5000)),
    "bomb within the bounds": ("torch-zip", lambda: zip_file(
        state_dict(tensor()), zipfile.ZIP_DEFLATED, data_0=NULLS)),
    "pickle that is a bomb": ("torch-zip", lambda: zip_file(NULLS, zipfile.ZIP_DEFLATED)),
    "header of nested lists": ("safetensors", lambda: _safetensors(b'{"a":' + b"[" * (MAX_HEADER_BYTES - 5))),
    "header of lists": ("safetensors", lambda: _safetensors(_items(b"[]"))),
    "header of objects": ("safetensors", lambda: _safetensors(_items(b"{}"))),
    "header of small objects": ("safetensors", lambda: _safetensors(_items(b'{"a":0}'))),
    "header of numbers": ("safetensors", lambda: _safetensors(_items(b"1e9"))),
    "the most tensors in a header": ("safetensors", lambda: _many_tensors(29_000)),
    "the most metadata": ("safetensors", lambda: _safetensors(json.dumps(
        {"__metadata__": {f"{i}": "" for i in range(150_000)}}, separators=(",", ":")).encode())),
    "a shape of the most sizes": ("safetensors", lambda: _safetensors(
        b'{"a":{"dtype":"F32","shape":[1%s],"data_offsets":[0,4]}}' % (b",1" * 1_000_000), bytes(4))),
    "the most members": ("npz", lambda: _archive(
        {f"{i}.npy": _npy((1,), bytes(4)) for i in range(10_000)}, zipfile.ZIP_STORED)),
    "npz bomb within the bounds": ("npz", lambda: _archive(
        {"a.npy": _npy((3840, 4096), NULLS)})),
    "npz in Fortran's order": ("npz", lambda: _archive(
        {"a.npy": _npy((3840, 4096), NULLS, fortran=True)})),
    "npz of the other byte order": ("npz", lambda: _archive(
        {"a.npy": _npy((3840, 4096), NULLS, ">f4", fortran=True)})),
    "npy headers of nested tuples": ("npz", lambda: _archive(
        {f"{i}.npy": _npy((), b"")[:8] + (9000).to_bytes(2, "little") + b"-" * 9000 for i in range(2000)})),
    "h5 of the most groups": ("keras-h5", lambda: _h5(lambda file: [
        file.create_group(f"g{i}") for i in range(4990)])),
    "h5 of the most arrays": ("keras-h5", lambda: _h5(lambda file: [
        file.create_dataset(f"a/d{i}", data=[0.0]) for i in range(4990)])),
    "h5 of the most chunks": ("keras-h5", lambda: _h5(_most_chunks)),
    "h5 bomb within the bounds": ("keras-h5", lambda: _h5(lambda file: file.create_dataset(
        "a/d", data=bytearray(NULLS), dtype="u1", chunks=(1 << 20,), compression=9))),
    "keras archive, a bomb within": ("keras-zip", lambda: _archive({"model.weights.h5": _h5(
        lambda file: file.create_dataset("a/d", data=bytearray(NULLS), dtype="u1"))})),
    "onnx of empty nodes": ("onnx", lambda: _onnx(1, b"", 1 << 20)),
    "onnx of as many nodes as may be": ("onnx", lambda: _onnx(1, b"", 199_000)),
    "onnx of empty constants": ("onnx", lambda: _onnx(5, b"", 19_000)),
    "onnx of identities": ("onnx", lambda: _onnx_chain(9_900)),
    "png of zeros": ("image", lambda: _image("png", 2048)),
    "png of 16 bits, interlaced": ("image", lambda: _png_lines(2048)),
    "png, gray of 16 bits": ("image", lambda: _image("png", 2048, "I;16")),
    "jpeg": ("image", lambda: _image("jpeg", 2048)),
    "jpeg of a thousand scans": ("image", lambda: jpeg_of_scans(2048, 1000)),
    "gif": ("image", lambda: _image("gif", 2048, "P")),
    "bmp": ("image", lambda: _image("bmp", 2048)),
    "tiff, deflated": ("image", lambda: _image("tiff", 2048, compression="tiff_deflate")),
    "tiff, LZW, floats": ("image", lambda: _image("tiff", 2048, "F", compression="tiff_lzw")),
    "tiff, bilevel": ("image", lambda: _image("tiff", 2048, "1", compression="group4")),
    "png of texts that unpack": ("image", lambda: _png_text(200)),
    "tiff of one large tile": ("image", lambda: tiff_of_one_tile(2000, 16384)),
    "tiff of one giant tile": ("image", lambda: tiff_of_one_tile(2000, 46000)),
    "avif": ("image", lambda: _image("avif", 2048)),
    "webp, lossless": ("image", lambda: _image("webp", 2048, "RGBA", lossless=True)),
    "metadata nested": ("metadata", lambda: b'{"format":"mininet","labels":"' + b"[" * (1 << 20) + b'"}'),
}  # fmt: skip


def measure(case: str) -> tuple[int, float, int, str]:
    """Size of a file in bytes, seconds of this process that it took, bytes of memory, and what was said."""
    reader, make = WORST[case]
    read = READERS[reader].read
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input")
        for content in READERS[reader].seeds(Path(folder)):  # imports what this reader needs
            path.write_bytes(content)
            with contextlib.suppress(MininetError):
                read(path)
        size = path.write_bytes(make())
        before, start = forget_peak(), time.process_time()
        said = "read"
        try:
            read(path)
        except MininetError as error:
            said = str(error).replace(f"{str(path)!r}", "it")
        return size, time.process_time() - start, peak() - before, said


def measure_all(cases: Iterable[str] = WORST) -> Iterator[tuple[str, tuple[int, float, int, str]]]:
    """`measure` for each, every one in a new process, whose memory no other file has stretched."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        cases = list(cases)
        yield from zip(cases, pool.imap(measure, cases), strict=True)


def main() -> None:
    print(f"{'file':32} {'reader':12} {'bytes':>10} {'seconds':>8} {'MiB':>5}")
    for case, (size, seconds, memory, said) in measure_all(sys.argv[1:] or WORST):
        row = f"{case:32} {WORST[case][0]:12} {size:10} {seconds:8.2f} {memory / 2**20:5.0f}"
        print(row, said[:80], flush=True)


if __name__ == "__main__":
    main()
