"""What the builders of V1, V2 and V3 share: a convolution with its norm, and the inverted residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from mininet.graph.graph import GraphBuilder
from mininet.models.config import POOLS, ModelConfig
from mininet.ops.base import Op, get_op
from mininet.ops.combine import Add, Multiply
from mininet.ops.conv import Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.linear import Linear
from mininet.ops.norm import BatchNorm
from mininet.ops.pool import GlobalAvgPool
from mininet.ops.structure import Dropout, Flatten

Convolution = Conv2d | DepthwiseConv2d | PointwiseConv2d


@dataclass(frozen=True)
class Block:
    """One building block with every width resolved.

    Attributes
    ----------
    stage, index : int
        Its place: the stage (blocks of one row of width in the papers' tables), and within it.
    in_channels, expanded, out_channels : int
        Channels that come in, that the depthwise convolution sees, and that go out.
    kernel, stride : int
        Of the depthwise convolution.
    activation : str
        After every convolution but the last.
    expands : bool
        Whether a 1x1 convolution makes ``expanded`` channels first.
    squeezed : int
        Width of the squeeze-and-excite bottleneck; 0 for none.
    squeeze_activation : str
        Between its two layers.
    residual : bool
        Whether the input is added to the output.
    """

    stage: int
    index: int
    in_channels: int
    expanded: int
    out_channels: int
    kernel: int
    stride: int
    activation: str
    expands: bool = True
    squeezed: int = 0
    squeeze_activation: str = "relu"
    residual: bool = False


@dataclass(frozen=True)
class Place:
    """What a node with weights is within its architecture: what other frameworks' names follow from.

    Attributes
    ----------
    part : str
        ``stem.conv``, ``stem.norm``, ``expand.conv``, ..., ``squeeze.reduce``, ``hidden``, ``classifier``.
    number : int
        Of the block (or of the last convolution), counted from 0; -1 outside blocks.
    block : Block or None
        The block itself.
    """

    part: str
    number: int = -1
    block: Block | None = None


class LayerBuilder(GraphBuilder):
    """A graph builder that knows the conventions of its network and notes each weight's place."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.architecture, config.in_channels)
        self.config = config
        self.lineage = config.conventions
        self.places: dict[str, Place] = {}

    def unit(self, x: str, op: Convolution, names: Sequence[str], place: Place, activation: str = "") -> str:
        """A convolution, its batch norm and its activation, if any.

        Parameters
        ----------
        x : str
            Input.
        op : Convolution
            Without bias; it gets one where the network has no batch norm.
        names : sequence of str
            Names of the two or three nodes.
        place : Place
            Its ``part`` gets ``.conv`` and ``.norm`` appended.
        activation : str
            Empty for none.
        """
        channels = op.channels if isinstance(op, DepthwiseConv2d) else op.out_channels
        conv, norm = names[0], names[1]
        self.places[conv] = replace(place, part=f"{place.part}.conv")
        x = self.add(conv, replace(op, bias=not self.config.batch_norm), x)
        if self.config.batch_norm:
            self.places[norm] = replace(place, part=f"{place.part}.norm")
            x = self.add(norm, BatchNorm(channels, self.lineage.eps), x)
        return self.add(names[2], activation_op(activation), x) if activation else x

    def stem(self, channels: int, activation: str) -> str:
        """The first convolution: 3x3, stride 2 (all three papers' tables)."""
        self.block = "features.0"
        conv = Conv2d(self.in_channels, channels, (3, 3), (2, 2), self.lineage.stem_padding)
        return self.unit("input", conv, sequence("features.0"), Place("stem"), activation)

    def last(self, x: str, name: str, channels: tuple[int, int], number: int, activation: str) -> str:
        """A 1x1 convolution from ``channels[0]`` to ``channels[1]`` after the blocks."""
        self.block = name
        return self.unit(x, PointwiseConv2d(*channels), sequence(name), Place("last", number), activation)

    def pool(self, x: str) -> str:
        """The last feature map as a vector, if the network is to have one."""
        op = POOLS[self.config.pool]
        if op is None:
            return x
        self.block = f"{self.config.pool}pool"
        return self.add("flatten", Flatten(), self.add(self.block, op(), x))

    def linear(self, x: str, name: str, op: Linear, part: str) -> str:
        """A fully connected layer."""
        self.places[name] = Place(part)
        return self.add(name, op, x)

    def classifier(self, x: str, features: int) -> str:
        """Pooling, dropout and the one linear layer of V1 and V2; without classes only the pooling."""
        x = self.pool(x)
        if not self.config.num_classes:
            return x
        self.block = "classifier"
        x = self.add("classifier.0", Dropout(self.config.dropout_rate), x)
        return self.linear(x, "classifier.1", Linear(features, self.config.num_classes), "classifier")

    def inverted_residual(self, x: str, number: int, block: Block, nested: bool) -> str:
        """Expand, filter each channel, squeeze and excite, project, add (V2 paper, fig. 3; V3, fig. 4).

        Parameters
        ----------
        x : str
            Input.
        number : int
            Of the block, from 0.
        block : Block
            Its geometry.
        nested : bool
            Whether the projection is a sequence of its own (torchvision's V3) or two plain modules (V2).
        """
        name = self.block = f"features.{number + 1}"
        path = f"{name}.{'block' if nested else 'conv'}"
        source, step = x, 0
        if block.expands:
            expand = PointwiseConv2d(block.in_channels, block.expanded)
            x = self.unit(x, expand, sequence(f"{path}.0"), Place("expand", number, block), block.activation)
            step += 1
        window = ((block.kernel, block.kernel), (block.stride, block.stride), self.lineage.padding)
        depthwise = DepthwiseConv2d(block.expanded, *window)
        place = Place("depthwise", number, block)
        x = self.unit(x, depthwise, sequence(f"{path}.{step}"), place, block.activation)
        step += 1
        if block.squeezed:
            x = self._squeeze_excite(x, f"{path}.{step}", number, block)
            step += 1
        last = f"{path}.{step}"
        names = (f"{last}.0", f"{last}.1") if nested else (last, f"{path}.{step + 1}")
        project = PointwiseConv2d(block.expanded, block.out_channels)
        x = self.unit(x, project, names, Place("project", number, block))
        return self.add(name, Add(), x, source) if block.residual else x

    def _squeeze_excite(self, x: str, name: str, number: int, block: Block) -> str:
        """Scale each channel by a gate computed from all of them (V3 paper, section 5.3)."""
        reduce, expand = f"{name}.fc1", f"{name}.fc2"
        self.places[reduce] = Place("squeeze.reduce", number, block)
        self.places[expand] = Place("squeeze.expand", number, block)
        gate = self.add(f"{name}.avgpool", GlobalAvgPool(), x)
        gate = self.add(reduce, PointwiseConv2d(block.expanded, block.squeezed, bias=True), gate)
        gate = self.add(f"{name}.activation", activation_op(block.squeeze_activation), gate)
        gate = self.add(expand, PointwiseConv2d(block.squeezed, block.expanded, bias=True), gate)
        gate = self.add(f"{name}.scale_activation", activation_op("hard_sigmoid"), gate)
        return self.add(name, Multiply(), x, gate)


def sequence(name: str) -> tuple[str, str, str]:
    """Names of a convolution, its norm and its activation in a torch sequence of that name."""
    return f"{name}.0", f"{name}.1", f"{name}.2"


def activation_op(name: str) -> Op:
    """The activation of that name as a node's op."""
    return get_op(name)()


def scale_repeats(repeats: Sequence[int], depth: float) -> list[int]:
    """Repeats of each kind of block in a stage that gets ``depth`` times as many blocks.

    The total is rounded up; it is handed out from the last kind to the first, so that the first, which
    strides, is the last to be repeated (the rule of timm's depth multipliers).
    """
    left, wanted = sum(repeats), ceil(sum(repeats) * depth)
    scaled = []
    for count in reversed(repeats):
        scaled.append(max(1, round(count / left * wanted)))
        left -= count
        wanted -= scaled[-1]
    return scaled[::-1]
