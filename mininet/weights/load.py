"""Fitting arrays to a network: which belongs where, what is left over, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import check_mapping
from mininet.errors import DTypeError, WeightsError
from mininet.models.config import ModelConfig
from mininet.weights import Weights
from mininet.weights.names import BY_ORDER, Row, Shape, detect_scheme, rows
from mininet.weights.wrapping import COUNTER, common_prefix

_SHOWN = 3
"""How many names of a kind an error message repeats."""

_TRAINING_STATE = ("num_batches_tracked", "seed_generator_state", COUNTER)
"""Last words of entries that only training needs: counters of torch's, Keras's dropout seed."""


@dataclass(frozen=True)
class Misshaped:
    """A tensor of the right name and the wrong shape, both in the file's layout."""

    name: str
    expected: Shape
    got: Shape

    def __str__(self) -> str:
        return f"{self.name}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor, by the names of the file.

    Attributes
    ----------
    model : str
        Architecture that was to be filled.
    scheme : str
        Whose names they are.
    loaded, unused, missing : tuple of str
        Tensors that found their place, that the network has no place for, that it lacks.
    misshaped : tuple of Misshaped
        Tensors whose shape is not the network's.
    ignored : tuple of str
        Tensors that inference has no use for.
    reshaped : tuple of str
        Those loaded whose sizes of 1 came or went: a linear layer stored as a 1x1 convolution, or reversed.
    prefix : str
        What stood before every name in the file, for example ``"module."``; left out of the names above.
    wrapper, other_wrappers : str
        The entry of a checkpoint that the tensors came from, and those that hold tensors as well.
    """

    model: str
    scheme: str
    loaded: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    misshaped: tuple[Misshaped, ...] = ()
    ignored: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    prefix: str = ""
    wrapper: str = ""
    other_wrappers: str = ""

    @property
    def ok(self) -> bool:
        """Whether every weight found its place and nothing is left over."""
        return not (self.unused or self.missing or self.misshaped)

    def summary(self) -> str:
        """All in one line, the first few names of each kind."""
        kinds = {"missing": self.missing, "unused": self.unused, "misshaped": self.misshaped}
        parts = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
        found = f"{len(self.loaded)} tensors fit {self.model} (names of {self.scheme})"
        return "; ".join([found, *self._unwrapped(), *parts])

    def __str__(self) -> str:
        lines = [
            f"{self.model}, names of {self.scheme}: {len(self.loaded)} tensors loaded",
            *self._unwrapped(),
        ]
        for kind in ("missing", "unused", "misshaped", "reshaped", "ignored"):
            names = getattr(self, kind)
            if names:
                lines += [f"{kind} ({len(names)}):", *(f"  {name}" for name in names)]
        return "\n".join(lines)

    def _unwrapped(self) -> list[str]:
        lines = [f"taken from the entry {self.wrapper!r}"] if self.wrapper else []
        if self.other_wrappers:
            lines[0] += f", not from {self.other_wrappers}"
        return lines + ([f"without the prefix {self.prefix!r}"] if self.prefix else [])


def match(
    config: ModelConfig,
    tensors: Mapping[str, Any],
    scheme: str | None = None,
    *,
    strict: bool = True,
) -> tuple[dict[str, NDArray[np.float32]], LoadReport]:
    """Bring tensors into the names, layouts and dtype of our graph.

    Parameters
    ----------
    config : ModelConfig
        The network.
    tensors : mapping of str to array
        float16, bfloat16, float32 or float64, under a framework's own names and in its layouts.
    scheme : str, optional
        Whose names they are; by default whichever framework's names they share most with.
    strict : bool
        Whether anything unused, missing or misshaped is an error.

    Returns
    -------
    params : dict of str to float32 array
        Copies (of a mapped file, views where they are alike), under our names, in the order of the graph;
        without those missing or misshaped.
    report : LoadReport
        What became of each tensor.

    Raises
    ------
    WeightsError
        If ``strict`` and the tensors do not fit exactly; the message names the first few.
    DTypeError
        If a weight is no array of floating-point numbers.
    """
    check_mapping("weights", tensors)
    metadata = tensors.metadata if isinstance(tensors, Weights) else {}
    # Nobody else's array is a network's weight, unless it is a page of a file that nobody here can write to.
    copy = not (isinstance(tensors, Weights) and tensors.mapped)
    tensors, prefix = _without_prefix(tensors)
    scheme = scheme or detect_scheme(config, tensors)
    params: dict[str, NDArray[np.float32]] = {}
    loaded: list[str] = []
    reshaped: list[str] = []
    missing: list[str] = []
    misshaped: list[Misshaped] = []
    for row in rows(config, scheme, tensors):
        name = _find(row, tensors)
        if name is None:
            missing.append(row.theirs)
            continue
        array = _as_array(name, tensors[name])
        if array.shape != row.their_shape:
            misshaped.append(Misshaped(name, row.their_shape, array.shape))
            continue
        params[row.ours] = _as_float32(row.to_ours(array), copy)
        loaded.append(name)
        if len(row.their_shape) != len(row.shape):
            reshaped.append(name)
    rest = [name for name in tensors if name not in {*loaded, *(each.name for each in misshaped)}]
    ignored = [name for name in rest if _is_ignored(name, scheme, tensors[name])]
    report = LoadReport(
        config.architecture,
        scheme,
        tuple(loaded),
        tuple(name for name in rest if name not in ignored),
        tuple(missing),
        tuple(misshaped),
        tuple(ignored),
        tuple(reshaped),
        prefix,
        *(metadata.get(key, "") for key in ("wrapper", "other_wrappers")),
    )
    if strict and not report.ok:
        raise WeightsError(f"weights do not fit: {report.summary()}")
    return params, report


def export(
    config: ModelConfig, params: Mapping[str, NDArray[Any]], scheme: str
) -> dict[str, NDArray[np.float32]]:
    """Our weights under a framework's names and in its layouts: `match` backwards.

    Parameters
    ----------
    config : ModelConfig
        The network.
    params : mapping of str to array
        All its weights under our names.
    scheme : str
        ``"torchvision"``, ``"timm"`` or ``"keras"``; the others have no names to write.

    Raises
    ------
    WeightsError
        If a weight is missing, or the scheme has no names.
    """
    if scheme in BY_ORDER:
        raise WeightsError(
            f"expected the names of torchvision, timm or keras; {scheme} weights have no names"
        )
    table = rows(config, scheme)
    absent = [row.ours for row in table if row.ours not in params]
    if absent:
        raise WeightsError(f"cannot export: {len(absent)} weights missing ({_first(absent)})")
    return {
        row.theirs: np.ascontiguousarray(row.to_theirs(params[row.ours]), dtype=np.float32) for row in table
    }


def infer_config(
    config: ModelConfig, tensors: Mapping[str, Any], fixed: Iterable[str] = (), scheme: str | None = None
) -> ModelConfig:
    """The configuration with what the tensors themselves tell.

    That is ``num_classes`` (from the last layer), ``in_channels`` (from the first) and ``batch_norm``
    (False where it has been folded into the convolutions, as in .tflite and most .onnx files).

    Parameters
    ----------
    config : ModelConfig
        What is known so far.
    tensors : mapping of str to array
        Weights, as for `match`.
    fixed : iterable of str
        Fields that the caller has set and that stay, even where the tensors say otherwise.
    scheme : str, optional
        Whose names they are, as for `match`.
    """
    tensors, _ = _without_prefix(tensors)
    scheme = scheme or detect_scheme(config, tensors)
    folded = replace(config, batch_norm=False)
    told: dict[str, Any] = {"batch_norm": not _is_folded(folded, tensors, scheme)}
    table = rows(folded if not told["batch_norm"] else config, scheme, tensors)
    for field, row, axis in (("num_classes", table[-2], 0), ("in_channels", table[0], 1)):
        shape = np.shape(tensors.get(_find(row, tensors) or "", ()))
        if len(shape) == len(row.their_shape) and min(shape) > 0:
            told[field] = int(shape[row.axes[axis]])
    fixed = set(fixed)
    return replace(config, **{field: value for field, value in told.items() if field not in fixed})


def _is_folded(folded: ModelConfig, tensors: Mapping[str, Any], scheme: str) -> bool:
    """Whether the first convolution has a bias and is followed by no batch norm."""
    if scheme in BY_ORDER:
        return True
    stem_bias = rows(folded, scheme)[1]
    stem_norm = rows(replace(folded, batch_norm=True), scheme)[1]
    return _find(stem_bias, tensors) is not None and _find(stem_norm, tensors) is None


def _without_prefix(tensors: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    prefix = common_prefix(tensors)
    return ({name.removeprefix(prefix): tensors[name] for name in tensors} if prefix else tensors), prefix


def _find(row: Row, tensors: Mapping[str, Any]) -> str | None:
    return next((name for name in (row.theirs, *row.aliases) if name in tensors), None)


def _is_ignored(name: str, scheme: str, value: Any) -> bool:
    if scheme == "onnx" and name.endswith("/bias"):
        return not np.any(value)  # the reader fills in the biases that exporters leave out
    if scheme == "tflite":
        return not name.endswith(("/weight", "/bias"))  # shapes of reshapes and the like
    return name.replace("/", ".").rpartition(".")[2] in _TRAINING_STATE


def _as_array(name: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever a foreign tensor type raises
        raise DTypeError(
            f"weight {name!r}: expected an array, got {type(value).__name__} ({error})"
        ) from error
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise DTypeError(f"weight {name!r}: expected floating-point numbers, got {array.dtype}")
    return array


def _as_float32(array: NDArray[Any], copy: bool) -> NDArray[np.float32]:
    """As float32 and C-contiguous; without ``copy`` the array itself if it is that already."""
    if array.dtype.name == "bfloat16":  # the upper half of a float32
        return (np.ascontiguousarray(array).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float32, order="C", copy=copy or None)


def _first(names: Iterable[Any]) -> str:
    listed = list(names)
    return ", ".join(map(str, listed[:_SHOWN])) + (", ..." if len(listed) > _SHOWN else "")
