"""The fixture that runs a command line."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cli_harness import Ran, Runner

import mininet
from mininet.cli import main


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Runner]:
    """Run one command line in this process; gives code, out and err. Threads are as before afterwards."""

    def run(*args: str | os.PathLike[str]) -> Ran:
        capsys.readouterr()
        code = main([os.fspath(arg) for arg in args])
        captured = capsys.readouterr()
        return Ran(code=code, out=captured.out, err=captured.err)

    threads = mininet.get_num_threads()
    yield run
    mininet.set_num_threads(threads)
