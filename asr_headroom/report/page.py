"""One self-contained HTML page: verdict, table, plots, what changed, what it cost, where it comes from.

Everything shown comes from :mod:`asr_headroom.report.tables`; this module arranges it for ``page.html``,
which escapes every text. Start with :func:`build_page`.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from asr_headroom.analysis.regressions import Change, Changes, find_changes
from asr_headroom.analysis.scoring import decoding_windows
from asr_headroom.metrics.alignment import Block
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.clips import ClipShelf, Recording, choose_clips, recording_of
from asr_headroom.report.figures import Figure, difference_figure, frontier_figure
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
    what_it_would_take,
)
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit, rate_name

__all__ = ["Page", "Span", "build_page", "diff_spans", "render_page"]

_MAX_LISTED = 400
"""Utterances on a page, over all comparisons; more would make it slow to open on a telephone."""


class Span(NamedTuple):
    """A stretch of an aligned hypothesis.

    ``kind`` is ``equal``, ``wrong`` (should not stand there) or ``missing`` (should, and does not).
    ``reference`` is what should stand in place of a wrong stretch.
    """

    kind: str
    text: str
    reference: str = ""


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


@dataclass(frozen=True)
class _Compared:
    table: TestTable
    row: Row
    changes: Changes


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

    compared = [
        _Compared(table, row, find_changes(row.pair.base, row.pair.system, table.normalizer))
        for table in tables
        for row in table.rows
        if row.pair is not None
    ]
    limit = max(5, _MAX_LISTED // (2 * max(1, len(compared))))
    listed = [(c, [*c.changes.worse[:limit]], [*c.changes.better[:limit]]) for c in compared]
    shelf = choose_clips([_recordings(c, part) for c, *parts in listed for part in parts], max_clips)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    html = environment.get_template("page.html").render(
        title=title,
        summary=_summary(tables, compared),
        verdicts=[_verdict(c) for c in compared],
        tables=[_table(table) for table in tables],
        figures=list(_figures(tables)),
        comparisons=list(_comparisons(listed, shelf)),
        clips=_clip_note(shelf),
        ledger=_ledger(tables),
        runs=[_provenance(table, row) for table in tables for row in table.rows],
        notes=list(_notes(tables, compared)),
    )
    return Page(html, len(shelf.uris), shelf.num_left_out, len(shelf.problems))


def diff_spans(blocks: Sequence[Block], unit: Unit) -> list[Span]:
    """An alignment as the stretches of a hypothesis, neighbours of one kind joined.

    >>> from asr_headroom.metrics.alignment import align
    >>> diff_spans(align("un chat noir".split(), "un chien".split()), "word")
    [Span(kind='equal', text='un', reference=''), Span(kind='wrong', text='chien', reference='chat'), \
Span(kind='missing', text='noir', reference='')]
    """
    joint = " " if unit == "word" else ""
    spans: list[Span] = []
    for block in blocks:
        if block.operation == "delete":
            span = Span("missing", block.reference or "")
        elif block.operation == "equal":
            span = Span("equal", block.hypothesis or "")
        else:
            span = Span("wrong", block.hypothesis or "", block.reference or "")
        if spans and spans[-1].kind == span.kind:
            before = spans.pop()
            should = joint.join(filter(None, (before.reference, span.reference)))
            span = Span(span.kind, before.text + joint + span.text, should)
        spans.append(span)
    return spans


def _summary(tables: Sequence[TestTable], compared: Sequence[_Compared]) -> str:
    systems = describe_number(len({row.name for table in tables for row in table.rows}), "system")
    tests = describe_number(len(tables), "test set")
    if compared:
        verdicts = Counter(c.row.pair.comparison.verdict for c in compared if c.row.pair)
        parts = [
            f"{verdicts[verdict]} {words}"
            for verdict, words in (
                ("better", "better"),
                ("worse", "worse"),
                ("cannot tell", "cannot be told"),
            )
            if verdicts[verdict]
        ]
        return f"{systems} on {tests}, {describe_number(len(compared), 'comparison')}: {', '.join(parts)}."
    best = [min(table.rows, key=lambda row: row.score.estimate.rate) for table in tables]
    lowest = "; ".join(
        f"{table.data}: {row.name}, {format_percent(row.score.estimate.rate)} {rate_name(table.unit)}"
        for table, row in zip(tables, best, strict=True)
    )
    return f"{systems} on {tests}; none is compared with another. Lowest error rate: {lowest}."


def _verdict(compared: _Compared) -> dict[str, Any]:
    pair = compared.row.pair
    assert pair is not None
    c = pair.comparison
    return {
        "verdict": c.verdict,
        "css": c.verdict.replace(" ", "-"),
        "headline": verdict_headline(pair),
        "short": verdict_short(pair),
        "needed": what_it_would_take(c) if c.verdict == "cannot tell" else "",
        "test": compared.table.data,
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
        "p": ""
        if comparison is None
        else format_p(comparison.p_value).removeprefix("p = ").removeprefix("p "),
        "detectable": "" if comparison is None else f"{100 * comparison.minimal_detectable_effect:.2f}",
        "verdict": "" if comparison is None else comparison.verdict,
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


def _recordings(compared: _Compared, changes: Sequence[Change]) -> list[Recording]:
    found = [_recording(compared, change) for change in changes]
    return [recording for recording in found if recording is not None]


def _recording(compared: _Compared, change: Change) -> Recording | None:
    pair = compared.row.pair
    assert pair is not None
    return recording_of(change.system, pair.system.path) or recording_of(change.base, pair.base.path)


def _comparisons(
    listed: Sequence[tuple[_Compared, list[Change], list[Change]]], shelf: ClipShelf
) -> Iterator[dict[str, Any]]:
    played: dict[Recording, str] = {}
    for number, (compared, worse, better) in enumerate(listed, start=1):
        changes, pair = compared.changes, compared.row.pair
        assert pair is not None
        yield {
            "id": f"changes-{number}",
            "test": compared.table.data,
            "base": pair.base.run.name,
            "system": pair.system.run.name,
            "num_worse": len(changes.worse),
            "num_better": len(changes.better),
            "num_equal": changes.num_equal,
            "num_same_text": changes.num_same_text,
            "hidden": len(changes.worse) + len(changes.better) - len(worse) - len(better),
            "utterances": [
                _utterance(compared, change, shelf, played, f"clip-{number}-{index}")
                for index, change in enumerate([*worse, *better])
            ],
        }


def _utterance(
    compared: _Compared, change: Change, shelf: ClipShelf, played: dict[Recording, str], anchor: str
) -> dict[str, Any]:
    unit = compared.table.unit
    recording = _recording(compared, change)
    uri = shelf.uris.get(recording) if recording and recording not in played else None
    if recording and uri:
        played[recording] = anchor
    reference = " " if unit == "word" else ""
    return {
        "anchor": anchor,
        "id": change.id,
        "css": "worse" if change.change > 0 else "better",
        "change": f"{change.change:+d}".replace("-", "−"),
        "errors": f"{change.base_errors} → {change.system_errors} {unit} errors",
        "about": _about(change),
        "reference": reference.join(
            block.reference for block in change.base_blocks if block.reference is not None
        ),
        "base": diff_spans(change.base_blocks, unit),
        "system": diff_spans(change.system_blocks, unit),
        "joint": reference,
        "raw": [change.base.reference, change.base.hypothesis, change.system.hypothesis],
        "uri": uri,
        "played_at": played.get(recording) if recording and not uri else None,
        "problem": shelf.problems.get(recording) if recording else None,
        "flags": list(_flags(change)),
    }


def _about(change: Change) -> str:
    duration = f"{change.base.duration:.1f} s" if change.base.duration is not None else None
    speaker = f"speaker {change.base.speaker}" if change.base.speaker else None
    return ", ".join(filter(None, (duration, speaker)))


def _flags(change: Change) -> Iterator[str]:
    for who, prediction in (("base", change.base), ("system", change.system)):
        if prediction.looped:
            yield f"{who}: stopped in a loop"
        if prediction.truncated:
            yield f"{who}: cut at the token limit"
        if not prediction.hypothesis.strip():
            yield f"{who}: empty"


def _clip_note(shelf: ClipShelf) -> str:
    parts = []
    if shelf.uris or shelf.num_left_out:
        parts.append(f"{describe_number(len(shelf.uris), 'recording')} embedded")
    if shelf.num_left_out:
        parts.append(f"{shelf.num_left_out:,} left out to keep the page small (--max-clips)")
    if shelf.problems:
        parts.append(f"{len(shelf.problems):,} could not be read")
    return ", ".join(parts) + "." if parts else "No recordings: the runs name no audio files."


def _ledger(tables: Sequence[TestTable]) -> list[dict[str, Any]]:
    rows = [(table, row) for table in tables for row in table.rows if row.results.run.minutes]
    longest = max((row.minutes or 0.0 for _, row in rows), default=0.0) or 1.0
    return [
        {
            "name": row.name,
            "test": table.data,
            "total": f"{row.minutes:.1f}",
            "stages": [
                {"name": stage, "minutes": f"{minutes:.1f}", "share": f"{100 * minutes / longest:.2f}"}
                for stage, minutes in row.results.run.minutes.items()
            ],
        }
        for table, row in rows
    ]


def _provenance(table: TestTable, row: Row) -> dict[str, Any]:
    run = row.results.run
    facts: dict[str, Any] = {
        "status": run.status,
        **{f"model {key}": value for key, value in run.model.items()},
        "parent": run.parent,
        **{f"data {key}": value for key, value in run.data.items()},
        "language": run.language,
        "decoding hash": run.decoding_hash,
        **{f"decoding {key}": value for key, value in run.decoding.items()},
        **{f"normalizer {key}": value for key, value in run.normalizer.items()},
        "seed": run.seed,
        **run.provenance,
        "schema": run.schema,
    }
    shown = [(key, _plain(value)) for key, value in facts.items() if value not in (None, "", {}, [])]
    return {"name": row.name, "test": table.data, "facts": shown, "warnings": row.score.warnings}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _notes(tables: Sequence[TestTable], compared: Sequence[_Compared]) -> Iterator[tuple[str, str]]:
    rows = [row for table in tables for row in table.rows]
    populations = dict.fromkeys(row.score.population for row in rows)
    yield (
        "Intervals",
        f"95 % percentile bootstrap over whole clusters, 10,000 resamples. They cover "
        f"{'; '.join(populations)}. They do not cover another training seed, another microphone or another domain.",
    )
    if len(compared) > 1:
        kept = [c for c in compared if c.row.holm_p is not None and c.row.holm_p < 0.05]
        names = "; ".join(f"{c.row.name} on {c.table.data}" for c in kept) or "none"
        yield (
            "Many comparisons",
            f"With {len(compared)} comparisons one in twenty looks real by chance. After Holm's correction "
            f"these remain below p = 0.05: {names}.",
        )
    windows = dict.fromkeys(json.dumps(decoding_windows(row.results.run), sort_keys=True) for row in rows)
    shown = "; ".join(_plain(json.loads(window)) or "not stated" for window in windows)
    differ = "The systems saw windows of different length: " if len(windows) > 1 else "Audio seen at once: "
    yield "Window", f"{differ}{shown}."
    normalizers = dict.fromkeys(f"{table.normalizer.id} ({table.normalizer.hash})" for table in tables)
    yield (
        "Normalizer",
        f"Reference and hypothesis both went through {', '.join(normalizers)} before errors were counted. "
        "The hash changes when the normalizer's behaviour does.",
    )
    yield (
        "Rates",
        "An error rate is the sum of errors over the sum of reference units of the whole test; it is not a "
        "mean over utterances.",
    )
    yield (
        "Detectable",
        "The smallest true difference that this test would show with 80 % power at the 5 % level. A smaller "
        "one may exist and not be seen.",
    )
