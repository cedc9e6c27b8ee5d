"""``mininet bench``: how fast networks run here, and what share of the machine's peak that is."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mininet.bench import TICKS, StepTime, Timing, load_average, machine, measure, step_times
from mininet.cli.options import (
    Command,
    Parser,
    add_json_option,
    add_network_options,
    count,
    make_network,
    multiplier,
)
from mininet.cli.output import Progress, emit, emit_json, remark, visible
from mininet.errors import ArgumentError
from mininet.inspect.table import shape_text, text_lines
from mininet.network import Network
from mininet.ops.base import Shape

DEFAULT = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v1:0.25@128",
)
SECONDS = 1.5
MOST_SECONDS = 3600.0
HEADER = (
    *("network", "input", "threads", "batch", "MAdds", "min ms", "median ms", "p95 ms", "images/s"),
    *("share of peak", "in the median"),
)
STEP_HEADER = ("step", "node", "kernel", "output", "MAdds", "us", "of all", "share of peak", "bytes", "GB/s")
NOTE = (
    "ms: one call, all images of the batch; MAdds: one image. share of peak: the shortest call by the\n"
    "greatest peak sampled (what it can do); in the median: over rounds of calls, each by the peak sampled\n"
    "right before it (what to expect here and now)."
)


@dataclass(frozen=True)
class Spec:
    """A network as the command line names it: ``mobilenet_v1:0.25@128``.

    Attributes
    ----------
    text : str
        As it was written.
    name : str or None
        For `create_model`; None if the weights say it.
    width : float or None
    size : (height, width) or None
    """

    text: str
    name: str | None = None
    width: float | None = None
    size: tuple[int, int] | None = None


def spec(text: str) -> Spec:
    """Parse ``NAME[:WIDTH][@SIZE]``."""
    found = re.fullmatch(r"([^:@]+)(?::([^:@]+))?(?:@([^:@]+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected NAME:WIDTH@SIZE such as {DEFAULT[-1]}, got {text!r}")
    width, size_text = found[2], found[3]
    return Spec(text, found[1], multiplier(width) if width else None, size(size_text) if size_text else None)


def size(text: str) -> tuple[int, int]:
    """Parse ``224`` or ``193x257`` into (height, width)."""
    parts = [count(part) for part in text.split("x")]
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"expected N or HxW, got {text!r}")
    return parts[0], parts[-1]


def counts(text: str) -> list[int]:
    """Parse ``1,2,8``, each once."""
    return list(dict.fromkeys(count(part) for part in text.split(",")))


def duration(text: str) -> float:
    """Parse seconds: above 0, at most an hour."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, at most {MOST_SECONDS:g}, got {text!r}")
    return value


def _configure(parser: Parser) -> None:
    parser.add_argument(
        "networks",
        nargs="*",
        type=spec,
        metavar="NAME[:WIDTH][@SIZE]",
        help=f"networks (default: {' '.join(DEFAULT)})",
    )
    parser.add_argument(
        "--resolution", type=size, metavar="N|HxW", help="height and width of inputs that name none"
    )
    parser.add_argument("--threads", type=counts, default=[1], metavar="N,..", help="threads (default: 1)")
    parser.add_argument(
        "--batch", type=counts, default=[1], metavar="N,..", help="images a call (default: 1)"
    )
    parser.add_argument(
        "--seconds",
        type=duration,
        default=SECONDS,
        metavar="S",
        help=f"time for each line of the table (default: {SECONDS:g})",
    )
    parser.add_argument("--steps", action="store_true", help="also a table of the steps of each plan")
    add_json_option(parser)
    add_network_options(parser, model=False)


def _run(args: argparse.Namespace) -> int:
    networks = [(each, _network(each, args)) for each in _specs(args)]
    about = machine()
    if max(args.threads) > about["cpus"]:
        remark(f"{max(args.threads)} threads share {_counted(about['cpus'], 'CPU')}")
    cells: list[tuple[Timing, list[StepTime]]] = []
    with Progress(len(networks) * len(args.threads) * len(args.batch) * TICKS, "tick") as progress:
        for each, net in networks:
            for threads in args.threads:
                for batch in args.batch:
                    shape = _shape(net, each, args, batch)
                    cells.append(_cell(net, each.text, shape, threads, args, progress.advance))
    about["load_average"] = {"before": about["load_average"], "after": load_average()}
    if args.json:
        emit_json(_as_document(about, cells, args.steps))
    else:
        emit(_as_text(about, cells))
    return 0


def _specs(args: argparse.Namespace) -> Sequence[Spec]:
    if args.networks:
        if args.weights is not None and len(args.networks) > 1:
            raise ArgumentError(f"--weights are of one network, got {len(args.networks)}")
        for each in args.networks:
            if each.width is not None and hasattr(args, "width"):
                raise ArgumentError(f"both --width and {each.text!r} give a width multiplier")
        return list(args.networks)
    if args.weights is not None:
        return [Spec(args.weights)]
    if hasattr(args, "width") or args.resolution is not None:
        raise ArgumentError("--width and --resolution need the name of a network")
    return [spec(text) for text in DEFAULT]


def _network(each: Spec, args: argparse.Namespace) -> Network:
    width = {} if each.width is None else {"width": each.width}
    return make_network(argparse.Namespace(**{**vars(args), "model": each.name, **width}), args.weights)


def _shape(net: Network, each: Spec, args: argparse.Namespace, batch: int) -> Shape:
    wanted = each.size or args.resolution
    return (batch, net.config.in_channels, *(wanted or net.input_shape[2:]))


def _cell(
    net: Network, name: str, shape: Shape, threads: int, args: argparse.Namespace, tick: Callable[[], None]
) -> tuple[Timing, list[StepTime]]:
    timing = measure(net, shape, threads, args.seconds, name=name, tick=tick)
    return timing, step_times(net, shape, threads) if args.steps else []


def _as_document(
    about: dict[str, Any], cells: Sequence[tuple[Timing, list[StepTime]]], steps: bool
) -> dict[str, Any]:
    lines = []
    for timing, times in cells:
        line = timing.to_dict()
        if steps:
            line["steps"] = [time.to_dict() for time in times]
        lines.append(line)
    return {"machine": about, "timings": lines}


def _as_text(about: dict[str, Any], cells: Sequence[tuple[Timing, list[StepTime]]]) -> str:
    peaks = [peak for timing, _ in cells for peak in timing.peaks]
    load = about["load_average"]
    lines = [
        f"mininet {about['version']}, {about['isa']}, on {about['processor']} with "
        f"{_counted(about['cpus'], 'CPU')}; load average {load['before']} before, {load['after']} after",
        f"peak of one thread: {max(peaks) / 1e9:.2f} GMAdd/s at best, {np.median(peaks) / 1e9:.2f} in the "
        f"median of {len(peaks)} samples",
        *text_lines(HEADER, [_cells(timing) for timing, _ in cells], range(2, len(HEADER))),
        NOTE,
    ]
    for timing, times in cells:
        if times:
            lines += ["", *_step_lines(timing, times)]
    return "\n".join(lines)


def _cells(timing: Timing) -> tuple[str, ...]:
    batch, *image = timing.input_shape
    return (
        visible(timing.network),
        "x".join(map(str, image)),
        str(timing.threads),
        str(batch),
        f"{timing.madds:,}",
        *(f"{seconds * 1e3:.3f}" for seconds in (timing.minimum, timing.median, timing.tail)),
        f"{batch / timing.median:,.1f}",
        f"{timing.share_best:.1%}",
        f"{timing.share_median:.1%}",
    )


def _step_lines(timing: Timing, times: Sequence[StepTime]) -> list[str]:
    total = sum(time.seconds for time in times)
    rows = [
        (
            str(number),
            time.name,
            time.kernel,
            "x".join(map(str, time.output[1:])),
            f"{time.madds:,}" if time.madds else "",
            f"{time.seconds * 1e6:.1f}",
            f"{time.seconds / total:.1%}",
            "" if math.isnan(time.share) else f"{time.share:.1%}",
            f"{time.bytes:,}",
            f"{time.bytes / time.seconds / 1e9:.1f}" if time.seconds else "",
        )
        for number, time in enumerate(times)
    ]
    title = (
        f"{visible(timing.network)} {shape_text(timing.input_shape)}, {_counted(timing.threads, 'thread')}: "
        f"one image, the shortest time of each step, {total * 1e3:.3f} ms together"
    )
    return [title, *text_lines(STEP_HEADER, rows, (0, *range(4, len(STEP_HEADER))))]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


BENCH = Command(
    "bench",
    "time networks and compare them with the machine's own peak",
    "mininet bench\n"
    "mininet bench mobilenet_v2 mobilenet_v1:0.25@128 --threads 1,2 --batch 1,8\n"
    "mininet bench mobilenet_v3_small --steps\n"
    "mininet bench --weights net.safetensors --resolution 193x257 --json",
    _configure,
    _run,
)
