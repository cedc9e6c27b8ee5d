"""What the readers share: a file that never gives more than it has, and checks of declared sizes.

A reader takes a :class:`SourceFile` and returns :data:`Contents`. It raises ``WeightsError`` saying what was
expected and what came; ``read_weights`` puts the file's name in front. Sizes that a file declares are checked
with the functions here before anything of that size is allocated.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mininet.errors import WeightsError

Array: TypeAlias = NDArray[Any]
Contents: TypeAlias = tuple[dict[str, Array], dict[str, str]]
"""Arrays by name, in the file's order, and the file's metadata."""

MAX_RANK = 32  # NumPy 1 could hold 32 dimensions; a network needs four.
MAX_ELEMENTS = 2**48  # Far above any file, far below the overflow of a 64-bit byte count.
MAX_SHOWN = 80  # Characters of a hostile name that an error message repeats,
MAX_REASON = 200  # and of a library's own message.


class SourceFile:
    """A seekable binary file of known size whose ``read`` never asks for more than is left.

    A plain file object allocates what it is asked for before it looks, so a size taken from a hostile file
    would cost memory. Has the methods that ``zipfile`` and ``pickletools`` need.

    Parameters
    ----------
    file : BinaryIO
        An open, seekable file.
    size : int
        Its size in bytes.
    may_map : bool
        Whether `view_exact` may map the file instead of reading it; it must then be one with a descriptor.
    entry : str, optional
        Which of several sets of weights the user wants, where a format can hold several.

    Attributes
    ----------
    mapped : bool
        Whether it has done so.
    """

    def __init__(self, file: BinaryIO, size: int, may_map: bool = False, entry: str | None = None) -> None:
        self._file = file
        self.size = size
        self._may_map = may_map
        self.entry = entry
        self.mapped = False

    def left(self) -> int:
        """Bytes between the position and the end."""
        return max(0, self.size - self._file.tell())

    def read(self, count: int = -1) -> bytes:
        """Read at most `count` bytes; all that is left if `count` is negative."""
        left = self.left()
        return self._file.read(left if count < 0 else min(count, left))

    def readline(self, count: int = 1 << 16) -> bytes:
        """Read one line of at most `count` bytes."""
        return self._file.readline(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move the position, as ``io.IOBase.seek`` does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._file.tell()

    def seekable(self) -> bool:
        """Return True: pipes are read whole before they come here."""
        return True

    def read_exact(self, count: int, what: str) -> bytes:
        """Read exactly `count` bytes, or raise ``WeightsError`` saying that `what` is cut off."""
        self._check_left(count, what)
        data = self._file.read(count)
        if len(data) != count:
            raise WeightsError(f"truncated while being read: {what} needs {count} bytes, got {len(data)}")
        return data

    def view_exact(self, count: int, what: str) -> memoryview:
        """As `read_exact`, or a read-only view of the mapped file, whose pages are loaded when looked at."""
        if not self._may_map:
            return memoryview(self.read_exact(count, what))
        self._check_left(count, what)
        begin = self.tell()
        whole = mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)
        self.mapped = True
        self.seek(begin + count)
        return memoryview(whole)[begin : begin + count]

    def _check_left(self, count: int, what: str) -> None:
        left = self.left()
        if count > left:
            raise WeightsError(f"truncated: {what} needs {count} bytes, {left} are left")


def shown(value: object) -> str:
    """Quote a value from a file for a one-line message: control characters escaped, long strings cut."""
    if not isinstance(value, str | int | bytes) or (isinstance(value, int) and abs(value) >= 2**64):
        return f"a {type(value).__name__}"
    text = repr(value[: MAX_SHOWN + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def reason(error: Exception) -> str:
    """Shorten a library's message to part of one line: some repeat a kilobyte of the file, or break lines."""
    line = str(error).partition("\n")[0] or type(error).__name__
    return line if len(line) <= MAX_REASON and line.isprintable() else repr(line[:MAX_REASON])


def element_count(shape: Sequence[object], name: str) -> int:
    """Count the elements of a declared shape, refusing what no tensor can have.

    Parameters
    ----------
    shape : sequence
        Sizes as the file declares them, of any type.
    name : str
        Tensor that the message names.

    Raises
    ------
    WeightsError
        For a size that is no integer or negative, a rank over 32, or a product that would overflow.
    """
    if len(shape) > MAX_RANK:
        raise WeightsError(f"tensor {shown(name)}: expected at most {MAX_RANK} dimensions, got {len(shape)}")
    sizes: list[int] = []
    for size in shape:
        if type(size) is not int or size < 0:
            raise WeightsError(f"tensor {shown(name)}: expected sizes of 0 or more, got {shown(size)}")
        sizes.append(size)
    # Zeros are left out, as NumPy does: (0, 2**62, 2**62) has no element and is refused all the same.
    if math.prod(max(size, 1) for size in sizes) > MAX_ELEMENTS:
        raise WeightsError(f"tensor {shown(name)}: its declared shape has more than {MAX_ELEMENTS} elements")
    return math.prod(sizes)


def decode(data: bytes | memoryview, dtype: np.dtype[Any], name: str) -> Array:
    """View bytes as a flat read-only native array, copying only where byte order or alignment demand it.

    Raises
    ------
    WeightsError
        If `dtype` is bool and a byte is neither 0 nor 1.
    """
    if dtype == np.bool_ and np.any(np.frombuffer(data, np.uint8) > 1):
        raise WeightsError(f"tensor {shown(name)}: expected booleans of 0 or 1, got another byte")
    flat = np.frombuffer(data, dtype)
    if not flat.dtype.isnative or not flat.flags.aligned:
        flat = flat.astype(dtype.newbyteorder("="))
        flat.flags.writeable = False
    return flat


def widen_bfloat16(bits: Array) -> Array:
    """Turn bfloat16 bit patterns (uint16) into the float32 values they are the upper halves of."""
    wide = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    wide.flags.writeable = False
    return wide
