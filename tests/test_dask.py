"""Over a cluster of two processes: everything once and in order, though a worker is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mininet
from mininet.batches import Failure, Result
from mininet.cli import main

pytest.importorskip("distributed", reason="dask[distributed] (extra dask) is not installed")
import dask.array
import dask.bag
from distributed import Client, LocalCluster

import mininet.dask as many

SAMPLES = mininet.sample_images()
DIGITS = [0, 2, 3, 5, 7, 9]
BROKEN = (5, 37)
LOCAL = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A cluster of two worker processes of one thread each, on this machine only."""
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, local_directory=folder, **LOCAL
        ) as cluster,
        Client(cluster, set_as_default=False) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ninety pictures of digits under names of their own; two of them are broken."""
    folder = tmp_path_factory.mktemp("pictures")
    names = []
    for i in range(90):
        path = folder / f"{i:03}.pgm"
        path.write_bytes(b"P5 32" if i in BROKEN else SAMPLES[i % 6].read_bytes())
        names.append(str(path))
    return names


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The digits network in float32, in a file that no worker has seen yet."""
    path = tmp_path / "digits32.safetensors"
    mininet.create_model(weights="digits").save(path)
    return path


def _check(outcomes: list[Any], files: list[str]) -> None:
    """One outcome for each file, in order, with the right digit, or with the error of a broken one."""
    assert [outcome.file for outcome in outcomes] == files, "something is lost, doubled or out of order"
    for i, outcome in enumerate(outcomes):
        if i in BROKEN:
            assert isinstance(outcome, Failure)
            assert files[i] in outcome.error
        else:
            assert isinstance(outcome, Result)
            assert outcome.value[0][0] == str(DIGITS[i % 6]), f"{files[i]}: {outcome.value}"


def test_every_picture_once_and_in_order(client: Client, files: list[str]) -> None:
    outcomes = many.classify(files, weights="digits", partition_size=7, batch_size=3, top=2)
    assert outcomes.npartitions == 13
    _check(outcomes.compute(scheduler=client), files)


def _dying(folder: Path) -> Callable[[str], str]:
    """Pass paths on, and end the worker process that comes to the 61st for the first time."""
    log, marker = folder / "log", folder / "killed"

    def pass_on(path: str) -> str:
        with open(log, "a") as file:
            file.write(f"{os.getpid()} {path}\n")
        if path.endswith("060.pgm") and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return path

    return pass_on


@pytest.mark.parametrize("way", ["compute", "stream"])
def test_a_worker_killed_in_mid_run(client: Client, files: list[str], tmp_path: Path, way: str) -> None:
    """It dies with finished partitions in its memory and one in its hands; all are done again."""
    pictures = dask.bag.from_sequence(files, partition_size=5).map(_dying(tmp_path))
    outcomes = many.classify(pictures, weights="digits")
    if way == "compute":
        done = outcomes.compute(scheduler=client)
    else:
        done = list(many.stream(outcomes, client.scheduler.address))
    _check(done, files)
    killed = (tmp_path / "killed").read_text()
    seen = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    tried = [pid for pid, path in seen if path == files[60]]
    assert len(tried) >= 2 and tried[0] == killed != tried[-1], "nobody died in mid-run"
    client.wait_for_workers(2, timeout=60)
    assert int(killed) not in client.run(os.getpid).values()


def test_a_worker_builds_once_maps_the_weights_and_uses_one_thread(
    client: Client, files: list[str], weights: Path
) -> None:
    def built() -> int:
        from mininet import recipe

        return recipe._build.cache_info().misses

    before = client.run(built)
    many.classify(files, weights=weights, partition_size=2).compute(scheduler=client)
    after = client.run(built)
    counts = [after[worker] - before[worker] for worker in after]
    assert max(counts) == 1, f"45 tasks made the workers build {counts} networks"
    assert set(client.run(mininet.get_num_threads).values()) == {1}
    if sys.platform == "linux":
        name = str(weights)

        def maps() -> bool:
            with open("/proc/self/maps") as file:
                return name in file.read()

        mapped = client.run(maps)
        assert [mapped[worker] for worker in after] == [count == 1 for count in counts]


def test_threads_are_what_one_asks_for(client: Client, files: list[str]) -> None:
    for threads, expected in ((3, 3), (None, 3), (1, 1)):
        many.classify(files[:40], weights="digits", partition_size=1, threads=threads).compute(
            scheduler=client
        )
        assert expected in client.run(mininet.get_num_threads).values()


def _features(**parameters: Any) -> mininet.MobileNetFeatures:
    return mininet.MobileNetFeatures(weights="digits", **parameters)


@pytest.mark.parametrize("kind", ["pixels", "prepared"])
def test_features_of_an_array(client: Client, kind: str) -> None:
    pixels = np.stack([mininet.images.read_image(path, "L") for path in SAMPLES * 4])
    if kind == "prepared":
        images = np.concatenate([mininet.create_model(weights="digits").preprocess(each) for each in pixels])
    else:
        images = pixels
    cut = dask.array.from_array(
        images, chunks=(7, 16, -1, -1)
    )  # across pictures, and across the network's rows
    rows = many.features(cut, weights="digits", at="features.3", pool="max")
    assert (rows.shape, rows.dtype, rows.chunks[0]) == ((24, 16), np.float32, (7, 7, 7, 3))
    expected = _features(at="features.3", pool="max").transform(images)
    np.testing.assert_allclose(rows.compute(scheduler=client), expected, rtol=1e-5, atol=1e-6)
    labels = many.classify(cut, weights="digits", top=1).compute(scheduler=client)
    assert [outcome.value[0][0] for outcome in labels] == [str(digit) for digit in DIGITS * 4]


def test_features_of_files(client: Client, files: list[str]) -> None:
    outcomes = many.features(files, weights="digits", partition_size=11).compute(scheduler=client)
    assert [outcome.file for outcome in outcomes] == files
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Failure)] == list(BROKEN)
    sound = [outcome for outcome in outcomes if isinstance(outcome, Result)]
    expected = _features().transform([outcome.file for outcome in sound])
    np.testing.assert_allclose(np.stack([each.value for each in sound]), expected, rtol=1e-5, atol=1e-6)


def test_without_a_cluster(files: list[str]) -> None:
    """Dask's own schedulers do as well, and threads=None leaves this process alone."""
    before = mininet.get_num_threads()
    _check(many.classify(files, weights="digits", threads=None).compute(scheduler="synchronous"), files)
    assert many.classify([], weights="digits", threads=None).compute(scheduler="synchronous") == []
    assert mininet.get_num_threads() == before


def test_what_is_wrong_with_the_task_comes_back(client: Client, files: list[str]) -> None:
    with pytest.raises(mininet.UnknownNameError, match="featurs"):
        many.features(files, weights="digits", at="featurs").compute(scheduler=client)
    with pytest.raises(mininet.WeightsError, match="nowhere"):
        list(many.stream(many.classify(files, weights="nowhere.safetensors"), client.scheduler.address))
    with pytest.raises(mininet.DTypeError, match=r"Network\.save"):
        many.classify(files, weights={"a": 1})  # type: ignore[arg-type]
    with pytest.raises(mininet.DTypeError, match="list of pictures"):
        many.classify(files[0], weights="digits")
    for name in ("top", "batch_size", "partition_size", "threads"):
        with pytest.raises(mininet.ArgumentError, match=name):
            many.classify(files, weights="digits", **{name: 0})


def test_a_cluster_that_cannot_is_one_error(
    client: Client, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = dask.bag.from_sequence(files).map(lambda path: 1 // 0)
    with pytest.raises(mininet.ClusterError, match="gave up: ZeroDivisionError") as caught:
        list(many.stream(many.classify(pictures, weights="digits"), client.scheduler.address))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(many, "SECONDS_TO_HAVE_WORKERS", 0.2)
    with (
        LocalCluster(n_workers=0, **LOCAL) as empty,
        pytest.raises(mininet.ClusterError, match="0/1 workers"),
    ):
        list(many.stream(many.classify(files, weights="digits"), empty.scheduler_address))


def _answers(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any, str]:
    """Exit code, the JSON without its times, and stderr."""
    capsys.readouterr()
    code = main(["classify", *args])
    captured = capsys.readouterr()

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if key != "seconds"}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    return code, timeless(json.loads(captured.out)) if captured.out else None, captured.err


@pytest.mark.parametrize(("which", "expected"), [("all", 1), ("sound", 0), ("broken", 2), ("missing", 2)])
def test_the_command_line_answers_as_without_a_cluster(
    client: Client,
    files: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    expected: int,
) -> None:
    monkeypatch.chdir(Path(files[0]).parent)  # names without their folder: the workers stand elsewhere
    names = [Path(name).name for name in files]
    chosen = {
        "all": names,
        "sound": [name for i, name in enumerate(names) if i not in BROKEN],
        "broken": [names[i] for i in BROKEN],
        "missing": ["nowhere.pgm"],
    }[which]
    args = [*chosen, "--weights", "digits", "--json", "--top", "2", "--no-resize", "--resolution", "40"]
    here = _answers(capsys, *args)
    there = _answers(capsys, *args, "--scheduler", client.scheduler.address)
    assert here[0] == there[0] == expected
    assert (
        there[1]["errors"][:1] == []
        or Path(there[1]["errors"][0]["file"]).name == there[1]["errors"][0]["file"]
    )
    for document in (here[1], there[1]):
        for error in document["errors"]:
            error["error"] = error["error"].replace(f"{Path(files[0]).parent}{os.sep}", "")
    assert there[1] == here[1]
    assert there[2].count("\n") == here[2].count("\n")


def test_the_command_line_says_what_it_lacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "SECONDS_TO_ANSWER", 0.5)
    for address in ("127.0.0.1:1", "nonsense"):
        code, _, error = _answers(capsys, "--scheduler", address)
        assert (code, error.count("\n")) == (2, 1)
        assert error.startswith(f"mininet: error: no Dask scheduler answers at {address!r}")
    monkeypatch.delitem(sys.modules, "mininet.dask")
    monkeypatch.delattr(mininet, "dask")
    monkeypatch.setitem(sys.modules, "dask.bag", None)
    code, _, error = _answers(capsys, "--scheduler", "127.0.0.1:1")
    assert (code, error.count("\n")) == (2, 1)
    assert "mininet-mobilenet[dask]" in error
