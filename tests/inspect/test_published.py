"""Verdicts on published figures: the known ones come out, and another network gets others."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import mininet
from mininet.graph import Graph
from mininet.inspect.compare import (
    EXACT,
    NOT_BUILT,
    OTHER,
    ROUNDS,
    TRUNCATES,
    TYPO,
    UNEXPLAINED,
    VERDICTS,
    Finding,
    Report,
    agreement,
    compare_published,
)
from mininet.inspect.published import load_causes, load_published
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph
from mininet.ops import Conv2d, Linear


@pytest.fixture(scope="module")
def report() -> Report:
    return mininet.compare_published()


def find(report: Report, model: str, width: str, resolution: str, variant: str, quantity: str) -> Finding:
    (found,) = (
        finding
        for comparison in report
        for finding in comparison.findings
        if (comparison.row.model, comparison.row.width) == (model, width)
        and (comparison.row.resolution, comparison.row.variant) == (resolution, variant)
        and finding.quantity == quantity
    )
    return found


def test_every_row_that_names_a_figure_has_a_verdict(report: Report) -> None:
    assert [comparison.row for comparison in report] == list(load_published())
    for comparison in report:
        row = comparison.row
        named = {q for q in ("madds", "params") if getattr(row, f"{q}_millions")}
        assert {finding.quantity for finding in comparison.findings} == named
        assert comparison.verdict in VERDICTS
        assert all(finding.verdict in VERDICTS and finding.reason for finding in comparison.findings)
        assert row.source
        if row.head:
            assert {finding.verdict for finding in comparison.findings} <= {NOT_BUILT}


V1, V2, LARGE, SMALL = "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"
#: (disagreement, model, width, resolution, variant, quantity, verdict, rule, variant of the network)
KNOWN = [
    *[(1, V1, "0.75", r, "slim-float", "madds", OTHER, "no-stem", "") for r in ("224", "192", "160", "128")],
    (2, V1, "0.25", "192", "slim-float", "madds", TYPO, "", ""),
    (2, V1, "0.25", "160", "slim-float", "madds", ROUNDS, "", ""),
    (3, V1, "1.0", "224", "keras-docstring", "madds", TYPO, "", ""),
    *[
        (3, V1, "1.0", r, "keras-docstring (wrong: 529 repeated)", "madds", TYPO, "", "")
        for r in ("192", "160", "128")
    ],
    (4, V1, "1.0", "224", "as-reported-in-V2-paper", "madds", UNEXPLAINED, "", ""),
    (5, V1, "1.0", "160", "paper", "madds", TRUNCATES, "", ""),
    (5, V1, "1.0", "160", "slim-float", "madds", ROUNDS, "", ""),
    (5, V1, "0.5", "224", "slim-float", "madds", ROUNDS, "", ""),
    (5, V1, "0.5", "160", "paper", "madds", TRUNCATES, "", ""),
    (6, V1, "1.0", "224", "full-conv (Conv MobileNet)", "madds", OTHER, "no-classifier", ""),
    (7, V2, "1.0", "224", "slim-float", "madds", TRUNCATES, "", ""),
    (7, V2, "0.5", "96", "slim-float", "madds", TRUNCATES, "", ""),
    *[
        (8, V2, w, "224", "slim-float", "params", OTHER, "no-norm", "")
        for w in ("1.4", "1.3", "1.0", "0.75", "0.5", "0.35")
    ],
    (9, V2, "1.4", "224", "paper", "madds", UNEXPLAINED, "", ""),
    (9, V2, "1.4", "224", "paper", "params", UNEXPLAINED, "", ""),
    (10, V2, "1.0", "224", "paper", "params", OTHER, "no-norm", ""),
    (11, LARGE, "1.0", "224", "paper-final", "madds", UNEXPLAINED, "", ""),
    (11, LARGE, "1.0", "224", "slim-float", "madds", ROUNDS, "", ""),
    (12, SMALL, "1.0", "224", "paper-final", "madds", TRUNCATES, "", ""),
    (12, SMALL, "1.0", "224", "slim-float", "madds", OTHER, "", "early-revision"),
    (12, SMALL, "1.0", "224", "keras-docstring", "params", OTHER, "", "wide-head"),
    (12, SMALL, "1.0", "224", "brief", "madds", OTHER, "", "early-revision"),
    (12, SMALL, "1.0", "224", "brief", "params", ROUNDS, "", ""),
    (13, SMALL, "0.75", "224", "slim-float", "madds", OTHER, "", "wide-head"),
    (14, SMALL, "1.0", "224", "slim-minimalistic-float", "madds", UNEXPLAINED, "", ""),
    (14, SMALL, "1.0", "224", "slim-minimalistic-float", "params", ROUNDS, "", ""),
    (16, LARGE, "0.75", "224", "keras-docstring", "madds", ROUNDS, "", ""),
    (0, V2, "1.0", "224", "torchvision IMAGENET1K_V1", "params", EXACT, "", ""),
    (0, V2, "0.1", "224", "d-li14", "madds", OTHER, "", "multiples-of-4"),
    (0, V2, "1.0", "96", "d-li14", "madds", OTHER, "folded-bias", ""),
]


@pytest.mark.parametrize("known", KNOWN, ids=lambda k: "-".join(map(str, k[:6])))
def test_known_disagreements_come_out(report: Report, known: tuple[object, ...]) -> None:
    _, model, width, resolution, variant, quantity, *expected = map(str, known)
    found = find(report, model, width, resolution, variant, quantity)
    assert [found.verdict, found.rule, found.variant] == expected, found.reason


def test_computed_figures_of_the_disagreements(report: Report) -> None:
    """What the rules give for them, to the digit."""
    small = (
        find(report, SMALL, "1.0", "224", "slim-float", "madds"),
        find(report, SMALL, "0.75", "224", "slim-float", "madds"),
    )
    assert [round((each.counted or 0) / 1e6, 2) for each in small] == [66.23, 43.77]
    params = (
        find(report, SMALL, "1.0", "224", "slim-float", "params"),
        find(report, SMALL, "0.75", "224", "slim-float", "params"),
    )
    assert [round((each.counted or 0) / 1e6, 3) for each in params] == [2.947, 2.409]
    reason = find(report, LARGE, "1.0", "224", "paper-final", "madds").reason
    assert "218.698432 rounds to 219" in reason, "the rule that is only suggestive is named"
    assert "57.594912" in reason, "and the figure that speaks against it"


def test_slim_truncates_v2_in_every_row(report: Report) -> None:
    """Cause 7 says so of all rows, those too that rounding explains as well."""
    rows = [c for c in report if c.row.model == V2 and c.row.variant == "slim-float"]
    assert len(rows) == 22
    for comparison in rows:
        madds = next(f for f in comparison.findings if f.quantity == "madds")
        assert madds.computed is not None
        assert int(madds.published) == madds.computed // 10**6


def test_every_cause_is_used(report: Report) -> None:
    used = {finding.cause for comparison in report for finding in comparison.findings}
    assert {cause.cause for cause in load_causes()} <= used


def wider_stem(config: ModelConfig) -> Graph:
    """Another network: a classifier without bias, and a stem that looks at 5x5 pixels."""
    graph = build_graph(config)
    changed = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv2d):
            changed[node.name] = replace(node, op=replace(node.op, kernel=(5, 5)))
    last = next(node for node in graph.nodes if node.name in graph.outputs)
    assert isinstance(last.op, Linear)
    changed[last.name] = replace(last, op=replace(last.op, bias=False))
    return replace(graph, nodes=tuple(changed.get(node.name, node) for node in graph.nodes))


def test_a_changed_network_changes_the_verdicts(report: Report) -> None:
    other = compare_published(build=wider_stem)
    was, now = report.verdicts(), other.verdicts()
    assert was[EXACT] > 0
    assert EXACT not in now, "no parameter count is what it was"
    assert now[UNEXPLAINED] > 5 * was[UNEXPLAINED]
    assert now[NOT_BUILT] == was[NOT_BUILT]
    plain = find(other, V1, "1.0", "224", "paper", "madds")
    assert plain.verdict == UNEXPLAINED
    assert plain.computed != find(report, V1, "1.0", "224", "paper", "madds").computed
    omitted = find(other, V1, "0.75", "224", "slim-float", "madds")
    assert omitted.rule == "no-stem", "without its stem the network is what it was"
    early = find(other, SMALL, "1.0", "224", "slim-float", "madds")
    assert (early.verdict, early.cause) != (
        OTHER,
        find(report, SMALL, "1.0", "224", "slim-float", "madds").cause,
    )


def test_a_cause_needs_its_verdict() -> None:
    """A correct figure in a wrong one's place gets neither the verdict nor the cause."""
    rows = list(load_published())
    at = next(i for i, row in enumerate(rows) if (row.madds_millions, row.variant) == ("34", "slim-float"))
    rows[at] = replace(rows[at], madds_millions="30")
    mended = compare_published(rows)[at].findings[0]
    assert (mended.verdict, mended.cause) == (ROUNDS, "")
    rows[at] = replace(rows[at], madds_millions="55")
    assert compare_published(rows)[at].findings[0].verdict == TYPO
    alone = compare_published([rows[at]])[0].findings[0]
    assert alone.verdict == UNEXPLAINED, "nothing beside it says that the table is right otherwise"


def test_a_rule_must_explain_the_figures_beside_it() -> None:
    """Were slim's 0.75 rows not all without the first convolution, none would be explained by that."""
    rows = list(load_published())
    at = next(i for i, row in enumerate(rows) if (row.madds_millions, row.variant) == ("104", "slim-float"))
    rows[at] = replace(rows[at], madds_millions="90")
    findings = [
        c.findings[0] for c in compare_published(rows) if c.row.width == "0.75" and "slim" in c.row.variant
    ]
    spoilt = [finding for finding in findings if finding.published == "317"]
    assert spoilt
    for finding in spoilt:
        assert finding.verdict == UNEXPLAINED
        assert "where 90 stands" in finding.reason


@pytest.mark.parametrize(
    ("published", "count", "how"),
    [
        ("3.504872", 3_504_872, EXACT),
        ("569", 568_740_352, ROUNDS),
        ("300", 300_774_272, TRUNCATES),
        ("150", 149_497_088, ROUNDS),  # by way of 149.50
        ("150", 149_487_088, ""),
        ("2.0", 2_044_736, ROUNDS),
        ("2.5", 2_450_000, ROUNDS),
        ("4.2", 4_300_000, ""),
    ],
)
def test_agreement(published: str, count: int, how: str) -> None:
    assert agreement(published, count) == how


def test_report_as_text_and_document(report: Report) -> None:
    text = str(report)
    figures = sum(len(comparison.findings) for comparison in report)
    assert text.count("\n") == figures + 4
    assert text.splitlines()[-1].startswith(f"{figures} figures: ")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    document = report.to_dict()
    assert sum(document["verdicts"].values()) == figures
    assert document["rows"][0]["findings"][0]["computed"] == 4_867_293_184
