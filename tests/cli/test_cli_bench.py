"""``mininet bench``: the form of what it says, on networks so small that nobody waits. No time is judged."""

from __future__ import annotations

import json
import math

import pytest
from cli_harness import Runner, assert_refused

import mininet
from mininet.bench import LEAST_ROUNDS, TICKS, measure, step_times
from mininet.cli.bench import DEFAULT, HEADER, STEP_HEADER, spec

QUICK = ["--seconds", "0.01"]
TINY = ["mobilenet_v2:0.1@32", "--num-classes", "4", *QUICK]
TIMING_KEYS = {
    *("network", "input_shape", "threads", "batch", "madds", "rounds", "calls", "seconds"),
    *("images_per_second", "peak_madds_per_second", "share_of_peak"),
}
STEP_KEYS = {"name", "op", "kernel", "output", "madds", "bytes", "seconds", "share"}


def test_bench_as_text(cli: Runner) -> None:
    ran = cli("bench", "--weights", "digits", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    about, peak, rule, header, rule_again, row, *_ = ran.out.splitlines()
    assert mininet.build_info()["isa"] in about
    assert "load average" in about
    assert "GMAdd/s" in peak
    assert rule == rule_again == "-" * len(rule)
    assert header.split() == " ".join(HEADER).split()
    madds = mininet.create_model(weights="digits").cost().madds
    assert row.split()[:5] == ["digits", "1x32x32", "1", "1", f"{madds:,}"]
    assert "greatest peak" in ran.out, "what the shares mean must be said"


def test_bench_json_has_every_thread_count_and_batch(cli: Runner) -> None:
    document = json.loads(cli("bench", *TINY, "--threads", "1,2,1", "--batch", "1,3", "--json").out)
    assert set(document) == {"machine", "timings"}
    assert {"isa", "processor", "cpus", "load_average", "version", "numpy"} <= set(document["machine"])
    assert set(document["machine"]["load_average"]) == {"before", "after"}
    timings = document["timings"]
    assert [(t["threads"], t["batch"]) for t in timings] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for timing in timings:
        assert set(timing) == TIMING_KEYS
        assert timing["network"] == "mobilenet_v2:0.1@32"
        assert timing["input_shape"] == [timing["batch"], 3, 32, 32]
        assert timing["madds"] == timings[0]["madds"] > 0
        assert timing["calls"] >= timing["rounds"] >= LEAST_ROUNDS
        assert 0 < timing["seconds"]["minimum"] <= timing["seconds"]["median"] <= timing["seconds"]["p95"]
        assert timing["images_per_second"] == pytest.approx(timing["batch"] / timing["seconds"]["median"])
        assert timing["peak_madds_per_second"]["best"] >= timing["peak_madds_per_second"]["median"] > 0
        assert all(share > 0 for share in timing["share_of_peak"].values())


def test_bench_steps(cli: Runner) -> None:
    ran = cli("bench", *TINY, "--steps")
    assert ran.code == 0
    assert sum(line.split() == " ".join(STEP_HEADER).split() for line in ran.out.splitlines()) == 1
    timing = json.loads(cli("bench", *TINY, "--steps", "--json").out)["timings"][0]
    plan = mininet.create_model("mobilenet_v2", width=0.1, num_classes=4).plan((1, 3, 32, 32))
    assert [step["name"] for step in timing["steps"]] == [step.name for step in plan.steps]
    assert sum(step["madds"] for step in timing["steps"]) == timing["madds"]
    for step in timing["steps"]:
        assert set(step) == STEP_KEYS
        assert step["bytes"] > 0
        assert (step["share"] is None) == (step["madds"] == 0), f"{step['name']}: JSON has no NaN"


def test_bench_resolution_of_the_command_line_and_of_a_name(cli: Runner) -> None:
    args = ["mobilenet_v1", "mobilenet_v1@33", "--width", "0.1", "--resolution", "32x40", *QUICK, "--json"]
    timings = json.loads(cli("bench", *args).out)["timings"]
    assert [timing["input_shape"] for timing in timings] == [[1, 3, 32, 40], [1, 3, 33, 33]]


def test_bench_says_when_threads_are_more_than_processors(cli: Runner) -> None:
    many = int(mininet.build_info()["cpus"]) + 1  # type: ignore[call-overload]
    ran = cli("bench", *TINY, "--threads", str(many))
    assert ran.code == 0
    assert f"{many} threads" in ran.err


def test_default_networks_are_those_of_the_documentation() -> None:
    assert len(DEFAULT) == 5
    for text in DEFAULT:
        assert spec(text).name in mininet.list_models()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["mobilenet_v9"], ["unknown model 'mobilenet_v9'", "'mobilenet_v2'"]),
        (["mobilenet_v2:x"], ["'x'", "above 0"]),
        (["mobilenet_v2@0"], ["'0'"]),
        (["mobilenet_v2@1x2x3"], ["HxW", "'1x2x3'"]),
        (["mobilenet_v2@"], ["NAME:WIDTH@SIZE", "'mobilenet_v2@'"]),
        (["mobilenet_v2:0.5", "--width", "0.5"], ["--width", "'mobilenet_v2:0.5'"]),
        (["mobilenet_v2", "mobilenet_v1", "--weights", "digits"], ["--weights", "got 2"]),
        (["--weights", "no-such-file.pth"], ["'no-such-file.pth'"]),
        (["--width", "0.5"], ["--width", "name of a network"]),
        (["--resolution", "32"], ["--resolution", "name of a network"]),
        (["--threads", "1,,2"], ["--threads", "got ''"]),
        (["--threads", "0"], ["--threads", "got '0'"]),
        (["--batch", "many"], ["--batch", "got 'many'"]),
        (["--seconds", "0"], ["--seconds", "got '0'"]),
        (["--seconds", "nan"], ["--seconds", "got 'nan'"]),
        (["--step"], ["did you mean '--steps'?"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_arguments(cli: Runner, args: list[str], words: list[str]) -> None:
    assert_refused(cli("bench", *args), *words)


def test_measure_ticks_evenly_and_puts_the_threads_back() -> None:
    net = mininet.create_model(weights="digits")
    before, ticks = mininet.get_num_threads(), []
    timing = measure(net, (2, 1, 32, 32), 2, 0.05, tick=lambda: ticks.append(1))
    assert len(ticks) == TICKS
    assert mininet.get_num_threads() == before
    assert timing.network == "mobilenet_v3_small"
    assert timing.calls == [call for each in timing.rounds for call in each.calls]
    expected = 2 * timing.madds / (timing.minimum * max(timing.peaks) * timing.cores)
    assert timing.share_best == pytest.approx(expected)
    with pytest.raises(mininet.ShapeError):
        measure(net, (1, 3, 32, 32), 2)
    assert mininet.get_num_threads() == before, "an error must not leave other threads behind"


def test_bytes_of_steps_are_inputs_weights_and_outputs() -> None:
    """By hand for the last linear layer of the digits, and a change of layout."""
    net = mininet.create_model(weights="digits")
    steps = {step.name: step for step in step_times(net, (1, 1, 32, 32))}
    weight, bias = net.get_weights("classifier.3")
    assert steps["classifier.3"].bytes == 4 * (weight.shape[1] + weight.size + bias.size + 10)
    assert steps["output 0"].bytes == 4 * (10 + 10)
    assert math.isnan(steps["output 0"].share)
