"""Computed counts against published figures: a verdict for each, and the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from functools import cached_property
from typing import Any

from mininet.inspect.alternatives import MADDS, PARAMS, PLAIN, VARIANTS, Build, Rule, Variant
from mininet.inspect.cost import NetworkCost, count_cost
from mininet.inspect.published import Cause, Published, load_causes, load_published
from mininet.inspect.table import text_lines
from mininet.models.config import ModelConfig
from mininet.models.registry import build_graph

EXACT, ROUNDS, TRUNCATES = "exact", "rounds", "truncates"
OTHER, TYPO, UNEXPLAINED = "other convention", "typo", "unexplained"
NOT_BUILT, NOTHING = "not built yet", "no figures"
VERDICTS = (NOTHING, EXACT, ROUNDS, TRUNCATES, OTHER, TYPO, NOT_BUILT, UNEXPLAINED)
"""Every verdict, from the calmest to the gravest; a row has the gravest of its figures'."""

QUANTITIES = {"madds": MADDS, "params": PARAMS}
"""What is compared, and the ways to count it."""

NEIGHBOURS = 2
"""So many figures beside a wrong one must be right for it to be called a typo."""


@dataclass(frozen=True)
class Finding:
    """One published figure and what was computed for it.

    Attributes
    ----------
    quantity : str
        ``"madds"`` or ``"params"``.
    published : str
        In millions, as printed.
    computed : int or None
        By the papers' convention; None for a network that is not built yet.
    verdict : str
        One of `VERDICTS`.
    rule, variant : str
        Names of the rule and the network that give the figure; empty for the plain ones.
    counted : int or None
        What they give.
    reason : str
        In words, with figures.
    cause : str
        The known cause, where the verdict bears it out.
    """

    quantity: str
    published: str
    computed: int | None
    verdict: str
    rule: str = PLAIN
    variant: str = PLAIN
    counted: int | None = None
    reason: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Comparison:
    """One row of published figures with the findings for those it gives."""

    row: Published
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """The gravest of the findings' verdicts."""
        return max((finding.verdict for finding in self.findings), key=VERDICTS.index, default=NOTHING)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and text, for JSON."""
        return {**vars(self.row), "verdict": self.verdict, "findings": [vars(each) for each in self.findings]}


class Report(tuple[Comparison, ...]):
    """All comparisons, in the order of the rows. ``str()`` prints a table."""

    __slots__ = ()

    def verdicts(self) -> dict[str, int]:
        """How many figures got each verdict, those that occur."""
        found = [finding.verdict for comparison in self for finding in comparison.findings]
        return {verdict: found.count(verdict) for verdict in VERDICTS if verdict in found}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, lists and text, for JSON."""
        return {"verdicts": self.verdicts(), "rows": [comparison.to_dict() for comparison in self]}

    def __str__(self) -> str:
        found = [(c.row.name, f) for c in self for f in c.findings]
        head = ("network", "published", "computed", "verdict")
        rows = [(name, f"{f.published} M {f.quantity}", _whole(f.computed), f.verdict) for name, f in found]
        rule, titles, _, *lines, _ = text_lines(head, rows, (1, 2))
        reasons = [_sentence(f) for _, f in found]  # too long to be a column
        counts = ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts().items())
        return "\n".join(
            [
                *(rule, f"{titles.ljust(len(rule))}  reason", rule),
                *(f"{line.ljust(len(rule))}  {reason}" for line, reason in zip(lines, reasons, strict=True)),
                *(rule, f"{len(rows)} figures: {counts}"),
            ]
        )


@dataclass(frozen=True)
class _Figure:
    """A figure to explain, with what every rule and variant makes of it."""

    row: Published
    quantity: str
    published: str
    bench: _Bench

    @cached_property
    def config(self) -> ModelConfig:
        return self.row.config()

    def count(self, rule: Rule, variant: Variant) -> int | None:
        """What a rule gives for a variant of the network; None if there is no such variant."""
        cost = self.bench.cost(self.config, self.row.input_size, variant)
        return None if cost is None else rule.count(cost)

    def agrees(self, rule: Rule, variant: Variant) -> str:
        """How the figure follows from a rule and a variant: exact, rounds, truncates, or not ("")."""
        count = self.count(rule, variant)
        return "" if count is None else agreement(self.published, count)

    def key(self, peers: tuple[str, ...]) -> tuple[object, ...]:
        """What figures that are each other's peers share."""
        parts = {"source": self.row.place, "model": self.row.model, "network": self.config}
        return (self.quantity, *(parts[peer] for peer in peers))


class _Bench:
    """Counts networks, each of them once."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.counted: dict[tuple[ModelConfig, tuple[int, int], str], NetworkCost | None] = {}

    def cost(self, config: ModelConfig, size: tuple[int, int], variant: Variant) -> NetworkCost | None:
        key = (config, size, variant.name)
        if key not in self.counted:
            graph = variant.build(self.build, config)
            shape = (1, config.in_channels, *size)
            self.counted[key] = None if graph is None else count_cost(graph, shape, lineage=config.lineage)
        return self.counted[key]


def agreement(published: str, count: int) -> str:
    """How a figure in millions, as printed, follows from a count.

    Returns
    -------
    str
        ``"exact"``, ``"rounds"``, ``"truncates"``, or empty if it does not follow.
    """
    figure, millions = Decimal(published), Decimal(count) / 10**6
    if figure == millions:
        return EXACT
    last = Decimal(1).scaleb(int(figure.as_tuple().exponent))
    if figure in (millions.quantize(last, ROUND_HALF_UP), _rounded_twice(millions, last)):
        return ROUNDS
    return TRUNCATES if figure == millions.quantize(last, ROUND_DOWN) else ""


def _rounded_twice(millions: Decimal, last: Decimal) -> Decimal:
    """Rounded to two more digits first, as a table is that was made from another table."""
    return millions.quantize(last / 100, ROUND_HALF_UP).quantize(last, ROUND_HALF_UP)


def compare_published(rows: Iterable[Published] | None = None, build: Build = build_graph) -> Report:
    """Compare what papers and repositories publish with what their networks cost.

    Nothing is looked up: each verdict follows from counting the network in question, by the papers' rule
    first and then by every other rule and variant known. A rule counts as an explanation only if it gives
    the source's related figures as well.

    Parameters
    ----------
    rows : iterable of Published, optional
        By default all that ship with the package.
    build : callable
        Makes a graph from a `ModelConfig`: to put other networks to the test than this package's.

    Returns
    -------
    Report
        A tuple of one `Comparison` per row.
    """
    published = tuple(load_published() if rows is None else rows)
    bench, causes = _Bench(build), load_causes()
    figures = [figure for row in published for figure in _figures(row, bench)]
    judged = {
        (id(figure.row), figure.quantity): _with_cause(figure, _judge(figure, figures), causes)
        for figure in figures
    }
    return Report(
        Comparison(row, tuple(_findings(row, lambda q, row=row: judged[id(row), q])))  # type: ignore[misc]
        for row in published
    )


def _named(row: Published) -> Iterator[tuple[str, str]]:
    """(quantity, figure) of those that a row gives."""
    for quantity in QUANTITIES:
        text = getattr(row, f"{quantity}_millions")
        if text:
            yield quantity, text


def _figures(row: Published, bench: _Bench) -> list[_Figure]:
    return [] if row.head else [_Figure(row, quantity, text, bench) for quantity, text in _named(row)]


def _findings(row: Published, judged: Callable[[str], Finding]) -> Iterator[Finding]:
    for quantity, text in _named(row):
        if row.head:
            yield Finding(quantity, text, None, NOT_BUILT, reason=f"{row.head} is not built yet")
        else:
            yield judged(quantity)


def _judge(figure: _Figure, figures: list[_Figure]) -> Finding:
    rules, plain = QUANTITIES[figure.quantity], VARIANTS[PLAIN]
    computed = figure.count(rules[0], plain)
    assert computed is not None
    finding = Finding(figure.quantity, figure.published, computed, UNEXPLAINED)
    how = figure.agrees(rules[0], plain)
    if how:
        return replace(finding, verdict=how, counted=computed, reason=_arithmetic(figure.published, computed))
    hints = []
    for variant in VARIANTS.values():
        for rule in rules:
            if not figure.agrees(rule, variant):
                continue
            counted = figure.count(rule, variant)
            assert counted is not None
            words = " ".join(filter(None, (variant.text, rule.text)))
            words = f"{words}: {_arithmetic(figure.published, counted)}"
            stray = _stray(figure, rule, variant, figures)
            if stray is None:
                reason = f"{words}; the plain count is {_millions(computed)}"
                found = replace(finding, verdict=OTHER, rule=rule.name, variant=variant.name)
                return replace(found, counted=counted, reason=reason)
            hints.append(f"{words}, but {stray}")
    return _unexplained(figure, finding, figures, hints)


def _stray(figure: _Figure, rule: Rule, variant: Variant, figures: list[_Figure]) -> str | None:
    """A figure that the rule ought to give as well and does not, in words; None if it gives all.

    It ought to give the peers of this figure, and those of the same figure in other sources. The variant
    is a matter of each network; other networks may have another.
    """
    same = [f for f in figures if f.config == figure.config and f.published == figure.published]
    keys = {f.key(rule.peers) for f in same}
    for peer in figures:
        count = peer.count(rule, variant)
        if peer.key(rule.peers) not in keys or count is None:
            continue
        variants = (variant,) if peer.config == figure.config else VARIANTS.values()
        if not any(peer.agrees(rule, each) for each in variants):
            return f"the same gives {_millions(count)} for {peer.row.name}, where {peer.published} stands"
    return None


def _unexplained(figure: _Figure, finding: Finding, figures: list[_Figure], hints: list[str]) -> Finding:
    rule, plain = QUANTITIES[figure.quantity][0], VARIANTS[PLAIN]
    nothing = f"no rule tried gives {figure.published}; the plain count is {_millions(finding.computed)}"
    same_text = {
        f.count(rule, plain)
        for f in figures
        if f.key(("source", "model")) == figure.key(("source", "model")) and f.published == figure.published
    }
    if len(same_text) > 1:
        here = _millions(finding.computed)
        reason = f"{figure.published} stands for {len(same_text)} counts that differ; here {here}"
        return replace(finding, verdict=TYPO, reason=reason)
    beside = [
        f
        for f in figures
        if f is not figure
        and f.key(("source", "network")) == figure.key(("source", "network"))
        and f.row.variant == figure.row.variant
    ]
    if len(beside) >= NEIGHBOURS and all(f.agrees(rule, plain) for f in beside):
        reason = f"{nothing}; the {len(beside)} other figures of this network there are right"
        return replace(finding, verdict=TYPO, reason=reason)
    return replace(finding, reason="; ".join([nothing, *(f"suggestive: {hint}" for hint in hints)]))


def _with_cause(figure: _Figure, finding: Finding, causes: Iterable[Cause]) -> Finding:
    """The finding with what is known about it, if that says what was found."""
    row = figure.row
    for cause in causes:
        about = (
            (cause.model, row.model),
            (cause.width, row.width),
            (cause.quantity, figure.quantity),
            (cause.published, figure.published),
        )
        found = (cause.verdict, cause.rule, cause.variant) == (finding.verdict, finding.rule, finding.variant)
        if found and cause.source in row.source and all(wanted in ("", given) for wanted, given in about):
            return replace(finding, cause=cause.cause)
    return finding


def _arithmetic(published: str, count: int) -> str:
    """How a figure comes from a count, in words."""
    how = agreement(published, count)
    if how == EXACT:
        return f"{_millions(count)} exactly"
    figure, millions = Decimal(published), Decimal(count) / 10**6
    last = Decimal(1).scaleb(int(figure.as_tuple().exponent))
    once = millions.quantize(last, ROUND_HALF_UP)
    if how == ROUNDS and once != figure:
        return f"{millions} rounds to {millions.quantize(last / 100, ROUND_HALF_UP)} and that to {published}"
    return f"{millions} {how} to {published}" + (f" (rounds to {once})" if how == TRUNCATES else "")


def _sentence(finding: Finding) -> str:
    return f"{finding.reason}. {finding.cause}" if finding.cause else finding.reason


def _millions(count: int | None) -> str:
    return "" if count is None else str(Decimal(count) / 10**6)


def _whole(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
