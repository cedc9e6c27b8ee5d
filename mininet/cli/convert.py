"""``mininet convert``: weights of any readable format become one safetensors file that says what it is."""

from __future__ import annotations

import argparse
import os

from mininet.cli.options import Command, Parser, add_json_option, add_network_options, make_network
from mininet.cli.output import emit, emit_json, visible
from mininet.errors import ArgumentError
from mininet.network import Network
from mininet.weights.load import LoadReport

SUFFIX = ".safetensors"


def _configure(parser: Parser) -> None:
    parser.add_argument("input", metavar="INPUT", help="weights file of any format that mininet reads")
    parser.add_argument("output", metavar="OUTPUT", help=f"file to write, ending in {SUFFIX}")
    parser.add_argument("--force", action="store_true", help="replace OUTPUT if it exists")
    add_json_option(parser)
    add_network_options(parser, weights=False)


def _run(args: argparse.Namespace) -> int:
    if not args.output.endswith(SUFFIX):
        raise ArgumentError(f"expected an output name that ends in {SUFFIX}, got {args.output!r}")
    if os.path.lexists(args.output) and not args.force:
        raise ArgumentError(f"{args.output!r} exists already; pass --force to replace it")
    net = make_network(args, args.input)
    net.save(args.output)
    written = os.path.getsize(args.output)
    if args.json:
        emit_json(
            {
                "output": args.output,
                "bytes": written,
                "config": vars(net.config),
                "report": _as_document(net.load_report),
            }
        )
    else:
        emit(visible(_as_text(net)))
        emit(f"wrote {visible(args.output)}: {written:,} bytes")
    return 0


def _as_text(net: Network) -> str:
    """The load report in one line: loading is strict, so only what inference has no use for is left over."""
    if net.load_report is None:
        return f"{net.name}: random weights, nothing was read"
    ignored = net.load_report.ignored
    rest = f"; {len(ignored)} ignored, of no use in inference ({ignored[0]} ...)" if ignored else ""
    return net.load_report.summary() + rest


def _as_document(report: LoadReport | None) -> dict[str, object] | None:
    return None if report is None else {**vars(report), "misshaped": [str(each) for each in report.misshaped]}


CONVERT = Command(
    "convert",
    "read weights of any known format, check them and write them as safetensors",
    "mininet convert mobilenet_v2.pth net.safetensors --model mobilenet_v2\n"
    "mininet classify photo.jpg --weights net.safetensors",
    _configure,
    _run,
)
