"""A network layer by layer, as people from Keras walk it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import check_integer, check_name, check_numbers
from mininet.errors import ArgumentError, DTypeError, WeightsError, brief
from mininet.graph import Graph, Node
from mininet.models.config import ModelConfig
from mininet.ops.base import Shape
from mininet.weights.names import Row, rows

Float32 = NDArray[np.float32]

BUFFERS = ("running_mean", "running_var")
"""Last words of weights that are measured, not learned: torch's buffers."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One node of a network: its name, shapes and weights.

    In a network of the ``keras`` lineage weights come in Keras's layouts (kernels HWIO, dense matrices
    (in, out), depthwise kernels (kh, kw, C, 1)) and order (gamma, beta, moving mean, moving variance), as
    they do from the Keras layer of `alias`. In every other lineage, and in a network that Keras does not
    have, they come in torch's, as in the state dict. Shapes of tensors are (N, C, H, W) everywhere.

    Attributes
    ----------
    name : str
        The node's dotted name.
    kind : str
        Its op.
    alias : str
        What Keras calls the layer, in a network of its lineage and where the layer has weights; else empty.
    input_shape, output_shape : tuple of int
        For one image of the network's `input_shape`; of the first input if there are several.
    """

    name: str
    kind: str
    alias: str
    input_shape: Shape
    output_shape: Shape
    _rows: tuple[Row, ...]
    _read: Callable[[], Mapping[str, Any]]
    _write: Callable[[dict[str, Float32]], None]

    @property
    def weight_names(self) -> tuple[str, ...]:
        """Names of its weights in the state dict, in the order of `get_weights`."""
        return tuple(row.ours for row in self._rows)

    def get_weights(self) -> list[Float32]:
        """Copies of its weights, in the layout of the lineage; empty for a layer without any."""
        params = self._read()
        return [np.array(row.to_theirs(params[row.ours]), order="C") for row in self._rows]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Replace its weights by copies of these, which are as `get_weights` gives them.

        Raises
        ------
        WeightsError
            If their number or a shape is not the layer's; nothing has changed then.
        DTypeError
            If one of them holds no numbers.
        """
        if not isinstance(weights, Sequence):
            raise DTypeError(f"layer {self.name!r}: expected a list of weights, got {brief(weights)}")
        if len(weights) != len(self._rows):
            raise WeightsError(f"layer {self.name!r}: expected {len(self._rows)} weights, got {len(weights)}")
        fitting: dict[str, Float32] = {}
        for row, weight in zip(self._rows, weights, strict=True):
            array = check_numbers(f"layer {self.name!r}: {row.ours}", weight, np.float32)
            if array.shape != row.their_shape:
                raise WeightsError(
                    f"layer {self.name!r}: expected {row.ours} of shape {row.their_shape}, got {array.shape}"
                )
            fitting[row.ours] = np.array(row.to_ours(array), order="C")
        self._write(fitting)

    def count_params(self) -> int:
        """How many values its weights hold, running statistics included, as Keras counts."""
        return sum(prod(row.shape) for row in self._rows)

    def __repr__(self) -> str:
        return f"<Layer {self.name} {self.kind} output={self.output_shape} params={self.count_params()}>"


def layers_of(
    graph: Graph,
    config: ModelConfig,
    input_shape: Shape,
    read: Callable[[], Mapping[str, Any]],
    write: Callable[[dict[str, Float32]], None],
) -> list[Layer]:
    """Every node of a network as a layer, in order of execution.

    Parameters
    ----------
    graph, config
        Of the network.
    input_shape : (N, C, H, W)
        What the layers' shapes are for.
    read : callable
        Gives the network's present weights by name.
    write : callable
        Takes new ones for some of the names.
    """
    shapes = graph.infer_shapes(input_shape)
    known = {row.ours: row for row in _rows(config)}

    def layer(node: Node) -> Layer:
        own = tuple(known[name] for name in node.param_shapes())
        alias = own[0].theirs.rpartition("/")[0] if own else ""  # ours have no slash
        return Layer(
            node.name, node.op.kind, alias, shapes[node.inputs[0]], shapes[node.name], own, read, write
        )

    return [layer(node) for node in graph.nodes]


def find_layer(
    graph: Graph, layers: Sequence[Layer], name: str | None = None, index: int | None = None
) -> Layer:
    """The layer of that name (ours or Keras's) or of that place; `Network.get_layer` explains."""
    if (name is None) == (index is None):
        raise ArgumentError("expected either the name of a layer or its index")
    if index is not None:
        index = check_integer("index", index)
        if not -len(layers) <= index < len(layers):
            raise ArgumentError(f"expected an index below {len(layers)}, the number of layers, got {index}")
        return layers[index]
    name = check_name("layer", name)
    aliased = [layer for layer in layers if layer.alias and layer.alias == name]
    return aliased[0] if aliased else layers[graph.names().index(graph.resolve(name))]


def read_only(graph: Graph, buffers: bool) -> Iterator[tuple[str, Float32]]:
    """(name, view) of the learned or of the measured weights; the views refuse to be written to."""
    for name in graph.param_shapes():
        if (name.rpartition(".")[2] in BUFFERS) == buffers:
            view = np.asarray(graph.params[name]).view()
            view.flags.writeable = False
            yield name, view


def _rows(config: ModelConfig) -> list[Row]:
    """Every weight in our layout and in that of `Layer.get_weights`."""
    scheme = "keras" if config.conventions.names == "keras" else "torchvision"
    try:
        return rows(config, scheme)
    except ArgumentError:  # V1 with full convolutions, say, which Keras does not have
        return rows(config, "torchvision")
