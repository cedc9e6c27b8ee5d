"""Every exception that mininet raises on purpose, and the helpers that word them.

One base class, so that ``except mininet.MininetError`` catches them all; each class also
derives from the built-in exception that a NumPy or torchvision user would expect.
"""

from __future__ import annotations

import copyreg
import importlib
from collections.abc import Iterable
from typing import Any

MOST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""


class MininetError(Exception):
    """Base class of every error that mininet raises on purpose."""


class ShapeError(MininetError, ValueError):
    """A tensor has the wrong rank, channel count or size."""


class DTypeError(MininetError, TypeError):
    """A tensor or argument has the wrong type."""


class ArgumentError(MininetError, ValueError):
    """An argument has a value that makes no sense (a width of zero, an unknown backend)."""


class GraphError(MininetError, ValueError):
    """A graph is not well formed: a name twice, an input that no node makes, a bad attribute."""


class WeightsError(MininetError, ValueError):
    """A weights file is damaged, foreign or unsafe, or its tensors do not fit the network."""


class ImageError(MininetError, ValueError):
    """A picture cannot be read or is no picture."""


class ClusterError(MininetError, RuntimeError):
    """A Dask cluster does not answer, has no workers, or its workers cannot do the work."""


class DownloadError(MininetError, OSError):
    """A file cannot be fetched: no network, no such file on the server, or another one than expected."""


class UnknownNameError(MininetError, LookupError):
    """A model, node, op or preset of that name does not exist; the message names close matches."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        import difflib  # only needed when something is already wrong

        known = list(known)
        text = name[:MOST_SHOWN] if isinstance(name, str) else ""
        close = difflib.get_close_matches(text, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else _listing(known)
        super().__init__(f"unknown {kind} {brief(name)}; {hint}")

    def __reduce__(self) -> Any:
        """Pickle the message: by default the class would be called with it, and wants three arguments."""
        return copyreg.__newobj__, (type(self), *self.args)  # type: ignore[attr-defined]


class MissingExtraError(MininetError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


def brief(value: object) -> str:
    """A value as a message of one line quotes it: cut where it is long, or its type where it has no repr."""
    if isinstance(value, str | bytes):
        value = value[: MOST_SHOWN + 1]
    try:
        text = " ".join(repr(value).split())  # an array's has line breaks
    except Exception:  # whatever foreign code raises; Python does for an integer of thousands of digits
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def require(module: str, extra: str) -> Any:
    """Import an optional dependency, or say in one line which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name of the module, for example ``"PIL.Image"``.
    extra : str
        Name of the extra of the mininet distribution that installs it.

    Raises
    ------
    MissingExtraError
        If the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{package} is needed for this; install it with: pip install 'mininet-mobilenet[{extra}]'"
        ) from error


def _listing(names: list[str], most: int = 12) -> str:
    shown = ", ".join(sorted(names)[:most])
    return f"known: {shown}{', ...' if len(names) > most else ''}"
