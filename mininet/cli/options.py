"""Arguments: the parser whose errors are one line, and the options that subcommands share."""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from mininet.cli.output import remark
from mininet.create import WeightsSource, create_model
from mininet.errors import ArgumentError
from mininet.models.config import option_names
from mininet.network import Network
from mininet.preprocess import Preset
from mininet.weights import read_weights


class Parser(argparse.ArgumentParser):
    """A parser that raises `ArgumentError` instead of printing its usage and leaving."""

    def __init__(self, **settings: Any) -> None:
        # Abbreviations would change their meaning with every option that is added.
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise the one-line error, with the nearest choice where there is one."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)$", message)
        hint = _did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2])) if choice else ""
        raise ArgumentError(f"{message}{hint or f' (see {self.prog} --help)'}")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raise the error for arguments that nobody knows."""
        word = unknown[0]
        if not word.startswith("-"):
            self.error(f"unexpected argument {word!r}")
        known = re.findall(r"(?<!\S)--[a-z][a-z-]*", self.format_help())
        hint = _did_you_mean(word.partition("=")[0], known)
        raise ArgumentError(f"unknown option {word!r}{hint or f' (see {self.prog} --help)'}")


@dataclass(frozen=True)
class Command:
    """One subcommand.

    Attributes
    ----------
    name : str
        What the user types.
    summary : str
        One sentence without a full stop.
    example : str
        Command lines that the help shows.
    configure : callable
        Adds the arguments to a parser.
    run : callable
        Does the work and returns the exit code; raises `MininetError` for bad input.
    """

    name: str
    summary: str
    example: str
    configure: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], int]

    def add_to(self, commands: Any) -> None:
        """Make the parser of this subcommand."""
        parser = commands.add_parser(
            self.name,
            help=self.summary,
            description=f"{self.summary[0].upper()}{self.summary[1:]}.",
            epilog="example:\n" + "\n".join(f"  {line}" for line in self.example.splitlines()),
        )
        self.configure(parser)
        parser.set_defaults(run=self.run, parser=parser)


# Far beyond any MobileNet, and small enough that a slip of the finger neither overflows a C int nor asks
# for all of the memory.
MOST = 100_000
MOST_TIMES = 10.0
PLOT_SUFFIXES = (".png", ".svg")


def count(text: str, least: int = 1) -> int:
    """Parse an integer from `least` to `MOST`."""
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"expected an integer from {least} to {MOST}, got {text!r}")
    return int(text)


def multiplier(text: str) -> float:
    """Parse a number above 0, at most `MOST_TIMES`."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_TIMES:
        raise argparse.ArgumentTypeError(f"expected a number above 0, at most {MOST_TIMES:g}, got {text!r}")
    return value


def shape(text: str) -> tuple[int, int, int, int]:
    """Parse ``C,H,W`` into the shape (1, C, H, W)."""
    parts = text.split(",")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"expected C,H,W such as 3,224,224, got {text!r}")
    channels, height, width = map(count, parts)
    return 1, channels, height, width


_VALUES: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "width": (multiplier, "X", "width multiplier, for example 0.5"),
    "num_classes": (partial(count, least=0), "N", "outputs of the last layer; 0 for no classifier"),
    "in_channels": (count, "N", "channels of the input image"),
    "lineage": (str, "NAME", "whose conventions: torchvision, timm, keras, tflite"),
    "pool": (str, "NAME", "what makes a vector of the last feature map: avg, max or none"),
    "activation": (str, "NAME", "V1, V2: activation instead of ReLU6, for example relu"),
    "depth": (multiplier, "X", "V2 and V3 of timm: depth multiplier"),
}
_FLAGS: dict[str, tuple[bool, str]] = {
    "separable": (False, "V1: the paper's twin with full convolutions"),
    "shallow": (True, "V1: without the five 14x14x512 layers"),
    "head_conv": (True, "V1 of timm: a 1x1 convolution before pooling"),
    "minimalistic": (True, "V3: 3x3 kernels and ReLU only, no squeeze-and-excite"),
    "fix_stem_head": (True, "V2 of timm: width and depth leave the first and last layers alone"),
    "batch_norm": (False, "the network with its batch norms folded away"),
}


def add_network_options(parser: Parser, model: bool = True, weights: bool = True) -> None:
    """Add the options that say which network is meant.

    All fields of `ModelConfig` are among them but the dropout rate, which changes no result, and the clips,
    which only a quantised file can know.

    Parameters
    ----------
    parser : Parser
        Where to add them.
    model, weights : bool
        Whether ``--model`` and ``--weights`` are options; a subcommand may have them as arguments.
    """
    group = parser.add_argument_group("network", "needed where the weights do not say it themselves")
    if model:
        group.add_argument("--model", metavar="NAME", help="network, for example mobilenet_v2")
    if weights:
        group.add_argument("--weights", metavar="FILE", help="weights file, or digits, or random:SEED")
    group.add_argument("--entry", metavar="KEY", help="what to read of a .pth checkpoint, for example model")
    group.add_argument("--preprocessing", metavar="NAME", help="preset, for example torchvision-v2 or keras")
    for name, (parse, metavar, text) in _VALUES.items():
        group.add_argument(_flag(name), type=parse, metavar=metavar, default=argparse.SUPPRESS, help=text)
    for name, (value, text) in _FLAGS.items():
        group.add_argument(
            _flag(name if value else f"no_{name}"),
            dest=name,
            action="store_const",
            const=value,
            default=argparse.SUPPRESS,
            help=text,
        )


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--json`` to a parser or to a group of options that exclude each other."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def add_picture_options(parser: Parser) -> None:
    """Add the options that say how a picture becomes the network's input."""
    parser.add_argument("--resolution", type=count, metavar="N", help="height and width of the input")
    parser.add_argument("--no-resize", action="store_true", help="only cut out the centre of each picture")


def choose_weights(args: argparse.Namespace, pictures: bool) -> str:
    """Which weights to take: those given, or the embedded ones if no other network is meant.

    Raises
    ------
    ArgumentError
        If a network is named without weights, or there are no ``pictures`` for other than the digits.
    """
    if args.weights is None and args.model is not None:
        raise ArgumentError(f"no weights for {args.model}: pass --weights FILE, or random:SEED for a dry run")
    if args.weights is None and pictures:
        remark("no --weights given, so the embedded network of handwritten digits is used")
    weights: str = "digits" if args.weights is None else args.weights
    if weights != "digits" and not pictures:
        raise ArgumentError("no pictures given: expected files or folders")
    return weights


def choose_preset(preset: Preset, args: argparse.Namespace) -> Preset:
    """The network's preset as the options of `add_picture_options` change it."""
    if args.resolution is not None:
        preset = preset.at(args.resolution)
    return preset.without_resize() if args.no_resize else preset


def add_plot_option(parser: Parser, what: str) -> None:
    """Add ``--plot FILE``."""
    parser.add_argument(
        "--plot", type=plot_file, metavar="FILE", help=f"write {what} to a file that ends in .png or .svg"
    )


def plot_file(text: str) -> str:
    """Check the name of a picture to write."""
    if not text.lower().endswith(PLOT_SUFFIXES):
        raise argparse.ArgumentTypeError(
            f"expected a name that ends in {' or '.join(PLOT_SUFFIXES)}, got {text!r}"
        )
    return text


def make_network(args: argparse.Namespace, weights: str | os.PathLike[str] | None) -> Network:
    """Build the network that the options of `add_network_options` describe."""
    source: WeightsSource = weights
    if args.entry is not None:
        if weights is None:
            raise ArgumentError("--entry needs a checkpoint to choose from")
        source = read_weights(weights, entry=args.entry)
    return create_model(args.model, source, preprocessing=args.preprocessing, **network_options(args))


def network_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those fields of `ModelConfig` that the options of `add_network_options` set."""
    return {name: getattr(args, name) for name in option_names() if hasattr(args, name)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
