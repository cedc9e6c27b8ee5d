"""The kernel tests once more for every other instruction set that this CPU can run.

The set is chosen once per process, by ``MININET_ISA``, so each gets a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mininet import _native

HERE = Path(__file__).parent
#: What can differ between sets; layouts of arrays and empty batches are dealt with before a kernel runs.
CHOSEN = "equals_reference or nan_and_inf or neighbours"
OTHERS = [name for name in _native.available_isas() if name != _native.isa()]


def _run(isa: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MININET_ISA": isa}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_scalar_is_always_there_and_last() -> None:
    assert _native.available_isas()[-1] == "scalar"
    assert _native.isa() in _native.available_isas()


@pytest.mark.parametrize("isa", OTHERS)
def test_kernels_on_another_instruction_set(isa: str) -> None:
    chosen = _run(isa, "-c", "from mininet import _native; print(_native.isa())")
    assert chosen.stdout.strip() == isa, chosen.stderr
    # No cache: a second process must not write into the one that this run uses.
    quiet = ("-q", "-p", "no:cacheprovider", "-k", CHOSEN)
    tests = _run(isa, "-m", "pytest", *quiet, str(HERE / "test_kernels.py"))
    assert tests.returncode == 0, f"kernel tests fail on {isa}:\n{tests.stdout[-4000:]}"


def test_an_unknown_instruction_set_is_refused_by_name() -> None:
    run = _run("mmx", "-c", "import mininet._native")
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError:")
    assert "scalar" in last
