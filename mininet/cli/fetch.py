"""``mininet fetch``: official checkpoints, from their server into a folder of this machine."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from mininet.checkpoints import cache_folder, fetch, find_checkpoint, list_checkpoints
from mininet.cli.options import Command, Parser, add_json_option
from mininet.cli.output import Progress, emit, emit_json, visible


def _configure(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="checkpoint; without it, all are listed")
    default = "$MININET_CACHE, or mininet in the user's cache folder"
    parser.add_argument("--cache", metavar="FOLDER", help=f"where to keep it (default: {default})")
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    if args.name is None:
        return _list(args)
    checkpoint = find_checkpoint(args.name)
    with ExitStack() as stack:
        bars: list[Progress] = []
        shown = 0

        def report(done: int, total: int | None) -> None:
            nonlocal shown
            if not bars:  # the size is known only now
                bars.append(stack.enter_context(Progress(total or 0, "B")))
            bars[0].advance(done - shown)
            shown = done

        path = fetch(args.name, args.cache, report=report)
    if args.json:
        emit_json({**vars(checkpoint), "path": str(path), "bytes": path.stat().st_size})
    else:
        emit(visible(str(path)))
    return 0


def _list(args: argparse.Namespace) -> int:
    folder = cache_folder(args.cache)
    rows = [(each, (folder / each.file).is_file()) for each in list_checkpoints()]
    if args.json:
        emit_json([{**vars(each), "cached": cached} for each, cached in rows])
        return 0
    for each, cached in rows:
        emit(f"{each.name:34}{'cached' if cached else '':8}{each.url}")
    return 0


FETCH = Command(
    "fetch",
    "download an official ImageNet checkpoint of torchvision, and say where it is",
    "mininet fetch mobilenet_v2\n"
    'mininet classify photos/ --model mobilenet_v2 --weights "$(mininet fetch mobilenet_v2)"',
    _configure,
    _run,
)
