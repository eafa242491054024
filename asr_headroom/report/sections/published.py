"""Section: published values beside obtained ones."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report.damage import markdown_cell
from asr_headroom.report.published import Beside
from asr_headroom.report.sections.blocks import Cell, Grid, Section
from asr_headroom.report.verdict import describe_number, format_interval, format_percent, format_points

__all__ = ["published_markdown", "published_section"]

_HEAD = (
    "system",
    "test",
    "measure",
    "published",
    "obtained\n(95 % interval)",
    "difference, points",
    "agrees",
    "source",
)


def published_section(beside: Sequence[Beside]) -> Section | None:
    """What was printed and what these predictions give; None where nothing was published."""
    if not beside:
        return None
    return Section(
        id="published",
        title="Published values",
        takeaway=_takeaway(beside),
        blocks=[
            Grid(
                head=_HEAD,
                rows=[_cells(one) for one in beside if one.name is not None],
                notes=_notes(beside),
                text_columns=(7,),
            )
        ],
    )


def published_markdown(beside: Sequence[Beside]) -> str:
    """The same as GitHub-flavoured Markdown; empty where nothing was published."""
    if not beside:
        return ""
    rows = [[_flat(cell) for cell in _cells(one)] for one in beside if one.name is not None]
    lines = [
        "### Published values",
        "",
        f"{_takeaway(beside)}.",
        "",
        "| " + " | ".join(name.replace("\n", " ") for name in _HEAD) + " |",
        "|---|---|---|---:|---:|---:|---|---|",
        *("| " + " | ".join(map(markdown_cell, row)) + " |" for row in rows),
        "",
        *(f"- {markdown_cell(note)}" for note in _notes(beside)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _takeaway(beside: Sequence[Beside]) -> str:
    found = [one for one in beside if one.name is not None]
    same, inside = sum(one.same_digits for one in found), sum(one.inside or one.same_digits for one in found)
    return f"{same} of {describe_number(len(found), 'value')} agree to the printed digit, {inside} lie in our interval"


def _notes(beside: Sequence[Beside]) -> list[str]:
    absent = dict.fromkeys(one.published.model for one in beside if one.name is None)
    notes = [f"published, but not among these systems: {', '.join(absent)}"] if absent else []
    sizes = [
        f"{one.name}: published over {one.published.n} utterances, obtained over {one.n}"
        for one in beside
        if one.other_size
    ]
    return notes + list(dict.fromkeys(sizes))


def _cells(one: Beside) -> list[Cell | str]:
    interval = format_interval(one.interval).removesuffix(" %").replace(" to ", "–") if one.interval else ""
    return [
        one.name or "",
        one.test,
        Cell(one.published.metric, small=one.normalizer),
        format_percent(one.published.value),
        Cell(format_percent(one.obtained), small=interval),
        format_points(one.difference),
        _agreement(one),
        one.published.source,
    ]


def _agreement(one: Beside) -> Cell:
    if one.same_digits:
        return Cell("to the digit", ink="better")
    if one.inside is None:
        return Cell("no interval")
    return Cell("in our interval") if one.inside else Cell("outside our interval", ink="worse")


def _flat(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell.main} ({cell.small})" if cell.small else cell.main
