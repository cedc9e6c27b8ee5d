"""What fuzzing starts from and what it once found, without atheris; and that its judge condemns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge as court
import pytest
from judge import Fault, judge
from readers import FOUND, NEEDS, READERS
from worst import measure_all

from mininet.errors import WeightsError
from mininet.weights import FORMATS, read_weights

NO_WEIGHTS = {"image", "metadata"}


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    for package in NEEDS.get(request.param, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")
    return str(request.param)


def test_every_format_is_fuzzed() -> None:
    assert set(READERS) == {known.name for known in FORMATS} | NO_WEIGHTS


def test_seeds_are_read(reader: str, tmp_path: Path) -> None:
    taken = 0
    for content in READERS[reader].seeds(tmp_path):
        taken += judge(READERS[reader].read, tmp_path / "a", content)
        if reader not in NO_WEIGHTS:
            try:
                assert read_weights(tmp_path / "a").format == reader
            except WeightsError as error:
                assert f": {reader}: " in str(error), "a seed of another format"
    assert taken > 1


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in sorted(FOUND.glob("*/*"))]
)
def test_what_was_found_stays_mended(path: Path, tmp_path: Path) -> None:
    judge(READERS[path.parent.name].read, tmp_path / "a", path.read_bytes())


@pytest.mark.slow
def test_the_most_expensive_files_stay_within_a_second_and_200_mb() -> None:
    """By the clock three seconds: a busy machine slows a process down, too."""
    for case, (size, seconds, memory, said) in measure_all():
        found = f"{case} ({size} bytes): {seconds:.2f} s, {memory >> 20} MiB; {said}"
        assert seconds < 3 * court.MAX_SECONDS, found
        assert memory < court.MAX_BYTES, found


def _long(_: Path) -> None:
    raise WeightsError("x" * 2000)


def _two_lines(_: Path) -> None:
    raise WeightsError("one\ntwo")


def _large(_: Path) -> None:
    bytearray(b"x") * court.MAX_BYTES * 2


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda _: {}["x"], KeyError),
        (_long, Fault),
        (_two_lines, Fault),
        pytest.param(
            _large,
            Fault,
            marks=pytest.mark.skipif(
                not Path("/proc/self/clear_refs").exists(),
                reason="this system does not say how much memory was used",
            ),
        ),
    ],
)
def test_the_judge_condemns(read: Callable[[Path], Any], fault: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(fault):
        judge(read, tmp_path / "a", b"")


def test_the_judge_condemns_the_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(court, "MAX_SECONDS", 1e-3)
    with pytest.raises(Fault, match="took"):
        judge(lambda _: sum(range(1_000_000)), tmp_path / "a", b"")
