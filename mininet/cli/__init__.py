"""The command line ``mininet``: one subcommand per entry of `COMMANDS`.

A new subcommand is a `Command` in a module of this package (its help, an example, a function that adds
its arguments and one that runs it) and its entry here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import mininet
from mininet.cli.bench import BENCH
from mininet.cli.classify import CLASSIFY
from mininet.cli.convert import CONVERT
from mininet.cli.counting import COMPARE, COST
from mininet.cli.describe import MODELS, SUMMARY
from mininet.cli.fetch import FETCH
from mininet.cli.inspect import INSPECT
from mininet.cli.options import Command, Parser
from mininet.cli.output import complain
from mininet.errors import MininetError

__all__ = ["COMMANDS", "main"]

COMMANDS: tuple[Command, ...] = (CLASSIFY, INSPECT, SUMMARY, COST, COMPARE, MODELS, FETCH, CONVERT, BENCH)

FAILED = 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # what a shell reports for a program that SIGINT or SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        Exit code: 0 all well, 1 part of the work failed (some images of several), 2 bad usage or input,
        130 interrupted, 141 if whoever read the output has closed it.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except MininetError as error:
        complain(str(error))
    except MemoryError as error:
        complain(f"out of memory: {error}" if str(error) else "out of memory")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        return PIPE_CLOSED
    except OSError as error:
        _abandon_output()
        where = "standard output" if error.filename is None else repr(error.filename)
        complain(f"{where}: {error.strerror or error}")
    return FAILED


def make_parser() -> Parser:
    """Make the parser of all subcommands."""
    parser = Parser(
        prog="mininet",
        description="Run, read and check MobileNets on a CPU.",
        epilog="'mininet classify' alone reads six handwritten digits that ship with the package.\n"
        "'mininet COMMAND --help' explains a command and shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"mininet {mininet.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _run(argv: Sequence[str]) -> int:
    try:
        args, unknown = make_parser().parse_known_args(argv)
    except SystemExit as done:  # argparse has printed what --help or --version asks for
        return int(done.code or 0)
    if unknown:
        args.parser.refuse(unknown)
    code: int = args.run(args)
    return code


def _abandon_output() -> None:
    """Send what is still buffered for stdout nowhere, or Python complains about it on exit."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
