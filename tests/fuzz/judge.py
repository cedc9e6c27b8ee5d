"""What every reader owes every file: a value or a one-line mininet error, soon and in little memory."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mininet.errors import MininetError

MAX_SECONDS = 1.0  # of this process's time, so that a busy machine does not count
MAX_BYTES = 200 << 20
MAX_MESSAGE = 1000


class Fault(AssertionError):
    """A reader did what it must not do to any file."""


def judge(read: Callable[[Path], Any], path: Path, content: bytes) -> bool:
    """Let `read` read a file; True if it took it, False if it refused it as it should.

    Parameters
    ----------
    read : callable
        Reads the file and touches all that it found in it.
    path : Path
        Where to write the file.
    content : bytes
        What to write.

    Raises
    ------
    Fault
        For more than `MAX_SECONDS` or `MAX_BYTES`, or a message that is not one short line.
    Exception
        Whatever `read` raises that is no mininet error.
    """
    path.write_bytes(content)
    before, start = forget_peak(), time.process_time()
    taken = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except MininetError as error:
        taken = False
        message = str(error)
        if "\n" in message or len(message) > MAX_MESSAGE:
            raise Fault(f"the message is no short line: {message!r}") from error
    seconds, grown = time.process_time() - start, peak() - before
    if seconds > MAX_SECONDS:
        raise Fault(f"{len(content)} bytes took {seconds:.2f} s")
    if grown > MAX_BYTES:
        raise Fault(f"{len(content)} bytes took {grown >> 20} MiB of memory")
    return taken


def forget_peak() -> int:
    """Make Linux count the most memory of this process anew, and return what it has now, in bytes."""
    with contextlib.suppress(OSError):  # elsewhere memory is not judged
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Most resident memory since it was last forgotten, in bytes; 0 on other systems than Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) << 10
