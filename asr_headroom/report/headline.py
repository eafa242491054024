"""The first screen of the page: is B better than A, by how much, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.analysis.causes import DifferenceSplit
from asr_headroom.report.changed import Listing
from asr_headroom.report.delivered import name_delivered
from asr_headroom.report.matrix import Matrix
from asr_headroom.report.matrix_text import matrix_verdict
from asr_headroom.report.sections.blocks import ink_of
from asr_headroom.report.strip import Strip, draw_strips
from asr_headroom.report.tables import TestTable
from asr_headroom.report.verdict import (
    comparison_facts,
    describe_number,
    format_interval,
    format_p,
    format_percent,
    format_points,
    has_interval,
    verdict_headline,
    verdict_short,
    verdict_word,
    what_it_would_take,
)
from asr_headroom.text.units import rate_name

__all__ = ["Headline", "Reason", "ReasonPart", "Verdict", "build_headline"]

_SHOWN_CAUSES = 4
_NEGLIGIBLE = 0.02
"""Of the largest cause: what is smaller is no reason for anything, and stands in the section below."""


@dataclass(frozen=True, kw_only=True)
class ReasonPart:
    """One cause on the first screen.

    Attributes:
        label: in words.
        points: its part of the difference.
        ink: ``better`` or ``worse``.
        bar: length and side, in [-1, 1].
    """

    label: str
    points: str
    ink: str
    bar: float


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why two systems differ, in a few lines.

    Attributes:
        sentence: the largest cause in words.
        profile: id of the normaliser in which it was counted.
        about: the rates in that profile.
        parts: the largest causes.
    """

    sentence: str
    profile: str
    about: str
    parts: tuple[ReasonPart, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One comparison on the first screen; texts without their full stop."""

    headline: str
    short: str
    word: str
    ink: str
    test: str
    rates: str
    difference: str
    interval: str
    p: str
    changed: str
    needed: str
    delivered: str
    population: str
    strip: Strip
    reason: Reason | None
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What stands above the fold.

    Attributes:
        summary: one sentence over all; empty where the only verdict says it.
        verdicts: what could be told first.
        warnings: each once.
        compressed: whether the strips draw large differences shorter than they are.
    """

    summary: str
    verdicts: Sequence[Verdict]
    warnings: Sequence[str]
    compressed: bool


def build_headline(
    tables: Sequence[TestTable],
    listings: Sequence[Listing],
    splits: Sequence[DifferenceSplit | None],
    matrices: Sequence[Matrix],
) -> Headline:
    """The first screen.

    Args:
        tables: of all tests.
        listings: [comparisons] with their changed utterances.
        splits: [comparisons] the causes of each difference; None where they were not looked for.
        matrices: of the tests with at least three systems.
    """
    # What could be told comes first; otherwise the order of the tables.
    order = sorted(range(len(listings)), key=lambda i: listings[i].pair.comparison.verdict == "cannot tell")
    strips = draw_strips([listings[i].pair.comparison for i in order])
    verdicts = [_verdict(listings[i], strip, splits[i]) for i, strip in zip(order, strips, strict=True)]
    return Headline(
        summary="" if len(verdicts) == 1 else _summary(tables, listings, matrices),
        verdicts=verdicts,
        warnings=list(dict.fromkeys(warning for i in order for warning in listings[i].pair.warnings)),
        compressed=any(strip.compressed for strip in strips),
    )


def _summary(tables: Sequence[TestTable], listings: Sequence[Listing], matrices: Sequence[Matrix]) -> str:
    systems = describe_number(len({row.name for table in tables for row in table.rows}), "system")
    tests = describe_number(len(tables), "test set")
    if len(tables) == 1 and matrices:
        verdict = matrix_verdict(matrices[0])
        return f"{verdict[0].upper()}{verdict[1:]}."
    if listings:
        verdicts = Counter(verdict_word(listing.pair) for listing in listings)
        wording = {"better": "better", "worse": "worse", "cannot tell": "cannot be told", "base kept": "kept the base"}
        parts = ", ".join(f"{verdicts[v]} {words}" for v, words in wording.items() if verdicts[v])
        return f"{systems} on {tests}, {describe_number(len(listings), 'comparison')}: {parts}."
    best = [min(table.rows, key=lambda row: row.score.estimate.rate) for table in tables]
    lowest = "; ".join(
        f"{table.data}: {row.name}, {format_percent(row.score.estimate.rate)} {rate_name(table.unit)}"
        for table, row in zip(tables, best, strict=True)
    )
    return f"{systems} on {tests}; none is compared with another. Lowest error rate: {lowest}."


def _verdict(listing: Listing, strip: Strip, split: DifferenceSplit | None) -> Verdict:
    pair = listing.pair
    c, guard, changes = pair.comparison, listing.row.guard, listing.changes
    changed = f"{len(changes.worse)} utterances worse, {len(changes.better)} better, {changes.num_equal} as before"
    return Verdict(
        headline=verdict_headline(pair),
        short=verdict_short(pair),
        word=verdict_word(pair),
        ink=ink_of(c.verdict),
        test=listing.table.data,
        rates=f"{rate_name(pair.normalizer.unit)} {format_percent(c.base)} → {format_percent(c.system)}",
        difference=f"{format_points(c.difference)} points",
        interval=format_interval(c.interval, signed=True) if has_interval(c) else "",
        p=format_p(c.p_value) if c.num_clusters > 1 else "",
        changed=changed,
        needed=what_it_would_take(pair) if c.verdict == "cannot tell" else "",
        # A kept base has told its reason already.
        delivered=name_delivered(guard) if guard and guard.alpha else "",
        population=c.population,
        strip=strip,
        reason=_reason(split) if split is not None and split.difference else None,
        facts=[(label, text) for label, text in comparison_facts(pair) if label not in ("base", "system", "difference")]
        + [("test set", listing.table.data)],
    )


def _reason(split: DifferenceSplit) -> Reason:
    largest = abs(split.ranked[0].difference) or 1.0
    ranked = [part for part in split.ranked if abs(part.difference) >= _NEGLIGIBLE * largest]
    name = rate_name(split.base.normalizer.unit)
    return Reason(
        sentence=_largest_cause(split),
        profile=split.base.normalizer.id,
        about=(
            f"Under {split.base.normalizer.id}, which leaves formats as they were written: {name} "
            f"{format_percent(split.base.rate)} → {format_percent(split.system.rate)}, "
            f"{format_points(split.difference)} points"
        ),
        parts=tuple(
            ReasonPart(
                label=part.cause.label,
                points=format_points(part.difference),
                ink="better" if part.difference < 0 else "worse",
                bar=part.difference / largest,
            )
            for part in ranked[:_SHOWN_CAUSES]
        ),
    )


def _largest_cause(split: DifferenceSplit) -> str:
    largest = split.ranked[0]
    return f"{largest.cause.label}, {format_points(largest.difference)} of {format_points(split.difference)} points"
