"""Calls that a signal interrupts, and programs that end while calls run: each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import os, signal, threading, time
import numpy as np
import mininet
from small import network, picture
mininet.set_num_threads(2)
net = network()
"""

INTERRUPTED = """
net = mininet.create_model("mobilenet_v2", num_classes=10, weights="random:0")
x = np.repeat(picture(0, 96), 150, axis=0)
expected = net(x).tobytes()
inside = threading.Event()

def interrupt():
    inside.wait()
    time.sleep(0.02)  # the call takes a hundred times as long
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
began = False
try:
    inside.set()
    began = True
    net(x)
    print("no interrupt")
except KeyboardInterrupt:
    print("interrupted", began)
print("same" if net(x).tobytes() == expected else "other bits")
"""

ENDING = """
x = np.repeat(picture(0), 40, axis=0)
begun = threading.Semaphore(0)

def call():
    net(x)
    begun.release()
    while True:
        net(x)

for _ in range(4):
    threading.Thread(target=call, daemon=True).start()
for _ in range(4):
    begun.acquire()
print("bye", flush=True)
"""

ENDS = {
    "the last line": ("", 0, ""),
    "sys.exit": ("sys.exit(7)", 7, ""),
    "an exception": ("raise RuntimeError('on purpose')", 1, "RuntimeError: on purpose"),
    "os._exit": ("os._exit(9)", 9, ""),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM, ""),
}


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SETUP + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_ctrl_c_in_mid_call_interrupts_after_the_call_and_harms_nothing() -> None:
    run = _run(INTERRUPTED)
    assert (run.returncode, run.stdout.split("\n")[:2]) == (0, ["interrupted True", "same"]), run.stderr


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_while_the_pool_is_busy(end: str, times: int) -> None:
    line, code, last = ENDS[end]
    for _ in range(times):
        run = _run(ENDING + line)
        assert (run.returncode, run.stdout) == (code, "bye\n"), run.stderr
        assert (run.stderr.strip().splitlines() or [""])[-1] == last, run.stderr
