"""Multiply-adds and parameters of every network, to the last digit.

``tests/data/computed_counts.csv`` was counted independently of this project, from the papers' tables;
its rows with a twin there equal torchvision 0.28 and keras.applications 3.15.
"""

import csv
import math
from pathlib import Path

import pytest

from mininet.models.registry import build_graph, config_for

COUNTS = Path(__file__).parent.parent / "data" / "computed_counts.csv"
OPTIONS = {
    "full-conv": {"separable": False},
    "shallow": {"shallow": True},
    "minimalistic": {"minimalistic": True},
}


def lineages_of(row):
    """The lineages that a row holds for."""
    if row["variant"].startswith("torchvision"):
        return ["torchvision"]
    if row["width"] == "1.0":  # where no rounding differs
        return ["torchvision", "timm", "keras", "tflite"]
    if row["model"] in ("mobilenet_v1", "mobilenet_v2"):
        return ["torchvision", "timm", "keras", "tflite"]
    # Off width 1 timm's V3 keeps its hidden layer, and scales its stem where Keras does not.
    return ["keras", "tflite"] + (["timm"] if float(row["width"]) in (0.5, 0.75) else [])


def cases():
    with COUNTS.open(newline="") as file:
        for row in csv.DictReader(file):
            name = "-".join((row["model"], row["variant"].split()[0], row["width"], row["resolution"]))
            for lineage in lineages_of(row):
                yield pytest.param(row, lineage, id=f"{name}-{lineage}")


@pytest.mark.parametrize(("row", "lineage"), list(cases()))
def test_counts(row, lineage):
    options = OPTIONS.get(row["variant"], {})
    size = int(row["resolution"])
    config = config_for(row["model"], width=float(row["width"]), lineage=lineage, **options)
    graph = build_graph(config)
    shapes = graph.infer_shapes((1, 3, size, size))
    params = {name: math.prod(shape) for name, shape in graph.param_shapes().items() if "running" not in name}
    norms = [node for node in graph.nodes if node.op.kind == "batch_norm"]
    of_norms = sum(params[f"{node.name}.{role}"] for node in norms for role in ("weight", "bias"))
    madds = sum(node.op.multiply_adds(*(shapes[x] for x in node.inputs)) for node in graph.nodes)
    elements = sum(math.prod(shapes[node.name]) for node in norms)
    computed = {
        "madds": madds,
        "params_with_bn": sum(params.values()),
        "params_without_bn": sum(params.values()) - of_norms,
        "params_bn_folded": sum(params.values()) - of_norms // 2,
        "bn_activations": elements,
        "madds_plus_2bn(fvcore/timm-like)": madds + 2 * elements,
    }
    assert computed == {column: int(row[column]) for column in computed}


def test_the_table_is_whole():
    with COUNTS.open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == 163


def test_folded_network_has_the_folded_count():
    graph = build_graph(config_for("mobilenet_v2", batch_norm=False))
    assert sum(map(math.prod, graph.param_shapes().values())) == 3487816
