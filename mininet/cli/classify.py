"""``mininet classify``: what is on each picture, how sure the network is, and how long it took."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from mininet.batches import Failure, Result, best_classes, run_in_batches
from mininet.cli.options import (
    Command,
    Parser,
    add_json_option,
    add_network_options,
    add_picture_options,
    choose_preset,
    choose_weights,
    count,
    make_network,
    network_options,
)
from mininet.cli.output import Progress, bar, complain, emit, emit_json, visible
from mininet.data import sample_images
from mininet.errors import ArgumentError, ImageError
from mininet.images import list_images
from mininet.network import Network
from mininet.recipe import Recipe
from mininet.runtime import set_num_threads

BATCH = 8
TOP = 5
SOME_FAILED, ALL_FAILED = 1, 2
Classes = Result[list[tuple[int, float]]]


def _configure(parser: Parser) -> None:
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="files and folders; without any, the six sample digits"
    )
    parser.add_argument(
        "--top", type=count, default=TOP, metavar="K", help=f"classes to show (default: {TOP})"
    )
    add_picture_options(parser)
    parser.add_argument(
        "--batch", type=count, default=BATCH, metavar="N", help=f"pictures run together (default: {BATCH})"
    )
    parser.add_argument("--threads", type=count, metavar="N", help="threads that the kernels use")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this Dask scheduler do it, for example tcp://10.0.0.1:8786; "
        "they must find the pictures and the weights under the same paths",
    )
    add_json_option(parser)
    add_network_options(parser)


def _run(args: argparse.Namespace) -> int:
    if args.threads is not None:
        set_num_threads(args.threads)
    weights = choose_weights(args, bool(args.images))
    if args.entry is not None and args.scheduler is not None:
        raise ArgumentError("--entry is for one machine; convert the checkpoint for a cluster's workers")
    net = make_network(args, weights)
    net.check_classifier()
    net.preset = choose_preset(net.preset, args)
    files, failures = _find(args.images)
    results: list[Classes] = []
    start = perf_counter()
    with Progress(len(files), "image") as progress:
        for outcome in _classify(args, net, weights, files):
            progress.advance()
            if isinstance(outcome, Failure):
                failures.append(outcome)
                with progress.set_aside():
                    complain(outcome.error)
                continue
            results.append(outcome)
            if not args.json:
                with progress.set_aside():
                    emit(_as_text(outcome, net.labels, in_full=bool(args.images)))
    seconds = perf_counter() - start
    if args.json:
        emit_json(_as_document(net, weights, results, failures, seconds))
    elif results:
        emit(f"{_rate(len(results), len(failures), seconds)} ({net.name}, weights {visible(weights)})")
    if failures:
        return SOME_FAILED if results else ALL_FAILED
    return 0


def _find(paths: Sequence[str]) -> tuple[list[Path], list[Failure]]:
    """Expand folders; what cannot be found does not keep the others from being classified."""
    if not paths:
        return sample_images(), []
    files: list[Path] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            files += list_images(path)
        except ImageError as error:
            failures.append(Failure(path, str(error)))
            complain(str(error))
    return files, failures


def _classify(
    args: argparse.Namespace, net: Network, weights: str, files: Sequence[Path]
) -> Iterator[Classes | Failure]:
    """One outcome per file, in order, from this process or from a cluster."""
    task = partial(best_classes, top=args.top)
    if args.scheduler is None or not files:
        yield from run_in_batches(net, files, task, args.batch)
        return
    from mininet.dask import run, stream

    recipe = Recipe.of(args.model, weights, net.preset, network_options(args))
    paths = [os.path.abspath(path) for path in files]  # a worker stands in a folder of its own
    bag = run(paths, recipe, task, batch_size=args.batch, threads=args.threads or 1)
    for path, outcome in zip(files, stream(bag, args.scheduler), strict=True):
        yield replace(outcome, file=str(path))


def _as_text(result: Classes, labels: Sequence[str], in_full: bool) -> str:
    """File (the path as given, or just the name) and time, then a line with a bar for each class."""
    file = result.file if in_full else Path(result.file).name
    lines = [f"{visible(file)}  {result.seconds * 1e3:.2f} ms"]
    for index, probability in result.value:
        lines.append(f"  {bar(probability)} {probability * 100:6.2f} %  {visible(labels[index])}")
    return "\n".join(lines)


def _rate(done: int, failed: int, seconds: float) -> str:
    images = "1 image" if done == 1 else f"{done} images"
    failures = f", {failed} failed" if failed else ""
    return f"{images} in {seconds:.3f} s, {done / max(seconds, 1e-9):.1f} images/s{failures}"


def _as_document(
    net: Network, weights: str, results: list[Classes], failures: list[Failure], seconds: float
) -> dict[str, Any]:
    return {
        "model": {
            **vars(net.config),
            "weights": weights,
            "input_shape": net.input_shape,
            "preprocessing": str(net.preset),
        },
        "images": [
            {
                "file": result.file,
                "seconds": result.seconds,
                "top": [
                    {"label": net.labels[index], "index": index, "probability": probability}
                    for index, probability in result.value
                ],
            }
            for result in results
        ],
        "errors": [vars(failure) for failure in failures],
        "seconds": seconds,
    }


CLASSIFY = Command(
    "classify",
    "say what is on pictures, with the most probable classes and the time each took",
    "mininet classify\nmininet classify photos/ --weights mobilenet_v2.pth --model mobilenet_v2 --top 3",
    _configure,
    _run,
)
