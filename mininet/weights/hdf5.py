"""HDF5 from strangers: groups and arrays of numbers of one file, and nothing that leads out of it.

The HDF5 library follows links into other files, gathers virtual datasets from them, calls filters from
shared objects, and allocates what a file declares. Here only hard links are followed; only numbers stored in
the file itself are read; sizes are checked against the file's before anything of that size is allocated;
compressed chunks are unpacked by ``zlib`` with a bound, since the library's own filter has none; and no
attribute is read, since for a text of variable length the library takes up to 4 GB on the file's word.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mininet.errors import WeightsError, require
from mininet.weights.source import Array, element_count, reason, shown

# Of a whole file. Opening an object takes the library 0.1 ms, and finding a chunk longer the more there are.
MAX_OBJECTS = 5000
MAX_CHUNKS = 8192
MAX_DEPTH = 16  # Of groups: a hard link to a parent makes an endless path.
# As with zip archives: weights hardly compress, so an array larger than both of these is a bomb.
MAX_RATIO = 16
MAX_SMALL_BYTES = 64 << 20

# Whatever h5py makes of the library's errors in a damaged file.
_DAMAGE = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, zlib.error)


class Hdf5:
    """An HDF5 file in memory, of which only plain parts can be reached.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    WeightsError
        If it is damaged. Every method raises it too, for damage and for whatever is no plain part.
    MissingExtraError
        If h5py is not installed.
    """

    def __init__(self, data: bytes) -> None:
        self._h5 = require("h5py", "convert")
        self._size = len(data)
        self._bytes = 0
        self._objects = 0
        self._chunks = 0
        with _library():
            self._file = self._h5.h5f.open_file_image(data)
            self.root = Group(self, self._h5.h5g.open(self._file, b"/"), "")

    def member(self, parent: Any, name: str, path: str) -> Any:
        """Open what a hard link of a group leads to."""
        kind = parent.links.get_info(name.encode()).type
        if kind != self._h5.h5l.TYPE_HARD:
            raise WeightsError(f"{shown(path)} is a soft or external link, which is never followed")
        self._objects += 1
        if self._objects > MAX_OBJECTS:
            raise WeightsError(f"expected at most {MAX_OBJECTS} groups and datasets")
        return self._h5.h5o.open(parent, name.encode())

    def is_group(self, thing: Any) -> bool:
        """Whether an opened object is a group."""
        return isinstance(thing, self._h5.h5g.GroupID)

    def array(self, dataset: Any, name: str) -> Array:
        """Read a dataset, read-only and in native byte order."""
        h5 = self._h5
        if not isinstance(dataset, h5.h5d.DatasetID):
            raise WeightsError(f"tensor {shown(name)}: expected a dataset")
        layout = dataset.get_create_plist()
        kind = layout.get_layout()
        if kind == h5.h5d.VIRTUAL or layout.get_external_count():
            raise WeightsError(f"tensor {shown(name)}: its values lie in other files, which are never opened")
        stored_type = dataset.get_type()
        if not isinstance(stored_type, h5.h5t.TypeIntegerID | h5.h5t.TypeFloatID):
            raise WeightsError(f"tensor {shown(name)}: expected an array of numbers")
        if dataset.get_space().get_simple_extent_type() == h5.h5s.NULL:
            raise WeightsError(f"tensor {shown(name)}: expected values, found none")
        dtype = stored_type.dtype
        shape = tuple(int(size) for size in dataset.shape)
        needed = element_count(shape, name) * dtype.itemsize
        self._count_bytes(needed, name)
        if kind == h5.h5d.CHUNKED:
            array = self._chunked(dataset, layout, np.empty(shape, dtype), name)
        elif dataset.get_storage_size() != needed:
            raise WeightsError(
                f"tensor {shown(name)}: expected {needed} bytes for {dtype} of shape {shape}, "
                f"the file holds {dataset.get_storage_size()}"
            )
        else:
            array = np.empty(shape, dtype)
            dataset.read(h5.h5s.ALL, h5.h5s.ALL, array)
        array = array.astype(dtype.newbyteorder("="), copy=False)
        array.flags.writeable = False
        return array

    def _count_bytes(self, more: int, name: str) -> None:
        self._bytes += more
        if self._bytes > max(MAX_SMALL_BYTES, MAX_RATIO * self._size):
            raise WeightsError(
                f"tensor {shown(name)}: the file of {self._size} bytes declares {self._bytes} bytes: a bomb"
            )

    def _chunked(self, dataset: Any, layout: Any, array: Array, name: str) -> Array:
        """Fill `array` chunk by chunk, undoing the filters ourselves."""
        filters = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
        known = (self._h5.h5z.FILTER_DEFLATE, self._h5.h5z.FILTER_SHUFFLE)
        if not set(filters) <= set(known):
            raise WeightsError(f"tensor {shown(name)}: expected it plain or deflated, not with other filters")
        chunk = tuple(int(size) for size in layout.get_chunk())
        chunk_bytes = element_count(chunk, name) * array.itemsize
        self._count_bytes(chunk_bytes, name)
        self._chunks += math.prod(-(-n // c) for n, c in zip(array.shape, chunk, strict=True))
        if self._chunks > MAX_CHUNKS:
            raise WeightsError(f"tensor {shown(name)}: expected at most {MAX_CHUNKS} chunks in the file")
        for start in itertools.product(*(range(0, n, c) for n, c in zip(array.shape, chunk, strict=True))):
            stored = dataset.get_chunk_info_by_coord(start)
            if stored.byte_offset is None or stored.size > self._size:
                raise WeightsError(f"tensor {shown(name)}: the chunk at {start} is not in the file")
            mask, data = dataset.read_direct_chunk(start)
            if mask:
                raise WeightsError(f"tensor {shown(name)}: expected the same filters for every chunk")
            for each in reversed(filters):
                data = _inflated(data, chunk_bytes) if each == known[0] else _unshuffled(data, array.itemsize)
            if len(data) != chunk_bytes:
                raise WeightsError(
                    f"tensor {shown(name)}: expected chunks of {chunk_bytes} bytes, got {len(data)}"
                )
            place = tuple(slice(at, at + size) for at, size in zip(start, chunk, strict=True))
            part = array[place]
            part[...] = np.frombuffer(data, array.dtype).reshape(chunk)[tuple(map(slice, part.shape))]
        return array


class Group:
    """A group: members by name, each of them a group or an array."""

    def __init__(self, file: Hdf5, handle: Any, path: str) -> None:
        self._file = file
        self._handle = handle
        self.path = path

    def names(self) -> list[str]:
        """Names of the members."""
        with _library():
            if self._handle.get_num_objs() > MAX_OBJECTS:
                raise WeightsError(f"expected at most {MAX_OBJECTS} members of {shown(self.path)}")
            return [name.decode() for name in self._handle]

    def __contains__(self, name: str) -> bool:
        with _library():
            return bool(self._handle.links.exists(name.encode()))

    def get(self, name: str) -> Group | Array:
        """Follow a path of hard links from here to a group or an array."""
        step, _, rest = name.partition("/")
        path = f"{self.path}/{step}"
        if path.count("/") > MAX_DEPTH or step in ("", "."):
            raise WeightsError(f"expected a path of at most {MAX_DEPTH} names, got {shown(path)}")
        if step not in self:
            raise WeightsError(f"expected {shown(path)}, found none")
        with _library():
            opened = self._file.member(self._handle, step, path)
            if self._file.is_group(opened):
                group = Group(self._file, opened, path)
            elif rest:
                raise WeightsError(f"{shown(path)}: expected a group, found an array")
            else:
                return self._file.array(opened, path)
        return group.get(rest) if rest else group

    def group(self, name: str) -> Group:
        """`get`, where only a group will do."""
        found = self.get(name)
        if not isinstance(found, Group):
            raise WeightsError(f"{shown(f'{self.path}/{name}')}: expected a group, found an array")
        return found


@contextmanager
def _library() -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(f"damaged or truncated HDF5 file: {reason(error)}") from error


def _inflated(data: bytes, most: int) -> bytes:
    return zlib.decompressobj().decompress(data, most + 1)


def _unshuffled(data: bytes, itemsize: int) -> bytes:
    """Undo HDF5's shuffle, which stores all first bytes, then all second ones, and so on."""
    if len(data) % itemsize:
        return data
    return np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
