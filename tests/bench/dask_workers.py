"""Pictures per second over Dask: one process without it, as many as workers, then one, two, ... workers.

    python tests/bench/dask_workers.py --workers 2

JPEG pictures of 256x256 are read, resized, cropped and classified: the figure is that of the whole way.
Every round measures each setting once, in turn, on clusters that are up and whose workers have built their
networks. Each process has one thread. The table gives the best round and the median of all.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from distributed import Client, LocalCluster
from PIL import Image

import mininet
from mininet.batches import labelled_classes, run_in_batches
from mininet.dask import BATCH_SIZE, classify
from mininet.recipe import Recipe


def write_pictures(folder: Path, count: int) -> list[str]:
    """Smooth colours with noise: about 30 kB each, which is what a photo of that size takes."""
    rng = np.random.default_rng(0)
    names = []
    for i in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        names.append(str(folder / f"{i:05}.jpg"))
        Image.fromarray(noisy).save(names[-1], quality=90)
    return names


def classify_here(pictures: list[str], weights: Path) -> int:
    """Classify in this process; returns how many."""
    task = partial(labelled_classes, top=5)
    return sum(1 for _ in run_in_batches(Recipe.of(weights=weights).network(), pictures, task, BATCH_SIZE))


def settings_of(
    pictures: list[str],
    weights: Path,
    pool: ProcessPoolExecutor,
    workers: int,
    clusters: Mapping[str, Client],
) -> dict[str, Callable[[], int]]:
    """What is measured: functions that say how many pictures they have done."""
    shares = [pictures[i::workers] for i in range(workers)]

    def over(client: Client) -> int:
        return len(classify(pictures, weights=weights).compute(scheduler=client))

    return {
        "this process": partial(classify_here, pictures, weights),
        f"{workers} processes": lambda: sum(pool.map(classify_here, shares, [weights] * workers)),
        **{name: partial(over, client) for name, client in clusters.items()},
    }


def start_clusters(stack: contextlib.ExitStack, workers: int) -> dict[str, Client]:
    """One cluster for each number of workers."""
    clusters = {}
    for count in range(1, workers + 1):
        cluster = LocalCluster(
            n_workers=count, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        )
        client = Client(stack.enter_context(cluster), set_as_default=False)
        clusters[f"{count} worker{'s' * (count > 1)} of Dask"] = stack.enter_context(client)
    return clusters


def measure(settings: Mapping[str, Callable[[], int]], count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every setting in every round; a first round warms up and is left out."""
    seconds: dict[str, list[float]] = {setting: [] for setting in settings}
    for number in range(rounds + 1):
        for setting, run in settings.items():
            start = perf_counter()
            done = run()
            if number:
                seconds[setting].append(perf_counter() - start)
            assert done == count, f"{setting}: {done} of {count}"
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=128, metavar="N", help="pictures (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="at most so many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--model", default="mobilenet_v2", metavar="NAME", help="network (%(default)s)")
    options = parser.parse_args()
    mininet.set_num_threads(1)
    before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pictures = write_pictures(folder, options.pictures)
        spawn = multiprocessing.get_context("spawn")
        threads = partial(mininet.set_num_threads, 1)
        pool = ProcessPoolExecutor(options.workers, mp_context=spawn, initializer=threads)
        stack.enter_context(pool)
        clusters = start_clusters(stack, options.workers)
        weights = folder / "weights.safetensors"
        mininet.create_model(options.model).save(weights)
        settings = settings_of(pictures, weights, pool, options.workers, clusters)
        seconds = measure(settings, options.pictures, options.rounds)
    info = mininet.build_info()
    print(f"mininet {info['version']}, {info['isa']}, {info['cpus']} CPUs")
    print(f"{options.model}, {options.pictures} pictures, {options.rounds} rounds")
    print(f"load average {before:.2f} before, {os.getloadavg()[0]:.2f} after")
    print(f"{'where':20} {'images/s at best':>17} {'in the median':>14} {'times the first':>16}")
    first = min(seconds["this process"])
    for setting, times in seconds.items():
        best, middle = (options.pictures / of(times) for of in (min, statistics.median))
        print(f"{setting:20} {best:17.1f} {middle:14.1f} {first / min(times):16.2f}")


if __name__ == "__main__":
    main()
