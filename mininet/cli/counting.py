"""``mininet cost`` and ``mininet compare``: what a network costs, and whether that is what is published."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase

from mininet.cli.charts import write_chart
from mininet.cli.options import (
    Command,
    Parser,
    add_json_option,
    add_network_options,
    add_plot_option,
    count,
    make_network,
    shape,
)
from mininet.cli.output import emit, emit_json
from mininet.errors import ArgumentError, UnknownNameError
from mininet.inspect.compare import VERDICTS, Report, compare_published
from mininet.inspect.conventions import CONVENTIONS
from mininet.inspect.cost import GROUPINGS
from mininet.inspect.plots import cost_figure


def _configure_cost(parser: Parser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="NAME",
        help="network; the embedded digits if neither it nor weights are given",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--resolution", type=count, metavar="N", help="height and width of the input")
    size.add_argument("--input-shape", type=shape, metavar="C,H,W", help="shape of one input")
    parser.add_argument(
        "--convention", default="paper", metavar="NAME", help=f"how to count: {', '.join(CONVENTIONS)}"
    )
    parser.add_argument("--diff", metavar="NAME", help="show where another convention counts differently")
    parser.add_argument(
        "--by", default=GROUPINGS[0], choices=GROUPINGS, help=f"what a line is (default: {GROUPINGS[0]})"
    )
    add_plot_option(parser, "charts of the cost per block and of published accuracy against multiply-adds")
    add_json_option(parser)
    add_network_options(parser, model=False)


def _cost(args: argparse.Namespace) -> int:
    embedded = args.model is None and args.weights is None
    net = make_network(args, "digits" if embedded else args.weights)
    cost = net.cost(args.resolution, input_shape=args.input_shape, convention=args.convention)
    result = cost if args.diff is None else cost.diff(args.diff)
    if args.plot is not None:
        write_chart(args.plot, net, cost, cost_figure)
    if args.json:
        emit_json(result.to_dict())
    else:
        emit(cost.table(args.by) if args.diff is None else str(result))
    return 0


def _configure_compare(parser: Parser) -> None:
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="rows to show, for example '*v2 1.4*'"
    )
    parser.add_argument(
        "--verdict",
        action="append",
        metavar="NAME",
        help=f"only these: {', '.join(VERDICTS)}; may be repeated",
    )
    add_json_option(parser)


def _compare(args: argparse.Namespace) -> int:
    for verdict in args.verdict or ():
        if verdict not in VERDICTS:
            raise UnknownNameError("verdict", verdict, VERDICTS)
    report = compare_published()  # all of it: a figure is judged by those beside it
    shown = Report(
        comparison
        for comparison in report
        if fnmatchcase(comparison.row.name, args.pattern) and comparison.verdict in (args.verdict or VERDICTS)
    )
    if not shown:
        raise ArgumentError(
            f"none of {len(report)} published rows is like {args.pattern!r} with that verdict"
        )
    if args.json:
        emit_json(shown.to_dict())
    else:
        emit(str(shown))
    return 0


COST = Command(
    "cost",
    "count multiply-adds, parameters and memory traffic, as the papers do or as a tool does",
    "mininet cost mobilenet_v2 --width 1.4\n"
    "mininet cost mobilenet_v3_large --convention thop --by op\n"
    "mininet cost mobilenet_v2 --diff fvcore --json\n"
    "mininet cost mobilenet_v2 --plot cost.png",
    _configure_cost,
    _cost,
)
COMPARE = Command(
    "compare",
    "compare published multiply-adds and parameters with computed ones, with a verdict and a reason each",
    "mininet compare 'mobilenet_v2*'\nmininet compare --verdict unexplained",
    _configure_compare,
    _compare,
)
