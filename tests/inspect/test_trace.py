"""Traces: values of all three backends, statistics, times, and what the plan's trace stands for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import seeded

import mininet
from mininet.graph import Plan
from mininet.inspect import Statistics, Trace

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mobilenet_v1", {"lineage": "keras", "width": 0.25}),
    ("mobilenet_v2", {"width": 0.35}),
    ("mobilenet_v3_large", {"width": 0.35}),
    ("mobilenet_v3_small", {}),
    ("mobilenet_v3_small", {"minimalistic": True, "lineage": "keras"}),
]
BACKENDS = ("reference", "kernels", "plan")


def network(name: str, options: dict[str, Any]) -> Any:
    """A network whose batch norms do something."""
    net = mininet.create_model(name, **options)
    net.load_state_dict(seeded.state({key: value.shape for key, value in net.state_dict().items()}, 3))
    return net


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return seeded.images(5, (2, 3, 37, 50))


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_backends_agree_on_every_common_node(name: str, options: dict[str, Any], images: np.ndarray) -> None:
    net = network(name, options)
    traces = {backend: net.trace(images, backend=backend) for backend in BACKENDS}
    assert list(traces["reference"]) == list(traces["kernels"]) == net.names()
    for backend in ("kernels", "plan"):
        diff = traces["reference"].diff(traces[backend])
        assert diff.ok, str(diff)
    assert traces["reference"].diff(traces["plan"]).only_second == ()


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_the_plans_trace_is_what_the_plan_computes(
    name: str, options: dict[str, Any], images: np.ndarray
) -> None:
    net = network(name, options)
    trace = net.trace(images, backend="plan")
    assert np.array_equal(trace[net.names()[-1]], net(images)), (
        "the last value is the plan's output, bit for bit"
    )
    plan = net.plan(images.shape)
    steps = {step.name: step for step in plan.steps if step.op != "layout"}
    for node, step, value in zip(plan.graph.nodes, trace.steps.values(), trace.values(), strict=True):
        if node.name in steps:
            planned = steps.pop(node.name)
            assert (step.op, (1, *value.shape[1:])) == (planned.op, planned.output)
        else:
            assert step.op == "global_avg_pool", "only a mean that is left behind another value is no step"
    assert not steps, "every step makes a value"
    kinds = {node.name: node.op.kind for node in net.graph.nodes}
    assert "dropout" not in {kinds[made] for made in trace}


def test_fused_steps_go_by_the_last_node_merged(images: np.ndarray) -> None:
    graph = Plan(network("mobilenet_v3_small", {}).graph, images.shape).graph
    made = {node.name: node.makes for node in graph.nodes}
    assert made["features.1.block.0.0"] == "features.1.block.0.2", "the stem and the first depthwise"
    assert made["features.2.block.1.0"] == "features.2.block.1.2", "expansion and depthwise"
    assert made["features.1.block.2.0"] == "features.1.block.2.1", "convolution and batch norm"
    assert made["features.12.0"] == "features.12.2", "convolution, batch norm and activation"
    assert made["features.4.block.2"] == "features.4.block.2", "squeeze-and-excite ends in its own multiply"
    assert made["features.3.block.2.0"] == "features.3", "projection, batch norm and residual"
    assert made["classifier.0"] == "classifier.1"


def test_the_plan_has_no_value_for_what_it_merges(images: np.ndarray) -> None:
    net = network("mobilenet_v2", {"width": 0.35})
    with pytest.raises(mininet.ArgumentError, match=r"no value of its own for 'features\.18\.1'"):
        net.trace(images, names=["features.18", "features.18.1"], backend="plan")
    trace = net.trace(images, backend="plan")
    assert "features.18.1" not in trace
    assert "features.18" in trace
    assert "features.0" not in trace, "the first depthwise takes the stem in"
    with pytest.raises(mininet.UnknownNameError, match="node of this trace"):
        trace["features.18.1"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_keep_only_those(backend: str, images: np.ndarray) -> None:
    net = network("mobilenet_v2", {"width": 0.35})
    whole = net.trace(images, backend=backend)
    some = net.trace(images, names=["features.3", "features.1", "features.3"], backend=backend)
    assert list(some) == ["features.1.conv.2", "features.3"]
    for name in some:
        assert np.array_equal(some[name], whole[name])
    assert list(net.trace(images, "features.1", backend)) == ["features.1.conv.2"]
    assert list(net.trace(images, [], backend)) == []


def test_unknown_names(images: np.ndarray) -> None:
    net = network("mobilenet_v2", {"width": 0.35})
    with pytest.raises(mininet.UnknownNameError, match="unknown node 'nowhere'"):
        net.trace(images, ["nowhere"])
    with pytest.raises(mininet.UnknownNameError, match="unknown backend 'gpu'"):
        net.trace(images, backend="gpu")


def test_it_is_a_mapping(images: np.ndarray) -> None:
    trace = network("mobilenet_v2", {"width": 0.35}).trace(images)
    assert isinstance(trace, Trace)
    assert "nowhere" not in trace
    assert 7 not in trace
    assert trace.get("nowhere") is None
    assert trace.get("features.0") is trace["features.0.2"]
    assert len(trace) == len(dict(trace)) == len(trace.steps)


def test_values_belong_to_the_trace(images: np.ndarray) -> None:
    net, x = network("mobilenet_v3_small", {}), images.copy()
    for backend in BACKENDS:
        trace = net.trace(x, backend=backend)
        before = {name: value.copy() for name, value in trace.items()}
        net(-x), net.trace(-x, backend=backend)
        x += 1.0
        assert all(np.array_equal(trace[name], before[name]) for name in before), backend
        x -= 1.0
        trace["features.1"][:] = 0
        others = [name for name in trace if name != "features.1.block.2.1"]
        assert all(np.array_equal(trace[name], before[name]) for name in others), backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_times(backend: str, images: np.ndarray) -> None:
    trace = network("mobilenet_v2", {"width": 0.35}).trace(images, backend=backend)
    assert all(step.seconds >= 0 for step in trace.steps.values())
    assert 0 < trace.seconds < 60
    assert trace.seconds == pytest.approx(sum(step.seconds for step in trace.steps.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_images(backend: str) -> None:
    trace = network("mobilenet_v3_small", {}).trace(np.zeros((0, 3, 32, 32), np.float32), backend=backend)
    assert {len(value) for value in trace.values()} == {0}
    json.dumps(trace.to_dict(), allow_nan=False)
    str(trace)


def test_statistics() -> None:
    value = np.zeros((2, 4, 1, 3), np.float32)
    value[:, 1] = 6
    value[0, 2] = [[1, -2, 6.5]]
    got = Statistics.of(value)
    assert (got.min, got.max) == (-2, 6.5)
    assert got.mean == pytest.approx(value.mean())
    assert got.std == pytest.approx(value.std())
    assert got.zeros == pytest.approx(15 / 24)
    assert got.sixes == pytest.approx(6 / 24)
    assert got.dead == pytest.approx(2 / 4), "channels 0 and 3 are zero throughout, 2 in one image only"
    assert (got.nan, got.inf) == (0, 0)


def test_statistics_of_a_vector() -> None:
    got = Statistics.of(np.array([[0, 1, 0], [0, 0, 0]], np.float32))
    assert got.dead == pytest.approx(2 / 3)


def test_statistics_count_what_is_not_finite() -> None:
    got = Statistics.of(np.array([[np.nan, np.inf, -np.inf, 1.0, 3.0]], np.float32))
    assert (got.nan, got.inf, got.min, got.max, got.mean, got.std) == (1, 2, 1, 3, 2, 1)
    nothing = Statistics.of(np.full((1, 2), np.nan, np.float32))
    assert nothing.nan == 2
    assert nothing.to_dict()["mean"] is None


def test_nan_shows_where_it_comes_from(images: np.ndarray) -> None:
    net = network("mobilenet_v2", {"width": 0.35})
    state = net.state_dict()
    state["features.2.conv.0.1.running_var"][3] = -1.0
    net.load_state_dict(state)
    trace = net.trace(images)
    assert next(s.name for s in trace.steps.values() if s.statistics.nan) == "features.2.conv.0.1"


def test_relu6_saturates() -> None:
    net = network("mobilenet_v2", {"width": 0.35})
    trace = net.trace(100 * seeded.images(5, (1, 3, 32, 32)))
    assert trace.step("features.0").statistics.sixes > 0.1
    assert trace.step("features.0.1").statistics.sixes == 0


def test_table_and_json(images: np.ndarray) -> None:
    trace = network("mobilenet_v3_small", {}).trace(images)
    lines = str(trace).splitlines()
    assert lines[0] == "mobilenet_v3_small, input (2, 3, 37, 50)"
    assert lines[2].split() == [
        "name",
        "op",
        "shape",
        *["min", "max", "mean", "std", "zeros", "sixes", "dead", "NaN", "Inf", "ms"],
    ]
    assert [line.split()[0] for line in lines[4:-1]] == list(trace)
    document = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert [node["name"] for node in document["nodes"]] == list(trace)
    assert set(document["nodes"][0]["statistics"]) == set(vars(trace.step("features.0").statistics))
