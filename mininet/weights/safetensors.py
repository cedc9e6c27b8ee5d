"""The safetensors format: a 64-bit header length, a JSON header, then the tensors' bytes, little-endian.

The header maps each name to its dtype, shape and byte range in the data, ``__metadata__`` to strings. The
ranges must cover the data exactly, without gap or overlap; that is what makes the file safe to map.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mininet.errors import ArgumentError, DTypeError, WeightsError
from mininet.weights.atomic import atomic_write
from mininet.weights.source import (
    Array,
    Contents,
    SourceFile,
    decode,
    element_count,
    reason,
    shown,
    widen_bfloat16,
)

METADATA = "__metadata__"
# The format allows 100 MB; 2 MiB hold 25,000 tensors and keep a hostile header under a second and 200 MB.
MAX_HEADER_BYTES = 2 << 20
ALIGNMENT = 8  # The header is padded so that the data starts aligned for the widest dtype.

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_BFLOAT16 = "BF16"  # NumPy has no such type: read as bits and widened to float32, never written.
_CODES = {dtype: code for code, dtype in DTYPES.items()}


def read(file: SourceFile) -> Contents:
    """Read a safetensors file; the order is the header's.

    Raises
    ------
    WeightsError
        If the header does not parse, or its sizes, offsets and shapes disagree with each other or the file.
    """
    header = _read_header(file)
    metadata = _checked_metadata(header.pop(METADATA, {}))
    data_bytes = file.left()
    entries = {name: _checked_entry(name, entry) for name, entry in header.items()}
    _check_cover(entries, data_bytes)
    data = file.view_exact(data_bytes, "data")
    return {name: _tensor(name, data, *entry) for name, entry in entries.items()}, metadata


def write(
    path: str | os.PathLike[str], tensors: Mapping[str, ArrayLike], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file atomically; equal input gives equal bytes.

    Parameters
    ----------
    path : str or os.PathLike
        The file; replaced if it exists.
    tensors : mapping of str to array_like
        Arrays of any shape, order and byte order, with a dtype of the format (float16 to float64, integers,
        bool).
    metadata : mapping of str to str, optional
        Free strings.

    Raises
    ------
    DTypeError
        If a name or metadata value is no string, or an array has a dtype that the format lacks.
    ArgumentError
        If a name is reserved or no valid Unicode, or the header would be too long to be read back.
    WeightsError
        If the file cannot be written.
    """
    arrays = {_checked_name(name): _encodable(name, value) for name, value in tensors.items()}
    # Widest first keeps every tensor aligned; the sort is stable, so equal widths stay in the caller's order.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    header = _header(arrays, order, metadata)
    with atomic_write(path) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in order:
            file.write(arrays[name].tobytes())


Entry = tuple[str, tuple[int, ...], int, int]
"""dtype code, shape, first byte, byte after the last."""


def _read_header(file: SourceFile) -> dict[str, Any]:
    length = int.from_bytes(file.read_exact(8, "header length"), "little")
    if length > MAX_HEADER_BYTES:
        raise WeightsError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, {length} are declared")
    text = file.read_exact(length, "header")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"header: expected JSON in UTF-8; {reason(error)}") from error
    if type(header) is not dict:
        raise WeightsError(f"header: expected a JSON object, got {shown(header)}")
    return header


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise WeightsError(f"header: {shown(twice)} occurs twice")
    return result


def _checked_metadata(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise WeightsError(f"header: expected {METADATA} to map strings to strings")
    return metadata


def _checked_entry(name: str, entry: object) -> Entry:
    fields = ("dtype", "shape", "data_offsets")
    if not isinstance(entry, dict) or set(entry) != set(fields):
        raise WeightsError(f"tensor {shown(name)}: expected exactly {', '.join(fields)}")
    code, shape, offsets = (entry[field] for field in fields)
    if not isinstance(code, str) or (code not in DTYPES and code != _BFLOAT16):
        raise WeightsError(
            f"tensor {shown(name)}: expected a dtype of {', '.join([*DTYPES, _BFLOAT16])}, got {shown(code)}"
        )
    if not isinstance(shape, list):
        raise WeightsError(f"tensor {shown(name)}: expected a list as shape, got {shown(shape)}")
    count = element_count(shape, name)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(at) is int for at in offsets):
        raise WeightsError(f"tensor {shown(name)}: expected two integers as data_offsets")
    begin, end = offsets
    itemsize = 2 if code == _BFLOAT16 else DTYPES[code].itemsize
    if end - begin != count * itemsize:
        raise WeightsError(
            f"tensor {shown(name)}: expected {count * itemsize} bytes for {code} of shape {tuple(shape)}, "
            f"its offsets span {shown(end - begin)}"
        )
    return code, tuple(shape), begin, end


def _check_cover(entries: Mapping[str, Entry], data_bytes: int) -> None:
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise WeightsError(
                f"tensor {shown(name)}: expected to start at {at}, starts at {shown(begin)} (gap or overlap)"
            )
        at = end
    if at != data_bytes:
        raise WeightsError(f"expected {at} bytes of data as declared, the file holds {data_bytes}")


def _tensor(name: str, data: memoryview, code: str, shape: tuple[int, ...], begin: int, end: int) -> Array:
    if code == _BFLOAT16:
        return widen_bfloat16(decode(data[begin:end], np.dtype("<u2"), name)).reshape(shape)
    return decode(data[begin:end], DTYPES[code], name).reshape(shape)


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise DTypeError(f"tensor name: expected a str, got {type(name).__name__}")
    if name == METADATA:
        raise ArgumentError(f"tensor name: {METADATA!r} is reserved for the metadata")
    return name


def _encodable(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
    little = array.dtype.newbyteorder("<")
    if little not in _CODES:
        known = ", ".join(str(dtype) for dtype in _CODES)
        raise DTypeError(f"tensor {shown(name)}: expected a dtype of {known}, got {array.dtype}")
    return array.astype(little, copy=False)


def _header(arrays: Mapping[str, Array], order: list[str], metadata: Mapping[str, str] | None) -> bytes:
    begins, at = {}, 0
    for name in order:
        begins[name] = at
        at += arrays[name].nbytes
    header: dict[str, Any] = {METADATA: _strings(metadata)} if metadata else {}
    for name, array in arrays.items():
        header[name] = {
            "dtype": _CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begins[name], begins[name] + array.nbytes],
        }
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"tensor names and metadata: expected valid Unicode; {error}") from error
    text += b" " * (math.ceil(len(text) / ALIGNMENT) * ALIGNMENT - len(text))
    if len(text) > MAX_HEADER_BYTES:
        raise ArgumentError(f"header: expected at most {MAX_HEADER_BYTES} bytes, got {len(text)}")
    return text


def _strings(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise DTypeError(f"metadata {shown(key)}: expected a str, got {type(value).__name__}")
    return dict(metadata)
