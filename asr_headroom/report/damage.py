"""Gain and damage: what each fine-tuned system gained on its own data and lost elsewhere, in one table.

Start with :func:`gain_and_damage`; the page shows it cell by cell, :func:`damage_markdown` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asr_headroom.analysis.guard import GuardFacts, GuardSet, read_guard
from asr_headroom.report.delivered import describe_point
from asr_headroom.report.verdict import format_interval, format_points, has_interval, verdict_word
from asr_headroom.results.schema import RunInfo
from asr_headroom.text.units import primary_subtag, rate_name, unit_name

if TYPE_CHECKING:
    from asr_headroom.report.tables import Row, TestTable

__all__ = [
    "Aim",
    "Cell",
    "DamageRow",
    "DamageTable",
    "aim_of_test",
    "damage_markdown",
    "gain_and_damage",
    "markdown_cell",
]

Aim = Literal["target", "same language", "other language"]
"""How a test set stands to what a system was trained for."""

_SPLITS = frozenset({"train", "training", "dev", "devel", "valid", "validation", "eval", "test"})


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes:
        main: the number; empty where there is none.
        small: what stands smaller beside it.
        below: a second line.
        verdict: colours the number; empty for none.
        aim: how the test set stands to the training; empty where unknown or said in the column's head.
    """

    main: str = ""
    small: str = ""
    below: str = ""
    verdict: str = ""
    aim: str = ""


@dataclass(frozen=True)
class DamageRow:
    """One fine-tuned system.

    Attributes:
        name: of the system.
        base: its base.
        tests: [test sets] change against the base.
        nonspeech: what is put out over silence and noise; empty cell where not measured.
        delivered: the point between base and fine-tuned weights; empty where no guard was at work.
        reason: why that point.
    """

    name: str
    base: str
    tests: tuple[Cell, ...]
    nonspeech: Cell
    delivered: str
    reason: str


@dataclass(frozen=True)
class DamageTable:
    """The whole table.

    Attributes:
        heads: [test sets] name, and how it stands to the training where that is one thing for all systems.
        rows: one per fine-tuned system.
        guarded: whether any guard was at work, and the last two columns are shown.
    """

    heads: tuple[tuple[str, str], ...]
    rows: tuple[DamageRow, ...]
    guarded: bool


def gain_and_damage(tables: Sequence[TestTable]) -> DamageTable | None:
    """The table of all fine-tuned systems; None with a single test set and no guard, as it would say nothing new."""
    systems: dict[str, list[Row | None]] = {}
    for index, table in enumerate(tables):
        for row in table.rows:
            fine_tuned = row.results.run.parent or row.results.run.model.get("method")
            if row.guard or (row.pair is not None and fine_tuned):
                systems.setdefault(row.name, [None] * len(tables))[index] = row
    guarded = any(row.guard for found in systems.values() for row in found if row)
    shown = [index for index in range(len(tables)) if any(_is_compared(found[index]) for found in systems.values())]
    if not systems or (len(shown) < 2 and not guarded):
        return None
    aims = {
        (name, index): aim_of_test(system.results.run, tables[index])
        for name, found in systems.items()
        for index in shown
        if (system := found[index]) is not None
    }
    common = {index: _common([aim for (_, test), aim in aims.items() if test == index]) for index in shown}
    return DamageTable(
        heads=tuple((tables[index].data, common[index] or "") for index in shown),
        rows=tuple(
            _damage_row(
                name,
                rows,
                shown,
                [None if common[index] else aims.get((name, index)) for index in shown],
            )
            for name, rows in systems.items()
        ),
        guarded=guarded,
    )


def aim_of_test(run: RunInfo, table: TestTable) -> Aim | None:
    """How a test set stands to what the system was trained for; None where the run does not say.

    The dev set of the training names the corpus, the guard's target its language. Two sets are of one corpus
    when their names differ only in the split.
    """
    facts = table.rows[0].results.run
    guard = read_guard(run)
    dev = guard.target.name if guard and guard.target else run.model.get("dev")
    language = guard.target.language if guard and guard.target else None
    known = bool(language and facts.language)
    same_language = known and primary_subtag(str(language)) == primary_subtag(str(facts.language))
    if known and not same_language:
        return "other language"
    if isinstance(dev, str) and _corpus(dev) and _corpus(dev) == _corpus(table.data):
        return "target"
    return "same language" if same_language else None


def damage_markdown(damage: DamageTable) -> str:
    """The table as GitHub-flavoured Markdown."""
    header = ["system", *(f"{name} ({aim})" if aim else name for name, aim in damage.heads)]
    header += ["silence and noise, per minute", "delivered"] if damage.guarded else []
    lines = [
        "### Gain and damage",
        "",
        "Change against the base, in points with its 95 % interval; below zero is better.",
        "",
        "| " + " | ".join(map(markdown_cell, header)) + " |",
        "|---" + "|---:" * (len(header) - 1) + "|",
    ]
    for row in damage.rows:
        cells = [row.name, *map(_cell_text, row.tests)]
        cells += [_cell_text(row.nonspeech), row.delivered or "–"] if damage.guarded else []
        lines.append("| " + " | ".join(map(markdown_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def markdown_cell(text: str) -> str:
    """Text that cannot end a cell or a row, nor start HTML."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)


def _is_compared(row: Row | None) -> bool:
    return row is not None and row.pair is not None


def _corpus(name: str) -> tuple[str, ...]:
    """The words of a set's name without those that name a split."""
    return tuple(word for word in re.findall(r"\w+", name.lower().replace("_", " ")) if word not in _SPLITS)


def _common(aims: Sequence[Aim | None]) -> Aim | None:
    """What all systems agree on."""
    return aims[0] if len(set(aims)) == 1 else None


def _damage_row(name: str, rows: Sequence[Row | None], shown: Sequence[int], aims: Sequence[Aim | None]) -> DamageRow:
    there = [row for row in rows if row is not None]
    guard = next((row.guard for row in there if row.guard), None)
    return DamageRow(
        name=name,
        base=", ".join(dict.fromkeys(row.pair.base.run.name for row in there if row.pair)),
        tests=tuple(_test_cell(rows[index], aim) for index, aim in zip(shown, aims, strict=True)),
        nonspeech=_nonspeech_cell(guard) if guard else Cell(),
        delivered=describe_point(guard.alpha) if guard else "",
        reason=guard.reason if guard else "",
    )


def _test_cell(row: Row | None, aim: Aim | None) -> Cell:
    if row is None or row.pair is None:
        return Cell()
    c = row.pair.comparison
    unit = rate_name(row.pair.normalizer.unit)
    # Of systems that never differ nobody asks for an interval.
    interval = format_interval(c.interval, signed=True) if has_interval(c) else "no interval" if c.difference else ""
    return Cell(
        main=format_points(c.difference),
        small=interval,
        below=f"{unit} {100 * c.base:.2f} → {100 * c.system:.2f} %, {verdict_word(row.pair)}",
        verdict=c.verdict,
        aim=aim or "",
    )


def _nonspeech_cell(guard: GuardFacts) -> Cell:
    """Words put out per minute in which nobody speaks, of the base and of what was delivered."""
    sets = guard.nonspeech
    if not sets:
        return Cell()
    verdicts = [measured.verdict(guard.delivered) for measured in sets]
    worst = next((verdict for verdict in ("worse", "cannot tell") if verdict in verdicts), "better")
    changed = any(measured.differences[guard.delivered] for measured in sets)
    said = worst if changed else "no change" if guard.alpha else "base kept"
    return Cell(
        main="; ".join(_per_minute(measured, guard, named=len(sets) > 1) for measured in sets),
        below=f"{unit_name(sets[0].unit)} per minute, {said}",
        verdict=worst,
    )


def _per_minute(measured: GuardSet, guard: GuardFacts, *, named: bool) -> str:
    base, delivered = measured.rates[guard.points.index(0.0)], measured.rates[guard.delivered]
    return f"{measured.name}: " * named + f"{base:.1f} → {delivered:.1f}"


def _cell_text(cell: Cell) -> str:
    if not cell.main:
        return "–"
    small = f" ({cell.small})" if cell.small else ""
    return f"{cell.main}{small}; {cell.below}" + (f"; {cell.aim}" if cell.aim else "")
