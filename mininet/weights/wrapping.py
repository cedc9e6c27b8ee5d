"""What training wraps around a network's weights: dictionaries around the tensors, words before their names.

Everything that is unwrapped is unwrapped here, and `LoadReport` says what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mininet.errors import UnknownNameError, WeightsError

ENTRIES = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model")
"""Keys of checkpoints (timm, torchvision's references, common scripts), best first.

Averaged weights come first: they are the ones that were evaluated, and timm takes them too.
"""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Words before every name: DataParallel's and AveragedModel's, torch.compile's, and those of trainers."""

COUNTER = "n_averaged"
"""AveragedModel's own counter, which has no such word."""

MAX_NESTING = 4


def choose_entry(holders: Mapping[str, Any], wanted: str | None) -> str:
    """Which of a checkpoint's dictionaries to read.

    Parameters
    ----------
    holders : mapping
        The dictionaries that hold tensors, by key.
    wanted : str or None
        The user's choice; by default the first of `ENTRIES`.

    Raises
    ------
    UnknownNameError
        If the choice is not among them.
    WeightsError
        If there is none, or several of which none is in `ENTRIES`.
    """
    if wanted is not None:
        if wanted not in holders:
            raise UnknownNameError("entry of the checkpoint", wanted, holders)
        return wanted
    known = [name for name in ENTRIES if name in holders]
    if known:
        return known[0]
    if len(holders) == 1:
        return next(iter(holders))
    listed = ", ".join(map(repr, holders)) or "none"
    raise WeightsError(f"expected tensors under one of {', '.join(ENTRIES)}; found {listed}: choose an entry")


def common_prefix(names: Iterable[str]) -> str:
    """Every word of `PREFIXES` that all names begin with, for example ``"module._orig_mod."``."""
    rest = [name for name in names if name != COUNTER]
    prefix = ""
    while rest and (found := next((p for p in PREFIXES if all(n.startswith(p) for n in rest)), None)):
        prefix += found
        rest = [name.removeprefix(found) for name in rest]
    return prefix
