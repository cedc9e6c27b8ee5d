"""What the tests of the command line share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mininet.cli import COMMANDS
from mininet.data import sample_images

NAMES = [command.name for command in COMMANDS]
SAMPLES = [str(path) for path in sample_images()]
# The smallest network that takes colour, for what the digits cannot show.
TINY = ["--model", "mobilenet_v2", "--width", "0.1", "--num-classes", "4", "--weights", "random:0"]

Ran = SimpleNamespace
Runner = Callable[..., Ran]


def spawn(*args: str, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m mininet`` as a process of its own."""
    command = [sys.executable, "-m", "mininet", *args]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **settings)


def assert_refused(ran: Ran, *words: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that has all of the words."""
    assert ran.code == 2, f"exit code {ran.code}, stderr {ran.err!r}"
    assert ran.out == ""
    assert ran.err.startswith("mininet: error: "), ran.err
    assert ran.err.splitlines(keepends=True) == [ran.err], f"not one line: {ran.err!r}"
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"


def write_ppm(path: Path, size: tuple[int, int] = (40, 32)) -> Path:
    """A colour picture that needs no Pillow to be read."""
    height, width = size
    pixels = np.arange(height * width * 3, dtype=np.uint8)
    path.write_bytes(b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())
    return path
