"""The plot of a bench: error rate with its interval against speed, systems that were not timed in a strip beside it.

Start with :func:`bench_figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from asr_headroom.report.drawing import INK, LINE, MUTED, PAPER, WORSE, Figure, round_ticks
from asr_headroom.report.frontier_figure import set_rate_scale
from asr_headroom.report.labels import label_points
from asr_headroom.report.table_text import describe_settings
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import format_count, has_interval
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bench_figure"]

_FACTS = ("system", "family", "parameters", "real_time_factor", "batch_size", "device", "threads", "peak_bytes")
_SCORES = ("ci_low", "ci_high", "oracle", "alarms", "language_mismatch")
_MIN_SPREAD = 4.0
"""Of the horizontal axis, fastest to slowest, so that two equal speeds do not fill the plot."""


def bench_figure(table: TestTable) -> Figure | None:
    """Error rate against real-time factor; None when no system was timed.

    Hollow points raise an alarm of the harness, grey ones were not made for the language. Numbers of weights stand
    beside the names.
    """
    if not any(row.speed for row in table.rows):
        return None
    name = rate_name(table.unit)
    caption = (
        f"{name} against real-time factor on {table.data}; bars are 95 % intervals, left is faster. Hollow: harness "
        "alarm. Grey: not made for the language"
    )
    untimed = [row.name for row in table.rows if not row.speed]
    if untimed:
        caption += f". Not timed here, at the right: {', '.join(untimed)}"
    settings = next((note for note in describe_settings(table) if note.startswith("real-time")), "")
    return Figure(
        name="bench",
        title="speed against error rate",
        caption=f"{caption}. R{settings[1:]}." if settings else f"{caption}.",
        columns=(*_FACTS, name.lower(), *_SCORES),
        rows=tuple(_numbers(row) for row in table.rows),
        size=(7.6, 4.6),
        paint=lambda canvas: _paint(canvas.subplots(), table.rows, name),
    )


def _numbers(row: Row) -> tuple[Any, ...]:
    estimate, speed = row.score.estimate, row.speed
    ends = (estimate.interval.low, estimate.interval.high) if has_interval(estimate) else (None, None)
    return (
        row.name,
        row.results.run.model.get("family"),
        row.parameters,
        speed.real_time_factor if speed else None,
        *((speed.batch_size, speed.device, speed.threads) if speed else (None, None, None)),
        row.memory.peak_bytes if row.memory else None,
        estimate.rate,
        *ends,
        row.oracle.error_rate if row.oracle else None,
        " ".join(row.alarms),
        row.is_mismatch,
    )


def _paint(axes: Axes, rows: Sequence[Row], name: str) -> None:
    factors = [row.speed.real_time_factor for row in rows if row.speed]
    low, high = min(factors), max(factors)
    spread = max(high / low, _MIN_SPREAD)
    strip = high * spread**0.35
    places = [row.speed.real_time_factor if row.speed else strip for row in rows]
    axes.set_xscale("log")
    has_strip = strip in places
    axes.set_xlim(low / spread**0.12, (strip if has_strip else high) * spread**0.3)
    left, right = axes.get_xlim()
    edge = (high * strip) ** 0.5 if has_strip else right
    mantissas = (1, 2, 5) if edge / left > 8 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [tick for tick in round_ticks(left, edge, mantissas) if left <= tick <= edge]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    set_rate_scale(axes, [100 * row.score.estimate.rate for row in rows])
    if has_strip:
        axes.axvline(edge, color=LINE, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.text(
            strip, 0.01, "not timed", transform=axes.get_xaxis_transform(), fontsize=8.5, color=MUTED, ha="center"
        )
    bars = []
    points = []
    for row, x in zip(rows, places, strict=True):
        estimate, ink = row.score.estimate, _ink(row)
        y = 100 * estimate.rate
        if has_interval(estimate):
            ends = (x, 100 * estimate.interval.low), (x, 100 * estimate.interval.high)
            axes.plot(*zip(*ends, strict=True), color=ink, linewidth=1.2, alpha=0.55)
            bars.append(ends)
        axes.plot(x, y, "o", color=ink, markersize=5.5, markerfacecolor=PAPER if row.alarms else ink)
        points.append((_label(row), x, y, ink))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("real-time factor, left is faster")
    axes.set_ylabel(f"{name}, %")
    label_points(axes, points, bars, LINE)


def _label(row: Row) -> str:
    return row.name if row.parameters is None else f"{row.name} ({format_count(row.parameters)})"


def _ink(row: Row) -> str:
    if row.is_mismatch:
        return MUTED
    return WORSE if row.alarms else INK
