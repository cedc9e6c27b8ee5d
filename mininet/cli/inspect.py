"""``mininet inspect``: what becomes of one picture on its way through a network."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

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
)
from mininet.cli.output import bar, emit, emit_json, visible
from mininet.data import sample_images
from mininet.errors import ArgumentError
from mininet.inspect.report import Report
from mininet.reporting import TOP, report_on

SUFFIXES = (".html", ".htm")


def _configure(parser: Parser) -> None:
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", help="a picture; without one, a handwritten digit"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"write a page to look at in a browser, to a file that ends in {SUFFIXES[0]}",
    )
    parser.add_argument(
        "--top", type=count, default=TOP, metavar="K", help=f"classes to show (default: {TOP})"
    )
    add_picture_options(parser)
    add_json_option(parser)
    add_network_options(parser)


def _run(args: argparse.Namespace) -> int:
    if args.output is not None and not args.output.lower().endswith(SUFFIXES):
        raise ArgumentError(f"expected an output name that ends in {SUFFIXES[0]}, got {args.output!r}")
    net = make_network(args, choose_weights(args, args.image is not None))
    net.preset = choose_preset(net.preset, args)
    image = sample_images()[0] if args.image is None else Path(args.image)
    report = report_on(net, image, args.output, top=args.top, source=visible(image.name))
    if args.json:
        emit_json(report.to_dict())
    elif args.output is None:
        emit(f"{report}\n{_top(report)}")
    else:
        emit(f"{_top(report)}\nwrote {visible(args.output)}: {os.path.getsize(args.output):,} bytes")
    return 0


def _top(report: Report) -> str:
    return "\n".join(f"  {bar(share)} {share * 100:6.2f} %  {visible(label)}" for label, share in report.top)


INSPECT = Command(
    "inspect",
    "show every node at work on one picture, as a table or as a page to click through",
    "mininet inspect\nmininet inspect photo.jpg -o report.html --weights net.safetensors",
    _configure,
    _run,
)
