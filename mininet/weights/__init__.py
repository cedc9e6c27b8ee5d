"""Reading weights files: one file per format, told apart by content, never by name.

A new format is one entry in :data:`FORMATS` and one module with a function ``(file: SourceFile) ->
Contents``. The modules are imported when a file of their format comes, so ``import mininet`` does not pay for
them.
"""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from mininet.errors import DTypeError, UnknownNameError, WeightsError
from mininet.weights.source import Array, Contents, SourceFile, shown

__all__ = ["FORMATS", "Format", "Weights", "read_weights"]

HEAD_BYTES = 64
MAX_PIPE_BYTES = (
    512 << 20
)  # A pipe has no size to check against, so it gets a bound: many times any MobileNet.

# The pickled integer 0x1950a86a20f9469cfc6c that starts a file of torch.save before PyTorch 1.6.
TORCH_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"

_ONNX_FIELDS = (b"\x12", b"\x1a", b'"', b"(", b"2", b":", b"B")  # tags of fields 2 to 8 of a ModelProto


@dataclass(frozen=True)
class Peek:
    """What a sniffer sees of a file: its first bytes and, if it is a zip archive, the names in it."""

    head: bytes
    members: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """One weights format: its name, its sniffer, and its reader as ``"module:function"`` of this package."""

    name: str
    sniff: Callable[[Peek], bool]
    reader: str


FORMATS: tuple[Format, ...] = (
    Format(
        "torch-zip",
        lambda p: any(("/" + name).endswith("/data.pkl") for name in p.members),
        "torch_pickle:read_zip",
    ),
    Format("keras-zip", lambda p: "model.weights.h5" in p.members, "keras_file:read_archive"),
    Format("npz", lambda p: any(name.endswith(".npy") for name in p.members), "npz:read"),
    Format("torch-legacy", lambda p: TORCH_LEGACY_MAGIC in p.head, "torch_pickle:read_legacy"),
    Format("keras-h5", lambda p: p.head.startswith(b"\x89HDF\r\n\x1a\n"), "keras_file:read"),
    Format("tflite", lambda p: p.head[4:8] == b"TFL3", "tflite:read"),
    # No magic: protobuf's field 1, the version of the format, then one of the model's other fields.
    Format(
        "onnx",
        lambda p: p.head[:1] == b"\x08" and b"\0" < p.head[1:2] < b"\x20" and p.head[2:3] in _ONNX_FIELDS,
        "onnx_file:read",
    ),
    # No magic: a little-endian 64-bit header length, whose upper bytes are 0 in any real file, then JSON.
    Format("safetensors", lambda p: p.head[8:9] == b"{" and p.head[5:8] == b"\0\0\0", "safetensors:read"),
)

# Files that people have in hand and that are none of the above: named, so that the message helps.
_FOREIGN: tuple[tuple[str, Callable[[Peek], bool]], ...] = (
    ("a zip archive without tensors", lambda p: p.head.startswith(b"PK")),
    (
        "a pickle that torch.save did not write",
        lambda p: p.head[:1] == b"\x80" and p.head[1:2] in b"\2\3\4\5",
    ),
    ("a single NumPy array (.npy)", lambda p: p.head.startswith(b"\x93NUMPY")),
    ("a Git LFS pointer, not the file itself", lambda p: p.head.startswith(b"version https://git-lfs")),
    ("a web page", lambda p: p.head.lstrip().lower().startswith((b"<!doctype", b"<html"))),
)


class _UnknownTensorError(UnknownNameError, KeyError):
    """A name that the file does not hold; a KeyError too, as the mapping protocol asks."""

    __str__ = Exception.__str__  # KeyError would print the repr of the message.


class Weights(Mapping[str, Array]):
    """The tensors of one weights file: a read-only mapping from name to read-only array.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Tensors in the file's order, names and layout.
    metadata : mapping of str to str
        What the file says about itself.
    format : str
        Name of the format, as in :data:`FORMATS`.
    path : str
        File they came from, as given.
    mapped : bool
        Whether the arrays are views of the file's own pages, which nothing in this process can change.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        metadata: Mapping[str, str],
        format: str,
        path: str,
        mapped: bool = False,
    ) -> None:
        self._arrays = dict(arrays)
        self.metadata: dict[str, str] = dict(metadata)
        self.format = format
        self.path = path
        self.mapped = mapped

    def __getitem__(self, name: str) -> Array:
        if name in self:
            return self._arrays[name]
        raise _UnknownTensorError(f"tensor in {self.path!r}", name, self._arrays)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        count = sum(array.size for array in self._arrays.values())
        return f"<Weights {self.path!r}: {self.format}, {len(self)} tensors, {count} values>"


def read_weights(path: str | os.PathLike[str], mmap: bool = False, entry: str | None = None) -> Weights:
    """Read a weights file of any known format, recognised by its content.

    Formats: safetensors, NumPy ``.npz``, PyTorch ``.pth``/``.pt`` (zip and legacy; torch is not needed and no
    code in the file can run); with the extra ``convert`` also Keras ``.h5``, ``.weights.h5`` and ``.keras``,
    ``.tflite``, float or quantised, and ``.onnx``. A pipe works too.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    mmap : bool
        Map the file instead of reading it, if it is safetensors (other formats are not laid out for
        that): its pages are loaded when looked at and shared by all processes that map it. A network
        made of these weights keeps those of float32 there. Such a file may be replaced (as `Network.save`
        does) but not rewritten in place: the arrays would change, and end the process if it shrinks.
    entry : str, optional
        Which of a PyTorch checkpoint's dictionaries to read, for example ``"model"``. By default averaged
        weights (``"state_dict_ema"``, ``"model_ema"``) come before ``"state_dict"`` and ``"model"``, and
        ``.metadata`` says under ``"wrapper"`` which it was and under ``"other_wrappers"`` which others there
        are.

    Returns
    -------
    Weights
        Read-only arrays under the file's own names and in its own layout; bfloat16 becomes float32, every
        other type stays. ``.metadata`` holds the file's strings, ``.format`` the format's name.

    Raises
    ------
    WeightsError
        If the file is missing, empty, foreign, truncated, damaged or unsafe, or holds several sets of weights
        of which none has a usual name. The message is one line.
    UnknownNameError
        If there is no such entry.
    DTypeError
        If `path` is no path.
    MissingExtraError
        If the format needs a package that is not installed.
    """
    try:
        name = os.fsdecode(os.fspath(path))
    except TypeError:
        raise DTypeError(f"weights path: expected a str or os.PathLike, got {type(path).__name__}") from None
    try:
        with open(name, "rb", opener=_open_source) as opened:
            file = _sized(opened, mmap, entry)
            peek = _peek(file)
            found = _sniff(peek)
            arrays, metadata = _read(found, file)
    except (WeightsError, OSError, ValueError, MemoryError) as error:
        system = error.strerror if isinstance(error, OSError) else None
        why = system or str(error) or type(error).__name__
        raise WeightsError(f"cannot read weights from {name!r}: {why}") from error
    return Weights(arrays, metadata, found.name, name, file.mapped)


def _open_source(name: str, flags: int) -> int:
    """Open `name`, refusing folders and devices in words of our own (a device may have no end)."""
    descriptor = os.open(name, flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        return descriptor
    os.close(descriptor)
    raise WeightsError(f"expected a file, found a {'folder' if stat.S_ISDIR(mode) else 'device'}")


def _sized(file: BinaryIO, may_map: bool, entry: str | None) -> SourceFile:
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode):
        return SourceFile(file, status.st_size, may_map, entry)
    whole = BytesIO()
    while chunk := file.read(1 << 20):
        whole.write(chunk)
        if whole.tell() > MAX_PIPE_BYTES:
            raise WeightsError(f"expected at most {MAX_PIPE_BYTES} bytes from a pipe, more came")
    size = whole.tell()
    whole.seek(0)
    return SourceFile(whole, size, entry=entry)


def _peek(file: SourceFile) -> Peek:
    head = file.read(HEAD_BYTES)
    members: tuple[str, ...] = ()
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        archive = importlib.import_module("mininet.weights.archive")
        members = tuple(archive.Archive(file).names)
    file.seek(0)
    return Peek(head, members)


def _sniff(peek: Peek) -> Format:
    if not peek.head:
        raise WeightsError("the file is empty")
    for known in FORMATS:
        if known.sniff(peek):
            return known
    names = ", ".join(known.name for known in FORMATS)
    for description, sniff in _FOREIGN:
        if sniff(peek):
            raise WeightsError(f"expected one of {names}; found {description}")
    raise WeightsError(f"expected one of {names}; found a file that starts with {peek.head[:8]!r}")


def _read(found: Format, file: SourceFile) -> Contents:
    if file.entry is not None and not found.name.startswith("torch"):
        raise WeightsError(f"{found.name}: it has no entries to choose from, got {shown(file.entry)}")
    module, _, function = found.reader.partition(":")
    read: Callable[[SourceFile], Contents] = getattr(
        importlib.import_module(f"{__name__}.{module}"), function
    )
    try:
        return read(file)
    except WeightsError as error:
        raise WeightsError(f"{found.name}: {error}") from error
