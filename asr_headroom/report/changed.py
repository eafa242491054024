"""What changed, utterance by utterance, as the page shows it: aligned differences, recordings, flags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from asr_headroom.analysis.regressions import Change, Changes, find_changes
from asr_headroom.analysis.scoring import PairedResults
from asr_headroom.metrics.alignment import Block
from asr_headroom.report.clips import ClipShelf, Recording, choose_clips, recording_of
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.text.units import Unit

__all__ = ["Listing", "Span", "diff_spans", "list_changes", "show_clips", "show_listings"]

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
class Listing:
    """One comparison and the utterances of it that a page has room for.

    Attributes:
        table: of the test.
        row: of the system.
        pair: the system and its base.
        changes: all of them.
        worse: those shown, the largest change first.
        better: those shown, the largest change first.
    """

    table: TestTable
    row: Row
    pair: PairedResults
    changes: Changes
    worse: tuple[Change, ...]
    better: tuple[Change, ...]


def list_changes(tables: Sequence[TestTable]) -> list[Listing]:
    """The changed utterances of every comparison in the tables."""
    compared = [(table, row, row.pair) for table in tables for row in table.rows if row.pair is not None]
    limit = max(5, _MAX_LISTED // (2 * max(1, len(compared))))
    listings = []
    for table, row, pair in compared:
        changes = find_changes(pair.base, pair.system, table.normalizer)
        listings.append(Listing(table, row, pair, changes, changes.worse[:limit], changes.better[:limit]))
    return listings


def show_clips(listings: Sequence[Listing], max_clips: int) -> ClipShelf:
    """The recordings of the listed utterances, up to a limit; what got worse and what got better in turn."""
    parts = [(listing, part) for listing in listings for part in (listing.worse, listing.better)]
    lists = [[_recording(listing, change) for change in part] for listing, part in parts]
    return choose_clips([[r for r in recordings if r is not None] for recordings in lists], max_clips)


def diff_spans(blocks: Sequence[Block], unit: Unit) -> list[Span]:
    """An alignment as the stretches of a hypothesis, neighbours of one kind joined.

    >>> from asr_headroom.metrics.alignment import align
    >>> diff_spans(align("un chat noir".split(), "un chien".split()), "word")
    [Span(kind='equal', text='un', reference=''), Span(kind='wrong', text='chien', reference='chat'), \
Span(kind='missing', text='noir', reference='')]
    """
    joint = "" if unit == "character" else " "
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


def show_listings(listings: Sequence[Listing], shelf: ClipShelf) -> Iterator[dict[str, Any]]:
    """The listings as the template takes them; a recording is embedded where it is first shown."""
    played: dict[Recording, str] = {}
    for number, listing in enumerate(listings, start=1):
        changes, pair = listing.changes, listing.pair
        shown = [*listing.worse, *listing.better]
        yield {
            "id": f"changes-{number}",
            "test": listing.table.data,
            "base": pair.base.run.name,
            "system": pair.system.run.name,
            "num_worse": len(changes.worse),
            "num_better": len(changes.better),
            "num_equal": changes.num_equal,
            "num_same_text": changes.num_same_text,
            "hidden": len(changes.worse) + len(changes.better) - len(shown),
            "utterances": [
                _utterance(listing, change, shelf, played, f"clip-{number}-{index}")
                for index, change in enumerate(shown)
            ],
        }


def _utterance(
    listing: Listing, change: Change, shelf: ClipShelf, played: dict[Recording, str], anchor: str
) -> dict[str, Any]:
    unit = listing.table.unit
    recording = _recording(listing, change)
    uri = shelf.uris.get(recording) if recording and recording not in played else None
    if recording and uri:
        played[recording] = anchor
    joint = "" if unit == "character" else " "
    return {
        "anchor": anchor,
        "id": change.id,
        "css": "worse" if change.change > 0 else "better",
        "change": f"{change.change:+d}".replace("-", "−"),
        "errors": f"{change.base_errors} → {change.system_errors} {unit} errors",
        "about": _about(change),
        "reference": joint.join(block.reference for block in change.base_blocks if block.reference is not None),
        "base": diff_spans(change.base_blocks, unit),
        "system": diff_spans(change.system_blocks, unit),
        "joint": joint,
        "raw": [change.base.reference, change.base.hypothesis, change.system.hypothesis],
        "uri": uri,
        "played_at": played.get(recording) if recording and not uri else None,
        "problem": shelf.problems.get(recording) if recording else None,
        "flags": list(_flags(change)),
    }


def _recording(listing: Listing, change: Change) -> Recording | None:
    system, base = listing.pair.system, listing.pair.base
    return recording_of(change.system, system.path) or recording_of(change.base, base.path)


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
