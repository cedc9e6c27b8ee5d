"""The official checkpoints: their table, the cache, and what a network makes of them."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import twins
from file_server import FileServer, serving
from parity_driver import needs

import mininet
from mininet import checkpoints
from mininet.checkpoints import Checkpoint, cache_folder, find_checkpoint, list_checkpoints
from mininet.cli import main
from mininet.errors import DownloadError, UnknownNameError
from mininet.preprocess import get_preset
from mininet.weights import safetensors

WEIGHTS = "mobilenet_v3_small"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The table's addresses lead to this machine, to a small network's file, and the cache is empty."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MININET_CACHE", str(tmp_path / "cache"))
    mininet.create_model(WEIGHTS, "random:1", width=0.1).save(tmp_path / "served")
    with serving() as behaviour:
        behaviour.body = (tmp_path / "served").read_bytes()
        digest = hashlib.sha256(behaviour.body).hexdigest()[:8]

        def moved(checkpoint: Checkpoint) -> Checkpoint:
            url = behaviour.url.replace("file.pth", f"{checkpoint.model}-{digest}.pth")
            return replace(checkpoint, url=url, sha256=digest)

        table = tuple(map(moved, list_checkpoints()))
        monkeypatch.setattr(checkpoints, "list_checkpoints", lambda: table)
        monkeypatch.setattr("mininet.cli.fetch.list_checkpoints", lambda: table)
        yield behaviour


def test_the_table() -> None:
    for checkpoint in list_checkpoints():
        assert re.fullmatch(r"https://[\w./-]+\.pth", checkpoint.url)
        assert re.fullmatch("[0-9a-f]{8}", checkpoint.sha256)
        assert checkpoint.file == f"{checkpoint.model}-{checkpoint.sha256}.pth"
        assert get_preset(checkpoint.preprocessing)
        assert mininet.create_model(checkpoint.model, width=0.1)


@needs("torch", "torchvision")
def test_the_table_is_torchvisions() -> None:
    models = importlib.import_module(f"{twins.torchvision().__name__}.models")
    names = {checkpoint.model for checkpoint in list_checkpoints()}
    assert names == {"mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"}
    for name in names:
        theirs = models.get_model_weights(name)
        ours = [checkpoint for checkpoint in list_checkpoints() if checkpoint.model == name]
        assert {each.version: each.url for each in ours} == {each.name: each.url for each in theirs}
        assert find_checkpoint(name).version == theirs.DEFAULT.name
        for each in ours:
            transforms, preset = theirs[each.version].transforms(), get_preset(each.preprocessing)
            assert (preset.resize, preset.crop) == ((transforms.resize_size[0],) * 2, (224, 224))


def test_names() -> None:
    assert find_checkpoint("mobilenet_v2").version == "IMAGENET1K_V2"
    assert find_checkpoint("mobilenet_v2/IMAGENET1K_V1").sha256 == "b0353104"
    with pytest.raises(UnknownNameError, match="unknown checkpoint 'mobilenet_v1'; did you mean"):
        mininet.fetch("mobilenet_v1")


@pytest.mark.parametrize(
    "given, variables, expected",
    [
        ("a", {"MININET_CACHE": "b", "XDG_CACHE_HOME": "/c"}, "a"),
        (None, {"MININET_CACHE": "b", "XDG_CACHE_HOME": "/c"}, "b"),
        (None, {"XDG_CACHE_HOME": "/c"}, "/c/mininet"),
        (None, {"MININET_CACHE": "", "XDG_CACHE_HOME": "not/absolute"}, "/home/me/.cache/mininet"),
        (None, {}, "/home/me/.cache/mininet"),
    ],
)
def test_cache_folder(
    given: str | None, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MININET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    assert cache_folder(given) == Path(expected)


def test_fetched_once_and_made_a_network(server: FileServer, tmp_path: Path) -> None:
    path = mininet.fetch(WEIGHTS)
    assert path == mininet.fetch(WEIGHTS) == mininet.fetch(f"{WEIGHTS}/IMAGENET1K_V1")
    assert path.parent == tmp_path / "cache"
    assert server.asked == [""]
    assert mininet.create_model(WEIGHTS, weights=path).config.width == 0.1
    other = mininet.fetch(WEIGHTS, tmp_path / "other")
    assert (other.parent, other.name) == (tmp_path / "other", path.name)


def test_an_official_file_brings_its_preprocessing(tmp_path: Path) -> None:
    """By its name, which has the hash in it, wherever it lies: torch's own cache calls it the same."""
    state = mininet.create_model("mobilenet_v2", width=0.1).state_dict()
    for checkpoint in list_checkpoints():
        if checkpoint.model != "mobilenet_v2":
            continue
        path = tmp_path / checkpoint.file
        safetensors.write(path, state)
        net = mininet.create_model("mobilenet_v2", path, width=0.1)
        assert net.preset.name == checkpoint.preprocessing
        assert mininet.create_model("mobilenet_v2", str(path), width=0.1).preset == net.preset
        chosen = mininet.create_model("mobilenet_v2", path, width=0.1, preprocessing="keras")
        assert chosen.preset.name == "keras"


def test_command(server: FileServer, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fetch", WEIGHTS]) == 0
    path = capsys.readouterr().out.strip()
    assert Path(path).read_bytes() == server.body
    assert main(["summary", WEIGHTS, "--weights", path, "--width", "0.1"]) == 0
    capsys.readouterr()
    assert main(["fetch", WEIGHTS, "--json", "--cache", str(tmp_path / "x")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"].startswith(str(tmp_path / "x")) and document["bytes"] == len(server.body)
    assert main(["fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_checkpoints())
    assert [line.split()[0] for line in lines if " cached " in line] == [f"{WEIGHTS}/IMAGENET1K_V1"]
    assert main(["fetch", "--json"]) == 0
    assert [each["cached"] for each in json.loads(capsys.readouterr().out)].count(True) == 1


def test_command_refuses_in_one_line(server: FileServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.status = 404
    for name, words in ((WEIGHTS, "the server answers 404"), ("mobilenet_v9", "unknown checkpoint")):
        assert main(["fetch", name]) == 2
        ran = capsys.readouterr()
        assert ran.out == "" and len(ran.err.splitlines()) == 1
        assert words in ran.err
    with pytest.raises(DownloadError):
        mininet.fetch(WEIGHTS)


@pytest.mark.parametrize("installed", [True, False])
def test_command_shows_a_bar_on_a_terminal(
    server: FileServer, installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Any] = []

    class Bar:
        def __init__(self, total: int, unit: str, unit_scale: bool, **_: Any) -> None:
            self.total, self.done, self.open = total, 0, True
            assert (unit, unit_scale) == ("B", True)
            bars.append(self)

        def update(self, steps: int) -> None:
            self.done += steps

        def close(self) -> None:
            self.open = False

    module = type(sys)("tqdm")
    module.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", module if installed else None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["fetch", WEIGHTS]) == 0
    size = len(server.body)
    assert [(bar.total, bar.done, bar.open) for bar in bars] == ([(size, size, False)] if installed else [])
