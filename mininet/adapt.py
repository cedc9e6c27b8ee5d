"""One network made into another that does a task of the user's own, most of its weights kept.

Every function takes a `Network` and returns a new one; the old one stays as it was. Arrays are never
written to, so the two share those that are the same. What is new is drawn from a seed or computed from what
was there: training it is another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mininet.arguments import check_choice, check_integer
from mininet.errors import ArgumentError
from mininet.graph import INPUT
from mininet.labels import check_labels
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph
from mininet.ops.base import Array
from mininet.weights.random import random_params

if TYPE_CHECKING:  # Network.without_head calls this module
    from mininet.network import Network


def adapt_input(net: Network, channels: int, init: str = "mean", *, seed: int = 0) -> Network:
    """The network for images of another number of channels: only its first convolution changes.

    Parameters
    ----------
    net : Network
    channels : int
        Channels of the new input. The first of them keep the weights that they had:

        - more than before: those beyond get what ``init`` says;
        - 1: the sum over all old channels, so that a gray image gives what its copies in all old channels
          gave (timm's rule for ``in_chans=1``);
        - otherwise fewer: the first ones are kept, what the others added is lost.
    init : {"mean", "zeros", "random"}
        Weights of a channel that is new: the mean of all old channels; zeros, so that it changes no result
        until it is trained; or normal with variance 2 / fan-in, as in a network of random weights.
    seed : int
        For ``"random"``.

    Returns
    -------
    Network
        With the same preset, which may make too few channels for it now: then `Network.preprocess` and
        `Network.classify` refuse pictures, and the caller prepares the input.

    Raises
    ------
    UnknownNameError
        If there is no such ``init``.
    ArgumentError
        If ``channels`` is no number of channels.
    """
    check_choice("init", init, INITS)
    seed = check_integer("seed", seed, least=0)
    config = replace(net.config, in_channels=channels)
    stem = next(node for node in net.graph.nodes if INPUT in node.inputs)
    name = f"{stem.name}.weight"
    old = net.graph.params[name]
    extra = config.in_channels - old.shape[1]
    if extra >= 0:
        new = np.concatenate([old, INITS[init](old, extra, seed)], axis=1)
    elif config.in_channels == 1:
        new = old.sum(axis=1, keepdims=True)
    else:
        new = old[:, : config.in_channels].copy()
    return _remade(net, config, {**net.graph.params, name: new}, net.label_set, net.class_offset)


def replace_head(
    net: Network, num_classes: int, *, labels: str | Sequence[str] | None = None, seed: int = 0
) -> Network:
    """The network with a new last layer, for classes of the user's own.

    Its weights are normal with variance 2 / fan-in, its biases zero. All other weights are kept: those of
    V3's first classifier layer too, unless the network has none.

    Parameters
    ----------
    net : Network
        With or without a classifier; one whose features are not pooled gets average pooling.
    num_classes : int
        Outputs of the new layer.
    labels : str or sequence of str, optional
        Their names; by default "class 0", "class 1" and so on.
    seed : int
        Equal seeds give equal weights.

    Raises
    ------
    ArgumentError
        If ``num_classes`` is no number of classes.
    """
    seed = check_integer("seed", seed, least=0)
    pool = "avg" if net.config.pool == "none" else net.config.pool
    config = replace(net.config, num_classes=num_classes, pool=pool)
    if not config.num_classes:
        raise ArgumentError("expected at least one class, got 0; net.without_head() leaves the head out")
    graph = build_graph(replace(config, clips=()))
    (classifier,) = graph.outputs
    config = replace(config, clips=tuple(clip for clip in config.clips if clip[0] != classifier))
    if labels is not None:
        check_labels(labels, config.num_classes)
    old = {n: value for n, value in net.graph.params.items() if not n.startswith(f"{classifier}.")}
    missing = {n: shape for n, shape in graph.param_shapes().items() if n not in old}
    return _remade(net, config, {**old, **random_params(missing, seed)}, labels, 0)


def without_head(net: Network, pool: str | None = "avg") -> Network:
    """The network up to its last feature map; `Network.without_head` explains."""
    config = replace(net.config, num_classes=0, pool="none" if pool is None else pool)
    return _remade(net, config, net.graph.params, None, 0)


def _mean(old: Array, extra: int, seed: int) -> Array:
    return np.repeat(old.mean(axis=1, keepdims=True), extra, axis=1)


def _zeros(old: Array, extra: int, seed: int) -> Array:
    return np.zeros((old.shape[0], extra, *old.shape[2:]), old.dtype)


def _random(old: Array, extra: int, seed: int) -> Array:
    """As in a network of random weights with so many channels: its last ones."""
    channels = old.shape[1] + extra
    drawn = random_params({"weight": (old.shape[0], channels, *old.shape[2:])}, seed)
    return drawn["weight"][:, channels - extra :]


INITS: dict[str, Callable[[Array, int, int], Array]] = {"mean": _mean, "zeros": _zeros, "random": _random}
"""Weights (O, extra, kh, kw) of new input channels, from the old ones (O, I, kh, kw) and a seed."""


def _remade(
    net: Network,
    config: ModelConfig,
    params: Mapping[str, Array],
    labels: str | Sequence[str] | None,
    class_offset: int,
) -> Network:
    """A network of another configuration that keeps the preset, and all that it has a place for."""
    plain = build_graph(replace(config, clips=()))
    config = replace(config, clips=tuple(clip for clip in config.clips if clip[0] in plain.names()))
    kept = {name: params[name] for name in plain.param_shapes()}
    return type(net)(config, kept, net.preset, labels, class_offset, net.load_report)
