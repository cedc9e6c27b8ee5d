"""A web server on this machine that hands out one file, well or badly, and remembers what it was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

#: Several of the reader's chunks, and nothing that repeats.
BODY = np.random.default_rng(0).bytes(700_001)


class FileServer:
    """What the server does; a test may change it between requests.

    Attributes
    ----------
    body : bytes
        The file.
    ranges : bool
        Whether it can begin elsewhere than at the start; if not, it sends the whole.
    stop_at : int or None
        Close the connection after so many bytes of the file.
    hold_at : int or None
        Send nothing more after so many bytes of the file, but keep the connection.
    status : int
        Instead of 200.
    location : str
        Redirect there.
    sized : bool
        Whether it says how much comes.
    asked : list of str
        The range of each request, empty for none.
    """

    def __init__(self) -> None:
        self.body = BODY
        self.ranges = True
        self.stop_at: int | None = None
        self.hold_at: int | None = None
        self.status = 200
        self.location = ""
        self.sized = True
        self.asked: list[str] = []
        self.closing = threading.Event()
        self.holding = threading.Event()
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one GET."""
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        if self.location and request.path != "/moved":
            request.send_response(302)
            request.send_header("Location", self.location)
            request.end_headers()
            return
        if self.status != 200:
            request.send_error(self.status)
            return
        found = re.fullmatch(r"bytes=(\d+)-", wanted) if self.ranges else None
        start = int(found[1]) if found else 0
        if found and start >= len(self.body):
            request.send_error(416)
            return
        request.send_response(206 if found else 200)
        if found:
            size = len(self.body)
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.sized:
            request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        ends = [end for end in (self.stop_at, self.hold_at) if end is not None]
        request.wfile.write(self.body[start : min(ends, default=len(self.body))])
        if self.hold_at is not None:
            request.wfile.flush()
            self.holding.set()
            self.closing.wait(60)


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server on 127.0.0.1 for as long as the block lasts."""
    behaviour = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                behaviour.answer(self)
            except (BrokenPipeError, ConnectionResetError):  # the client was killed
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    behaviour.url = f"http://127.0.0.1:{server.server_address[1]}/file.pth"
    try:
        yield behaviour
    finally:
        behaviour.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
