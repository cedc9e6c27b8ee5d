"""Draw every figure of the documentation.

Each picture is computed from the project itself: its networks, its ops, its counts. It needs the
``docs`` extra::

    python docs/examples/make_figures.py --output docs/pages/figures
    python docs/examples/make_figures.py --output /tmp/figures hard-swish manifold    # some of them

The drawing lies in the modules beside this one: `figures_ideas` (what the papers say), `figures_tour` (what
happens to one image), `figures_inside` (how it is computed). The same versions give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures_ideas
import figures_inside
import figures_tour
import matplotlib
from PIL import Image

DPI = 130
COLOURS = 256  # of the palette: a third of the bytes, and no difference that one could see

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # the one font that matplotlib brings along
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
    "savefig.dpi": DPI,
    "image.interpolation": "nearest",
    "image.cmap": "viridis",
}

FIGURES: dict[str, Callable[[], Any]] = {
    **figures_ideas.FIGURES,
    **figures_tour.FIGURES,
    **figures_inside.FIGURES,
}
"""Every figure by the name of its file: a function that draws it and returns the matplotlib Figure."""


def write(name: str, folder: Path) -> Path:
    """Draw one figure and write it as a small PNG."""
    path = folder / f"{name}.png"
    drawn = FIGURES[name]()
    drawn.savefig(path, metadata={"Software": None})
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


def main() -> None:
    """Draw the figures that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Draw the figures of the documentation.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    if unknown := set(args.names) - set(FIGURES):
        parser.error(f"no figure is called {', '.join(sorted(unknown))}")
    matplotlib.use("Agg")
    matplotlib.rcParams.update(STYLE)
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.names or FIGURES:
        path = write(name, args.output)
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
