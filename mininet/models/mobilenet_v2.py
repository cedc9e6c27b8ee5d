"""MobileNet V2 (Sandler et al., arXiv:1801.04381): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from mininet.models.config import ModelConfig
from mininet.models.layers import Block, LayerBuilder, scale_repeats
from mininet.models.lineages import scale

STEM = 32

# Table 2: expansion factor t, output channels c, number of blocks n, stride s of the first of them.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

LAST = 1280


def blocks(config: ModelConfig) -> list[Block]:
    """The inverted residual blocks, widths resolved."""
    lineage, made = config.conventions, []
    channels = scale("fixed" if config.fix_stem_head else lineage.stem, STEM, config.width)
    for stage, (factor, out, repeats, stride) in enumerate(STAGES):
        wide = scale(lineage.channels, out, config.width)
        fixed = config.fix_stem_head and stage in (0, len(STAGES) - 1)
        (count,) = scale_repeats([repeats], 1.0 if fixed else config.depth)
        for index in range(count):
            step = stride if index == 0 else 1
            block = Block(
                stage,
                index,
                channels,
                channels * factor,
                wide,
                3,
                step,
                config.activation or lineage.activation,
                expands=factor != 1,
                residual=step == 1 and channels == wide,
            )
            made.append(block)
            channels = wide
    return made


def assemble(config: ModelConfig) -> LayerBuilder:
    """All nodes of the network, in order; the last one makes the logits."""
    builder = LayerBuilder(config)
    made = blocks(config)
    x = builder.stem(made[0].in_channels, made[0].activation)
    for number, block in enumerate(made):
        x = builder.inverted_residual(x, number, block, nested=False)
    last = scale("fixed" if config.fix_stem_head else config.conventions.last, LAST, config.width)
    channels = (made[-1].out_channels, last)
    x = builder.last(x, f"features.{len(made) + 1}", channels, 0, made[-1].activation)
    builder.classifier(x, last)
    return builder
