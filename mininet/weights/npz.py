"""NumPy's .npz: a zip archive of .npy files. Pickled (object) arrays are refused."""

from __future__ import annotations

import ast
from io import BytesIO
from typing import Any

import numpy as np

from mininet.errors import WeightsError
from mininet.weights.archive import Archive
from mininet.weights.source import Array, Contents, SourceFile, decode, element_count, reason, shown

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
# Version of the format (NEP 1) -> width of the header's length field, encoding of the header.
_VERSIONS = {(1, 0): (2, "latin-1"), (2, 0): (4, "latin-1"), (3, 0): (4, "utf-8")}
MAX_HEADER_BYTES = 10_000  # As NumPy: a longer literal may exhaust the parser.
_NUMERIC = "biuf"


def read(file: SourceFile) -> Contents:
    """Read an .npz file: arrays of numbers by their names; single strings become metadata.

    Members that are no .npy files are passed over.

    Raises
    ------
    WeightsError
        If the archive or an array in it is damaged, has a dtype that is no number, or says another size than
        it has.
    """
    archive = Archive(file)
    arrays: dict[str, Array] = {}
    metadata: dict[str, str] = {}
    for member in archive.names:
        if not member.endswith(_SUFFIX):
            continue
        name = member.removesuffix(_SUFFIX)
        array = _read_npy(name, archive.read(member))
        if array.dtype.kind == "U":
            metadata[name] = str(array)
        else:
            arrays[name] = array
    return arrays, metadata


def _read_npy(name: str, data: bytes) -> Array:
    stream = BytesIO(data)
    shape, column_major, dtype = _read_npy_header(name, stream)
    count = element_count(shape, name)
    body = memoryview(data)[stream.tell() :]
    is_string = dtype.kind == "U" and shape == ()
    if dtype.kind not in _NUMERIC and not is_string:
        raise WeightsError(f"tensor {shown(name)}: expected an array of numbers, got dtype {dtype}")
    if len(body) != count * dtype.itemsize:
        raise WeightsError(
            f"tensor {shown(name)}: expected {count * dtype.itemsize} bytes for {dtype} of shape {shape}, "
            f"the archive holds {len(body)}"
        )
    if is_string:
        return np.frombuffer(body, dtype).reshape(()) if dtype.itemsize else np.array("")
    flat = decode(body, dtype, name)
    if not column_major:
        return flat.reshape(shape)
    array = flat.reshape(shape[::-1]).T.copy(order="C")
    array.flags.writeable = False
    return array


def _read_npy_header(name: str, stream: BytesIO) -> tuple[tuple[Any, ...], bool, np.dtype[Any]]:
    """Read magic, version, length and the literal of shape, order and dtype.

    NumPy's own reader repairs headers of Python 2 by tokenizing them, which hostile ones upset in many ways.
    """
    try:
        prefix = stream.read(len(_MAGIC) + 2)
        if not prefix.startswith(_MAGIC):
            raise ValueError(f"it starts with {shown(prefix)}")
        major, minor = prefix[len(_MAGIC) :]
        width, encoding = _VERSIONS[major, minor]
        length = int.from_bytes(stream.read(width), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{length} bytes long")
        header = ast.literal_eval(stream.read(length).decode(encoding).strip())
        descr, shape, column_major = header["descr"], header["shape"], header["fortran_order"]
        if type(descr) is not str or type(shape) is not tuple or type(column_major) is not bool:
            raise TypeError("no simple dtype, shape and order")
        return shape, column_major, np.dtype(descr)
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError) as error:
        raise WeightsError(
            f"tensor {shown(name)}: damaged or unknown .npy header: {reason(error)}"
        ) from error
