"""The figures that papers and repositories publish, as they stand there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from mininet.data import FOLDER
from mininet.errors import ArgumentError
from mininet.models.config import ModelConfig
from mininet.models.registry import config_for

PUBLISHED = "published.csv"
DISAGREEMENTS = "disagreements.csv"

HEADS = ("SSDLite", "LR-ASPP", "DeepLabV3")
"""Words by which a variant is known to be a detection or segmentation network."""

_OPTIONS = {
    "full-conv": {"separable": False},
    "shallow": {"shallow": True},
    "minimalistic": {"minimalistic": True},
}
_LINEAGES = (("torchvision", "torchvision"), ("slim", "tflite"))
_DEFAULT_LINEAGE = "keras"  # whose width rounding the papers and most repositories share


@dataclass(frozen=True)
class Published:
    """One row of published figures; what a row leaves out is empty.

    Attributes
    ----------
    model, variant : str
        Architecture, and whose figures of which kind.
    width : str
        Width multiplier.
    resolution : str
        Side of the square input, or rows x columns.
    madds_millions, params_millions : str
        As printed, so that the number of decimals is known.
    top1, top5 : str
        Accuracy on ImageNet, in percent.
    source : str
        Where it stands.
    """

    model: str
    variant: str
    width: str
    resolution: str
    madds_millions: str
    params_millions: str
    top1: str
    top5: str
    source: str

    @property
    def name(self) -> str:
        """The row in a few words."""
        return f"{self.model} {self.width} {self.resolution} ({self.variant})"

    @property
    def place(self) -> str:
        """The source without a line number: rows of one file share it."""
        return re.sub(r":\d+$", "", self.source)

    @property
    def head(self) -> str:
        """The detection or segmentation head that the row is about; empty for a classifier."""
        return next((word for word in HEADS if word in self.variant), "")

    @property
    def input_size(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        rows, _, columns = self.resolution.partition("x")
        return int(rows), int(columns or rows)

    def config(self) -> ModelConfig:
        """The classifier that the row is about."""
        lineage = next((name for word, name in _LINEAGES if word in self.variant), _DEFAULT_LINEAGE)
        options = [option for word, option in _OPTIONS.items() if word in self.variant]
        merged = {key: value for option in options for key, value in option.items()}
        return config_for(self.model, width=float(self.width), lineage=lineage, **merged)


@dataclass(frozen=True)
class Cause:
    """Why some figures are what they are, and what must come out for that to hold.

    Attributes
    ----------
    number : str
        Of the disagreement.
    model, width, source, quantity, published : str
        Which figures it is about: equal to theirs (``source``: within theirs), or empty for any.
    verdict, rule, variant : str
        What the comparison must find by itself before the cause is given.
    cause : str
        In words.
    """

    number: str
    model: str
    width: str
    source: str
    quantity: str
    published: str
    verdict: str
    rule: str
    variant: str
    cause: str


def load_published() -> tuple[Published, ...]:
    """All published figures, in the order of the file.

    Raises
    ------
    ArgumentError
        If the file that ships with the package has other columns.
    """
    return tuple(Published(**row) for row in _rows(PUBLISHED, tuple(Published.__dataclass_fields__)))


def load_causes() -> tuple[Cause, ...]:
    """All known causes of disagreement."""
    return tuple(Cause(**row) for row in _rows(DISAGREEMENTS, tuple(Cause.__dataclass_fields__)))


def _rows(name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    import csv  # here, for whoever imports the package without comparing anything

    with open(os.path.join(FOLDER, name), newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != columns:
            raise ArgumentError(f"{name}: expected the columns {', '.join(columns)}, got {reader.fieldnames}")
        return list(reader)
