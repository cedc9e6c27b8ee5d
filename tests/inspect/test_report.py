"""The report as data: its numbers are the network's, its pictures are pictures."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

import mininet
from mininet.errors import ArgumentError, DTypeError, ShapeError
from mininet.graph.graph import Node
from mininet.inspect.formula_text import FUNCTIONS, compare_separable, formula_of
from mininet.inspect.formulas import layer_formula
from mininet.inspect.pictures import (
    BUDGET,
    PALETTE,
    TILES,
    ZERO,
    channel_maps,
    histogram,
    is_image,
    thumbnail,
    tile_side,
)
from mininet.inspect.png import data_uri, encode_png
from mininet.inspect.report import Report
from mininet.models.registry import ASSEMBLERS, build_graph, config_for
from mininet.network import Network
from mininet.ops import DepthwiseConv2d, PointwiseConv2d
from mininet.reporting import as_picture

MOST_BYTES = 10_000_000
"""What a page may weigh."""


@pytest.fixture(scope="module")
def net() -> Network:
    return mininet.create_model(weights="digits")


@pytest.fixture(scope="module")
def report(net: Network) -> Report:
    return net.report(mininet.sample_images()[3])


def _decoded(uri: str) -> np.ndarray:
    """Pixels of a PNG in a data URI, as Pillow reads them."""
    image = pytest.importorskip("PIL.Image")
    opened = image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
    return np.asarray(opened.convert("RGB") if opened.mode == "P" else opened)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (4, 7, 3), (3, 2, 1), (64, 300)])
def test_png_is_what_pillow_reads(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = pixels[:, :, 0] if shape[2:] == (1,) else pixels
    np.testing.assert_array_equal(_decoded(data_uri(encode_png(pixels))), expected)


def test_png_with_a_palette() -> None:
    indices = np.random.default_rng(0).integers(0, len(PALETTE), (6, 9)).astype(np.uint8)
    np.testing.assert_array_equal(_decoded(data_uri(encode_png(indices, PALETTE))), PALETTE[indices])


@pytest.mark.parametrize(
    ("pixels", "error"),
    [
        (np.zeros((2, 2)), DTypeError),
        (np.zeros((2, 2, 4), np.uint8), ShapeError),
        (np.zeros((0, 2), np.uint8), ShapeError),
        (np.zeros(4, np.uint8), ShapeError),
    ],
)
def test_png_refuses_what_it_cannot_write(pixels: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_png(pixels)


def test_palette_has_black_at_zero_and_grows_lighter_both_ways() -> None:
    lightness = PALETTE.astype(int).sum(axis=1)
    assert lightness[ZERO] == lightness.min() < 60
    assert (np.diff(lightness[ZERO:]) >= 0).all()
    assert (np.diff(lightness[: ZERO + 1]) <= 0).all()


def test_maps_show_the_channels_that_vary_most() -> None:
    value = np.zeros((1, 20, 4, 6), np.float32)
    value[0, 3:15] = np.random.default_rng(0).normal(size=(12, 4, 6))
    maps = channel_maps(value, 64)
    assert maps.channels == tuple(range(3, 15))
    assert (maps.total, maps.columns, len(maps.channels)) == (20, 6, TILES)
    pixels = _decoded(maps.picture)
    assert pixels.shape == (maps.height, maps.width, 3)
    sign = value[0, 3, 0, 0]
    tile = pixels[0, 0].astype(int)
    assert (tile[0] > tile[2]) == (sign > 0), "amber above zero, blue below"


@pytest.mark.parametrize("size", [(1, 2), (65, 64), (130, 7), (3, 1000)])
def test_large_maps_are_averaged_down_to_a_tile(size: tuple[int, int]) -> None:
    maps = channel_maps(np.full((1, 1, *size), 2.0, np.float32), 64)
    assert max(maps.width, maps.height) <= 64
    pixels = _decoded(maps.picture)
    assert (pixels == PALETTE[-1]).all(), "a mean of equal values is that value, at the edges too"


@pytest.mark.parametrize("filling", [0.0, np.nan, np.inf, 1e-45, 3e38])
def test_odd_values_still_make_pictures(filling: float) -> None:
    value = np.full((1, 3, 4, 4), filling, np.float32)
    assert _decoded(channel_maps(value, 64).picture).size
    assert _decoded(thumbnail(value)).shape == (4, 4, 3)
    json.dumps(histogram(value), allow_nan=False)


def test_histogram_counts_every_finite_value() -> None:
    value = np.array([-1.0, 0.0, 0.0, 3.0, np.nan, np.inf], np.float32)
    counted = histogram(value)
    assert (counted["low"], counted["high"], sum(counted["counts"])) == (-1.0, 3.0, 4)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", ASSEMBLERS)
def test_numbers_in_a_formula_multiply_to_the_cost(name: str, images: int) -> None:
    graph = build_graph(config_for(name, width=0.5))
    shapes = graph.infer_shapes((images, 3, 65, 97))
    for node in graph.nodes:
        inputs = [shapes[source] for source in node.inputs]
        formula = formula_of(node.op, *inputs)
        if not formula.numbers:
            assert layer_formula(node.op, *inputs) == 0
            assert formula.text, f"{node.name} ({node.op.kind}) says nothing of what it computes"
            continue
        factors, _, product = formula.numbers.partition(" = ")
        multiplied = np.prod([int(factor) for factor in factors.split(" · ")])
        assert multiplied == int(product.replace(",", "")) == node.op.multiply_adds(*inputs), node.name
        assert formula.text.count("·") == factors.count("·")


def test_every_op_without_multiply_adds_says_what_it_computes() -> None:
    graph = build_graph(config_for("mobilenet_v3_small"))
    kinds = {node.op.kind for node in graph.nodes}
    assert kinds - FUNCTIONS.keys() <= {
        *("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear", "batch_norm", "global_avg_pool")
    }


@pytest.mark.parametrize("name", ASSEMBLERS)
def test_comparison_counts_what_the_block_runs(name: str) -> None:
    graph = build_graph(config_for(name))
    shapes = graph.infer_shapes((1, 3, 224, 224))
    blocks: dict[str, list[Node]] = {}
    for node in graph.nodes:
        blocks.setdefault(node.block, []).append(node)
    for block, nodes in blocks.items():
        comparison = compare_separable(nodes, shapes)
        spatial = [node for node in nodes if isinstance(node.op, DepthwiseConv2d)]
        if not spatial:
            assert (comparison is None) == (block != "features.0"), block
            continue
        assert comparison is not None
        narrow = [node for node in nodes if isinstance(node.op, PointwiseConv2d)][-1]
        run = sum(n.op.multiply_adds(*(shapes[s] for s in n.inputs)) for n in (spatial[0], narrow))
        assert comparison.separable == run, block
        assert comparison.ratio * comparison.full == comparison.separable, block
        assert comparison.runs == "separable"


def test_a_full_convolution_is_compared_the_other_way() -> None:
    graph = build_graph(config_for("mobilenet_v1", separable=False))
    shapes = graph.infer_shapes((1, 3, 224, 224))
    comparison = compare_separable([node for node in graph.nodes if node.block == "features.3"], shapes)
    assert comparison is not None
    assert comparison.runs == "full"
    assert comparison.full == 9 * 128 * 128 * 56 * 56


def test_report_has_the_networks_own_numbers(net: Network, report: Report) -> None:
    cost = net.cost()
    assert (report.madds, report.params, report.input_shape) == (cost.madds, cost.params, (1, 1, 32, 32))
    assert {b.name: (b.madds, b.params) for b in report.blocks} == {
        name: (each.madds, each.params) for name, each in cost.by_block().items()
    }
    nodes = [node for block in report.blocks for node in block.nodes]
    assert [(n.name, n.madds) for n in nodes] == [(n.name, n.madds) for n in cost.nodes]
    assert sum(block.share for block in report.blocks) == pytest.approx(1)
    assert report.top == tuple(net.classify(mininet.sample_images()[3]))
    trace = net.trace(net.preprocess(mininet.sample_images()[3]))
    for node in nodes:
        assert node.statistics == trace.step(node.name).statistics, node.name
        assert (node.maps is not None) == is_image(node.output) != bool(node.values), node.name
        assert node.seconds > 0
    assert {n.name for n in nodes if n.gate} == {n.name for n in nodes if "scale_activation" in n.name}


def test_report_as_text_and_json(report: Report) -> None:
    text = str(report)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    for block in document["blocks"]:
        assert f"{block['madds']:,}" in text
        for node in block["nodes"]:
            (line,) = re.findall(rf"^{re.escape(node['name'])} +{node['op']} .*", text, re.M)
            assert (node["formula"]["numbers"] or node["formula"]["text"]) in line
    assert "data:image" not in json.dumps(document)


def test_page_holds_everything_and_names_no_address(net: Network, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    report = net.report(mininet.sample_images()[0], path)
    page = path.read_text(encoding="utf-8")
    assert page == report.to_html()
    assert "@@" not in page
    addresses = set(re.findall(r"\b(?:https?:)?//[\w.]+", page.replace("http://www.w3.org/2000/svg", "")))
    assert not {each for each in addresses if "." in each}, addresses
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert data
    assert json.loads(data[1])["madds"] == report.madds


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
@pytest.mark.parametrize("resolution", [224, 320])
def test_page_of_noise_is_below_ten_megabytes(name: str, resolution: int) -> None:
    """Noise is what compresses worst, so a photo's page is smaller."""
    net = mininet.create_model(name, width=1.0)
    x = np.random.default_rng(0).normal(size=(1, 3, resolution, resolution)).astype(np.float32)
    size = len(net.report(x).to_html().encode())
    assert 500_000 < size < MOST_BYTES, f"{size:,} bytes"


def test_tiles_shrink_to_the_budget() -> None:
    assert tile_side([(1, 100, 112, 112)]) == 64
    assert tile_side([(1, 100, 512, 512)] * 500) < 32
    pixels = 64 * 64 * TILES
    assert tile_side([(1, 100, 64, 64)] * (BUDGET // pixels)) == 64
    assert tile_side([(1, 100, 64, 64)] * (BUDGET // pixels + 1)) < 64


def test_a_prepared_input_gives_the_same_report(net: Network, report: Report) -> None:
    x = net.preprocess(mininet.sample_images()[3])
    other = net.report(np.concatenate([x, x * 0]))
    assert (other.top, other.picture, other.input_shape) == (report.top, report.picture, report.input_shape)
    assert other.source == "array"


def test_picture_undoes_the_preprocessing(net: Network) -> None:
    path = mininet.sample_images()[3]
    shown = as_picture(net.preprocess(path)[0], net.preset)
    np.testing.assert_array_equal(shown, net.preset.frame(path))
    five = as_picture(np.linspace(-1, 1, 5 * 6, dtype=np.float32).reshape(5, 2, 3), net.preset)
    assert five.shape == (2, 3, 1)
    assert (five.min(), five.max()) == (0, 255)


@pytest.mark.parametrize("size", [(1, 1), (3, 17)])
def test_tiny_inputs_make_reports_too(net: Network, size: tuple[int, int]) -> None:
    report = net.report(np.ones((1, 1, *size), np.float32))
    assert str(report)


@pytest.mark.parametrize("shape", [(0, 1, 32, 32), (1, 32, 32), (1, 2, 32, 32)])
def test_wrong_inputs_are_refused_in_one_line(net: Network, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        net.report(np.zeros(shape, np.float32))
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_page(net: Network, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot write"):
        net.report(mininet.sample_images()[0], tmp_path / "nowhere" / "report.html")
