"""The first screen of the page: is B better than A, by how much, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.analysis.causes import DifferenceSplit
from asr_headroom.analysis.explanation import Explanation
from asr_headroom.report.changed import Listing
from asr_headroom.report.delivered import name_delivered
from asr_headroom.report.findings import Findings
from asr_headroom.report.matrix import Matrix
from asr_headroom.report.matrix_text import matrix_verdict
from asr_headroom.report.sections.blocks import ink_of
from asr_headroom.report.sections.kinds import kind_changes
from asr_headroom.report.statistics_text import explain_comparison
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
_SHOWN_KINDS = 3
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
        sentence: the largest cause in words, with the profile in which it was counted.
        phrase: the same for a list of many.
        kinds: the kinds of errors that changed most; empty where they were not looked for.
        parts: the largest causes.
    """

    sentence: str
    phrase: str
    kinds: str
    parts: tuple[ReasonPart, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One comparison on the first screen; texts without their full stop."""

    headline: str
    short: str
    word: str
    ink: str
    rates: str
    difference: str
    interval: str
    p: str
    statistics: str
    changed: str
    about: str
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
        shared: test and population, where they are the same for all verdicts.
        compressed: whether the strips draw large differences shorter than they are.
    """

    summary: str
    verdicts: Sequence[Verdict]
    warnings: Sequence[str]
    shared: str
    compressed: bool


def build_headline(
    tables: Sequence[TestTable],
    listings: Sequence[Listing],
    findings: Findings,
) -> Headline:
    """The first screen.

    Args:
        tables: of all tests.
        listings: [comparisons] with their changed utterances.
        findings: why each differs, and who among many is best.
    """
    # What could be told comes first; otherwise the order of the tables.
    order = sorted(range(len(listings)), key=lambda i: listings[i].pair.comparison.verdict == "cannot tell")
    strips = draw_strips([listings[i].pair.comparison for i in order])
    places = dict.fromkeys(map(_where, listings))
    shared = next(iter(places)) if len(places) == 1 else ""
    verdicts = [
        _verdict(listings[i], strip, findings.splits[i], findings.explanations[i], shared)
        for i, strip in zip(order, strips, strict=True)
    ]
    return Headline(
        summary="" if len(verdicts) == 1 else _summary(tables, listings, [matrix for _, matrix in findings.matrices]),
        verdicts=verdicts,
        warnings=list(dict.fromkeys(warning for i in order for warning in listings[i].pair.warnings)),
        shared=shared,
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


def _where(listing: Listing) -> str:
    return f"{listing.table.data}; holds for {listing.pair.comparison.population}"


def _verdict(
    listing: Listing,
    strip: Strip,
    split: DifferenceSplit | None,
    explanation: Explanation | None,
    shared: str,
) -> Verdict:
    pair = listing.pair
    c, guard, changes = pair.comparison, listing.row.guard, listing.changes
    where = _where(listing)
    about = [where] if where != shared else []
    about += [what_it_would_take(pair)] if c.verdict == "cannot tell" else []
    # A kept base has told its reason already.
    about += [name_delivered(guard)] if guard and guard.alpha and name_delivered(guard) else []
    changed = f"{len(changes.worse)} utterances worse, {len(changes.better)} better, {changes.num_equal} as before"
    return Verdict(
        headline=verdict_headline(pair),
        short=verdict_short(pair),
        word=verdict_word(pair),
        ink=ink_of(c.verdict),
        rates=f"{rate_name(pair.normalizer.unit)} {format_percent(c.base)} → {format_percent(c.system)}",
        difference=f"{format_points(c.difference)} points",
        interval=format_interval(c.interval, signed=True) if has_interval(c) else "",
        p=format_p(c.p_value) if c.num_clusters > 1 else "",
        statistics=explain_comparison(c),
        changed=changed,
        about=" ".join(f"{text[0].upper()}{text[1:]}." for text in about),
        strip=strip,
        reason=_reason(split, explanation) if split is not None and split.difference else None,
        facts=[(label, text) for label, text in comparison_facts(pair) if label not in ("base", "system", "difference")]
        + [("test set", listing.table.data)],
    )


def _reason(split: DifferenceSplit, explanation: Explanation | None) -> Reason:
    largest = abs(split.ranked[0].difference) or 1.0
    ranked = [part for part in split.ranked if abs(part.difference) >= _NEGLIGIBLE * largest]
    return Reason(
        sentence=_sentence(split),
        phrase=_phrase(split),
        kinds=_kinds(explanation) if explanation else "",
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


def _sentence(split: DifferenceSplit) -> str:
    normalizer, hearing = split.base.normalizer, format_points(split.group_difference("hearing"))
    whole = (
        f"of the {format_points(split.difference)} points between the texts as written ({normalizer.id}, "
        f"{rate_name(normalizer.unit)} {format_percent(split.base.rate)} → {format_percent(split.system.rate)})"
    )
    largest = split.ranked[0]
    if largest.cause.group == "hearing":
        rest = f"format {format_points(split.group_difference('format'))}"
        rest += f", broken outputs {format_points(split.group_difference('output'))}"
        return f"mostly hearing: something else was heard, {hearing} {whole}; {rest}"
    kind = "format" if largest.cause.group == "format" else "broken output"
    return (
        f"mostly {largest.cause.label.split(' (')[0]}, which is {kind} and not hearing: "
        f"{format_points(largest.difference)} {whole}; hearing changed by {hearing}"
    )


def _phrase(split: DifferenceSplit) -> str:
    largest = split.ranked[0]
    label = "hearing" if largest.cause.group == "hearing" else largest.cause.label.split(" (")[0]
    whole = f"{format_points(split.difference)} points under {split.base.normalizer.id}"
    return f"{label}, {format_points(largest.difference)} of {whole}"


def _kinds(explanation: Explanation) -> str:
    changes = kind_changes(explanation)[:_SHOWN_KINDS]
    return ", ".join(f"{label} {format_points(change)}" for label, change in changes)
