"""Every convention in which the frameworks' MobileNets differ, as one table.

A lineage says what a network is compatible with: whose padding, whose batch-norm epsilon, whose
rounding of channel counts. The builders ask this table and nothing else.

Sources: torchvision 0.28 (models/mobilenetv2.py, mobilenetv3.py), timm 1.0 (models/efficientnet.py,
mobilenetv3.py, _efficientnet_builder.py), Keras 3.15 (applications/mobilenet*.py) and TensorFlow
slim (nets/mobilenet), whose checkpoints most .tflite files come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from mininet.arguments import check_choice
from mininet.errors import ArgumentError

FAMILIES: dict[str, str] = {
    "mobilenet_v1": "v1",
    "mobilenet_v2": "v2",
    "mobilenet_v3_large": "v3",
    "mobilenet_v3_small": "v3",
}
"""Each architecture's family: the conventions are shared within one."""


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of ``divisor``, never below 90 % of it.

    All three frameworks take this rule from TensorFlow slim (nets/mobilenet/mobilenet.py).

    Parameters
    ----------
    value : float
        Channels, usually a table's entry times the width multiplier.
    divisor : int
        What the result is a multiple of; also its least value.

    Returns
    -------
    int
        The nearest multiple (halves go up), or the next one where that would lose more than 10 %.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


WIDTH_POLICIES: dict[str, Callable[[int, float], int]] = {
    "divisible": lambda channels, width: make_divisible(channels * width),
    "divisible_4": lambda channels, width: make_divisible(channels * width, 4),
    "truncate": lambda channels, width: int(channels * width),
    "truncate_8": lambda channels, width: max(8, int(channels * width)),
    "truncate_divisible": lambda channels, width: make_divisible(int(channels * width)),
    "fixed": lambda channels, width: channels,
    "fixed_below_075": lambda channels, width: channels if width < 0.75 else make_divisible(channels * width),
    "never_shrunk": lambda channels, width: make_divisible(channels * max(1.0, width)),
}
"""How a table's channel count becomes a layer's, for a width multiplier."""


def scale(policy: str, channels: int, width: float) -> int:
    """Apply a width policy.

    Parameters
    ----------
    policy : str
        A key of `WIDTH_POLICIES`.
    channels : int
        The count at width 1.
    width : float
        The width multiplier.

    Raises
    ------
    ArgumentError
        If no channel is left.
    """
    scaled = WIDTH_POLICIES[policy](channels, width)
    if scaled < 1:
        raise ArgumentError(
            f"width {width:g} leaves none of {channels} channels; expected at least {1 / channels:g}"
        )
    return scaled


@dataclass(frozen=True)
class Lineage:
    """The conventions of one framework for one family of networks.

    Attributes
    ----------
    eps : float
        Batch-norm epsilon.
    padding : str
        Policy of all windows but the stem's (``"symmetric"``, ``"same"`` or ``"keras"``, see the ops).
    stem_padding : str
        Policy of the first convolution.
    activation : str
        V1 and V2: the activation everywhere. V3's tables name their own.
    channels, stem, last, hidden : str
        Width policies: of the blocks' outputs, of the first convolution, of the last one, and of V3's
        first classifier layer. ``last`` may be ``"sixfold"``: six times its input.
    expansion : str
        V3's expanded widths: ``"table"`` scales the paper's "exp size" column; ``"ratio"`` multiplies
        the block's scaled input by exp size / input; ``"ratio_2"`` by that rounded to 2 decimals.
    expand_by_width : bool
        Whether V3 leaves out the expansion wherever it would not change the width (torchvision), or
        only where the table's ratio is 1.
    first_residual : bool
        Whether V3's first block may have a residual connection.
    squeeze : str
        Squeeze width, from a quarter of the expanded one: ``"divisible"`` or ``"round"``.
    squeeze_activation : str
        Between the two squeeze-and-excite layers: an activation, or ``"block"`` for the block's own.
    hidden_bias : bool
        Whether V3's first classifier layer has a bias.
    dropout : float
        Default rate before the last layer.
    names : str
        Whose parameter names its weights have.
    preset : str
        Preprocessing that its published weights want.
    """

    eps: float
    padding: str
    stem_padding: str
    activation: str = "relu6"
    channels: str = "divisible"
    stem: str = "divisible"
    last: str = "never_shrunk"
    hidden: str = "divisible"
    expansion: str = "table"
    expand_by_width: bool = False
    first_residual: bool = True
    squeeze: str = "divisible"
    squeeze_activation: str = "relu"
    hidden_bias: bool = True
    dropout: float = 0.2
    names: str = "torchvision"
    preset: str = "torchvision"


_TORCHVISION = Lineage(eps=1e-5, padding="symmetric", stem_padding="symmetric")
_TIMM = replace(_TORCHVISION, dropout=0.0, names="timm", preset="timm")
_TIMM_V3 = replace(_TIMM, stem="fixed_below_075", last="divisible", hidden="fixed", expansion="ratio_2")
_KERAS = Lineage(eps=1e-3, padding="same", stem_padding="same", names="keras", preset="keras")
_KERAS_V1 = replace(_KERAS, padding="keras", channels="truncate", stem="truncate", dropout=1e-3)
_KERAS_V3 = replace(
    _KERAS, stem="fixed", last="sixfold", hidden="never_shrunk", expansion="ratio", preset="keras-v3"
)

_TFLITE = replace(_KERAS, names="tflite", preset="tflite")

LINEAGES: dict[str, dict[str, Lineage]] = {
    # torchvision has no V1: its V1 is timm's, under node names in torchvision's style.
    "torchvision": {
        "v1": replace(_TORCHVISION, dropout=0.0),
        "v2": _TORCHVISION,
        "v3": replace(_TORCHVISION, eps=1e-3, last="sixfold", expand_by_width=True),
    },
    "timm": {"v1": replace(_TIMM, preset="timm-ra4"), "v2": _TIMM, "v3": _TIMM_V3},
    # timm's tf_mobilenetv3_*: weights ported from TensorFlow.
    "timm-tf": {
        "v3": replace(_TIMM_V3, eps=1e-3, padding="same", stem_padding="same", preset="timm-tf"),
    },
    # timm's mobilenetv3_rw: an early reimplementation, kept for its weights.
    "timm-rw": {
        "v3": replace(
            _TIMM_V3,
            eps=1e-3,
            first_residual=False,
            squeeze="round",
            squeeze_activation="block",
            hidden_bias=False,
        ),
    },
    "keras": {
        "v1": _KERAS_V1,
        "v2": replace(_KERAS, channels="truncate_divisible", dropout=0.0),
        "v3": _KERAS_V3,
    },
    # TensorFlow's SAME everywhere, V1's depthwise convolutions included.
    "tflite": {
        "v1": replace(_TFLITE, channels="truncate_8", stem="truncate_8", dropout=_KERAS_V1.dropout),
        "v2": replace(_TFLITE, dropout=0.0),
        "v3": replace(_KERAS_V3, names="tflite", preset="tflite"),
    },
}
"""Conventions by lineage and family."""


def get_lineage(name: str, architecture: str) -> Lineage:
    """Conventions of a lineage for an architecture.

    Parameters
    ----------
    name : str
        A key of `LINEAGES`.
    architecture : str
        A key of `FAMILIES`.

    Raises
    ------
    UnknownNameError
        If there is no such lineage or architecture.
    ArgumentError
        If the lineage has no network of that family.
    """
    check_choice("architecture", architecture, FAMILIES)
    check_choice("lineage", name, LINEAGES)
    try:
        return LINEAGES[name][FAMILIES[architecture]]
    except KeyError:
        known = ", ".join(lineage for lineage, table in LINEAGES.items() if FAMILIES[architecture] in table)
        raise ArgumentError(f"the lineage {name!r} has no {architecture}; expected one of {known}") from None
