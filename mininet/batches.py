"""Many pictures through one network: those of one size together, and a broken one reported in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np

from mininet.arguments import check_choice, check_integer
from mininet.errors import ImageError
from mininet.inputs import checked_input
from mininet.network import Float32, Network
from mininet.topk import softmax_top

T = TypeVar("T")

POOLS = ("avg", "max")
"""How a feature map becomes a vector, unless its values are to be laid out in a row, channels first."""


@dataclass(frozen=True)
class Result(Generic[T]):
    """One picture: its file (or its type, if it is none), the network's seconds for it, and what it found."""

    file: str
    seconds: float
    value: T


@dataclass(frozen=True)
class Failure:
    """A picture that could not be read, and why."""

    file: str
    error: str


Task = Callable[[Network, Float32], Iterable[T]]
"""What to do with a batch: a network and its float32 (N, C, H, W) become N values. Pickles."""


def best_classes(net: Network, x: Float32, top: int) -> list[list[tuple[int, float]]]:
    """A task: (class index, probability) of the ``top`` most probable classes, best first."""
    return [softmax_top(logits, top) for logits in net(x)]


def labelled_classes(net: Network, x: Float32, top: int) -> list[list[tuple[str, float]]]:
    """A task: the same with the classes' names, as `Network.classify` gives them."""
    return [net.top(logits, top) for logits in net(x)]


def feature_rows(net: Network, x: Float32, at: str, pool: str | None) -> Float32:
    """A task: the value of one node, pooled, as float32 (N, features).

    Raises
    ------
    UnknownNameError, DTypeError
        If there is no such node, or ``pool`` is neither one of `POOLS` nor None.
    """
    if pool is not None:
        check_choice("pool", pool, POOLS)
    value = net.features(x, at=at, pool=pool == "avg")
    if pool == "max" and value.ndim == 4:
        value = value.max(axis=(2, 3))
    return value.reshape(len(value), prod(value.shape[1:]))


def as_input(net: Network, item: Any) -> Float32:
    """What the network takes for one item: float32 (1, C, H, W).

    Parameters
    ----------
    net : Network
    item : path, PIL image, uint8 array (H, W), (H, W, 3), or float array (C, H, W)
        A picture, which the network's preset prepares, or prepared values, which stay as they are.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    ShapeError, DTypeError
        If it is nothing of that kind, or has not the network's channels.
    """
    if isinstance(item, np.ndarray) and item.dtype.kind == "f":
        return checked_input(net.name, net.config.in_channels, item.astype(np.float32, copy=False)[None])
    return net.preprocess(item)


def run_in_batches(
    net: Network, items: Iterable[Any], task: Task[T], batch_size: int
) -> Iterator[Result[T] | Failure]:
    """Run a task over pictures, read one by one; at most ``batch_size`` of one size run together.

    Parameters
    ----------
    net : Network
    items : iterable
        Of what `as_input` takes.
    task : callable
        See `Task`.
    batch_size : int
        At least 1.

    Yields
    ------
    Result or Failure
        One for each item, in their order; a failure for a picture that cannot be read.

    Raises
    ------
    MininetError
        For anything wrong that is no single picture's fault, such as a wrong number of channels.
    """
    check_integer("batch_size", batch_size, least=1)
    names: list[str] = []
    inputs: list[Float32] = []

    def flush() -> Iterator[Result[T]]:
        if inputs:
            yield from _run_batch(net, names, np.concatenate(inputs), task)
            names.clear()
            inputs.clear()

    for item in items:
        name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else type(item).__name__
        try:
            x = as_input(net, item)
        except ImageError as error:
            yield from flush()
            yield Failure(name, str(error))
            continue
        if inputs and (len(inputs) == batch_size or inputs[0].shape != x.shape):
            yield from flush()
        names.append(name)
        inputs.append(x)
    yield from flush()


def _run_batch(net: Network, names: list[str], x: Float32, task: Task[T]) -> Iterator[Result[T]]:
    task(net, x[:0])  # the plan is compiled once per size, which is no picture's time
    start = perf_counter()
    values = task(net, x)
    seconds = (perf_counter() - start) / len(names)
    for name, value in zip(names, values, strict=True):
        yield Result(name, seconds, value)


def stacked(outcomes: Iterable[Result[Float32] | Failure]) -> list[Float32]:
    """The values of outcomes none of which may be a failure.

    Raises
    ------
    ImageError
        For the first failure; the message is its own.
    """
    values = []
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise ImageError(outcome.error)
        values.append(outcome.value)
    return values
