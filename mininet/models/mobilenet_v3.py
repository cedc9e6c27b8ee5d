"""MobileNet V3 (Howard et al., arXiv:1905.02244): searched blocks, squeeze-and-excite, hard swish."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from mininet.models.config import ModelConfig
from mininet.models.layers import Block, LayerBuilder, activation_op, scale_repeats
from mininet.models.lineages import make_divisible, scale
from mininet.ops.linear import Linear
from mininet.ops.structure import Dropout

STEM = 16


class Row(NamedTuple):
    """A row of the paper's tables 1 and 2: kernel, exp size, out, SE, NL, s; and its input width."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: str
    stride: int
    inputs: int = 0

    @property
    def ratio(self) -> float:
        """Exp size over input."""
        return self.expanded / self.inputs

    @property
    def kind(self) -> tuple[object, ...]:
        """What two rows of a stage share if one repeats the other."""
        return self.kernel, self.ratio, self.squeeze, self.activation


LARGE = (
    Row(3, 16, 16, False, "relu", 1),
    Row(3, 64, 24, False, "relu", 2),
    Row(3, 72, 24, False, "relu", 1),
    Row(5, 72, 40, True, "relu", 2),
    Row(5, 120, 40, True, "relu", 1),
    Row(5, 120, 40, True, "relu", 1),
    Row(3, 240, 80, False, "hard_swish", 2),
    Row(3, 200, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 184, 80, False, "hard_swish", 1),
    Row(3, 480, 112, True, "hard_swish", 1),
    Row(3, 672, 112, True, "hard_swish", 1),
    Row(5, 672, 160, True, "hard_swish", 2),
    Row(5, 960, 160, True, "hard_swish", 1),
    Row(5, 960, 160, True, "hard_swish", 1),
)

SMALL = (
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 72, 24, False, "relu", 2),
    Row(3, 88, 24, False, "relu", 1),
    Row(5, 96, 40, True, "hard_swish", 2),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 240, 40, True, "hard_swish", 1),
    Row(5, 120, 48, True, "hard_swish", 1),
    Row(5, 144, 48, True, "hard_swish", 1),
    Row(5, 288, 96, True, "hard_swish", 2),
    Row(5, 576, 96, True, "hard_swish", 1),
    Row(5, 576, 96, True, "hard_swish", 1),
)

# Rows, channels of the last convolution, channels of the first classifier layer.
TABLES = {
    "mobilenet_v3_large": (LARGE, 960, 1280),
    "mobilenet_v3_small": (SMALL, 576, 1024),
}


def stages(config: ModelConfig) -> list[list[Row]]:
    """The table with its inputs filled in, cut where the output width changes, at the depth asked for."""
    rows, inputs = [], STEM
    for row in TABLES[config.architecture][0]:
        if config.minimalistic:
            row = row._replace(kernel=3, squeeze=False, activation="relu")
        rows.append(row._replace(inputs=inputs))
        inputs = row.out
    return [deepen(list(stage), config.depth) for _, stage in groupby(rows, lambda row: row.out)]


def deepen(stage: list[Row], depth: float) -> list[Row]:
    """A stage with more or fewer blocks; a repeated block does not stride again."""
    kinds = [list(rows) for _, rows in groupby(stage, lambda row: row.kind)]
    counts = scale_repeats([len(rows) for rows in kinds], depth)
    return [
        rows[index] if index < len(rows) else rows[-1]._replace(stride=1)
        for rows, count in zip(kinds, counts, strict=True)
        for index in range(count)
    ]


def blocks(config: ModelConfig) -> list[Block]:
    """The inverted residual blocks, widths resolved."""
    made: list[Block] = []
    channels = scale(config.conventions.stem, STEM, config.width)
    for stage, rows in enumerate(stages(config)):
        for index, row in enumerate(rows):
            made.append(_block(config, stage, index, row, channels))
            channels = made[-1].out_channels
    if not config.conventions.first_residual:
        made[0] = replace(made[0], residual=False)
    return made


def _block(config: ModelConfig, stage: int, index: int, row: Row, channels: int) -> Block:
    lineage = config.conventions
    if lineage.expansion == "table":
        expanded = make_divisible(row.expanded * config.width)
    elif row.ratio == 1:
        expanded = channels
    else:
        ratio = round(row.ratio, 2) if lineage.expansion == "ratio_2" else row.ratio
        expanded = make_divisible(channels * ratio)
    out = scale(lineage.channels, row.out, config.width)
    squeezed = round(expanded / 4) if lineage.squeeze == "round" else make_divisible(expanded / 4)
    inner = row.activation if lineage.squeeze_activation == "block" else lineage.squeeze_activation
    return Block(
        stage,
        index,
        channels,
        expanded,
        out,
        row.kernel,
        row.stride,
        row.activation,
        expands=expanded != channels if lineage.expand_by_width else row.ratio != 1,
        squeezed=squeezed if row.squeeze else 0,
        squeeze_activation=inner,
        residual=row.stride == 1 and channels == out,
    )


def assemble(config: ModelConfig) -> LayerBuilder:
    """All nodes of the network, in order; the last one makes the logits."""
    builder, lineage = LayerBuilder(config), config.conventions
    _, last, hidden = TABLES[config.architecture]
    activation = "relu" if config.minimalistic else "hard_swish"
    made = blocks(config)
    x = builder.stem(made[0].in_channels, activation)
    for number, block in enumerate(made):
        x = builder.inverted_residual(x, number, block, nested=True)
    channels = made[-1].out_channels
    wide = 6 * channels if lineage.last == "sixfold" else scale(lineage.last, last, config.width)
    for number in range(scale_repeats([1], config.depth)[0]):
        name = f"features.{len(made) + 1 + number}"
        x = builder.last(x, name, (channels, wide), number, activation)
        channels = wide
    classifier(builder, x, wide, scale(lineage.hidden, hidden, config.width), activation)
    return builder


def classifier(builder: LayerBuilder, x: str, features: int, hidden: int, activation: str) -> str:
    """Pooling first, then the two last layers on a vector (section 5.1); without classes neither of them."""
    x = builder.pool(x)
    if not builder.config.num_classes:
        return x
    builder.block = "classifier"
    first = Linear(features, hidden, bias=builder.lineage.hidden_bias)
    x = builder.linear(x, "classifier.0", first, "hidden")
    x = builder.add("classifier.1", activation_op(activation), x)
    x = builder.add("classifier.2", Dropout(builder.config.dropout_rate), x)
    last = Linear(hidden, builder.config.num_classes)
    return builder.linear(x, "classifier.3", last, "classifier")
