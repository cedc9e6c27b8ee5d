"""Tables as text and as Markdown, for everything that inspection prints."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Cells = Sequence[str]


def text_lines(header: Cells, rows: Sequence[Cells], numbers: Collection[int] = ()) -> list[str]:
    """Lines of an aligned table, the header between two rules and a rule at the end.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of sequences of str
        As many cells as titles each.
    numbers : collection of int
        Columns of figures, which are flush right.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Cells) -> str:
        aligned = (
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [rule, line(header), rule, *map(line, rows), rule]


def markdown_lines(header: Cells, rows: Sequence[Cells], numbers: Collection[int] = ()) -> list[str]:
    """Lines of a Markdown table; arguments as for `text_lines`."""

    def line(cells: Cells) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = ["---:" if i in numbers else "---" for i in range(len(header))]
    return [line(header), line(rule), *map(line, rows)]


def shape_text(shape: Sequence[int]) -> str:
    """``(1, 32, 112, 112)``."""
    return "(" + ", ".join(map(str, shape)) + ")"


def figure(value: float) -> str:
    """A number in four significant digits."""
    return f"{value:.4g}"
