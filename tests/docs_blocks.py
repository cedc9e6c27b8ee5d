"""Runs the code blocks of README and docs; `tests/test_docs.py` starts it once per page, each time anew.

What a fence means:

``python``          is run; all blocks of a page share one namespace.
``python no-run``   is compiled only; a line ``<!-- no-run: the reason -->`` must stand right above it.
``bash``            lines that begin with ``mininet`` go through the command line and must succeed.
``output``          is what the block before it prints, ``...`` standing for whatever varies.
``c``               is compiled with every warning on, as one more kernel for each instruction set.

Files that a page would have to fetch (a checkpoint, a photo) are replaced by stand-ins of the same name
and form in the working folder. Run by hand, from an empty folder::

    python tests/docs_blocks.py docs/pages/counting.md            # check
    python tests/docs_blocks.py docs/pages/counting.md --update   # rewrite its output blocks
"""

from __future__ import annotations

import contextlib
import doctest
import hashlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`]*)$")
REASON = re.compile(r"<!-- no-run: \S.* -->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    page : Path
        The file it stands in.
    line : int
        Line number of its first line of code, from 1.
    info : tuple of str
        Words after the fence: the language first.
    text : str
        The code, without the fence's indentation.
    above : str
        The line right above the fence.
    """

    page: Path
    line: int
    info: tuple[str, ...]
    text: str
    above: str

    @property
    def language(self) -> str:
        """First word after the fence; empty for none."""
        return self.info[0] if self.info else ""

    @property
    def where(self) -> str:
        """Page and line, as editors read them."""
        return f"{self.page.name}:{self.line}"


def pages() -> list[Path]:
    """README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found, start, opening = [], 0, None
    for number, line in enumerate(lines):
        match = FENCE.match(line)
        if match is None:
            continue
        if opening is None:
            opening, start = match, number
            continue
        indent = len(opening["indent"])
        body = "".join(f"{text[indent:]}\n" for text in lines[start + 1 : number])
        above = lines[start - 1] if start else ""
        found.append(Block(page, start + 2, tuple(opening["info"].split()), body, above))
        opening = None
    assert opening is None, f"{page.name}:{start + 1}: this fence is never closed"
    return found


def commands_of(block: Block) -> list[list[str]]:
    """The ``mininet`` lines of a bash block as argument lists, without the program's name."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mininet ")]


class Page:
    """One page being run: its namespace, and what its last block printed."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.blocks = blocks_of(page)
        self.namespace: dict[str, Any] = {"__name__": "__docs__"}
        self.printed = ""

    def run(self) -> Iterator[tuple[Block, str]]:
        """Run all blocks; yields each output block with what was printed instead of it.

        Raises
        ------
        AssertionError, SystemExit, Exception
            Whatever a block raises; its traceback shows the page's own lines.
        """
        for block in self.blocks:
            if block.language == "output":
                yield block, self.printed
            elif block.language in ("python", "bash"):
                with contextlib.redirect_stdout(io.StringIO()) as stdout:
                    self._execute(block)
                self.printed = stdout.getvalue()

    def _execute(self, block: Block) -> None:
        if block.language == "bash":
            _run_commands(block)
            return
        # Empty lines in front: line numbers in a traceback are those of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec", dont_inherit=True)
        if "no-run" in block.info:
            assert REASON.fullmatch(block.above.strip()), f"{block.where}: no-run without a reason above it"
            return
        exec(code, self.namespace)


def _run_commands(block: Block) -> None:
    from mininet.cli import main

    for arguments in commands_of(block):
        stderr = io.StringIO()
        with contextlib.redirect_stderr(stderr):
            code = main(arguments)
        assert code == 0, f"{block.where}: mininet {shlex.join(arguments)}: exit {code}: {stderr.getvalue()}"


def differs(want: str, got: str) -> bool:
    """Whether an output block does not describe what was printed."""
    return not doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def make_stand_ins(folder: Path, text: str) -> dict[str, Any]:
    """Write the files that a page's text names, and return the variables that it expects."""
    makers: dict[str, Callable[[Path], None]] = {
        "mobilenet_v2.pth": lambda path: _random_net("mobilenet_v2").save(path),
        "mobilenetv3_large_100.safetensors": _write_timm,
        "photo.jpg": _write_photo,
        "photos/": lambda path: (path.mkdir(), _write_photo(path / "one.ppm"))[1],
    }
    for name, make in makers.items():
        if name in text:
            make(folder / name)
    if "fetch" in text:
        _fill_cache(folder / "cache")
    return {"torch_model": _TorchModel()} if "torch_model" in text else {}


def _random_net(name: str) -> Any:
    import mininet

    return mininet.create_model(name, weights="random:0")


def _fill_cache(folder: Path) -> None:
    """Put random weights where each official checkpoint would be, and their hash into the table."""
    from mininet import checkpoints
    from mininet.weights.safetensors import write

    os.environ[checkpoints.CACHE_VARIABLE] = str(folder)
    folder.mkdir()
    table = []
    for checkpoint in checkpoints.list_checkpoints():
        path = folder / checkpoint.file
        write(path, _random_net(checkpoint.model).state_dict())
        table.append(replace(checkpoint, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    checkpoints.list_checkpoints = lambda: tuple(table)  # type: ignore[assignment]


def _write_timm(path: Path) -> None:
    """Weights under timm's own names, as its checkpoints have them."""
    from mininet.weights.names import rows
    from mininet.weights.safetensors import write

    net = _random_net("timm/mobilenetv3_large_100")
    state = net.state_dict()
    table = rows(net.config, "timm")
    write(path, {row.theirs: np.ascontiguousarray(row.to_theirs(state[row.ours])) for row in table})


def _write_photo(path: Path) -> None:
    """A colour gradient of 320x240 pixels."""
    y, x = np.mgrid[:240, :320]
    pixels = np.stack([x % 256, y, (x + y) % 256], axis=-1).astype(np.uint8)
    if path.suffix == ".jpg":
        from PIL import Image

        Image.fromarray(pixels).save(path)
    else:
        path.write_bytes(b"P6 320 240 255\n" + pixels.tobytes())


class _TorchModel:
    """Has the one method of a torch module that a page calls."""

    def state_dict(self) -> dict[str, Any]:
        return {name: _Tensor(value) for name, value in _random_net("mobilenet_v2").state_dict().items()}


@dataclass(frozen=True)
class _Tensor:
    value: Any

    def numpy(self) -> Any:
        return self.value


def main(path: str, *options: str) -> int:
    """Run one page; returns how many of its output blocks are wrong."""
    page = Page(Path(path).resolve())
    text = page.page.read_text(encoding="utf-8")
    page.namespace |= make_stand_ins(Path.cwd(), text)
    ran = [(block, re.sub(r"[ \t]+$", "", got, flags=re.M)) for block, got in page.run()]
    wrong = [(block, got) for block, got in ran if differs(block.text, got)]
    if "--update" in options:
        wrong = [(block, got) for block, got in wrong if "..." not in block.text]  # those are written by hand
        lines = text.splitlines(keepends=True)
        for block, got in reversed(wrong):
            lines[block.line - 1 : block.line - 1 + block.text.count("\n")] = [got]
        page.page.write_text("".join(lines), encoding="utf-8")
        return 0
    for block, got in wrong:
        print(f"{block.where}: the page says\n{block.text}\nbut this was printed\n{got}", file=sys.stderr)
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
