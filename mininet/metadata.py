"""What a saved network says about itself, beside its weights."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mininet.errors import UnknownNameError
from mininet.models.config import ModelConfig
from mininet.preprocess import Preset, get_preset

FORMAT_VERSION = 1
"""Version of this metadata; files of a newer one are refused."""


def to_metadata(
    config: ModelConfig, preset: Preset, labels: str | Sequence[str] | None, class_offset: int
) -> dict[str, str]:
    """Everything needed to rebuild a network around its weights, as the text that a header holds.

    Parameters
    ----------
    config : ModelConfig
    preset : Preset
        By name if it is registered, else whole.
    labels : str or sequence of str or None
        Name of a set of class names, or the names themselves.
    class_offset : int
        How many outputs come before the first class of the labels.
    """
    try:
        known_preset = get_preset(preset.name) == preset
    except UnknownNameError:
        known_preset = False
    named = isinstance(labels, str) or labels is None
    return {
        "format": "mininet",
        "format_version": str(FORMAT_VERSION),
        **config.to_metadata(),
        "preprocessing": preset.name if known_preset else preset.to_json(),
        **({} if labels is None else {"labels": str(labels) if named else json.dumps(list(labels))}),
        **({"class_offset": str(class_offset)} if class_offset else {}),
    }
