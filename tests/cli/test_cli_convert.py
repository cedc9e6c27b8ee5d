"""``mininet convert``: what it writes, and what it refuses to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from cli_harness import Runner, assert_refused

import mininet


def test_convert_and_use(cli: Runner, tmp_path: Path) -> None:
    """An .npz under torchvision's names becomes a file that says what it is."""
    net = mininet.create_model("mobilenet_v2", "random:3", width=0.1, num_classes=4)
    source, target = tmp_path / "in.npz", tmp_path / "out.safetensors"
    np.savez(source, **net.state_dict())
    ran = cli(
        "convert", source, target, "--model", "mobilenet_v2", "--width", "0.1", "--preprocessing", "keras"
    )
    assert (ran.code, ran.err) == (0, "")
    assert f"{len(net.state_dict())} tensors fit mobilenet_v2" in ran.out
    assert f"wrote {target}: {target.stat().st_size:,} bytes" in ran.out
    again = mininet.create_model(weights=target)
    assert again.config == net.config
    assert again.preset.name == "keras"
    x = np.ones((1, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(again(x), net(x))
    assert sorted(os.listdir(tmp_path)) == ["in.npz", "out.safetensors"]


def test_convert_json(cli: Runner, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    document = json.loads(cli("convert", "digits", target, "--json").out)
    assert document["bytes"] == target.stat().st_size
    assert document["output"] == str(target)
    assert (
        document["report"]["missing"] == document["report"]["unused"] == document["report"]["misshaped"] == []
    )
    assert document["config"]["architecture"] == "mobilenet_v3_small"
    assert json.loads(cli("classify", "--weights", "digits", "--json").out)["errors"] == []


def test_convert_does_not_overwrite(cli: Runner, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"precious")
    assert_refused(cli("convert", "digits", target), "out.safetensors", "--force")
    assert target.read_bytes() == b"precious"
    assert cli("convert", "digits", target, "--force").code == 0
    assert target.stat().st_size > 100_000
    assert cli("convert", target, target, "--force").code == 0, "a file can be rewritten in place"
    assert mininet.create_model(weights=target).config.num_classes == 10


def test_convert_refuses_what_does_not_fit(cli: Runner, tmp_path: Path) -> None:
    """A tensor too many, one too few, one misshaped: each is named, and nothing is written."""
    state = mininet.create_model("mobilenet_v2", width=0.1, num_classes=4).state_dict()
    first = "features.0.0.weight"
    extra = np.zeros(3, np.float32)
    for change, words in (
        ({"extra.weight": extra}, ["unused", "extra.weight"]),
        ({first: None}, ["missing", first]),
        ({"features.0.1.weight": extra}, ["misshaped", "features.0.1.weight", "(3,)"]),
    ):
        source = tmp_path / "in.npz"
        np.savez(source, **{name: v for name, v in {**state, **change}.items() if v is not None})
        args = ["convert", source, tmp_path / "out.safetensors", "--model", "mobilenet_v2", "--width", "0.1"]
        assert_refused(cli(*args), *words)
        assert os.listdir(tmp_path) == ["in.npz"]


def test_convert_wants_to_know_the_network(cli: Runner, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", a=np.zeros(3, np.float32))
    assert_refused(cli("convert", tmp_path / "in.npz", tmp_path / "out.safetensors"), "name")


ENTRIES = (("state_dict", 1), ("state_dict_ema", 2))


def test_an_entry_of_a_checkpoint(cli: Runner, tmp_path: Path) -> None:
    """Averaged weights unless told otherwise; the report names the one taken and the one left."""
    network = ("--model", "mobilenet_v2", "--width", "0.1")
    torch = pytest.importorskip("torch", reason="torch writes the checkpoint")
    nets = {name: mininet.create_model("mobilenet_v2", f"random:{seed}", width=0.1) for name, seed in ENTRIES}
    state = {
        name: {f"module.{key}": torch.from_numpy(value.copy()) for key, value in net.state_dict().items()}
        for name, net in nets.items()
    }
    torch.save(state, tmp_path / "a.pth")
    for options, taken, left in (
        ((), "state_dict_ema", "state_dict"),
        (("--entry", "state_dict"), "state_dict", "state_dict_ema"),
    ):
        target = tmp_path / f"{taken}.safetensors"
        ran = cli("convert", tmp_path / "a.pth", target, *network, *options)
        assert f"taken from the entry '{taken}', not from {left}; without the prefix 'module.'" in ran.out
        expected, got = nets[taken].state_dict(), mininet.create_model(weights=target).state_dict()
        assert all(np.array_equal(got[name], value) for name, value in expected.items())
    assert_refused(
        cli(
            "convert",
            tmp_path / "a.pth",
            tmp_path / "b.safetensors",
            "--model",
            "mobilenet_v2",
            "--entry",
            "x",
        ),
        "unknown entry of the checkpoint 'x'",
    )
