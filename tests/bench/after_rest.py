"""What the first calls after a rest take: how soon the worker threads are there.

    python tests/bench/after_rest.py
    python tests/bench/after_rest.py mobilenet_v3_small --threads 2 --rest 0.2

Threads that slept must be woken, and the system may wake them on a processor that is taken. Each line has
the median time of the first call after a rest, of the second one and so on, over many rests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import mininet  # noqa: E402
from mininet.bench import load_average, machine  # noqa: E402
from mininet.inspect.table import markdown_lines  # noqa: E402

NETWORKS = ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"]
CALLS = 8
RESTS = 40
WARM_UP_RESTS = 3


def calls_after_rest(net: mininet.Network, x: np.ndarray, rest: float) -> list[float]:
    """Seconds of the first `CALLS` calls after a rest."""
    sleep(rest)
    seconds = []
    for _ in range(CALLS):
        start = perf_counter()
        net(x)
        seconds.append(perf_counter() - start)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rest", type=float, default=0.05, help="seconds without a call (default: 0.05)")
    options = parser.parse_args()
    before, rows = load_average(), []
    for name in options.networks:
        net = mininet.create_model(name)
        x = np.random.default_rng(0).standard_normal((1, *net.input_shape[1:])).astype(np.float32)
        for threads in options.threads:
            mininet.set_num_threads(threads)
            times = [calls_after_rest(net, x, options.rest) for _ in range(WARM_UP_RESTS + RESTS)]
            medians = np.median(times[WARM_UP_RESTS:], axis=0) * 1e3
            rows.append([name, str(threads), *(f"{ms:.3f}" for ms in medians)])
    header = ["network", "threads", *(f"call {i + 1}" for i in range(CALLS))]
    about = machine()
    print(f"{about['processor']}, {about['cpus']} CPUs, {about['isa']}")
    print(f"Load average: {before} before, {load_average()} after")
    print(f"Median ms of a call after a rest of {options.rest} s, over {RESTS} rests.\n")
    print("\n".join(markdown_lines(header, rows)))


if __name__ == "__main__":
    main()
