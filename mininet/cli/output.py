"""What the subcommands print: text that any terminal can show, JSON, bars, progress, complaints."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


def emit(text: str) -> None:
    """Print to stdout; what its encoding lacks comes out as a backslash escape."""
    print(text.encode(_encoding(), "backslashreplace").decode(_encoding()))


def emit_json(document: Any) -> None:
    """Print one JSON document; NaN and infinity, which JSON does not have, become null."""
    print(json.dumps(_finite(document), indent=2, allow_nan=False))


def complain(message: str) -> None:
    """Print an error in one line to stderr, whatever the message holds."""
    _to_stderr(f"mininet: error: {message}")


def remark(message: str) -> None:
    """Print something worth knowing in one line to stderr."""
    _to_stderr(f"mininet: {message}")


def visible(text: str) -> str:
    """Escape control characters, which a file name or label may hold and a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def bar(share: float) -> str:
    """Draw a share of 0 to 1 as a text bar `BAR_CELLS` wide, padded with blanks."""
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    if not _can_show(_FULL + _EIGHTHS):
        return ("#" * round(share * BAR_CELLS)).ljust(BAR_CELLS)
    cells, eighths = divmod(round(share * BAR_CELLS * 8), 8)
    return (_FULL * cells + _EIGHTHS[eighths] * (eighths > 0)).ljust(BAR_CELLS)


class Progress:
    """A progress bar on stderr, if that is a terminal and tqdm is installed; otherwise nothing.

    Parameters
    ----------
    total : int
        Steps to come; there is no bar for a single one.
    unit : str
        What a step is; bytes, "B", are shown in thousands and millions.
    """

    def __init__(self, total: int, unit: str) -> None:
        self._bar: Any = None
        if total > 1 and sys.stderr is not None and sys.stderr.isatty():
            with suppress(ImportError):
                tqdm = importlib.import_module("tqdm").tqdm
                # tqdm draws nothing on a terminal that does not know its size; it is taken as 80 by 24 then.
                columns, rows = shutil.get_terminal_size()
                look = {"ncols": columns, "nrows": rows, "unit_scale": unit == "B"}
                self._bar = tqdm(total=total, unit=unit, leave=False, file=sys.stderr, **look)

    def advance(self, steps: int = 1) -> None:
        """Count a step, or several."""
        if self._bar is not None:
            self._bar.update(steps)

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Take the bar off the screen while something else is printed."""
        if self._bar is None:
            yield
        else:
            with self._bar.external_write_mode(file=sys.stdout):
                yield

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _to_stderr(line: str) -> None:
    # A stderr that nobody reads is no reason to fail otherwise than the exit code says.
    with suppress(OSError):
        print(visible(" ".join(line.splitlines())), file=sys.stderr)


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _can_show(text: str) -> bool:
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
