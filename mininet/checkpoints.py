"""The official ImageNet checkpoints of torchvision: where they are, and a folder that keeps them.

The addresses are those of torchvision 0.28 (models/mobilenetv2.py, models/mobilenetv3.py). torchvision does
not publish whole hashes: the file names carry the first eight hexadecimal digits of the SHA-256, which is
what a file is checked against. That finds every accident; it would not stop someone who forges a file on
purpose, which the connection (HTTPS) and the reader of `.pth` files (no code in them can run) are for.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from mininet.arguments import check_name, check_number, check_path
from mininet.data import FOLDER
from mininet.download import MOST_TIMEOUT, TIMEOUT, Report, download
from mininet.errors import UnknownNameError

CHECKPOINTS = "checkpoints.csv"
CACHE_VARIABLE = "MININET_CACHE"


@dataclass(frozen=True)
class Checkpoint:
    """One file of weights on a server.

    Attributes
    ----------
    model : str
        The network it is for.
    version : str
        torchvision's name of the weights.
    url : str
    sha256 : str
        The first hexadecimal digits of the file's SHA-256.
    preprocessing : str
        Name of the preset that it was evaluated with.
    """

    model: str
    version: str
    url: str
    sha256: str
    preprocessing: str

    @property
    def name(self) -> str:
        """What `fetch` knows it by."""
        return f"{self.model}/{self.version}"

    @property
    def file(self) -> str:
        """Its file name, the same everywhere."""
        return self.url.rpartition("/")[2]


@functools.cache
def list_checkpoints() -> tuple[Checkpoint, ...]:
    """Every known checkpoint; of one network the best, which is torchvision's default, comes last."""
    import csv

    with open(os.path.join(FOLDER, CHECKPOINTS), encoding="utf-8", newline="") as file:
        return tuple(Checkpoint(**row) for row in csv.DictReader(file))


def find_checkpoint(name: str) -> Checkpoint:
    """The checkpoint called ``model/version``, or the last one of a model.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    for checkpoint in reversed(list_checkpoints()):
        if name in (checkpoint.model, checkpoint.name):
            return checkpoint
    known = [each for checkpoint in list_checkpoints() for each in (checkpoint.model, checkpoint.name)]
    raise UnknownNameError("checkpoint", name, dict.fromkeys(known))


def cache_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where checkpoints are kept.

    The folder given, or that of the variable ``MININET_CACHE``, or ``mininet`` in the user's cache: in
    ``XDG_CACHE_HOME``, by default ``~/.cache``.
    """
    given = os.environ.get(CACHE_VARIABLE) if folder is None else check_path("folder", folder)
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.cache").expanduser()) / "mininet"


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    timeout: float = TIMEOUT,
    report: Report | None = None,
) -> Path:
    """Download an official checkpoint of torchvision, unless it is in the cache.

    ``create_model("mobilenet_v2", weights=mininet.fetch("mobilenet_v2"))`` makes a network of it, with its
    own preprocessing. A download that was cut short goes on where it ended.

    Parameters
    ----------
    name : str
        ``"mobilenet_v2"``, ``"mobilenet_v3_large"`` or ``"mobilenet_v3_small"`` for torchvision's default
        weights, or ``"mobilenet_v2/IMAGENET1K_V1"`` for certain ones.
    folder : path, optional
        Where to keep it; see `cache_folder`.
    timeout : float
        Seconds to wait for the server's next bytes.
    report : callable, optional
        Called with the bytes that are there, and with their number in the end or None.

    Returns
    -------
    Path
        The file, whose SHA-256 begins with the digits in its name. A file in the cache of which that is not
        true is fetched anew.

    Raises
    ------
    UnknownNameError
        If there is no such checkpoint.
    DTypeError, ArgumentError
        If an argument is nothing of the kind.
    DownloadError
        If it is not in the cache and cannot be fetched, for want of a network, say.
    """
    timeout = min(check_number("timeout", timeout, least=0), MOST_TIMEOUT)
    checkpoint = find_checkpoint(check_name("name", name))
    path = cache_folder(folder) / checkpoint.file
    download(checkpoint.url, path, checkpoint.sha256, timeout, report)
    return path


def preprocessing_of(path: str) -> str | None:
    """The preset of an official checkpoint, known by its file name, which has digits of its hash in it."""
    found = [each.preprocessing for each in list_checkpoints() if each.file == os.path.basename(path)]
    return found[0] if found else None
