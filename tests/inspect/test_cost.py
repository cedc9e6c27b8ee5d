"""Costs as integers: sums that fit, parameters three ways, memory traffic, and where two counts part."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import mininet
from mininet.errors import GraphError, UnknownNameError
from mininet.graph import Graph
from mininet.graph.passes import PASSES, fold_batchnorm
from mininet.inspect.conventions import CONVENTIONS
from mininet.inspect.cost import GROUPINGS, count_cost
from mininet.models.registry import build_graph, config_for, list_models
from mininet.ops import OPS

COUNTS = Path(__file__).parent.parent / "data" / "computed_counts.csv"
OPTIONS = {
    "full-conv": {"separable": False},
    "shallow": {"shallow": True},
    "minimalistic": {"minimalistic": True},
}
SHAPE = (1, 3, 64, 48)


def graph_of(name: str, **options: object) -> Graph:
    return build_graph(config_for(name, **options))


def rows() -> list[dict[str, str]]:
    with COUNTS.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "row", rows(), ids=lambda r: "-".join((r["model"], r["variant"].split()[0], r["width"], r["resolution"]))
)
def test_every_integer_of_the_independent_counts(row: dict[str, str]) -> None:
    lineage = "torchvision" if row["variant"].startswith("torchvision") else "keras"
    options = OPTIONS.get(row["variant"], {})
    graph = graph_of(row["model"], width=float(row["width"]), lineage=lineage, **options)
    size = int(row["resolution"])
    cost = count_cost(graph, (1, 3, size, size))
    assert {
        "madds": cost.madds,
        "params_with_bn": cost.params,
        "params_without_bn": cost.params_without_bn,
        "params_bn_folded": cost.params_folded,
        "bn_activations": cost.by_op()["batch_norm"].outputs,
        "madds_plus_2bn(fvcore/timm-like)": cost.under("timm").madds,
    } == {column: int(value) for column, value in list(row.items())[4:]}


@pytest.mark.parametrize("name", list_models())
def test_sums(name: str) -> None:
    cost = count_cost(graph_of(name), SHAPE)
    columns = (
        "madds",
        "params",
        "params_without_bn",
        "params_folded",
        "outputs",
        "bytes_read",
        "bytes_written",
    )
    for column in columns:
        total = getattr(cost, column)
        assert total == sum(getattr(node, column) for node in cost.nodes), column
        assert total == sum(getattr(group, column) for group in cost.by_block().values()), column
        assert total == sum(getattr(group, column) for group in cost.by_op().values()), column
    assert cost.intensity == pytest.approx(cost.madds / (cost.bytes_read + cost.bytes_written))


@pytest.mark.parametrize("name", list_models())
def test_folded_parameters_are_those_of_the_folded_graph(name: str) -> None:
    graph = graph_of(name)
    folded = count_cost(fold_batchnorm(graph), SHAPE)
    assert count_cost(graph, SHAPE).params_folded == folded.params == folded.params_folded


def test_bytes_of_one_node_by_hand() -> None:
    nodes = {node.name: node for node in count_cost(graph_of("mobilenet_v2"), (1, 3, 8, 8)).nodes}
    conv, norm = nodes["features.0.0"], nodes["features.0.1"]
    assert (conv.bytes_read, conv.bytes_written) == (4 * (3 * 8 * 8 + 32 * 3 * 3 * 3), 4 * 32 * 4 * 4)
    assert (norm.bytes_read, norm.bytes_written) == (4 * (32 * 4 * 4 + 4 * 32), 4 * 32 * 4 * 4)
    add = nodes["features.3"]
    assert (add.bytes_read, add.bytes_written) == (2 * add.bytes_written, 4 * 24 * 2 * 2)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_batches_cost_in_proportion(convention: str) -> None:
    graph = graph_of("mobilenet_v3_small")
    one, three = (count_cost(graph, (n, *SHAPE[1:]), convention).madds for n in (1, 3))
    assert three == 3 * one


def test_counting_touches_nothing() -> None:
    net = mininet.create_model("mobilenet_v2", width=0.1, num_classes=4)
    x = np.ones((1, 3, 32, 32), np.float32)
    before, graph, state = net(x), net.graph, net.state_dict()
    for convention in CONVENTIONS:
        net.cost(32, convention=convention).diff("paper")
    assert net.graph is graph
    assert all(np.array_equal(value, net.state_dict()[name]) for name, value in state.items())
    np.testing.assert_array_equal(net(x), before)


def test_network_counts_by_its_lineage() -> None:
    """timm pools within squeeze-and-excite by a method, which fvcore does not see."""
    ours, timms = (
        mininet.create_model("mobilenet_v3_large", lineage=lineage) for lineage in ("torchvision", "timm")
    )
    pools = sum(
        n.madds for n in ours.cost(224, convention="fvcore").nodes if n.name.endswith("block.2.avgpool")
    )
    difference = ours.cost(224, convention="fvcore").madds - timms.cost(224, convention="fvcore").madds
    assert difference == pools > 0
    assert ours.cost(224).madds == timms.cost(224).madds


@pytest.mark.parametrize("left", CONVENTIONS)
@pytest.mark.parametrize("right", CONVENTIONS)
def test_diff_accounts_for_the_whole_difference(left: str, right: str) -> None:
    cost = count_cost(graph_of("mobilenet_v3_small"), SHAPE, left)
    diff = cost.diff(right)
    assert diff.difference == sum(line.difference for line in diff.lines)
    assert diff.difference == sum(line.difference for line in diff.by_op())
    assert bool(diff) == (left != right)
    assert all(line.left_rule != line.right_rule for line in diff.lines), (
        "the words must part where figures do"
    )


def test_diff_of_two_networks() -> None:
    """Nodes that only one of them has stand with 0 for the other."""
    plain, shallow = (
        count_cost(graph_of("mobilenet_v1", shallow=shallow), SHAPE) for shallow in (False, True)
    )
    diff = plain.diff(shallow)
    assert diff.difference == shallow.madds - plain.madds
    assert any(line.right == 0 and line.right_rule == "" for line in diff.lines)
    assert not plain.diff(plain)


def test_golden_diff() -> None:
    cost = count_cost(graph_of("mobilenet_v2", width=0.1, num_classes=4), (1, 3, 32, 32), "paper")
    assert str(cost.diff("ptflops-aten")) == GOLDEN_DIFF.strip("\n")


GOLDEN_DIFF = """
-----------------------------------------------
node            paper  ptflops-aten  difference
-----------------------------------------------
classifier.1    5,120         5,124          +4
total         523,072       523,076          +4
-----------------------------------------------

linear, 1 node, +4: paper: products; ptflops-aten: products, and one per output for a bias
"""


@pytest.mark.parametrize("by", GROUPINGS)
def test_table(by: str) -> None:
    cost = count_cost(graph_of("mobilenet_v3_small"), SHAPE)
    text = cost.table(by)
    groups = {"block": list(cost.by_block()), "op": list(cost.by_op()), "node": [n.name for n in cost.nodes]}
    assert [line.split()[0] for line in text.splitlines()[4:-4]] == groups[by]
    assert f"{cost.madds:,}" in text


def test_refusals() -> None:
    graph = graph_of("mobilenet_v3_small")
    with pytest.raises(UnknownNameError, match="did you mean 'fvcore'"):
        count_cost(graph, SHAPE, "fvcor")
    with pytest.raises(UnknownNameError, match="grouping"):
        count_cost(graph, SHAPE).table("layer")
    fused = graph
    for rewrite in PASSES:
        fused = rewrite(fused)
    assert count_cost(fused, SHAPE).madds == count_cost(graph, SHAPE).madds
    with pytest.raises(GraphError, match="no rule for conv_depthwise"):
        count_cost(fused, SHAPE, "thop")


def test_rules_name_known_ops() -> None:
    for convention in CONVENTIONS.values():
        assert set(convention.rules) <= set(OPS), convention.name
