"""PyTorch's .pth/.pt files without PyTorch: the zip format and the legacy stream of pickles before it (1.6).

Both pickle an object whose tensors are calls of ``_rebuild_tensor_v2(storage, offset, size, stride, ...)``
and whose storages are persistent ids; the storages' bytes lie beside the pickle. The pickle is read by a
machine that can only build data (:mod:`mininet.weights.safe_pickle`), so a file from a stranger cannot run
code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from mininet.errors import WeightsError
from mininet.weights.archive import Archive
from mininet.weights.safe_pickle import Global, Globals, load, pairs_to_dict
from mininet.weights.source import (
    Array,
    Contents,
    SourceFile,
    decode,
    element_count,
    shown,
    widen_bfloat16,
)
from mininet.weights.wrapping import ENTRIES, MAX_NESTING, choose_entry

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

# Tensors may share a storage (tied weights) or repeat it with a stride of 0; beyond this multiple of the
# file's size it is an attack on whoever copies them.
MAX_SHARING = 16
MAX_SMALL_BYTES = 64 << 20

_BFLOAT16 = "bfloat16"
STORAGES: dict[str, str] = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_DTYPES = (
    "float64 double float32 float float16 half bfloat16 int64 long int32 int int16 short int8 uint8 bool"
)


@dataclass(frozen=True)
class _Storage:
    """A storage, or a window of one, that the pickle names and whose bytes lie elsewhere in the file."""

    key: str
    kind: str
    start: int  # in elements
    count: int
    whole: int  # elements of the whole storage

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("u2" if self.kind == _BFLOAT16 else self.kind)


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle declares it: unchecked until it is materialised."""

    storage: Any
    offset: Any
    shape: Any
    stride: Any


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _size(sizes: Any = ()) -> Any:
    return sizes


def _device(*_: Any) -> None:
    return None


def _counter(counts: Any = None) -> dict[Any, Any]:
    return pairs_to_dict(counts.items()) if type(counts) is dict else {}


def _options() -> dict[Any, Any]:
    """The options of a training script, which the pickle would set one by one: none is kept."""
    return {}


ADMITTED: Globals = {
    "collections.OrderedDict": pairs_to_dict,
    "collections.Counter": _counter,
    "argparse.Namespace": _options,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
    "torch.device": _device,
    **{f"torch.{name}": None for name in STORAGES},
    **{f"torch.{name}": None for name in _DTYPES.split()},
}
"""Every global that a file may name. Nothing else, ever."""

Fetch = Callable[[_Storage], bytes]


def read_zip(file: SourceFile) -> Contents:
    """Read a file of torch.save as PyTorch writes it since 1.6: a zip of data.pkl, data/0, data/1, ...

    Raises
    ------
    WeightsError
        If the archive, the pickle or a tensor is damaged, or the pickle asks for more than tensors.
    """
    archive = Archive(file)
    pickles = [name for name in archive.names if ("/" + name).endswith("/data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"expected one data.pkl in the archive, found {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive:
        raise WeightsError(
            "expected a state_dict, found a TorchScript program; save model.state_dict() instead"
        )
    big_endian = _byte_order(archive, f"{folder}byteorder")
    pickle = archive.read(pickles[0])
    root = load(SourceFile(BytesIO(pickle), len(pickle)), ADMITTED, _storage)
    return _contents(root, lambda storage: archive.read(f"{folder}data/{storage.key}"), big_endian, file)


def read_legacy(file: SourceFile) -> Contents:
    """Read a file of torch.save before 1.6.

    Magic, protocol, system, object and storage keys as one pickle each, then the bytes of the storages.

    Raises
    ------
    WeightsError
        If a pickle, a storage or a tensor is damaged, or a pickle asks for more than tensors.
    """
    magic, protocol, system = (load(file, {}, _no_storage) for _ in range(3))
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL:
        raise WeightsError(f"expected torch.save's protocol {LEGACY_PROTOCOL}, got {shown(protocol)}")
    if type(system) is not dict or type(system.get("little_endian")) is not bool:
        raise WeightsError("expected the writing system's byte order after the protocol")
    declared: dict[str, _Storage] = {}

    def remember(identifier: Any) -> _Storage:
        storage = _storage(identifier)
        first = declared.setdefault(storage.key, storage)
        if (first.kind, first.whole) != (storage.kind, storage.whole):
            raise WeightsError(f"storage {shown(storage.key)} is declared twice, differently")
        return storage

    root = load(file, ADMITTED, remember)
    order = "little" if system["little_endian"] else "big"
    places = _legacy_places(file, load(file, {}, _no_storage), declared, order)

    def fetch(storage: _Storage) -> bytes:
        if storage.key not in places:
            raise WeightsError(f"storage {shown(storage.key)}: expected its bytes in the file, found none")
        file.seek(places[storage.key])
        return file.read_exact(storage.whole * storage.dtype.itemsize, f"storage {shown(storage.key)}")

    return _contents(root, fetch, order == "big", file)


def _legacy_places(file: SourceFile, keys: Any, declared: dict[str, _Storage], order: Any) -> dict[str, int]:
    """Find where each storage's bytes start: behind the pickles, in the order of `keys`, after a length."""
    if type(keys) is not list or any(type(key) is not str for key in keys) or len(set(keys)) != len(keys):
        raise WeightsError("expected a list of different storage keys after the object")
    places: dict[str, int] = {}
    for key in keys:
        count = int.from_bytes(file.read_exact(8, f"length of storage {shown(key)}"), order, signed=True)
        if key not in declared or declared[key].whole != count:
            raise WeightsError(
                f"storage {shown(key)}: its length of {count} is not the one that the pickle declares"
            )
        places[key] = file.tell()
        byte_count = count * declared[key].dtype.itemsize
        if byte_count > file.left():
            raise WeightsError(
                f"truncated: storage {shown(key)} needs {byte_count} bytes, {file.left()} are left"
            )
        file.seek(byte_count, 1)
    return places


def _no_storage(identifier: Any) -> Any:
    raise WeightsError("the pickle names a storage where none belongs")


def _byte_order(archive: Archive, member: str) -> bool:
    order = archive.read(member) if member in archive else b"little"
    if order not in (b"little", b"big"):
        raise WeightsError(f"expected byte order little or big, got {shown(order)}")
    return order == b"big"


def _storage(identifier: Any) -> _Storage:
    """Check a persistent id: "storage", type, key, device, count, and in old files (key, start, count)."""
    if type(identifier) is not tuple or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise WeightsError("the pickle has a persistent id that is no storage")
    _, kind, key, _, whole, *window = identifier
    name = kind.name.removeprefix("torch.") if type(kind) is Global else ""
    if name not in STORAGES or type(key) is not str:
        raise WeightsError(f"storage {shown(key)}: expected one of {', '.join(STORAGES)}")
    element_count((whole,), f"storage {key}")
    start, count = 0, whole
    if window and window[0] is not None:
        if type(window[0]) is not tuple or len(window[0]) != 3:
            raise WeightsError(f"storage {shown(key)}: damaged view")
        _, start, count = window[0]
        element_count((start, count), f"storage {key}")
        if start + count > whole:
            raise WeightsError(f"storage {shown(key)}: its view ends behind it")
    return _Storage(key, STORAGES[name], start, count, whole)


def _contents(root: Any, fetch: Fetch, big_endian: bool, file: SourceFile) -> Contents:
    tensors, metadata = _state_dict(root, file.entry)
    storages: dict[tuple[str, str], Array] = {}
    arrays: dict[str, Array] = {}
    total = 0
    for name, tensor in tensors.items():
        storage = _checked_storage(name, tensor)
        shape, strides = _checked_geometry(name, tensor, storage)
        slot = (storage.key, storage.kind)
        if slot not in storages:
            storages[slot] = _decoded(fetch(storage), storage, big_endian)
        if storage.whole > storages[slot].size:
            raise WeightsError(
                f"storage {shown(storage.key)}: expected {storage.whole} elements, it is shorter"
            )
        arrays[name] = _view(storages[slot], storage.start + tensor.offset, shape, strides)
        total += arrays[name].nbytes
    if total > max(MAX_SMALL_BYTES, MAX_SHARING * file.size):
        raise WeightsError(f"its tensors expand to {total} bytes, the file has {file.size}")
    return arrays, metadata


def _state_dict(root: Any, wanted: str | None) -> tuple[dict[str, _Tensor], dict[str, str]]:
    """Find the named tensors, inside the dictionaries that checkpoints put around them."""
    path: list[str] = []
    others: list[str] = []
    for _ in range(MAX_NESTING):
        tensors, holders = _named_tensors(root), _holders(root)
        if tensors and wanted is None and holders.keys().isdisjoint(ENTRIES):
            note = {"wrapper": ".".join(path), "other_wrappers": ", ".join(others)}
            return tensors, {key: text for key, text in note.items() if text}
        if not holders:
            break
        entry = choose_entry(holders, wanted)
        others += [".".join([*path, each]) for each in holders if each != entry]
        path.append(entry)
        root, wanted = holders[entry], None
    raise WeightsError(
        f"expected a dictionary of tensors, plain or under one of {', '.join(ENTRIES)}; found {shown(root)}"
    )


def _holders(root: Any) -> dict[str, Any]:
    """The dictionaries in one that have tensors, or a well-known entry, directly in them."""
    if type(root) is not dict:
        return {}
    return {
        key: value
        for key, value in root.items()
        if type(key) is str
        and type(value) is dict
        and (_named_tensors(value) or any(type(value.get(entry)) is dict for entry in ENTRIES))
    }


def _named_tensors(root: Any) -> dict[str, _Tensor]:
    if type(root) is not dict:
        return {}
    return {key: value for key, value in root.items() if type(key) is str and type(value) is _Tensor}


def _checked_storage(name: str, tensor: _Tensor) -> _Storage:
    if type(tensor.storage) is not _Storage:
        raise WeightsError(f"tensor {shown(name)}: expected a storage, got {shown(tensor.storage)}")
    return tensor.storage


def _checked_geometry(
    name: str, tensor: _Tensor, storage: _Storage
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape, strides, offset = tensor.shape, tensor.stride, tensor.offset
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise WeightsError(f"tensor {shown(name)}: expected as many strides as sizes")
    count = element_count(shape, name)
    for number in (offset, *strides):
        element_count((number,), name)  # the same rule, one by one: an integer, not negative, not huge
    reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if count else 0
    if offset + reach > storage.count:
        raise WeightsError(
            f"tensor {shown(name)}: needs elements {offset}..{offset + reach} of a storage of {storage.count}"
        )
    return shape, strides


def _decoded(data: bytes, storage: _Storage, big_endian: bool) -> Array:
    dtype = storage.dtype.newbyteorder(">" if big_endian else "<")
    flat = decode(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype, storage.key)
    return widen_bfloat16(flat) if storage.kind == _BFLOAT16 else flat


def _view(flat: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """View part of a storage. NumPy checks the bounds again; no copy is made, so no size costs memory."""
    step = flat.itemsize
    if 0 in shape:
        return flat[:0].reshape(shape)
    return np.ndarray(shape, flat.dtype, flat.data, offset * step, tuple(stride * step for stride in strides))
