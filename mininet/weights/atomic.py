"""Writing a file so that the old one or the new one is there, whole, whatever happens in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from mininet.errors import DTypeError, MininetError, WeightsError

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], error_class: type[MininetError] = WeightsError
) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` and put it in its place when the block ends well.

    The data is on the disk (fsync) before the name changes hands (``os.replace``). If the block raises, the
    temporary file is removed and `path` is as it was. An existing file keeps its permissions, a new one gets
    those of the umask; a symbolic link stays and its target is replaced.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write.
    error_class : type
        Which mininet error to raise.

    Yields
    ------
    BinaryIO
        An open binary file, at position 0.

    Raises
    ------
    error_class
        If the folder does not exist, the disk is full, `path` is a folder or device, or the like.
    DTypeError
        If `path` is no path.
    """
    try:
        shown = os.fsdecode(path)
    except TypeError:
        raise DTypeError(f"path: expected a str or os.PathLike, got {type(path).__name__}") from None
    if "\0" in shown:
        raise error_class(f"cannot write {shown!r}: a path cannot hold a zero byte")
    temporary = None
    try:
        target = os.path.realpath(shown)
        mode = _existing_mode(target)
        # A short name of its own: the target's name may already be as long as the file system allows.
        temporary = os.path.join(os.path.dirname(target), f".mininet-{os.urandom(8).hex()}.tmp")
        with open(temporary, "wb", opener=lambda name, _: os.open(name, _CREATE, 0o666)) as file:
            if mode is not None:
                os.chmod(temporary, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = None
        sync_folder(os.path.dirname(target))
    except OSError as error:
        raise error_class(f"cannot write {shown!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def _existing_mode(target: str) -> int | None:
    """Return the permissions of the file to be replaced, None if there is none."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(f"expected a file, found a {'folder' if stat.S_ISDIR(mode) else 'device or pipe'}")
    return stat.S_IMODE(mode)


def sync_folder(folder: str) -> None:
    """Make the new name itself survive a power cut, where the system lets a folder be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
