"""Section: one table of all systems for each test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asr_headroom.metrics.significance import Comparison
from asr_headroom.report.delivered import name_delivered
from asr_headroom.report.sections.blocks import Cell, Grid, Section, ink_of
from asr_headroom.report.table_text import describe_settings, format_memory, format_speed
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import (
    describe_number,
    format_count,
    format_interval,
    format_p,
    format_points,
    has_interval,
    verdict_word,
)
from asr_headroom.text.units import rate_name

__all__ = ["systems_section"]


def systems_section(tables: Sequence[TestTable]) -> Section:
    """Every system on every test: rate, difference to its base, what could be detected, outputs, minutes."""
    systems = describe_number(len({row.name for table in tables for row in table.rows}), "system")
    return Section(
        id="systems",
        title="Systems",
        takeaway=f"{systems} on {describe_number(len(tables), 'test set')}",
        blocks=[_grid(table) for table in tables],
        is_open=True,
    )


def _grid(table: TestTable) -> Grid:
    # A column that no system fills says nothing.
    sized = any(row.parameters for row in table.rows)
    trained = any(row.trainable_parameters for row in table.rows)
    timed = any(row.minutes is not None for row in table.rows)
    compared = any(row.pair for row in table.rows)
    measured = _Measured.of(table)
    head = [
        "system",
        *["weights"] * sized,
        *["trained"] * trained,
        f"{rate_name(table.unit)}, %\n(95 % interval)",
        *["difference, points\n(95 % interval)", "p", "verdict", "detectable,\npoints"] * compared,
        "loop / empty / cut, %",
        *measured.head(),
        *["minutes"] * timed,
    ]
    return Grid(
        title=table.data,
        about=(
            f"{describe_number(table.num_utterances, 'utterance')}, fingerprint {table.fingerprint}, "
            f"normalizer {table.normalizer.id} ({table.normalizer.hash})"
        ),
        head=head,
        rows=[
            _cells(row, measured, sized=sized, trained=trained, timed=timed, compared=compared) for row in table.rows
        ],
        notes=(*describe_settings(table), *table.notes),
    )


class _Measured(NamedTuple):
    """Which columns of what a bench measures the table has: those that some row fills."""

    nbest: int
    speed: bool
    memory: bool
    alarm: bool
    many_settings: bool

    @classmethod
    def of(cls, table: TestTable) -> _Measured:
        rows = table.rows
        settings = {row.speed.setting for row in rows if row.speed}
        return cls(
            nbest=max(row.nbest for row in rows),
            speed=bool(settings),
            memory=any(row.memory for row in rows),
            alarm=any(row.alarms for row in rows),
            many_settings=len(settings) > 1,
        )

    def head(self) -> list[str]:
        return [
            *[f"best of {self.nbest}, %"] * bool(self.nbest),
            *["real-time\nfactor"] * self.speed,
            *["memory"] * self.memory,
            *["harness\nalarm"] * self.alarm,
        ]

    def cells(self, row: Row) -> list[Cell | str]:
        oracle = f"{100 * row.oracle.error_rate:.2f}" if row.oracle else ""
        return [
            *[oracle] * bool(self.nbest),
            *[format_speed(row, with_setting=self.many_settings)] * self.speed,
            *[format_memory(row)] * self.memory,
            *[Cell(", ".join(row.alarms), ink="worse")] * self.alarm,
        ]


def _cells(
    row: Row, measured: _Measured, *, sized: bool, trained: bool, timed: bool, compared: bool
) -> list[Cell | str]:
    estimate = row.score.estimate
    comparison = row.pair.comparison if row.pair else None
    against = f"against {row.pair.base.run.name}" if row.pair else ""
    delivered = name_delivered(row.guard) if row.guard else ""
    mismatch = f"not made for {row.results.run.language or 'this language'}" if row.is_mismatch else ""
    interval = format_interval(estimate.interval).removesuffix(" %").replace(" to ", "–")
    return [
        Cell(row.name, below="; ".join(filter(None, (against, delivered, mismatch)))),
        *[format_count(row.parameters) if row.parameters is not None else ""] * sized,
        *[format_count(row.trainable_parameters) if row.trainable_parameters else ""] * trained,
        Cell(f"{100 * estimate.rate:.2f}", small=interval if has_interval(estimate) else ""),
        *(_difference(row, comparison) if compared else ()),
        row.outputs,
        *measured.cells(row),
        *["" if row.minutes is None else f"{row.minutes:.1f}"] * timed,
    ]


def _difference(row: Row, c: Comparison | None) -> list[Cell | str]:
    """Difference, p, verdict and detectable effect, as far as there are any."""
    if c is None or row.pair is None:
        return ["", "", "", ""]
    known, ink = has_interval(c), ink_of(c.verdict)
    return [
        Cell(format_points(c.difference), small=format_interval(c.interval, signed=True) if known else "", ink=ink),
        format_p(c.p_value).removeprefix("p = ").removeprefix("p ") if c.num_clusters > 1 else "",
        Cell(verdict_word(row.pair), ink=ink),
        f"{100 * c.minimal_detectable_effect:.2f}" if known else "",
    ]
