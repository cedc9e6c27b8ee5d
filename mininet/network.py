"""What users hold: a graph with its weights, its preprocessing and its class names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mininet.arguments import check_choice, check_flag, check_input_shape, check_integer, check_names
from mininet.errors import ArgumentError, ShapeError
from mininet.graph import Plan, Runner
from mininet.graph.runner import BACKENDS
from mininet.images import ImageSource
from mininet.inputs import checked_input
from mininet.labels import labels_for
from mininet.layers import Layer, find_layer, layers_of, read_only
from mininet.locks import Lock
from mininet.metadata import to_metadata
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph
from mininet.ops import GlobalAvgPool
from mininet.ops.base import Array, Shape
from mininet.preprocess import Preset
from mininet.topk import softmax_top
from mininet.weights.load import LoadReport, match

if TYPE_CHECKING:  # inspection is imported when it is asked for: inference need not wait for it
    from mininet.inspect import Explanation, NetworkCost, Summary, Trace
    from mininet.inspect.report import Report

Float32 = NDArray[np.float32]


class Network:
    """A MobileNet that runs. Made by `create_model`; call it with a batch of images.

    Attributes
    ----------
    graph : Graph
        The network as data, batch norms and all.
    config : ModelConfig
        What distinguishes it from other networks.
    preset : Preset
        How pictures become its input.
    labels : tuple of str
        One name per output; empty without a classifier.
    label_set, class_offset : str, sequence of str or None; int
        Where they are from, as `create_model` was told, and how many outputs come before the first of them.
    load_report : LoadReport or None
        What became of each tensor of the weights it was made from; None for random ones.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Array],
        preset: Preset,
        labels: str | Sequence[str] | None,
        class_offset: int = 0,
        report: LoadReport | None = None,
    ) -> None:
        self.config = config
        self.graph = build_graph(config).with_params(dict(params))
        self.preset = preset
        self.labels = labels_for(labels, config.num_classes, class_offset)
        self.load_report = report
        self.label_set = labels
        self.class_offset = class_offset
        self._runner = Runner()
        self._lock = Lock()

    @property
    def name(self) -> str:
        """The architecture's name."""
        return self.config.architecture

    @property
    def input_shape(self) -> Shape:
        """Shape (1, C, H, W) of the input that the preset makes; 224x224 where it leaves the size open."""
        return (1, self.config.in_channels, *(self.preset.size or (224, 224)))

    def __repr__(self) -> str:
        c = self.config
        return (
            f"<Network {c.architecture} width={c.width:g} classes={c.num_classes} "
            f"in_channels={c.in_channels} lineage={c.lineage} preset={self.preset.name}>"
        )

    def __call__(self, x: Float32, backend: str = "plan") -> Float32:
        """Run a batch of prepared images.

        Parameters
        ----------
        x : float32 (N, in_channels, H, W)
            Any N >= 0 and any H, W >= 1; need not be contiguous nor writeable.
        backend : {"plan", "kernels", "reference"}
            Fused and planned (the default), one C kernel per node, or plain NumPy.

        Returns
        -------
        float32 (N, num_classes)
            Logits. Without a classifier its features: (N, C), or (N, C, H, W) if they are not pooled.

        Raises
        ------
        DTypeError, ShapeError, UnknownNameError
            If ``x`` is not such an array or does not fit the memory, or there is no such backend.
        """
        return self._runner.run(self.graph, checked_input(self.name, self.config.in_channels, x), backend)

    def classify(self, image: ImageSource, top: int = 5) -> list[tuple[str, float]]:
        """Name what is in a picture.

        Parameters
        ----------
        image : path, PIL image or uint8 array (H, W, 3) or (H, W)
        top : int
            How many classes to return.

        Returns
        -------
        list of (label, probability), the most probable first.

        Raises
        ------
        ArgumentError
            If the network has no classifier.
        """
        self.check_classifier()
        return self.top(self(self.preprocess(image))[0], top)

    def preprocess(self, image: ImageSource) -> Float32:
        """Turn a picture into the float32 (1, C, H, W) that the network wants.

        Raises
        ------
        ShapeError
            If the network takes another number of channels than its preset makes.
        """
        if self.preset.channels != self.config.in_channels:
            raise ShapeError(
                f"preset {self.preset.name!r} makes {self.preset.channels} channels, {self.name} takes "
                f"{self.config.in_channels}; prepare the input yourself and call the network with it"
            )
        return self.preset.apply(image)

    def top(self, logits: Array, k: int = 5) -> list[tuple[str, float]]:
        """The ``k`` most probable classes of one vector of logits, as (label, probability)."""
        self.check_classifier()
        return [(self.labels[index], probability) for index, probability in softmax_top(logits, k)]

    def check_classifier(self) -> None:
        """Raise `ArgumentError` if the network has no classifier, so that its outputs are no classes."""
        if not self.config.num_classes:
            raise ArgumentError(
                f"{self.name} has no classifier here, so its outputs are features and name nothing; "
                "expected a network with classes (mininet.replace_head gives it some)"
            )

    def without_head(self, pool: str | None = "avg") -> Network:
        """The same network up to its last feature map: a feature extractor.

        Parameters
        ----------
        pool : {"avg", "max", None}
            Pool the map (N, C, H, W) over all pixels, to (N, C), or leave it as it is.

        Returns
        -------
        Network
            A network of its own over the same weights; its ``num_classes`` is 0.

        Raises
        ------
        UnknownNameError
            If there is no such pooling.
        """
        from mininet.adapt import without_head

        return without_head(self, pool)

    def names(self) -> list[str]:
        """Names of all nodes in order, torchvision's module paths where it has the module."""
        return self.graph.names()

    def trace(self, x: Float32, names: str | Iterable[str] | None = None, backend: str = "kernels") -> Trace:
        """Run node by node and keep what each makes.

        Parameters
        ----------
        x : float32 (N, C, H, W)
        names : str or iterable of str, optional
            Keep only these nodes or containers (and compute, but by the plan, only what they need).
        backend : {"kernels", "reference", "plan"}
            The plan merges nodes: its trace holds the values that it makes, each under the name of the
            last node merged (``"features.0.2"`` for a convolution with its batch norm and activation).

        Raises
        ------
        DTypeError, ShapeError, UnknownNameError
            As for a call; also if not all values fit the memory, or there is no such node.
        ArgumentError
            If the plan has no value of its own for one of the names.
        """
        from mininet.inspect import Trace

        check_choice("backend", backend, BACKENDS)
        wanted = None
        if names is not None:
            wanted = list(dict.fromkeys(map(self.graph.resolve, check_names("names", names))))
        graph = self.graph if wanted is None or backend == "plan" else self.graph.upto(*wanted)
        x = checked_input(self.name, self.config.in_channels, x)
        return Trace(self.graph, x, self._runner.results(graph, x, backend), wanted)

    def explain(
        self, images: Float32, node: str, n: int = 0, c: int = 0, y: int = 0, x: int = 0
    ) -> Explanation:
        """Take one value of a node apart: the inputs and weights whose products sum to it.

        Parameters
        ----------
        images : float32 (N, C, H, W)
            Input of the network.
        node : str
            A node, or a container for its last one.
        n, c, y, x : int
            Image of the batch, channel, row and column in the node's output; for a vector ``n`` and ``c``.
        """
        return self.trace(images, self.graph.upto(node).names()).explain(node, n, c, y, x)

    def report(self, image: ImageSource | Float32, path: str | os.PathLike[str] | None = None) -> Report:
        """What becomes of one picture or prepared input, node by node: print it, or write it to ``path``.

        The file is one page of HTML. See `mininet.reporting.report_on` for more, errors among it.
        """
        from mininet.reporting import report_on

        return report_on(self, image, path)

    def features(self, x: Float32, at: str = "features", pool: bool = False) -> Float32:
        """The value of one node, computing only what it needs.

        Parameters
        ----------
        x : float32 (N, C, H, W)
        at : str
            A node or container, by default the last feature map.
        pool : bool
            Average over all pixels.

        Returns
        -------
        float32 (N, C, H, W), or (N, C) if pooled or the node yields a vector.
        """
        pool = check_flag("pool", pool)
        x = checked_input(self.name, self.config.in_channels, x)
        value = self._runner.run(self.graph.upto(at), x, "plan")
        if pool and value.ndim == 4:
            return GlobalAvgPool().reference({}, value)[:, :, 0, 0].astype(np.float32, copy=False)
        return value

    def summary(
        self, input_shape: Shape | None = None, depth: int | None = None, node: str | None = None
    ) -> Summary:
        """Table of all nodes: print it, or take its rows, ``to_dict()``, ``to_json()``, ``to_markdown()``.

        Parameters
        ----------
        input_shape : (N, C, H, W), optional
            By default that of the preset.
        depth : int, optional
            Show so many levels of dotted names and sum up what lies deeper; by default everything.
        node : str, optional
            Show only this node or container.
        """
        from mininet.inspect import summarise

        return summarise(self.graph, self._input_shape(input_shape), depth, node)

    def cost(
        self,
        resolution: int | None = None,
        *,
        input_shape: Shape | None = None,
        convention: str = "paper",
    ) -> NetworkCost:
        """Multiply-adds and parameters as exact integers; the network is not touched.

        Parameters
        ----------
        resolution : int, optional
            Height and width of one square image; by default the preset's.
        input_shape : (N, C, H, W), optional
            Instead of a resolution.
        convention : str
            One of `mininet.inspect.conventions.CONVENTIONS`: ``paper``, ``fvcore``, ``ptflops``,
            ``ptflops-aten``, ``thop``, ``torchinfo``, ``timm``.
        """
        from mininet.inspect import count_cost

        if resolution is not None:
            side = check_integer("resolution", resolution, least=1)
            input_shape = (1, self.config.in_channels, side, side)
        return count_cost(self.graph, self._input_shape(input_shape), convention, self.config.lineage)

    def plan(self, input_shape: Shape | None = None) -> Plan:
        """The compiled plan for one input shape; print it to see every step, kernel and the memory."""
        return self._runner.plan(self.graph, self._input_shape(input_shape))

    def state_dict(self) -> dict[str, Float32]:
        """Copies of all weights under torchvision's names and in its layouts."""
        return {name: np.array(self.graph.params[name]) for name in self.graph.param_shapes()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Replace the weights; nothing changes if they do not fit.

        Parameters
        ----------
        state : mapping of str to array
            Under the names of torchvision or of any framework that has this network.
        strict : bool
            Whether a missing, unused or misshaped tensor is an error. Otherwise what fits is loaded.

        Raises
        ------
        WeightsError
            If ``strict`` and something does not fit.
        """
        params, report = match(self.config, state, strict=check_flag("strict", strict))
        self._replace_params(params)
        self.load_report = report
        return report

    @property
    def layers(self) -> list[Layer]:
        """Every node as a `Layer`, in order of execution: ``layer.name``, ``layer.get_weights()``, ..."""
        return layers_of(
            self.graph, self.config, self.input_shape, lambda: self.graph.params, self._replace_params
        )

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """One layer, by name or by its place.

        Parameters
        ----------
        name : str
            A node or container; in the ``keras`` lineage also what Keras calls a layer with weights.
        index : int
            Instead of a name; counted from 0, or from the end if negative.

        Raises
        ------
        UnknownNameError, ArgumentError
            If there is no such layer.
        """
        return find_layer(self.graph, self.layers, name, index)

    def get_weights(self, name: str) -> list[Float32]:
        """Copies of the weights of one layer as `Layer.get_weights` gives them; unknown names raise."""
        return self.get_layer(name).get_weights()

    def named_parameters(self) -> Iterator[tuple[str, Float32]]:
        """(name, read-only view) of every learned weight, in torch's order and layouts."""
        return read_only(self.graph, buffers=False)

    def named_buffers(self) -> Iterator[tuple[str, Float32]]:
        """(name, read-only view) of the running statistics of every batch norm."""
        return read_only(self.graph, buffers=True)

    def parameters(self) -> Iterator[Float32]:
        """Read-only views of every learned weight, in torch's order and layouts."""
        return (value for _, value in self.named_parameters())

    def count_params(self) -> int:
        """How many values all weights hold, running statistics included, as Keras counts."""
        return sum(map(prod, self.graph.param_shapes().values()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and everything needed to rebuild the network to a safetensors file.

        ``create_model(weights=path)`` gives the same network back. The file appears whole or not at all.
        """
        from mininet.weights import safetensors

        metadata = to_metadata(self.config, self.preset, self.label_set, self.class_offset)
        safetensors.write(path, self.state_dict(), metadata)

    def _replace_params(self, params: Mapping[str, Any]) -> None:
        with self._lock:
            self.graph = self.graph.with_params({**self.graph.params, **params})
            self._runner.forget()

    def _input_shape(self, shape: Shape | None) -> Shape:
        return self.input_shape if shape is None else check_input_shape("input_shape", shape)
