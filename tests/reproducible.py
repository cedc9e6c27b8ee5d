"""How far results of the same networks lie apart on different instruction sets, in units in the last place.

    python tests/reproducible.py              # the table, one process for each set
    python tests/reproducible.py THREADS      # this process's logits as lines of hexadecimal

One unit in the last place of x is the distance from x to the next float32. Logits near zero are differences
of large numbers, whose last places are not theirs; so the table also has the largest distance as a share of
the largest logit.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

import mininet
from mininet import _native

CASES = {
    "mobilenet_v1": {"lineage": "keras"},
    "mobilenet_v2": {},
    "mobilenet_v3_large": {},
    "mobilenet_v3_small": {},
}
RESOLUTION = 96
BATCH = 2


def images(channels: int = 3) -> np.ndarray:
    """A batch of noise, the same everywhere: PCG64 promises its stream, and no transcendentals are used."""
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, channels, RESOLUTION, RESOLUTION))
    return (noise / np.float32(127.5) - 1).astype(np.float32)


def logits() -> dict[str, np.ndarray]:
    """Logits of every case on this process's instruction set."""
    x = images()
    return {name: mininet.create_model(name, "random:0", **options)(x) for name, options in CASES.items()} | {
        "digits": mininet.create_model(weights="digits")(images(1)[:, :, :32, :32])
    }


def logits_on(isa: str, threads: int = 1) -> dict[str, np.ndarray]:
    """The same in a new process, on an instruction set and a number of threads."""
    command = [sys.executable, __file__, str(threads)]
    environment = {**os.environ, "MININET_ISA": isa}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: np.frombuffer(bytes.fromhex(bits), "<f4") for name, bits in lines}


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many float32 lie between the elements of two arrays of finite numbers."""

    def ordered(values: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return np.abs(ordered(a) - ordered(b))


def distances(a: np.ndarray, b: np.ndarray) -> tuple[float, int, float]:
    """Median and largest distance in ulps, and the largest as a share of the largest logit."""
    apart = ulps(a, b)
    share = np.abs(a.astype(np.float64) - b).max() / np.abs(a).max()
    return float(np.median(apart)), int(apart.max()), float(share)


def main() -> None:
    first, *others = _native.available_isas()
    ours = logits_on(first)
    print(f"{'network':18} {first + ' and':>10} {'median':>7} {'largest ulp':>12} {'share of largest':>17}")
    for isa in others:
        theirs = logits_on(isa)
        for name, values in ours.items():
            median, most, share = distances(values, theirs[name])
            print(f"{name:18} {isa:>10} {median:7.0f} {most:12d} {share:17.1e}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        mininet.set_num_threads(int(sys.argv[1]))
        for case, values in logits().items():
            print(case, values.astype("<f4").tobytes().hex())
    else:
        main()
