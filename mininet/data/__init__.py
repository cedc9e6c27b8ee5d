"""Files that ship with the package: the digits network, six pictures for it, class names and figures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = os.path.dirname(__file__)
DIGITS = os.path.join(FOLDER, "digits.safetensors")


def sample_images() -> list[Path]:
    """Paths of six handwritten digits that the digits network never saw in training."""
    from pathlib import Path  # slow to import, and only needed here

    return sorted(Path(FOLDER, "digits").glob("*.pgm"))
