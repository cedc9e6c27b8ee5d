"""Kills a process that writes a file over and over, and looks at what is there; `test_files.py` starts it.

    python tests/killing.py WRITER lines 40     # at 40 places spread over the lines of code that write
    python tests/killing.py WRITER clock 200    # 200 times, whenever

Prints how often it killed, and how many of the victims were in the middle of a file: those leave a hidden
``.mininet-*.tmp`` behind, for nobody is left to remove it. Ends with a message at the first file that is not
whole. The victims are forks of one process: importing mininet for each would take most of the time.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import mininet
from mininet.cli import main as command_line
from mininet.cli.charts import write_chart
from mininet.weights import atomic

NETS = [mininet.create_model("mobilenet_v2", f"random:{seed}", width=0.1, num_classes=4) for seed in (0, 1)]
DIGITS = mininet.create_model(weights="digits")
PICTURES = mininet.sample_images()

# Functions whose lines are the moments to die in, besides all of atomic.py.
WRITING = ("write", "report_on", "write_chart")


class _Figure:
    """Drawn already: what Matplotlib does before the file is opened only takes time."""

    def __init__(self, version: int) -> None:
        self.version = version

    def savefig(self, file: Any, **_: object) -> None:
        file.write(b"%d" % self.version * 100_000 + b"\nend\n")


def _save(path: Path, version: int) -> None:
    NETS[version].save(path)


def _convert(path: Path, version: int) -> None:
    source = path.with_name(f"source-{version}")
    if not source.exists():
        NETS[version].save(source)
    with contextlib.redirect_stdout(io.StringIO()):
        assert command_line(["convert", str(source), str(path), "--force"]) == 0


def _report(path: Path, version: int) -> None:
    DIGITS.report(PICTURES[version], path)


def _chart(path: Path, version: int) -> None:
    write_chart(str(path), DIGITS, DIGITS.cost(32), lambda *_: _Figure(version))


def write(path: Path, version: int) -> None:
    """What no writer of ours does, to see that it shows."""
    with path.open("wb") as file:
        file.write(b"%d" % version * 100_000)
        file.write(b"\nend\n")


def _ends_well(content: bytes) -> bool:
    return content.rstrip().endswith((b"</html>", b"end"))


def _is_a_net(content: bytes, expected: list[bytes] = []) -> bool:  # noqa: B006
    if not expected:
        with tempfile.TemporaryDirectory() as folder:
            for version in (0, 1):
                _save(Path(folder, "net"), version)
                expected.append(Path(folder, "net").read_bytes())
    return content in expected


WRITERS: dict[str, tuple[str, Callable[[Path, int], None], Callable[[bytes], bool]]] = {
    "save": ("net.safetensors", _save, _is_a_net),
    "convert": ("net.safetensors", _convert, _is_a_net),
    "report": ("page.html", _report, _ends_well),
    "chart": ("chart.svg", _chart, _ends_well),
    "careless": ("text", write, _ends_well),
}


class _Lines:
    """Counts the lines of code that write, and dies before one of them if told to."""

    def __init__(self, last: int | None = None) -> None:
        self.seen = 0
        self.last = last

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_filename != atomic.__file__ and code.co_name not in WRITING:
            return None
        if event == "line":
            if self.seen == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1
        return self


def _victim(write_one: Callable[[Path, int], None], path: Path, lines: _Lines | None) -> int:
    """Start a process that writes one version after the other, and return its id."""
    victim = os.fork()
    if victim == 0:
        try:
            sys.settrace(lines)
            for turn in range(1, sys.maxsize):
                write_one(path, turn % 2)
        finally:
            os._exit(1)
    return victim


def kill(writer: str, moments: str, times: int) -> str:
    """Kill a writer so often; raise AssertionError if what it left is not whole."""
    name, write_one, whole = WRITERS[writer]
    dice = random.Random(20240229)
    with tempfile.TemporaryDirectory(prefix="mininet-killing-") as folder:
        path = Path(folder, name)
        start = time.perf_counter()
        write_one(path, 1)
        write_one(path, 0)
        span = time.perf_counter() - start
        counting = _Lines()
        sys.settrace(counting)
        write_one(path, 0)
        sys.settrace(None)
        assert counting.seen > 2, "the tracer saw nothing of the writing"
        for turn in range(times):
            if moments == "lines":
                victim = _victim(write_one, path, _Lines(turn * counting.seen // times))
            else:
                victim = _victim(write_one, path, None)
                time.sleep(dice.random() * span)
                os.kill(victim, signal.SIGKILL)
            _, status = os.waitpid(victim, 0)
            assert os.WIFSIGNALED(status), f"the victim ended by itself, with status {status}"
            content = path.read_bytes()
            assert whole(content), (
                f"kill {turn}: {len(content)} bytes that are neither the old file nor the new"
            )
        left = len(list(Path(folder).glob(".mininet-*.tmp")))
    return f"{writer}: killed {times} times, {left} in the middle of a file; a whole file was there each time"


if __name__ == "__main__":
    np.seterr(all="ignore")
    mininet.set_num_threads(1)
    print(kill(sys.argv[1], sys.argv[2], int(sys.argv[3])))
