"""Files under hard use: writers killed, disks full, and weights that change while they are read."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers import NEEDS, READERS

import mininet
from mininet.errors import WeightsError
from mininet.weights import FORMATS, read_weights
from mininet.weights.safetensors import write

KILLING = Path(__file__).parent / "killing.py"
SOURCES = Path(mininet.__file__).parent
WRITERS = ("save", "convert", "report", "chart")


# ---- killed


def _kill(writer: str, moments: str, times: int) -> subprocess.CompletedProcess[str]:
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    if writer == "chart":
        pytest.importorskip("matplotlib", reason="Matplotlib, which draws the chart, is not installed")
    command = [sys.executable, str(KILLING), writer, moments, str(times)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_killed_at_any_line_leaves_a_whole_file(writer: str) -> None:
    done = _kill(writer, "lines", 20)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "killed 20 times, 0 in" not in done.stdout, "no kill hit a file that was being written"


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "times"), [("save", 200), ("convert", 50), ("report", 50), ("chart", 50)])
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(writer: str, times: int) -> None:
    done = _kill(writer, "clock", times)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_careless_writer_is_caught() -> None:
    done = _kill("careless", "lines", 20)
    assert done.returncode == 1
    assert "neither the old file nor the new" in done.stderr


def _written_directly(path: Path) -> Iterator[str]:
    """Calls in one source file that write or rename files themselves."""
    renames = ("os.replace", "os.rename", "os.link", "shutil.copy", "shutil.copyfile", "shutil.move")
    methods = ("write_text", "write_bytes", "tofile", "savez", "savez_compressed", "mkstemp")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        modes = [
            a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)
        ]
        writes = any(isinstance(mode, str) and set(mode) & set("wax+") and len(mode) < 4 for mode in modes)
        opened = called in ("open", "io.open") or called.endswith((".open", "fdopen"))
        if (opened and writes) or called in renames or called.rpartition(".")[2] in methods:
            yield f"{path.relative_to(SOURCES)}:{node.lineno}: {called}"


# Who opens a file and renames it; a download goes on where it was cut off, so it has a way of its own.
BY_THEMSELVES = {os.path.join("weights", "atomic.py"), "download.py"}


def test_every_other_writer_goes_through_atomic_write() -> None:
    """So what is shown above holds for all of them; tests/test_download.py kills a download."""
    direct = [call for path in SOURCES.rglob("*.py") for call in _written_directly(path)]
    elsewhere = [call for call in direct if call.partition(":")[0] not in BY_THEMSELVES]
    assert not elsewhere, f"written without mininet.weights.atomic: {elsewhere}"
    assert len(direct) == 4, f"each opens one file and renames it, but this is what the test sees: {direct}"


# ---- a full disk


def _limit_file_size() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))


@pytest.fixture(params=["file size limit", "full disk"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """A folder in which no file over 4096 bytes fits, and what a process must do before it writes there."""
    if request.param == "file size limit":
        pytest.importorskip("resource", reason="this system has no resource limits")
        yield tmp_path, _limit_file_size
        return
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody but root mount a small disk")
    try:
        yield folder, None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["convert", "--model", "mobilenet_v2", "--width", "0.1", "SOURCE", "OUT"], "net.safetensors"),
        (["inspect", "-o", "OUT"], "page.html"),
        (["cost", "mobilenet_v2", "--plot", "OUT"], "chart.svg"),
    ],
    ids=["convert", "report", "chart"],
)
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk_is_one_line_and_no_file(
    arguments: list[str], name: str, existing: bool, full: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name == "chart.svg":
        pytest.importorskip("matplotlib", reason="Matplotlib, which draws the chart, is not installed")
    folder, before = full
    origin = tmp_path_factory.mktemp("source") / "net.safetensors"
    mininet.create_model("mobilenet_v2", "random:0", width=0.1).save(origin)
    if existing:
        (folder / name).write_bytes(b"old")
        arguments = [*arguments, "--force"] if arguments[0] == "convert" else arguments
    command = [{"SOURCE": str(origin), "OUT": str(folder / name)}.get(each, each) for each in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "mininet", *command],
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("mininet: error: cannot write"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert [path.read_bytes() for path in folder.iterdir()] == ([b"old"] if existing else [])


# ---- weights that change while they are read


@pytest.fixture(params=[known.name for known in FORMATS])
def weights_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for package in NEEDS.get(request.param, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    path = tmp_path / "weights"
    path.write_bytes(next(READERS[request.param].seeds(tmp_path)))
    return path


def _before_reading(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Do something to the file when it is open and recognised, before its content is read."""
    sniff = mininet.weights._sniff

    def sniff_then_change(peek: Any) -> Any:
        found = sniff(peek)
        change()
        return found

    monkeypatch.setattr(mininet.weights, "_sniff", sniff_then_change)


def test_a_file_replaced_while_open_is_read_whole(
    weights_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = {name: array.tobytes() for name, array in read_weights(weights_file).items()}
    (tmp_path / "other").write_bytes(b"something else")
    _before_reading(monkeypatch, lambda: os.replace(tmp_path / "other", weights_file))
    read = read_weights(weights_file)
    assert weights_file.read_bytes() == b"something else"
    assert {name: array.tobytes() for name, array in read.items()} == old


@pytest.mark.parametrize("part", [0, 0.5, 0.99])
def test_a_file_cut_while_open_is_an_error_or_was_read_already(
    weights_file: Path, part: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {name: array.tobytes() for name, array in read_weights(weights_file).items()}
    cut = int(weights_file.stat().st_size * part)
    _before_reading(monkeypatch, lambda: os.truncate(weights_file, cut))
    try:
        read = read_weights(weights_file)
    except WeightsError as error:
        assert "\n" not in str(error)
    else:
        assert {name: array.tobytes() for name, array in read.items()} == old


def test_a_large_file_cut_while_open_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", {"x": np.ones(1 << 20)})
    _before_reading(monkeypatch, lambda: os.truncate(tmp_path / "a", 1 << 20))
    with pytest.raises(WeightsError, match="truncated while being read: data needs 8388608 bytes"):
        read_weights(tmp_path / "a")


def test_arrays_outlive_their_file(weights_file: Path) -> None:
    """They were read, not mapped: cutting a mapped file would end the process with SIGBUS."""
    weights = read_weights(weights_file)
    before = {name: array.tobytes() for name, array in weights.items()}
    os.truncate(weights_file, 0)
    weights_file.unlink()
    assert {name: array.tobytes() for name, array in weights.items()} == before


def test_a_read_only_file_in_a_read_only_folder(weights_file: Path) -> None:
    """Also as root, whom permissions do not stop: it is opened for reading alone."""
    opened: list[int] = []
    system_open = os.open
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", lambda name, flags, *more: opened.append(flags) or system_open(name, flags))
        weights_file.chmod(0o444)
        weights_file.parent.chmod(0o555)
        assert len(read_weights(weights_file))
    weights_file.parent.chmod(0o755)
    assert all(flags & os.O_ACCMODE == os.O_RDONLY for flags in opened)
    assert len(opened) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe(weights_file: Path, tmp_path: Path) -> None:
    content = weights_file.read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    piped = read_weights(tmp_path / "pipe")
    writer.join()
    for name, array in read_weights(weights_file).items():
        np.testing.assert_array_equal(piped[name], array)


def test_a_pipe_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mininet.weights, "MAX_PIPE_BYTES", 3 << 20)
    reading, writing = os.pipe()
    writer = threading.Thread(target=_fill, args=(writing,))
    writer.start()
    try:
        with pytest.raises(WeightsError, match="from a pipe, more came"):
            read_weights(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        writer.join()


def _fill(descriptor: int) -> None:
    try:
        while True:
            os.write(descriptor, bytes(1 << 16))
    except BrokenPipeError:
        os.close(descriptor)
