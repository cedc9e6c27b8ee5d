"""Downloads from servers that behave and that do not, and from none at all."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import BODY, FileServer, serving

import mininet.download
from mininet.download import download
from mininet.errors import DownloadError, MininetError

HASH = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2
SOON = 0.3  # seconds: for servers that are known never to answer
CHILD = "import sys; from mininet.download import download; download(*sys.argv[1:4], timeout=60)"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as behaviour:
        yield behaviour


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.pth"


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def assert_whole(path: Path) -> None:
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == [path.name], "something is left over"


def assert_refused(url: str, path: Path, *words: str, sha256: str = HASH, kept: int = 0) -> None:
    """One line that names the address, no file under its name, and so many bytes kept for next time."""
    with pytest.raises(DownloadError) as caught:
        download(url, path, sha256, SOON)
    text = str(caught.value)
    assert "\n" not in text and url in text
    assert all(word in text for word in words), text
    assert not path.exists()
    assert (part_of(path).stat().st_size if part_of(path).exists() else None) == (kept or None)


def child(url: str, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, url, str(path), HASH], stderr=subprocess.PIPE)


@pytest.mark.parametrize("sized", [True, False])
def test_a_good_file(server: FileServer, path: Path, sized: bool) -> None:
    server.sized = sized
    seen: list[tuple[int, int | None]] = []
    download(server.url, path, HASH[:8], report=lambda done, total: seen.append((done, total)))
    assert_whole(path)
    assert seen[0][0] == 0 and seen[-1][0] == len(BODY)
    assert {total for _, total in seen} == {len(BODY) if sized else None}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, path: Path) -> None:
    download(server.url, path, HASH)
    download(server.url, path, HASH[:8])
    assert server.asked == [""]


def test_a_damaged_file_is_fetched_anew(server: FileServer, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(BODY[:-1] + b"?")
    download(server.url, path, HASH)
    assert_whole(path)


def test_a_truncated_answer_is_resumed(server: FileServer, path: Path) -> None:
    server.stop_at = HALF
    assert_refused(server.url, path, f"the server stopped at {HALF} of {len(BODY)} bytes", kept=HALF)
    server.stop_at = None
    seen: list[int] = []
    download(server.url, path, HASH, report=lambda done, total: seen.append(done))
    assert_whole(path)
    assert server.asked == ["", f"bytes={HALF}-"]
    assert seen[0] == HALF


def test_a_server_without_ranges_starts_again(server: FileServer, path: Path) -> None:
    server.stop_at = HALF
    assert_refused(server.url, path, "the server stopped", kept=HALF)
    server.stop_at, server.ranges = None, False
    download(server.url, path, HASH)
    assert_whole(path)


def test_another_file_is_not_kept(server: FileServer, path: Path) -> None:
    assert_refused(server.url, path, "expected a SHA-256 that begins with 00000000", HASH, sha256="00000000")
    assert not part_of(path).exists()


def test_pieces_of_two_files_are_thrown_away(server: FileServer, path: Path) -> None:
    """The file on the server has changed between two attempts."""
    path.parent.mkdir()
    part_of(path).write_bytes(b"of another file" * 1000)
    download(server.url, path, HASH)
    assert_whole(path)
    assert server.asked == ["bytes=15000-", ""]


@pytest.mark.parametrize("surplus", [b"", b"and more"])
def test_a_part_with_nothing_to_come(server: FileServer, path: Path, surplus: bytes) -> None:
    """A process was killed between the last byte and the new name; or the part is of a longer file."""
    path.parent.mkdir()
    part_of(path).write_bytes(BODY + surplus)
    download(server.url, path, HASH)
    assert_whole(path)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_refuses(server: FileServer, path: Path, status: int) -> None:
    server.status = status
    assert_refused(server.url, path, f"the server answers {status}")


def test_a_slow_server(server: FileServer, path: Path) -> None:
    server.hold_at = HALF
    assert_refused(server.url, path, "no answer in time; what came is kept", kept=HALF)
    server.hold_at = None
    download(server.url, path, HASH)
    assert_whole(path)


def test_a_server_that_never_answers(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.pth"
        assert_refused(url, path, "no answer in time")


def test_no_network(path: Path) -> None:
    """Nobody listens at a port that was just given back, and no name ends in .invalid (RFC 2606)."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert_refused(f"http://127.0.0.1:{port}/file.pth", path, "Connection refused")
    assert_refused("http://server.invalid/file.pth", path)


def test_killed_half_way_and_resumed(server: FileServer, path: Path) -> None:
    server.hold_at = HALF
    process = child(server.url, path)
    assert server.holding.wait(60), "the child never asked"
    size = -1
    while size < HALF - 2 * mininet.download.CHUNK:  # what it has read, but for what its buffer holds
        assert process.poll() is None, process.stderr and process.stderr.read()
        size = part_of(path).stat().st_size if part_of(path).exists() else 0
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not path.exists()
    kept = part_of(path).stat().st_size
    assert 0 < kept <= HALF
    server.hold_at = None
    download(server.url, path, HASH)
    assert_whole(path)
    assert server.asked == ["", f"bytes={kept}-"]


def test_two_processes_at_once(server: FileServer, path: Path) -> None:
    """One fetches; the other waits for the lock, and finds the file."""
    server.hold_at = HALF
    first = child(server.url, path)
    assert server.holding.wait(60)
    server.hold_at = None
    second = child(server.url, path)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(SOON)
    server.closing.set()  # the first's answer ends here; the second has the lock then, and goes on from there
    errors = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (1, 0), errors
    assert_whole(path)
    assert server.asked == ["", f"bytes={HALF}-"]


def test_many_processes_at_once(server: FileServer, path: Path) -> None:
    processes = [child(server.url, path) for _ in range(4)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert_whole(path)
    assert server.asked == [""]


def test_a_redirect_is_followed(server: FileServer, path: Path) -> None:
    server.location = server.url.replace("/file.pth", "/moved")
    server.stop_at = HALF
    assert_refused(server.url, path, "the server stopped", kept=HALF)
    server.stop_at = None
    download(server.url, path, HASH)
    assert_whole(path)
    assert server.asked == ["", "", f"bytes={HALF}-", f"bytes={HALF}-"]


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/file.pth"])
def test_a_redirect_elsewhere_is_refused(server: FileServer, path: Path, location: str) -> None:
    server.location = location
    assert_refused(server.url, path, "edirect")


@pytest.mark.parametrize("scheme, url", [("https", "HTTP://x/y"), ("https", "ftp://x"), ("http", "ftp://x")])
def test_a_redirect_never_leads_to_less_safety(scheme: str, url: str) -> None:
    mininet.download.check_redirect(scheme, "https://x/y")
    with pytest.raises(DownloadError, match=f"the server redirects from {scheme} to"):
        mininet.download.check_redirect(scheme, url)


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_without_end(
    server: FileServer, path: Path, sized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mininet.download, "MOST_BYTES", 300_000)
    server.sized = sized
    with pytest.raises(DownloadError, match="expected at most 300000 bytes, the server has more"):
        download(server.url, path, HASH)
    assert not path.exists()


def test_no_address(path: Path) -> None:
    assert_refused("not an address", path, "unknown url type")


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot fetch .*(Not a directory|File exists)"):
        download(server.url, tmp_path / "file" / "file.pth", HASH)
    assert issubclass(DownloadError, (MininetError, OSError))
