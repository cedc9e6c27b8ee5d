"""The papers' formulas three ways: the formula, the graph's count, and multiplications truly executed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from mininet.errors import GraphError
from mininet.graph import Graph, Node
from mininet.inspect import formulas
from mininet.inspect.cost import count_cost
from mininet.inspect.executed import execute
from mininet.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph, config_for, list_models
from mininet.ops import Conv2d, DepthwiseConv2d, PointwiseConv2d, Relu
from mininet.ops.base import Op, Shape

SHAPE = (1, 3, 33, 40)  # odd rows, even columns: SAME pads them differently
CONFIGS = {
    **{name: config_for(name) for name in list_models()},
    "v1-full": config_for("mobilenet_v1", separable=False),
    "v1-shallow": config_for("mobilenet_v1", shallow=True),
    "v2-0.35": config_for("mobilenet_v2", width=0.35),
    "v3-large-minimalistic": config_for("mobilenet_v3_large", lineage="keras", minimalistic=True),
    "v3-small-0.75-keras": config_for("mobilenet_v3_small", lineage="keras", width=0.75),
}
EXECUTED: dict[tuple[Op, tuple[Shape, ...]], tuple[int, int]] = {}


def executed(op: Op, inputs: tuple[Shape, ...]) -> tuple[int, int]:
    """(products with padding, without) of an op on random numbers; its result is checked on the way."""
    if (op, inputs) not in EXECUTED:  # networks share many layers
        rng = np.random.default_rng(0)
        params = {role: rng.standard_normal(shape, np.float32) for role, shape in op.param_shapes().items()}
        x = rng.standard_normal(inputs[0], np.float32)
        expected = op.reference(params, x)
        done = execute(op, params, x)
        tolerance = 1e-4 * float(np.abs(expected).max())
        for value in (done.padded_value, done.valid_value):
            np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=str(op))
        EXECUTED[op, inputs] = done.padded, done.valid
    return EXECUTED[op, inputs]


def layers(graph: Graph) -> Iterator[tuple[Node, tuple[Shape, ...]]]:
    shapes = graph.infer_shapes(SHAPE)
    for node in graph.nodes:
        yield node, tuple(shapes[name] for name in node.inputs)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_layer_three_ways(name: str) -> None:
    graph = build_graph(CONFIGS[name])
    counted = {node.name: node.madds for node in count_cost(graph, SHAPE).nodes}
    for node, inputs in layers(graph):
        formula = formulas.layer_formula(node.op, *inputs)
        assert formula == counted[node.name], f"{node.name}: formula {formula}, graph {counted[node.name]}"
        if not formula:
            assert (
                not any(role == "weight" for role in node.op.param_shapes()) or node.op.kind == "batch_norm"
            )
            continue
        padded, valid = executed(node.op, inputs)
        assert padded == formula, f"{node.name}: executed {padded}, formula {formula}"
        assert valid == products_inside(node.op, inputs[0]), (
            f"{node.name}: {valid} products inside the picture"
        )
        assert valid <= padded


def products_inside(op: Op, shape: Shape) -> int:
    """Products on pixels alone, from a convolution of ones: each sum is the number of taps inside."""
    if not isinstance(op, (Conv2d, DepthwiseConv2d, PointwiseConv2d)):
        return formulas.layer_formula(op, shape)
    conv = op.as_conv2d()
    window = Conv2d(1, 1, conv.kernel, conv.stride, conv.padding, conv.dilation)
    taps = window.reference({"weight": np.ones((1, 1, *conv.kernel))}, np.ones((1, 1, *shape[2:]))).sum()
    return shape[0] * round(float(taps)) * conv.out_channels * (conv.in_channels // conv.groups)


@pytest.mark.parametrize(
    "conv",
    [
        Conv2d(4, 6, (3, 5), (2, 3), (2, 0, 1, 3), (2, 1), groups=2, bias=True),
        Conv2d(2, 3, (5, 5), (1, 1), (4, 4, 4, 4)),
        DepthwiseConv2d(3, (5, 3), (3, 2), "same", bias=True, activation="relu6"),
    ],
    ids=["grouped-dilated", "wide-padding", "same"],
)
@pytest.mark.parametrize("size", [(3, 1), (3, 2), (7, 11)])
def test_geometries_that_no_network_has(conv: Conv2d | DepthwiseConv2d, size: tuple[int, int]) -> None:
    shape = (2, conv.as_conv2d().in_channels, *size)
    assert executed(conv, (shape,)) == (conv.multiply_adds(shape), products_inside(conv, shape))


@pytest.mark.parametrize("name", [name for name, c in CONFIGS.items() if c.family == "v1" and c.separable])
def test_separable_blocks(name: str) -> None:
    """Equation 5 for each block, and 1/N + 1/D_K^2 of the block that it replaces, exactly."""
    config = CONFIGS[name]
    graph = build_graph(config)
    blocks, shapes = count_cost(graph, SHAPE).by_block(), graph.infer_shapes(SHAPE)
    for number, block in enumerate(mobilenet_v1.blocks(config)):
        label = f"features.{number + 1}"
        size = shapes[f"{label}.1.0"][2:]
        kernel = (block.kernel, block.kernel)
        separable = formulas.depthwise_separable(kernel, block.in_channels, block.out_channels, size)
        standard = formulas.standard_convolution(kernel, block.in_channels, block.out_channels, size)
        assert separable == blocks[label].madds
        assert Fraction(separable, standard) == formulas.separable_ratio(kernel, block.out_channels)


def test_ratio_of_the_whole_networks() -> None:
    """The full-convolution twin, block by block: the paper's 8 to 9 times less."""
    separable, full = (
        count_cost(build_graph(config_for("mobilenet_v1", separable=s)), (1, 3, 224, 224)).by_block()
        for s in (True, False)
    )
    blocks = mobilenet_v1.blocks(config_for("mobilenet_v1"))
    for number, block in enumerate(blocks):
        label = f"features.{number + 1}"
        ratio = Fraction(separable[label].madds, full[label].madds)
        assert ratio == formulas.separable_ratio((3, 3), block.out_channels)
        assert Fraction(1, 9) < ratio < Fraction(1, 7)


@pytest.mark.parametrize("name", [name for name in CONFIGS if CONFIGS[name].family != "v1"])
def test_inverted_residuals(name: str) -> None:
    config: ModelConfig = CONFIGS[name]
    module = mobilenet_v2 if config.family == "v2" else mobilenet_v3
    graph = build_graph(config)
    counted, shapes = count_cost(graph, SHAPE).by_block(), graph.infer_shapes(SHAPE)
    before = shapes["features.0.0"][2:]
    for number, block in enumerate(module.blocks(config)):
        label = f"features.{number + 1}"
        after = shapes[graph.resolve(label)][2:]
        formula = formulas.inverted_residual(
            (block.kernel, block.kernel),
            block.in_channels,
            block.expanded,
            block.out_channels,
            after,
            (block.stride, block.stride),
            before,
            block.expands,
            block.squeezed,
        )
        assert formula == counted[label].madds, f"{label} of {name}"
        before = after


def test_inverted_residual_of_the_paper() -> None:
    """``h w d' t (d' + k^2 + d'')`` at stride 1; at 2 the expansion runs over four times the pixels."""
    h, w, d, t, k, out = 14, 9, 24, 6, 3, 32
    assert formulas.inverted_residual((k, k), d, t * d, out, (h, w)) == h * w * d * t * (d + k**2 + out)
    strided = formulas.inverted_residual((k, k), d, t * d, out, (h, w), (2, 2))
    assert strided == h * w * d * t * (4 * d + k**2 + out)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_spatially_separable_is_executed(stride: tuple[int, int]) -> None:
    """3x1 and then 1x3 as two convolutions: 6 instead of 9 products per pair of channels at stride 1."""
    column = Conv2d(4, 5, (3, 1), (stride[0], 1))
    row = Conv2d(5, 6, (1, 3), (1, stride[1]))
    between = column.infer_shape((1, 4, 8, 10))
    size = row.infer_shape(between)[2:]
    formula = formulas.spatially_separable((3, 3), 4, 5, 6, (size[0], size[1]), stride)
    assert executed(column, ((1, 4, 8, 10),))[0] + executed(row, (between,))[0] == formula
    square = formulas.spatially_separable((3, 3), 7, 7, 7, (8, 8))
    assert Fraction(square, formulas.standard_convolution((3, 3), 7, 7, (8, 8))) == Fraction(6, 9)


@pytest.mark.parametrize("width", [Fraction(1), Fraction(3, 4), Fraction(1, 2), Fraction(1, 4)])
@pytest.mark.parametrize("resolution", [224, 192, 160, 128])
def test_multipliers(width: Fraction, resolution: int) -> None:
    """Equation 7 is what the narrower network costs on the smaller picture: V1's widths need no rounding."""
    narrow = build_graph(config_for("mobilenet_v1", width=float(width)))
    counted = count_cost(narrow, (1, 3, resolution, resolution)).by_block()
    shapes = build_graph(config_for("mobilenet_v1")).infer_shapes((1, 3, 224, 224))
    for number, block in enumerate(mobilenet_v1.blocks(config_for("mobilenet_v1"))):
        label = f"features.{number + 1}"
        size = shapes[f"{label}.1.0"][2:]
        plain = ((3, 3), block.in_channels, block.out_channels, (size[0], size[1]))
        scaled = formulas.resolution_multiplied(*plain, width, Fraction(resolution, 224))
        assert scaled == counted[label].madds
        assert formulas.width_multiplied(*plain, Fraction(1)) == formulas.depthwise_separable(*plain)


def test_refusals() -> None:
    with pytest.raises(GraphError, match="2 groups"):
        formulas.layer_formula(Conv2d(4, 4, groups=2), (1, 4, 5, 5))
    with pytest.raises(GraphError, match="relu multiplies nothing"):
        execute(Relu(), {}, np.ones((1, 1, 2, 2)))
