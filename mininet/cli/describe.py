"""``mininet summary`` and ``mininet models``: what a network is made of, and which there are."""

from __future__ import annotations

import argparse
from typing import Any

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
from mininet.errors import UnknownNameError
from mininet.inspect import count_cost
from mininet.inspect.plots import blocks_figure
from mininet.models.registry import build_graph, config_for, list_models, preset_for

RESOLUTION = 224
CONVENTION = "paper"


def _configure_summary(parser: Parser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        metavar="NAME",
        help="network; the embedded digits if neither it nor weights are given",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--resolution", type=count, metavar="N", help="height and width of the input")
    size.add_argument("--input-shape", type=shape, metavar="C,H,W", help="shape of one input")
    parser.add_argument("--node", metavar="NODE", help="only this node or block, for example features.3")
    # `--depth` is taken: it is the depth multiplier of timm's networks.
    parser.add_argument(
        "--levels", type=count, metavar="N", help="so many levels of names; what lies deeper is summed up"
    )
    add_plot_option(parser, "a chart of multiply-adds, parameters and time per block")
    form = parser.add_mutually_exclusive_group()
    add_json_option(form)
    form.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    add_network_options(parser, model=False)


def _summary(args: argparse.Namespace) -> int:
    embedded = args.model is None and args.weights is None
    net = make_network(args, "digits" if embedded else args.weights)
    input_shape = args.input_shape
    if args.resolution is not None:
        input_shape = (1, net.config.in_channels, args.resolution, args.resolution)
    summary = net.summary(input_shape, args.levels, args.node)
    if args.plot is not None:
        write_chart(args.plot, net, summary.cost, blocks_figure)
    if args.json:
        emit_json(summary.to_dict())
    else:
        emit(summary.to_markdown() if args.markdown else str(summary))
    return 0


def _configure_models(parser: Parser) -> None:
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="for example 'timm/*v3*'")
    add_json_option(parser)


def _models(args: argparse.Namespace) -> int:
    names = list_models(args.pattern)
    if not names:
        raise UnknownNameError("model", args.pattern, list_models())
    models = [_model(name) for name in names]
    if args.json:
        shape_at = [1, 3, RESOLUTION, RESOLUTION]
        emit_json({"input_shape": shape_at, "convention": CONVENTION, "models": models})
        return 0
    name_width = max(map(len, names))
    madds_title = f"MAdds at {RESOLUTION}"
    emit(f"{'name':{name_width}}  {'params':>11}  {madds_title:>13}")
    for model in models:
        emit(f"{model['name']:{name_width}}  {model['params']:11,}  {model['madds']:13,}")
    return 0


def _model(name: str) -> dict[str, Any]:
    config = config_for(name)
    cost = count_cost(build_graph(config), (1, config.in_channels, RESOLUTION, RESOLUTION), CONVENTION)
    return {
        "name": name,
        "architecture": config.architecture,
        "lineage": config.lineage,
        "width": config.width,
        "preprocessing": preset_for(name, config),
        "params": cost.params,
        "madds": cost.madds,
    }


SUMMARY = Command(
    "summary",
    "show the layers of a network with their output shapes, parameters and multiply-adds",
    "mininet summary mobilenet_v2 --width 0.5 --resolution 192\n"
    "mininet summary mobilenet_v3_large --levels 2 --markdown\n"
    "mininet summary mobilenet_v2 --node features.3\n"
    "mininet summary --weights net.safetensors --json\n"
    "mininet summary mobilenet_v3_small --plot blocks.svg",
    _configure_summary,
    _summary,
)
MODELS = Command(
    "models",
    "list the networks by name, with parameters and multiply-adds",
    "mininet models 'timm/mobilenetv3*'",
    _configure_models,
    _models,
)
