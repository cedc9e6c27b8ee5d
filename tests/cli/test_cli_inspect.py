"""``mininet inspect``, and the charts of ``summary --plot`` and ``cost --plot``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from cli_harness import SAMPLES, TINY, Runner, assert_refused, write_ppm

import mininet

PNG = b"\x89PNG\r\n\x1a\n"


def test_inspect_prints_every_block_and_node(cli: Runner) -> None:
    ran = cli("inspect")
    assert (ran.code, ran.err) == (0, "")
    net = mininet.create_model(weights="digits")
    for name, cost in net.cost().by_block().items():
        (line,) = re.findall(rf"^{name} .* {cost.madds:,} .*%.*", ran.out, re.M)
        assert f"{cost.params:,}" in line
    for node in net.cost().nodes:
        assert not node.madds or f"= {node.madds:,}" in ran.out
    label, probability = net.classify(SAMPLES[0])[0]
    assert f"{probability * 100:6.2f} %  {label}" in ran.out


def test_inspect_writes_a_page(cli: Runner, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ran = cli("inspect", SAMPLES[3], "-o", page, "--weights", "digits")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == f"wrote {page}: {page.stat().st_size:,} bytes"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_inspect_takes_the_options_of_classify(cli: Runner, tmp_path: Path) -> None:
    photo = write_ppm(tmp_path / "photo.ppm")
    ran = cli("inspect", photo, *TINY, "--no-resize", "--resolution", "32", "--top", "2", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document["input_shape"] == [1, 3, 32, 32]
    assert document["source"] == "photo.ppm"
    assert len(document["top"]) == 2


def test_inspect_says_that_it_took_the_digits(cli: Runner) -> None:
    ran = cli("inspect", SAMPLES[0])
    assert ran.code == 0
    assert "embedded network of handwritten digits" in ran.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere.png", "--weights", "digits"], ["nowhere.png"]),
        ([SAMPLES[0], "--weights", "digits", "-o", "photo.jpg"], [".html", "photo.jpg"]),
        ([SAMPLES[0], "--weights", "digits", "-o", "no/such/folder/a.html"], ["no/such/folder"]),
        ([SAMPLES[0], "--model", "mobilenet_v2"], ["--weights"]),
        (["--weights", "random:0", "--model", "mobilenet_v2"], ["no pictures"]),
        (["a.png", "b.png"], ["b.png"]),
    ],
)
def test_inspect_refuses_in_one_line(cli: Runner, args: list[str], words: list[str]) -> None:
    ran = cli("inspect", *args)
    ran.err = "".join(line for line in ran.err.splitlines(keepends=True) if "embedded" not in line)
    assert_refused(ran, *words)


@pytest.mark.parametrize("command", ["summary", "cost"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".PNG"])
def test_plot_writes_a_chart(cli: Runner, tmp_path: Path, command: str, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    chart = tmp_path / f"chart{suffix}"
    ran = cli(command, "mobilenet_v3_small", "--width", "0.25", "--resolution", "32", "--plot", chart)
    assert (ran.code, ran.err) == (0, f"mininet: wrote {chart}\n")
    assert ran.out == cli(command, "mobilenet_v3_small", "--width", "0.25", "--resolution", "32").out
    written = chart.read_bytes()
    if suffix != ".svg":
        assert written.startswith(PNG)
        return
    text = written.decode("utf-8")
    blocks = mininet.create_model("mobilenet_v3_small", width=0.25).cost(32).by_block()
    assert all(f">{name}</text>" in text for name in blocks)
    assert ("Published accuracy" in text) == (command == "cost")


def test_plot_refuses_other_kinds_of_file(cli: Runner, tmp_path: Path) -> None:
    assert_refused(cli("summary", "--plot", tmp_path / "chart.jpg"), ".png", ".svg", "chart.jpg")


def test_plot_without_matplotlib_names_the_extra(
    cli: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = cli("cost", "--plot", tmp_path / "chart.png")
    assert_refused(ran, "mininet-mobilenet[plots]")
    assert not list(tmp_path.iterdir())
