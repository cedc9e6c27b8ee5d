"""atomic_write: the old file or the new one, whole, and nothing else in the folder."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mininet.errors import DTypeError, MininetError, WeightsError
from mininet.weights.atomic import atomic_write
from mininet.weights.safetensors import write


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_file_has_the_mode_of_the_umask_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.write_bytes(b"")
    with atomic_write(target) as file:
        file.write(b"one")
    assert target.read_bytes() == b"one"
    assert _mode(target) == _mode(plain)
    target.chmod(0o640)
    with atomic_write(str(target)) as file:
        assert target.read_bytes() == b"one", "the old file vanished before the new one was whole"
        file.write(b"two")
    assert target.read_bytes() == b"two"
    assert _mode(target) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "target"]


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), OSError(28, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("existing", [True, False])
def test_failure_in_mid_write(error: BaseException, existing: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if existing:
        target.write_bytes(b"old")
    expected = WeightsError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic_write(target) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if existing else [])


class _Bomb:
    """An array that fails when its bytes are asked for: after others were written."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("boom")


def test_a_tensor_that_fails_leaves_the_old_weights(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": np.ones(4)})
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(RuntimeError, match="boom"):
        write(tmp_path / "a", {"x": np.zeros(4), "y": _Bomb()})
    assert (tmp_path / "a").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_symbolic_link_stays_and_its_target_changes(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_longest_name(tmp_path: Path) -> None:
    with atomic_write(tmp_path / ("n" * 255)) as file:
        file.write(b"x")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "expected"), [("absent/file", "No such file"), (".", "found a folder"), ("a\0b", "zero byte")]
)
def test_unwritable_path(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected) as error, atomic_write(f"{tmp_path}/{name}"):
        pytest.fail("the block ran")
    assert "\n" not in str(error.value)


def test_device_is_not_replaced() -> None:
    with pytest.raises(WeightsError, match="found a device"), atomic_write(os.devnull):
        pytest.fail("the block ran")


def test_no_path_and_the_error_of_the_callers_choice(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match="got int"), atomic_write(3):  # type: ignore[arg-type]
        pytest.fail("the block ran")

    class ReportError(MininetError):
        pass

    with pytest.raises(ReportError), atomic_write(tmp_path / "absent" / "x", ReportError):
        pytest.fail("the block ran")


def test_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk, in a process of its own since it binds all of it."""
    pytest.importorskip("resource", reason="this system has no resource limits")
    (tmp_path / "target").write_bytes(b"old")
    program = (
        "import resource, signal, sys\n"
        "from mininet.errors import WeightsError\n"
        "from mininet.weights.atomic import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "try:\n"
        "    with atomic_write(sys.argv[1]) as file:\n"
        "        file.write(bytes(1 << 20))\n"
        "except WeightsError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "target")],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert result.stdout.startswith("cannot write"), result.stdout + result.stderr
    assert result.stdout.count("\n") == 1, result.stdout
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
