"""One self-contained HTML page: verdict, table, plots, what changed, what it cost, where it comes from.

Everything shown comes from :mod:`asr_headroom.report.tables`; this module arranges it for ``page.html``,
which escapes every text. Start with :func:`build_page`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.changed import Listing, list_changes, show_clips, show_listings
from asr_headroom.report.figures import Figure, difference_figure, frontier_figure
from asr_headroom.report.notes import clip_note, ledger, provenance, reading_notes
from asr_headroom.report.tables import Row, TestTable, build_tables
from asr_headroom.report.verdict import (
    comparison_facts,
    describe_number,
    format_count,
    format_interval,
    format_p,
    format_percent,
    format_points,
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
        figures=list(_figures(tables)),
        comparisons=list(show_listings(listings, shelf)),
        clips=clip_note(shelf),
        ledger=ledger(tables),
        runs=[provenance(table, row) for table in tables for row in table.rows],
        notes=list(reading_notes(tables, listings)),
    )
    return Page(html, len(shelf.uris), shelf.num_left_out, len(shelf.problems))


def _summary(tables: Sequence[TestTable], listings: Sequence[Listing]) -> str:
    systems = describe_number(len({row.name for table in tables for row in table.rows}), "system")
    tests = describe_number(len(tables), "test set")
    if listings:
        verdicts: Counter[str] = Counter(listing.pair.comparison.verdict for listing in listings)
        wording = {"better": "better", "worse": "worse", "cannot tell": "cannot be told"}
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
    c = pair.comparison
    return {
        "verdict": c.verdict,
        "css": c.verdict.replace(" ", "-"),
        "headline": verdict_headline(pair),
        "short": verdict_short(pair),
        "needed": what_it_would_take(pair) if c.verdict == "cannot tell" else "",
        "test": listing.table.data,
        "rates": f"{rate_name(pair.normalizer.unit)} {format_percent(c.base)} → {format_percent(c.system)}",
        "difference": f"{format_points(c.difference)} points",
        "interval": format_interval(c.interval, signed=True) if c.num_clusters > 1 else "none",
        "p": format_p(c.p_value),
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
        "rate_interval": format_interval(estimate.interval).removesuffix(" %").replace(" to ", "–"),
        "difference": "" if comparison is None else format_points(comparison.difference),
        "interval": "" if comparison is None else format_interval(comparison.interval, signed=True),
        "p": "" if comparison is None else format_p(comparison.p_value).removeprefix("p = ").removeprefix("p "),
        "detectable": "" if comparison is None else f"{100 * comparison.minimal_detectable_effect:.2f}",
        "verdict": "" if row.pair is None else verdict_word(row.pair),
        "css": "" if comparison is None else comparison.verdict.replace(" ", "-"),
        "outputs": " / ".join(
            f"{100 * share / total:.1f}" for share in (row.score.looped, row.score.empty, row.score.truncated)
        ),
        "minutes": "" if row.minutes is None else f"{row.minutes:.1f}",
    }


def _figures(tables: Sequence[TestTable]) -> Iterator[dict[str, str]]:
    figures: list[Figure | None] = [difference_figure(tables)]
    for number, table in enumerate(tables):
        # Systems of one size make no frontier; the table says it better.
        several = len({row.parameters for row in table.rows if row.parameters}) > 1
        frontier = frontier_figure(table) if several else None
        figures.append(dataclasses.replace(frontier, name=f"frontier-{number}") if frontier else None)
    for figure in figures:
        if figure is not None:
            yield {"svg": figure.svg(), "caption": figure.caption}
