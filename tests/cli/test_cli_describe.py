"""``mininet summary`` and ``mininet models``."""

from __future__ import annotations

import json

import pytest
from cli_harness import Runner, assert_refused

import mininet
from mininet.data import DIGITS


@pytest.mark.parametrize(
    ("args", "name", "shape"),
    [
        ([], "mobilenet_v3_small", [1, 1, 32, 32]),
        (["mobilenet_v2"], "mobilenet_v2", [1, 3, 224, 224]),
        (["mobilenet_v1", "--width", "0.25", "--resolution", "64"], "mobilenet_v1", [1, 3, 64, 64]),
        (["mobilenet_v1", "--in-channels", "1", "--input-shape", "1,28,30"], "mobilenet_v1", [1, 1, 28, 30]),
        (["--weights", str(DIGITS), "--resolution", "28"], "mobilenet_v3_small", [1, 1, 28, 28]),
        (
            ["mobilenet_v3_large", "--minimalistic", "--lineage", "keras"],
            "mobilenet_v3_large",
            [1, 3, 224, 224],
        ),
    ],
    ids=lambda value: (
        " ".join(value) if isinstance(value, list) and value and isinstance(value[0], str) else None
    ),
)
def test_summary(cli: Runner, args: list[str], name: str, shape: list[int]) -> None:
    ran = cli("summary", *args)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(cli("summary", *args, "--json").out)
    assert document["input_shape"] == shape
    assert document["name"].startswith(name)
    assert f"{document['params']:,}" in ran.out
    assert f"{document['madds']:,}" in ran.out
    assert all(node["name"] in ran.out for node in document["nodes"])


def test_summary_of_a_part_by_levels_and_in_markdown(cli: Runner) -> None:
    net = mininet.create_model("mobilenet_v2")
    cases = {
        ("--levels", "2"): str(net.summary(depth=2)),
        ("--node", "features.3"): str(net.summary(node="features.3")),
        ("--node", "features", "--levels", "1", "--markdown"): net.summary(
            node="features", depth=1
        ).to_markdown(),
    }
    for flags, expected in cases.items():
        ran = cli("summary", "mobilenet_v2", *flags)
        assert (ran.code, ran.out, ran.err) == (0, f"{expected}\n", "")
    document = json.loads(cli("summary", "mobilenet_v2", "--node", "features.3", "--json").out)
    assert document["node"] == "features.3"
    assert_refused(cli("summary", "mobilenet_v2", "--node", "features.99"), "unknown node 'features.99'")
    assert_refused(cli("summary", "--levels", "0"), "--levels", "'0'")
    assert_refused(cli("summary", "--json", "--markdown"), "not allowed with argument")


def test_summary_flags_reach_the_network(cli: Runner) -> None:
    """Each flag changes the figures as it should: counts from the V1 paper's tables 4 and 5."""

    def params(*flags: str) -> int:
        document = json.loads(cli("summary", "mobilenet_v1", *flags, "--json").out)
        return int(document["params"])

    plain = params()
    assert params("--no-separable") > 6 * plain > 6 * params("--shallow")
    assert params("--num-classes", "10") == plain - 990 * 1025


def test_models(cli: Runner) -> None:
    ran = cli("models")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == mininet.list_models()
    document = json.loads(cli("models", "mobilenet_v[12]", "--json").out)
    assert {m["name"]: (m["params"], m["madds"]) for m in document["models"]} == {
        # shared by torchvision, timm and the papers' tables after rounding
        "mobilenet_v1": (4_231_976, 568_740_352),
        "mobilenet_v2": (3_504_872, 300_774_272),
    }
    assert document["input_shape"] == [1, 3, 224, 224]
