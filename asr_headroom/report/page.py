"""One self-contained HTML page: verdict, tables, gain and damage, plots, what changed, what it cost, and provenance.

Everything shown comes from :mod:`asr_headroom.report.tables`; this module arranges it for ``page.html``,
which escapes every text. Start with :func:`build_page`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.metrics.significance import ClusterBy, Comparison
from asr_headroom.report.changed import Listing, list_changes, show_clips, show_listings
from asr_headroom.report.damage import gain_and_damage
from asr_headroom.report.delivered import name_delivered
from asr_headroom.report.drawing import Figure
from asr_headroom.report.figures import difference_figure, frontier_figure
from asr_headroom.report.guard_figure import guard_figure
from asr_headroom.report.notes import clip_note, ledger, provenance, reading_notes
from asr_headroom.report.tables import Row, TestTable, build_tables, trained_once
from asr_headroom.report.verdict import (
    comparison_facts,
    describe_number,
    format_count,
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
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import rate_name

__all__ = ["Page", "build_page", "render_page"]


@dataclass(frozen=True)
class Page:
    """A finished page.

    Attributes:
        html: the whole file.
        num_clips: recordings embedded.
        num_clips_left_out: playable recordings beyond the limit.
        num_clips_missing: recordings that could not be read.
    """

    html: str
    num_clips: int
    num_clips_left_out: int
    num_clips_missing: int


def build_page(
    results: Sequence[Results],
    *,
    title: str,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    base: str | None = None,
    max_clips: int = 50,
) -> str:
    """The page as one HTML text that needs nothing else.

    Args:
        results: of all runs; see :func:`asr_headroom.report.tables.build_tables` for who is compared with
            whom.
        title: of the page.
        normalizer: None takes the runs' own.
        cluster: what intervals resample as a whole.
        base: name of the system to compare all others with.
        max_clips: recordings embedded, at most.

    Raises:
        UsageError: no results, or no system is called ``base``.
        ResultsError: a run holds no predictions.
    """
    tables = build_tables(results, normalizer=normalizer, cluster=cluster, base=base)
    return render_page(tables, title=title, max_clips=max_clips).html


def render_page(tables: Sequence[TestTable], *, title: str, max_clips: int = 50) -> Page:
    """The page of some tables, with the number of recordings in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    listings = list_changes(tables)
    shelf = show_clips(listings, max_clips)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    html = environment.get_template("page.html").render(
        title=title,
        summary=_summary(tables, listings),
        # What could be told comes first; otherwise the order of the tables.
        verdicts=[_verdict(v) for v in sorted(listings, key=lambda v: v.pair.comparison.verdict == "cannot tell")],
        tables=[_table(table) for table in tables],
        damage=gain_and_damage(tables),
        guard_figures=list(_drawn([guard_figure(tables)])),
        figures=list(_drawn(_figures(tables))),
        comparisons=list(show_listings(listings, shelf)),
        clips=clip_note(shelf),
        ledger=ledger(tables),
        trained_once=trained_once(tables),
        runs=[provenance(table, row) for table in tables for row in table.rows],
        notes=list(reading_notes(tables, listings)),
    )
    return Page(html, len(shelf.uris), shelf.num_left_out, len(shelf.problems))


def _summary(tables: Sequence[TestTable], listings: Sequence[Listing]) -> str:
    systems = describe_number(len({row.name for table in tables for row in table.rows}), "system")
    tests = describe_number(len(tables), "test set")
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


def _verdict(listing: Listing) -> dict[str, Any]:
    pair = listing.pair
    c, guard = pair.comparison, listing.row.guard
    return {
        "verdict": c.verdict,
        "css": c.verdict.replace(" ", "-"),
        "headline": verdict_headline(pair),
        "short": verdict_short(pair),
        "needed": what_it_would_take(pair) if c.verdict == "cannot tell" else "",
        "test": listing.table.data,
        "rates": f"{rate_name(pair.normalizer.unit)} {format_percent(c.base)} → {format_percent(c.system)}",
        "difference": f"{format_points(c.difference)} points",
        "interval": format_interval(c.interval, signed=True) if has_interval(c) else "",
        "p": format_p(c.p_value) if c.num_clusters > 1 else "",
        # A kept base has told its reason already.
        "delivered": name_delivered(guard) if guard and guard.alpha else "",
        "population": c.population,
        "facts": comparison_facts(pair),
        "warnings": pair.warnings,
    }


def _table(table: TestTable) -> dict[str, Any]:
    return {
        "data": table.data,
        "about": f"{describe_number(table.num_utterances, 'utterance')}, fingerprint {table.fingerprint}, "
        f"normalizer {table.normalizer.id} ({table.normalizer.hash})",
        "rate_name": rate_name(table.unit),
        "rows": [_table_row(row) for row in table.rows],
        "notes": table.notes,
    }


def _table_row(row: Row) -> dict[str, Any]:
    estimate, total = row.score.estimate, row.score.num_utterances
    comparison = row.pair.comparison if row.pair else None
    return {
        "name": row.name,
        "base": row.pair.base.run.name if row.pair else "",
        "parameters": "" if row.parameters is None else format_count(row.parameters),
        "trained": format_count(row.trainable_parameters) if row.trainable_parameters else "",
        "rate": f"{100 * estimate.rate:.2f}",
        "delivered": name_delivered(row.guard) if row.guard else "",
        "rate_interval": format_interval(estimate.interval).removesuffix(" %").replace(" to ", "–")
        if has_interval(estimate)
        else "",
        "difference": "" if comparison is None else format_points(comparison.difference),
        **_spread(comparison),
        "verdict": "" if row.pair is None else verdict_word(row.pair),
        "css": "" if comparison is None else comparison.verdict.replace(" ", "-"),
        "outputs": " / ".join(
            f"{100 * share / total:.1f}" for share in (row.score.looped, row.score.empty, row.score.truncated)
        ),
        "minutes": "" if row.minutes is None else f"{row.minutes:.1f}",
    }


def _spread(comparison: Comparison | None) -> dict[str, str]:
    """Interval, p-value and detectable effect as far as there are any."""
    known = comparison is not None and has_interval(comparison)
    has_p = comparison is not None and comparison.num_clusters > 1
    return {
        "interval": format_interval(comparison.interval, signed=True) if comparison and known else "",
        "p": format_p(comparison.p_value).removeprefix("p = ").removeprefix("p ") if comparison and has_p else "",
        "detectable": f"{100 * comparison.minimal_detectable_effect:.2f}" if comparison and known else "",
    }


def _figures(tables: Sequence[TestTable]) -> Iterator[Figure | None]:
    yield difference_figure(tables)
    for number, table in enumerate(tables):
        # Systems of one size make no frontier; the table says it better.
        several = len({row.parameters for row in table.rows if row.parameters}) > 1
        frontier = frontier_figure(table) if several else None
        yield dataclasses.replace(frontier, name=f"frontier-{number}") if frontier else None


def _drawn(figures: Iterable[Figure | None]) -> Iterator[dict[str, str]]:
    for figure in figures:
        if figure is not None:
            yield {"svg": figure.svg(), "caption": figure.caption}
