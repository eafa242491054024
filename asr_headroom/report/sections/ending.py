"""The last sections: minutes spent, provenance, and how to read all of it."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report.changed import Listing
from asr_headroom.report.notes import ledger, provenance, reading_notes
from asr_headroom.report.sections.blocks import Block, Facts, Ledger, Notes, Paragraph, Section
from asr_headroom.report.tables import TestTable, trained_once
from asr_headroom.report.verdict import describe_number

__all__ = ["minutes_section", "provenance_section", "reading_section"]


def minutes_section(tables: Sequence[TestTable]) -> Section | None:
    """What was spent, by stage; None where no run kept a ledger."""
    rows = ledger(tables)
    if not rows:
        return None
    note = (
        "The minutes of a training stand in every table above in which its system stands; they were spent, and count "
        "here, once."
    )
    blocks: list[Block] = [Paragraph(note)] if trained_once(tables) else []
    total = sum(float(row["total"]) for row in rows)
    return Section(id="minutes", title="Minutes spent", takeaway=f"{total:.1f} in all", blocks=[*blocks, Ledger(rows)])


def provenance_section(tables: Sequence[TestTable]) -> Section:
    """Where every number comes from."""
    runs = [provenance(table, row) for table in tables for row in table.rows]
    return Section(
        id="provenance",
        title="Provenance",
        takeaway=f"{describe_number(len(runs), 'run')}: model, data, decoding, normalizer",
        blocks=[Facts(runs)],
    )


def reading_section(
    tables: Sequence[TestTable], listings: Sequence[Listing], more: Sequence[tuple[str, str]] = ()
) -> Section:
    """What the numbers cover and what they do not."""
    notes = [*reading_notes(tables, listings), *more]
    return Section(
        id="reading", title="How to read this", takeaway="what the numbers cover, and what not", blocks=[Notes(notes)]
    )
