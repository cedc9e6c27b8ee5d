"""No vector register may be spilled in the inner loops of the micro-kernels.

    python .ci/spills.py OBJDUMP OBJECT...

Disassembles objects and looks at every innermost loop with a fused multiply-add in a micro-kernel: an
instruction there that touches the stack with a vector register is a spill (or a reload), which costs as much
as the multiply-add that it serves. Fails too where no such loop is found, since then the names or the shape
of the kernels have changed and the check would see nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MICRO_KERNEL = re.compile(r"mn_(tiles_|window_|single_|stem_|conv_[12]|fma_burst)")
FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")
#: x86 and 64-bit ARM: a jump to a known place, a multiply-add, a vector register, the stack.
JUMP = re.compile(r"^(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\s+(?:\S+,\s*)*([0-9a-f]+) <")
TABLE_JUMP = re.compile(r"^(?:notrack )?(?:jmp\s+\*|br\s)")
ENDS = re.compile(r"^(?:notrack )?(?:jmp|ret|b\s|br\s|ud2|udf)")
MULTIPLY_ADD = re.compile(r"^(?:vfn?madd|fml[as])")
VECTOR = re.compile(r"%[xyz]mm\d|\b[qv]\d+\b")
STACK = re.compile(r"\(%rsp|\[sp\b")
FRAME = re.compile(r"\(%rbp|\[x29\b")
MAKES_FRAME = re.compile(r"^(?:mov\s+%rsp,%rbp|(?:mov|add)\s+x29, sp)")


class Line(NamedTuple):
    """One instruction: its address and its text."""

    address: int
    text: str


def functions(objdump: str, path: Path) -> Iterator[tuple[str, list[Line]]]:
    """Every function of an object file with its instructions."""
    command = [objdump, "-d", "--no-show-raw-insn", str(path)]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    name, lines = "", list[Line]()
    for row in listing.splitlines():
        if header := FUNCTION.match(row):
            yield name, lines
            name, lines = header[1], []
        elif found := INSTRUCTION.match(row):
            lines.append(Line(int(found[1], 16), found[2]))
    yield name, lines


def flow(lines: list[Line]) -> list[list[int]]:
    """For every instruction, the numbers of those that may come next."""
    at = {line.address: i for i, line in enumerate(lines)}
    following: list[list[int]] = []
    for i, line in enumerate(lines):
        jump = JUMP.match(line.text)
        targets = [at[int(jump[1], 16)]] if jump and int(jump[1], 16) in at else []
        falls = not ENDS.match(line.text) and i + 1 < len(lines)
        following.append(targets + ([i + 1] if falls else []))
    # A jump through a table goes wherever nothing else does: to the cases of a switch.
    reached = {target for targets in following for target in targets}
    cases = [i for i in range(1, len(lines)) if i not in reached]
    for i, line in enumerate(lines):
        if TABLE_JUMP.match(line.text):
            following[i] = cases
    return following


def dominators(following: list[list[int]]) -> list[int]:
    """For every instruction, a set (as bits) of those that every path to it goes through."""
    everything = (1 << len(following)) - 1
    before: list[list[int]] = [[] for _ in following]
    for i, targets in enumerate(following):
        for target in targets:
            before[target].append(i)
    dominated = [1] + [everything] * (len(following) - 1)
    changed = True
    while changed:
        changed = False
        for i in range(1, len(following)):
            common = everything
            for j in before[i]:
                common &= dominated[j]
            changed |= (common | 1 << i) != dominated[i]
            dominated[i] = common | 1 << i
    return dominated


def inner_loops(lines: list[Line]) -> list[list[Line]]:
    """Instructions of every loop that has no other loop inside."""
    following = flow(lines)
    dominated = dominators(following)
    before: dict[int, list[int]] = {i: [] for i in range(len(lines))}
    for i, targets in enumerate(following):
        for target in targets:
            before[target].append(i)
    loops: dict[int, set[int]] = {}  # by header
    for i, targets in enumerate(following):
        for header in targets:
            if header > i or not dominated[i] >> header & 1:
                continue
            body, ahead = loops.setdefault(header, {header}), [i]
            while ahead:
                if (j := ahead.pop()) not in body:
                    body.add(j)
                    ahead += before[j]
    inner = [body for header, body in loops.items() if not any(h in body for h in loops if h != header)]
    return [[lines[i] for i in sorted(body)] for body in inner]


def spills(lines: list[Line], loop: list[Line]) -> list[Line]:
    """What moves a vector register to or from the stack."""
    # Where the frame pointer is not one, it may point anywhere.
    framed = any(MAKES_FRAME.match(line.text) for line in lines)
    return [
        line
        for line in loop
        if VECTOR.search(line.text) and (STACK.search(line.text) or (framed and FRAME.search(line.text)))
    ]


def check(objdump: str, path: Path) -> bool:
    """Report on one object file; True if nothing was spilled."""
    loops, guilty = 0, 0
    for name, lines in functions(objdump, path):
        if not MICRO_KERNEL.match(name):
            continue
        for loop in inner_loops(lines):
            if not any(MULTIPLY_ADD.match(line.text) for line in loop):
                continue
            loops += 1
            if found := spills(lines, loop):
                guilty += 1
                print(f"{path.name}: {name}: {len(found)} of {len(loop)} instructions touch the stack:")
                for line in loop:
                    print(f"  {'>>' if line in found else '  '} {line.address:6x}  {line.text}")
    print(f"{path.name}: {loops} inner loops of micro-kernels, {guilty} with spills")
    return loops > 0 and guilty == 0


def main(objdump: str, *objects: str) -> int:
    """Check every object; the exit code."""
    # A list, so that all are reported.
    return 0 if all([check(objdump, Path(path)) for path in objects]) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
