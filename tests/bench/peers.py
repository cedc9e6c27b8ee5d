"""Times mininet and every installed peer in one process, turn by turn, on the same weights and input.

    python tests/bench/peers.py                                # everything: about a quarter of an hour
    python tests/bench/peers.py mobilenet_v2 --threads 1 --batch 1 --without 'torch compiled'
    python tests/bench/peers.py --batch 1 --busy 2             # each processor shared with somebody else

For each peer, mininet and the peer run by turns, in short bursts; the ratio of the two medians is taken
within each pair, so that what slows the machine for a while slows both. Ratios are medians over all pairs,
milliseconds minima over all calls. Before that, every engine must give mininet's logits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (0, 1)]

import seeded  # noqa: E402
import twins  # noqa: E402
from engines import ENGINES, Engine, Mininet, Model  # noqa: E402

from mininet import _native  # noqa: E402
from mininet.bench import load_average, machine  # noqa: E402
from mininet.inspect.table import markdown_lines  # noqa: E402

PAIRS = 15
BURST_SECONDS = 0.015
REST_SECONDS = 0.05
"""Between two bursts: long enough for the worker threads of one engine to stop spinning before the next.
Those of onnxruntime 1.32 spin for some 33 ms after a run and take a processor from whoever runs then."""
TOLERANCE = 1e-4
"""Greatest difference of two engines' logits, in units of the logits' standard deviation."""
INPUT_SEED = 1


@dataclass(frozen=True)
class Subject:
    """A network to time: ours by name, its torch twin by a builder, and the size of its input."""

    name: str
    options: dict[str, Any]
    size: int

    def module(self) -> Any:
        """The twin, before it gets its weights."""
        models = twins.torchvision().models  # timm wants it complete, too
        if self.name.startswith("timm/"):
            from timm.models.efficientnet import _gen_mobilenet_v1

            # `timm.create_model` knows no width below 1; this is what it calls.
            return _gen_mobilenet_v1(self.name.removeprefix("timm/"), self.options.get("width", 1.0))
        return getattr(models, self.name)()

    def build(self, folder: Path) -> Model:
        """The model with seeded weights, for a batch of one."""
        module = self.module()
        twin = twins.TorchTwin(self.name, self.options, module, {}, seed=0)
        return Model(self.name, module, twin.build(), self.images(1), folder)

    def images(self, batch: int) -> np.ndarray:
        """The input, float32 (batch, 3, size, size)."""
        return seeded.images(INPUT_SEED, (batch, 3, self.size, self.size))


SUBJECTS = {
    "mobilenet_v1": Subject("timm/mobilenetv1_100", {}, 224),
    "mobilenet_v2": Subject("mobilenet_v2", {}, 224),
    "mobilenet_v3_large": Subject("mobilenet_v3_large", {}, 224),
    "mobilenet_v3_small": Subject("mobilenet_v3_small", {}, 224),
    "mobilenet_v1:0.25@128": Subject("timm/mobilenetv1_100", {"width": 0.25}, 128),
}


@dataclass
class Pairs:
    """What one peer and mininet did, turn by turn, in seconds of one call."""

    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def add(self, ours: list[float], theirs: list[float]) -> None:
        """Add one pair of bursts."""
        self.ours += ours
        self.theirs += theirs
        self.ratios.append(float(np.median(theirs) / np.median(ours)))


@dataclass
class Cell:
    """One network, number of threads and batch size: every peer's pairs, and what went wrong."""

    network: str
    threads: int
    batch: int
    limit: float = 0.0
    pairs: dict[str, Pairs] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    load: list[float | None] = field(default_factory=list)

    @property
    def ours(self) -> float:
        """mininet's shortest call in seconds."""
        return min(min(pairs.ours) for pairs in self.pairs.values())

    def ratio(self, peer: str) -> float:
        """How many times as long as mininet a peer takes: the median over the pairs."""
        return float(np.median(self.pairs[peer].ratios))

    def ratio_of_minima(self, peer: str) -> float:
        """The same by the shortest call of each."""
        return min(self.pairs[peer].theirs) / self.ours

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        named = ("network", "threads", "batch", "differences", "failures", "load")
        return {name: getattr(self, name) for name in named} | {
            "limit_seconds": self.limit,
            "seconds": {"mininet": self.ours} | {name: min(p.theirs) for name, p in self.pairs.items()},
            "median_ratio": {name: self.ratio(name) for name in self.pairs},
            "ratio_of_minima": {name: self.ratio_of_minima(name) for name in self.pairs},
        }


def run_cell(name: str, model: Model, threads: int, peers: Sequence[type[Engine]], pairs: int) -> Cell:
    """Check and time all peers on one model."""
    cell = Cell(name, threads, len(model.x), load=[load_average()])
    ours = Mininet(model, threads)
    wanted = _logits(ours)
    peaks = []
    loaded = list(_load(cell, model, threads, peers, wanted))
    for number in range(pairs):
        for theirs in loaded:
            peaks.append(_native.fma_peak(0.001))
            turns = [ours, theirs] if number % 2 else [theirs, ours]
            times = {id(engine): _burst(engine) for engine in turns}
            cell.pairs.setdefault(theirs.name, Pairs()).add(times[id(ours)], times[id(theirs)])
    madds = sum(step.madds for step in model.net.plan(model.x.shape).steps)
    cell.limit = madds * len(model.x) / (max(peaks, default=np.nan) * threads)
    cell.load.append(load_average())
    return cell


def _load(
    cell: Cell, model: Model, threads: int, peers: Sequence[type[Engine]], wanted: np.ndarray
) -> Iterator[Engine]:
    """Every peer that loads and agrees; the reason for each that does not goes into the cell."""
    for peer in peers:
        try:
            engine = peer(model, threads)
            logits = _logits(engine)
        except Exception as error:  # whatever a peer may raise, the others go on
            cell.failures[peer.name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        difference = float(np.abs(logits - wanted).max() / wanted.std())
        cell.differences[peer.name] = difference
        if difference < TOLERANCE and (logits.argmax(axis=1) == wanted.argmax(axis=1)).all():
            yield engine
        else:
            cell.failures[peer.name] = f"its logits differ by {difference:.1e} standard deviations"


def _logits(engine: Engine) -> np.ndarray:
    engine.prepare()
    return np.array(engine.run())  # a copy: some hand over their own memory


def _burst(engine: Engine) -> list[float]:
    """Seconds of each of a few calls in a row, after one that warms the caches and wakes the threads."""
    engine.prepare()
    sleep(REST_SECONDS)
    engine.run()
    calls: list[float] = []
    while sum(calls) < BURST_SECONDS:
        start = perf_counter()
        engine.run()
        calls.append(perf_counter() - start)
    return calls


def report(cells: Sequence[Cell], peers: Sequence[type[Engine]]) -> str:
    """The tables in Markdown."""
    names = [peer.name for peer in peers if any(peer.name in cell.pairs for cell in cells)]
    ratios, minima = [], []
    for cell in cells:
        if not cell.pairs:
            continue
        key = [cell.network, str(cell.threads), str(cell.batch)]
        best = min(cell.pairs, key=cell.ratio)
        ratios.append(
            [
                *key,
                f"**{cell.ratio(best):.2f}** ({best})",
                f"{min(map(cell.ratio_of_minima, cell.pairs)):.2f}",
            ]
            + [f"{cell.ratio(name):.2f}" if name in cell.pairs else "-" for name in names]
        )
        seconds = [cell.ours, *(min(cell.pairs[n].theirs) if n in cell.pairs else np.nan for n in names)]
        minima.append([*key, f"{cell.limit * 1e3:.3f}", *(_milliseconds(s, cell.limit) for s in seconds)])
    head = ("network", "threads", "batch")
    numbers = range(1, 5 + len(names))
    return "\n".join(
        [
            "Time of the peer / time of mininet: median over the pairs (best of minima: by shortest calls).",
            "",
            *markdown_lines((*head, "best peer", "best of minima", *names), ratios, numbers),
            "",
            "Shortest call in ms, and what share of the FMA peak that is (limit: all of it).",
            "",
            *markdown_lines((*head, "limit", "mininet", *names), minima, numbers),
        ]
    )


def _milliseconds(seconds: float, limit: float) -> str:
    return "-" if np.isnan(seconds) else f"{seconds * 1e3:.3f} ({limit / seconds:.0%})"


def main() -> int:
    """Run the command line; exit code 1 if an engine failed or disagreed."""
    args = _arguments()
    about = machine()
    peers = [engine for engine in ENGINES[1:] if engine.name not in args.without]
    absent = {peer.name: peer.missing() for peer in peers if peer.missing()}
    peers = [peer for peer in peers if peer.name not in absent]
    cells = []
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder, _busy(args.busy):
            model = SUBJECTS[name].build(Path(folder))
            for batch in args.batch:
                model.x = SUBJECTS[name].images(batch)
                for threads in args.threads:
                    cells.append(run_cell(name, model, threads, peers, args.pairs))
                    _say(cells[-1])
    versions = {engine.name: engine.version() for engine in (Mininet, *peers)}
    print(f"{about['processor']}, {about['cpus']} CPUs, {about['isa']}, Python {about['python']}")
    print("Versions: " + ", ".join(f"{name} {text}" for name, text in versions.items()))
    loads = [load for cell in cells for load in cell.load if load is not None]
    own = "of which 1 to 2 are this script's" + (f", {args.busy} the busy processes'" if args.busy else "")
    print(f"Load average: {min(loads, default=0)} to {max(loads, default=0)}, {own}")
    print(f"\n{report(cells, peers)}")
    for peer, modules in absent.items():
        print(f"\n{peer} is not installed: no {', '.join(modules)}")
    if args.json:
        document = {"machine": about, "versions": versions, "cells": [cell.to_dict() for cell in cells]}
        Path(args.json).write_text(json.dumps(document, indent=2), encoding="utf-8")
    return int(any(cell.failures for cell in cells))


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """That many processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _say(cell: Cell) -> None:
    """What came of a cell, at once, for whoever waits."""
    where = f"{cell.network}, {cell.threads} threads, batch {cell.batch}"
    got = ", ".join(f"{name} {cell.ratio(name):.2f}" for name in cell.pairs)
    print(f"{where}: {got} (load {cell.load[-1]})", file=sys.stderr, flush=True)
    for peer, reason in cell.failures.items():
        print(f"{where}: {peer}: {reason}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(SUBJECTS)}; all by default")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"per peer and cell (default: {PAIRS})")
    names = [engine.name for engine in ENGINES[1:]]
    parser.add_argument("--without", action="append", default=[], choices=names, help="leave out a peer")
    parser.add_argument("--busy", type=int, default=0, help="processes that never rest beside (default: 0)")
    parser.add_argument("--json", metavar="FILE", help="also write everything as JSON")
    args = parser.parse_args()
    unknown = [name for name in args.networks if name not in SUBJECTS]
    if unknown:
        parser.error(f"no network {unknown[0]!r}; expected some of {', '.join(SUBJECTS)}")
    args.networks = args.networks or list(SUBJECTS)
    return args


if __name__ == "__main__":
    sys.exit(main())
