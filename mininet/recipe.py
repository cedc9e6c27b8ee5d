"""How to make a network, as a small value that pickles; each process makes it once and keeps it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mininet.arguments import check_mapping
from mininet.create import RANDOM, create_model
from mininet.errors import ArgumentError, DTypeError
from mininet.locks import Lock
from mininet.network import Network
from mininet.preprocess import Preset
from mininet.weights import read_weights

NETWORKS_KEPT = 4
"""Networks per process; the one not used for longest is dropped."""

_BUILDING = Lock()
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """The arguments of `create_model`, with the weights by name.

    Two equal recipes give the same network object, as long as the weights file stays the same.

    Attributes
    ----------
    model : str or None
    weights : str or None
        A file, made absolute, so that it means the same to a process elsewhere; or ``"digits"`` or
        ``"random:<seed>"``.
    preprocessing : str, Preset or None
    options : tuple of (str, value)
        Further keyword arguments, sorted by name.

    Raises
    ------
    DTypeError
        If the weights are no name, such as a mapping of arrays.
    ArgumentError
        If an option has a value that cannot be compared with another recipe's.
    """

    model: str | None = None
    weights: str | None = None
    preprocessing: str | Preset | None = None
    options: tuple[tuple[str, Any], ...] = field(default=())

    @classmethod
    def of(
        cls,
        model: str | None = None,
        weights: str | os.PathLike[str] | None = None,
        preprocessing: str | Preset | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Recipe:
        """Check and normalise the arguments; nothing is read yet."""
        if weights is not None and not isinstance(weights, (str, os.PathLike)):
            raise DTypeError(
                f"weights: expected a path or a name, which another process can read too, got "
                f"{type(weights).__name__}; write arrays to a file with Network.save"
            )
        source = None if weights is None else os.fspath(weights)
        if source is not None and not _is_name(source):
            source = os.path.abspath(source)
        listed = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in check_mapping("options", {} if options is None else options).items()
        }
        recipe = cls(model, source, preprocessing, tuple(sorted(listed.items())))
        try:
            hash(recipe)
        except TypeError as error:
            raise ArgumentError(f"expected numbers, strings and presets as options; {error}") from None
        return recipe

    def network(self) -> Network:
        """Build the network, or give the one that this process has built already.

        A safetensors file is mapped, so that processes on one machine share its pages.

        Raises
        ------
        MininetError
            As `create_model` does.
        """
        with _BUILDING:  # two threads that come at once must not both build
            return _build(self, self._stamp())

    def _stamp(self) -> Stamp | None:
        """What changes when the weights file does; None without a file."""
        if self.weights is None or _is_name(self.weights):
            return None
        try:
            status = os.stat(self.weights)
        except (OSError, ValueError):
            return None  # whoever reads the file will say what is wrong with it
        return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=NETWORKS_KEPT)
def _build(recipe: Recipe, stamp: Stamp | None) -> Network:
    weights = recipe.weights
    return create_model(
        recipe.model,
        weights if weights is None or _is_name(weights) else read_weights(weights, mmap=True),
        preprocessing=recipe.preprocessing,
        **dict(recipe.options),
    )


def _is_name(weights: str) -> bool:
    return weights == "digits" or weights.startswith(RANDOM)
