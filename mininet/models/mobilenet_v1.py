"""MobileNet V1 (Howard et al., arXiv:1704.04861): depthwise separable convolutions in a row.

28 layers as the paper counts: the first convolution, 13 depthwise and 13 pointwise ones, and the
fully connected layer (section 3.2).
"""

from __future__ import annotations

from mininet.models.config import ModelConfig
from mininet.models.layers import Block, LayerBuilder, Place, sequence
from mininet.models.lineages import scale
from mininet.ops.conv import Conv2d, DepthwiseConv2d, PointwiseConv2d

STEM = 32

# Table 1: output channels, number of blocks, stride of the first of them.
STAGES = (
    (64, 1, 1),
    (128, 2, 2),
    (256, 2, 2),
    (512, 6, 2),
    (1024, 2, 2),
)

SHALLOW_STAGE = 3
"""The stage of which the shallow variant keeps the first block only (section 4.1, table 5)."""

HEAD_CONV = 1024
"""Channels of timm's convolution before pooling; it never shrinks."""


def blocks(config: ModelConfig) -> list[Block]:
    """The separable blocks, widths resolved."""
    lineage, made = config.conventions, []
    channels = scale(lineage.stem, STEM, config.width)
    for stage, (out, repeats, stride) in enumerate(STAGES):
        wide = scale(lineage.channels, out, config.width)
        for index in range(1 if config.shallow and stage == SHALLOW_STAGE else repeats):
            step = stride if index == 0 else 1
            activation = config.activation or lineage.activation
            made.append(Block(stage, index, channels, channels, wide, 3, step, activation, expands=False))
            channels = wide
    return made


def assemble(config: ModelConfig) -> LayerBuilder:
    """All nodes of the network, in order; the last one makes the logits."""
    builder = LayerBuilder(config)
    made = blocks(config)
    x = builder.stem(made[0].in_channels, made[0].activation)
    for number, block in enumerate(made):
        x = (separable if config.separable else full)(builder, x, number, block)
    features = made[-1].out_channels
    if config.head_conv:
        head = scale("never_shrunk", HEAD_CONV, config.width)
        x = builder.last(x, f"features.{len(made) + 1}", (features, head), 0, made[-1].activation)
        features = head
    builder.classifier(x, features)
    return builder


def separable(builder: LayerBuilder, x: str, number: int, block: Block) -> str:
    """3x3 per channel, then 1x1 across channels, each with norm and activation (figure 3)."""
    name = builder.block = f"features.{number + 1}"
    window = ((block.kernel, block.kernel), (block.stride, block.stride), builder.lineage.padding)
    depthwise = DepthwiseConv2d(block.in_channels, *window)
    pointwise = PointwiseConv2d(block.in_channels, block.out_channels)
    place = Place("depthwise", number, block)
    x = builder.unit(x, depthwise, sequence(f"{name}.0"), place, block.activation)
    place = Place("pointwise", number, block)
    return builder.unit(x, pointwise, sequence(f"{name}.1"), place, block.activation)


def full(builder: LayerBuilder, x: str, number: int, block: Block) -> str:
    """The standard 3x3 convolution that a separable pair stands for (section 4.1, table 4)."""
    name = builder.block = f"features.{number + 1}"
    window = ((block.kernel, block.kernel), (block.stride, block.stride), builder.lineage.padding)
    conv = Conv2d(block.in_channels, block.out_channels, *window)
    return builder.unit(x, conv, sequence(name), Place("full", number, block), block.activation)
