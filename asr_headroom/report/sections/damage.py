"""Section: gain and damage, and the guard's line between base and fine-tuned weights."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report import damage
from asr_headroom.report.damage import DamageRow, gain_and_damage
from asr_headroom.report.guard_figure import guard_figure
from asr_headroom.report.sections.blocks import Block, Cell, Grid, Paragraph, Plot, Section, ink_of
from asr_headroom.report.tables import TestTable

__all__ = ["damage_section"]


def damage_section(tables: Sequence[TestTable]) -> Section | None:
    """The table of gain and damage; None with a single test and no guard."""
    found = gain_and_damage(tables)
    if found is None:
        return None
    head = ["system", *("\n".join(filter(None, pair)) for pair in found.heads)]
    head += ["put out over\nsilence and noise", "delivered"] if found.guarded else []
    blocks: list[Block] = [
        Paragraph(
            "Change of each fine-tuned system against its base, in points with its 95 % interval; below zero is better."
        ),
        Grid(
            head=head,
            rows=[_cells(row, guarded=found.guarded) for row in found.rows],
            text_columns=[len(head) - 1] if found.guarded else (),
        ),
    ]
    if figure := guard_figure(tables):
        blocks.append(Plot(figure))
    return Section(id="damage", title="Gain and damage", blocks=blocks, is_open=True)


def _cells(row: DamageRow, *, guarded: bool) -> list[Cell | str]:
    against = f"against {row.base}" if row.base else ""
    cells: list[Cell | str] = [Cell(row.name, below=against), *map(_cell, row.tests)]
    if guarded:
        cells += [_cell(row.nonspeech), Cell(row.delivered or "no guard", below=row.reason)]
    return cells


def _cell(cell: damage.Cell) -> Cell:
    below = "\n".join(filter(None, (cell.below, cell.aim)))
    return Cell(cell.main, small=cell.small, below=below, ink=ink_of(cell.verdict))
