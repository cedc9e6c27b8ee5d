"""What the command line prints where: bars, progress, closed pipes, accidents."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from cli_harness import SAMPLES, Runner, assert_refused, spawn

from mininet.cli import main, output


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", ["", "█" * 20, "█" * 10, "▏", "", "", "█" * 20]),
        ("ascii", ["", "#" * 20, "#" * 10, "", "", "", "#" * 20]),
    ],
)
def test_bars(monkeypatch: pytest.MonkeyPatch, encoding: str, expected: list[str]) -> None:
    """Eighths of a cell where the encoding has them, and always 20 columns."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    bars = [output.bar(share) for share in (0, 1, 0.5, 1 / 160, float("nan"), -1, 2)]
    assert [bar.rstrip() for bar in bars] == expected
    assert {len(bar) for bar in bars} == {output.BAR_CELLS}


def test_no_progress_bar_off_a_terminal(cli: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert cli("classify").err == ""


@pytest.mark.parametrize("installed", [True, False])
def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    """One step per picture, closed at the end; silently none where tqdm is not installed."""
    steps: list[str] = []

    class Bar:
        def __init__(self, total: int, **_: Any) -> None:
            steps.append(f"total {total}")

        def update(self, count: int) -> None:
            assert count == 1
            steps.append("step")

        def close(self) -> None:
            steps.append("close")

        def external_write_mode(self, **_: Any) -> Any:

            return contextlib.nullcontext()

    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar) if installed else None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["classify", "--top", "1"]) == 0
    assert steps == (["total 6", *["step"] * 6, "close"] if installed else [])
    assert main(["classify", SAMPLES[0]]) == 0
    assert len(steps) in (0, 8), "there was a bar for a single picture"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no pseudo-terminals")
def test_progress_bar_on_a_real_terminal() -> None:
    """tqdm's own bar goes to the terminal and leaves the results on stdout alone."""
    pytest.importorskip("tqdm", reason="tqdm is not installed (extra images)")
    screen, terminal = os.openpty()
    command = [sys.executable, "-m", "mininet", "classify", "--json", *SAMPLES]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=True)
    os.close(terminal)
    drawn = b""
    with contextlib.suppress(OSError):  # how a terminal ends that nobody holds any more
        while chunk := os.read(screen, 4096):
            drawn += chunk
    os.close(screen)
    assert f"0/{len(SAMPLES)}".encode() in drawn
    assert drawn.count(b"\r") >= 3, f"a bar that is never taken off: {drawn!r}"
    assert len(json.loads(ran.stdout)["images"]) == len(SAMPLES)


def test_json_and_argparse_are_not_imported_with_mininet() -> None:
    code = (
        "import sys, mininet; print(sorted({'argparse', 'json', 'tqdm', 'mininet.cli'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, BrokenPipeError, OSError(28, "disk full")])
def test_exit_codes_of_accidents(cli: Runner, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("mininet.cli.classify"), "make_network", fail)
    # The captured stdout must not be handed to /dev/null in a test.
    monkeypatch.setattr("mininet.cli._abandon_output", lambda: None)
    ran = cli("classify")
    quiet = {KeyboardInterrupt: 130, BrokenPipeError: 141}.get(error)
    if quiet:
        assert (ran.code, ran.out, ran.err) == (quiet, "", "")
    else:
        assert_refused(ran, "out of memory" if error is MemoryError else "disk full")


@pytest.mark.skipif(os.name != "posix", reason="this system has no POSIX shell")
@pytest.mark.parametrize("redirect", ["| head -1", "| head -0 2>&1", ">&-", "2>&- >/dev/null"])
def test_closed_pipes_are_no_traceback(redirect: str) -> None:
    command = f"{sys.executable} -m mininet models {redirect}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), f"{command}: {ran}"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_full_disk_is_one_line() -> None:
    command = f"{sys.executable} -m mininet models > /dev/full"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (2, "mininet: error: standard output: No space left on device\n")


def test_plain_ascii_terminal() -> None:
    """As a process, under an encoding that has no block characters."""
    ran = spawn("classify", "--top", "1", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"#####" in ran.stdout
    assert ran.stdout.isascii()


def test_bad_input_as_a_process() -> None:
    ran = spawn("summary", "mobilenet_v9")
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr.count(b"\n") == 1
