"""The command line: help, and bad input, which never ends in a traceback."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_harness import NAMES, SAMPLES, TINY, Runner, assert_refused

import mininet
from mininet.cli import COMMANDS, make_parser
from mininet.cli.options import Parser, add_network_options
from mininet.data import DIGITS
from mininet.models.config import option_names


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_command_has_an_example(cli: Runner, name: str) -> None:
    ran = cli(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: mininet {name} ")
    assert f"\nexample:\n  mininet {name}" in ran.out


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_examples_parse(command: Any) -> None:
    """What the help shows is accepted by the parser."""
    for line in command.example.splitlines():
        program, *args = shlex.split(line)
        assert program == "mininet"
        _, unknown = make_parser().parse_known_args(args)
        assert unknown == [], f"{line!r} has arguments that nobody knows"


def test_help_and_version(cli: Runner) -> None:
    ran = cli("--help")
    assert ran.code == 0
    assert all(f"    {name} " in ran.out for name in NAMES)
    assert cli("--version").out == f"mininet {mininet.__version__}\n"


def test_every_network_option_can_be_given() -> None:
    """Fields of ModelConfig and options of the command line do not drift apart."""
    parser = Parser()
    add_network_options(parser)
    text = parser.format_help()
    for name in option_names():
        flag = name.replace("_", "-")
        assert name in ("dropout", "clips") or f"--{flag}" in text or f"--no-{flag}" in text, (
            f"no option for {name}"
        )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["COMMAND"]),
        (["clasify"], ["'clasify'", "did you mean 'classify'?"]),
        (["classify", "--tpo", "3"], ["'--tpo'", "did you mean '--top'?"]),
        (["classify", "--zzz"], ["unknown option '--zzz'", "mininet classify --help"]),
        (["models", "a", "b"], ["unexpected argument 'b'"]),
        (["classify", "--top"], ["--top"]),
        *(
            (["classify", f"--{option}", "0"], [f"--{option}", "got '0'"])
            for option in ("top", "batch", "threads")
        ),
        (["classify", "--top", "9999999999999999999"], ["--top", "got '9999999999999999999'"]),
        (["classify", "--threads", "many"], ["--threads", "got 'many'"]),
        *(
            (["summary", "mobilenet_v2", "--width", x], ["--width", repr(x)])
            for x in ("0", "-1", "nan", "1e9", "x")
        ),
        (["summary", "mobilenet_v2", "--depth", "1e300"], ["--depth"]),
        (["summary", "mobilenet_v2", "--num-classes", "-1"], ["--num-classes"]),
        (["summary", "--input-shape", "3,4"], ["C,H,W", "'3,4'"]),
        (["summary", "--input-shape", "3,4,0"], ["--input-shape", "'0'"]),
        (["summary", "--input-shape", "1,8,8", "--resolution", "8"], ["--resolution"]),
        (["convert", "only-one"], ["OUTPUT"]),
    ],
    ids=" ".join,
)
def test_bad_usage(cli: Runner, args: list[str], words: list[str]) -> None:
    assert_refused(cli(*args), *words)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["summary", "mobilenet_v9"], ["unknown model 'mobilenet_v9'", "'mobilenet_v2'"]),
        (["models", "mobilnet_v2"], ["'mobilnet_v2'", "did you mean", "'mobilenet_v2'"]),
        (["summary", "mobilenet_v2", "--lineage", "kears"], ["'kears'", "'keras'"]),
        (["summary", "mobilenet_v2", "--shallow"], ["shallow", "mobilenet_v1"]),
        (["summary", "mobilenet_v2", "--activation", "rleu"], ["rleu"]),
        (["summary", "mobilenet_v2", "--input-shape", "1,32,32"], ["1, 32, 32"]),
        (["summary", "--weights", "no-such-file.pth"], ["'no-such-file.pth'", "No such file"]),
        (["summary", "--weights", ""], ["''"]),
        (["summary", "mobilenet_v2", "--weights", "random:x"], ["random:"]),
        (["summary", "mobilenet_v2", "--weights", "digits"], ["mobilenet_v3_small", "mobilenet_v2"]),
        (["classify", "--preprocessing", "kears"], ["'kears'", "'keras'"]),
        (["classify", "--width", "0.5"], ["weights do not fit"]),
        (["classify", "--resolution", "100000"], ["100000"]),
        (["classify", "--model", "mobilenet_v2"], ["no weights for mobilenet_v2", "--weights"]),
        (["classify", *TINY], ["no pictures given"]),
        (["classify", "x.jpg", "--weights", "random:0"], ["name of a model"]),
        (["convert", "no-such-file.pth", "out.safetensors"], ["'no-such-file.pth'"]),
        (["convert", "digits", "out.npz"], ["'out.npz'", ".safetensors"]),
        (["convert", "digits", "no/such/folder/out.safetensors"], ["no/such/folder"]),
        (
            [
                "classify",
                "--model",
                "mobilenet_v2",
                "--weights",
                "random:0",
                "--num-classes",
                "0",
                SAMPLES[0],
            ],
            ["mobilenet_v2 has no classifier here"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_input(cli: Runner, args: list[str], words: list[str]) -> None:
    assert_refused(cli(*args), *words)


@pytest.mark.parametrize("keep", [0, 7, 500, 100_000], ids=lambda keep: f"{keep} bytes")
@pytest.mark.parametrize("command", ["classify", "summary", "convert"])
def test_truncated_weights(cli: Runner, tmp_path: Path, command: str, keep: int) -> None:
    cut, out = tmp_path / "cut.safetensors", tmp_path / "out.safetensors"
    cut.write_bytes(Path(DIGITS).read_bytes()[:keep])
    args = {"classify": [SAMPLES[0], "--weights", cut], "summary": ["--weights", cut], "convert": [cut, out]}
    assert_refused(cli(command, *args[command]), "cut.safetensors")
    assert os.listdir(tmp_path) == ["cut.safetensors"], "a partial output was left behind"
