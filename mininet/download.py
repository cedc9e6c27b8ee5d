"""Getting one file from a web server: checked, resumable, and whole or not there at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from mininet.errors import DownloadError
from mininet.weights.atomic import sync_folder

TIMEOUT = 30.0
MOST_TIMEOUT = 86400.0  # a day: sockets know no infinity
"""Seconds that a server may leave a connection or a read without an answer."""

MOST_BYTES = 1 << 30
"""Many times any MobileNet: a server that sends more is not asked for the rest."""

CHUNK = 1 << 16
RANGE_NOT_SATISFIABLE = 416

Report = Callable[[int, "int | None"], None]
"""Called with the bytes that are there and those that there will be, None if the server does not say."""


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str,
    timeout: float = TIMEOUT,
    report: Report | None = None,
) -> None:
    """Fetch a file unless it is there already.

    What has come is kept in ``<path>.part`` until all of it is there and its hash is right; then it takes its
    name. A run that was cut short, even by a power cut, is taken up where it ended, if the server can. Of
    several processes one fetches, and the others wait for it.

    The hash says whether pieces of two runs belong together, so the server is not asked whether its file has
    changed: pieces that do not are thrown away, and the file is fetched from the start.

    Parameters
    ----------
    url : str
    path : path
        Where the file is to be; its folder is made.
    sha256 : str
        Hexadecimal SHA-256 of the file, or the first digits of it.
    timeout : float
        Seconds to wait for a connection and for each piece.
    report : callable, optional
        Called now and then with the bytes that are there and their number in the end, None if it is unknown.

    Raises
    ------
    DownloadError
        If there is no network, the server refuses or stops, the file is another one, or it cannot be written.
    """
    path = os.fspath(path)
    try:
        if has_hash(path, sha256):
            return
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with _part(f"{path}.part") as part:
            if has_hash(path, sha256):  # another process was faster
                os.unlink(part.name)
                return
            resumed = os.fstat(part.fileno()).st_size > 0
            digest = _fill(part, url, timeout, report)
            if resumed and not digest.startswith(sha256):
                part.truncate(0)
                digest = _fill(part, url, timeout, report)
            if not digest.startswith(sha256):
                os.unlink(part.name)
                raise DownloadError(f"expected a SHA-256 that begins with {sha256}, got {digest}")
            os.fsync(part.fileno())
            os.replace(part.name, path)
        sync_folder(os.path.dirname(path))
    except Exception as error:
        why = _why(error)
        if why is None:
            raise
        raise DownloadError(f"cannot fetch {url}: {why}") from error


def has_hash(path: str | os.PathLike[str], sha256: str) -> bool:
    """Whether the file is there and its SHA-256 begins so."""
    try:
        with open(path, "rb") as file:
            return _hash(file).hexdigest().startswith(sha256)
    except FileNotFoundError:
        return False


@contextmanager
def _part(name: str) -> Iterator[IO[bytes]]:
    """The unfinished file, open, locked against other processes, with whatever has come so far."""
    while True:
        file = open(name, "a+b")  # noqa: SIM115  # closed below, on either way
        try:
            _lock(file)
            if _is_at(file, name):
                yield file
                return
        finally:
            if _is_at(file, name) and os.fstat(file.fileno()).st_size == 0:
                os.unlink(name)
            file.close()
        # Whoever held the lock has finished and moved the file away: open a new one.


def _is_at(file: IO[bytes], name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except FileNotFoundError:
        return False


def _lock(file: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two processes at once would spoil each other's file, no more
        return
    with suppress(OSError):  # a file system without locks: the same
        fcntl.flock(file, fcntl.LOCK_EX)


def _fill(part: IO[bytes], url: str, timeout: float, report: Report | None) -> str:
    """Append what the server has beyond the part, or replace it, and return the SHA-256 of the whole."""
    part.seek(0)
    digest = _hash(part)
    start = part.tell()
    with _request(url, start, timeout) as response:
        if response is None:  # the server has nothing beyond the part
            return digest.hexdigest()
        if start and response.headers.get("Content-Range", "").partition("-")[0] != f"bytes {start}":
            part.truncate(0)
            digest, start = hashlib.sha256(), 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        done = start
        while (total or 0) <= MOST_BYTES and done <= MOST_BYTES:
            if report is not None:
                report(done, total)
            chunk = response.read1(CHUNK)
            if not chunk:
                break
            part.write(chunk)
            digest.update(chunk)
            done += len(chunk)
        else:
            raise DownloadError(f"expected at most {MOST_BYTES} bytes, the server has more")
    part.flush()
    if total is not None and done < total:
        raise DownloadError(f"the server stopped at {done} of {total} bytes; {_KEPT}")
    return digest.hexdigest()


_KEPT = "what came is kept, so the next attempt goes on from there"


@contextmanager
def _request(url: str, start: int, timeout: float) -> Iterator[Any]:
    """The server's answer, from byte ``start`` on if it can; None if it has no more bytes."""
    import urllib.error  # a quarter of a second of imports, for whoever fetches
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            check_redirect(req.type, newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    headers = {"User-Agent": "mininet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        opener = urllib.request.build_opener(Redirects)
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        if not start or error.code != RANGE_NOT_SATISFIABLE:
            raise
        yield None


def check_redirect(scheme: str, url: str) -> None:
    """Refuse to be led from HTTPS to HTTP, or from either to anything else.

    Raises
    ------
    DownloadError
        If ``url`` is less safe than the scheme that led to it.
    """
    target = url.partition(":")[0].lower()
    if target not in ("https", scheme):
        raise DownloadError(f"the server redirects from {scheme} to {target}")


def _hash(file: IO[bytes]) -> hashlib._Hash:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest


def _why(error: Exception) -> str | None:
    """The cause in a few words, or None for one that is a mistake of ours."""
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError

    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer in time; {_KEPT}"
    if isinstance(error, OSError):  # DownloadError among them
        return " ".join((error.strerror or str(error)).split())
    if isinstance(error, HTTPException):
        return f"{type(error).__name__} {error}".strip()
    return str(error) if isinstance(error, ValueError) else None  # an address that is none
