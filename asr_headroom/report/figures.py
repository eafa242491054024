"""Plots of the tables: the difference on every test set here, all others gathered.

A :class:`Figure` is drawn when asked for: SVG text for a page, PNG for a paper, CSV of what is plotted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_headroom.metrics.significance import Comparison
from asr_headroom.report.bench_figure import bench_figure
from asr_headroom.report.damage_figure import damage_figure
from asr_headroom.report.distribution_figure import distribution_figure
from asr_headroom.report.drawing import INK, LINE, MUTED, VERDICT_INK, Figure, round_ticks
from asr_headroom.report.frontier_figure import Expense, frontier_figure
from asr_headroom.report.guard_figure import guard_figure
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import format_points, has_interval, verdict_word
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Figure", "all_figures", "difference_figure", "frontier_figure", "save_figures"]


_EXPENSES: tuple[Expense, ...] = ("parameters", "minutes", "cost")


def difference_figure(tables: Sequence[TestTable]) -> Figure | None:
    """Every system's difference to its base on every test: gains left of zero, damage right of it.

    None when nothing is compared.
    """
    compared = [(table, row) for table in tables for row in table.rows if row.pair is not None]
    if not compared:
        return None
    return Figure(
        name="difference",
        title="differences",
        caption="Difference to the base in points, with its 95 % interval; left of zero is better. The pale "
        "band is what the test could not have shown (80 % power).",
        columns=(
            "test",
            "system",
            "base",
            "difference",
            "ci_low",
            "ci_high",
            "minimal_detectable_effect",
            "verdict",
        ),
        rows=tuple(
            (
                table.data,
                row.name,
                row.pair.base.run.name,
                row.pair.comparison.difference,
                *_ends(row.pair.comparison),
                row.pair.comparison.minimal_detectable_effect if has_interval(row.pair.comparison) else None,
                row.pair.comparison.verdict,
            )
            for table, row in compared
            if row.pair is not None
        ),
        size=(7.6, 0.9 + 0.36 * len(compared) + 0.3 * len({table.fingerprint for table, _ in compared})),
        paint=lambda canvas: _paint_differences(canvas.subplots(), compared),
    )


def all_figures(tables: Sequence[TestTable], *, price_per_hour: float | None = None) -> list[tuple[str, Figure]]:
    """Every figure that the tables have something for, with the name of its files; the differences first.

    Args:
        tables: of all tests.
        price_per_hour: of the machine; with it there is a frontier over cost, too.
    """
    found: list[tuple[str, Figure | None]] = [("difference", difference_figure(tables))]
    found.append(("gain-damage", damage_figure(tables)))
    for number, table in enumerate(tables, start=1):
        for over in _EXPENSES if price_per_hour else _EXPENSES[:2]:
            stem = f"frontier-{number}" if over == "parameters" else f"frontier-{over}-{number}"
            figure = frontier_figure(table, over, price_per_hour=price_per_hour)
            found.append((stem, figure))
        found.append((f"bench-{number}", bench_figure(table)))
        found.append((f"distribution-{number}", distribution_figure(table)))
    found.append(("guard", guard_figure(tables)))
    # Ids inside an SVG are made of its name, and a page holds all of them.
    return [(stem, dataclasses.replace(figure, name=stem)) for stem, figure in found if figure is not None]


def save_figures(tables: Sequence[TestTable], directory: Path, *, price_per_hour: float | None = None) -> list[Path]:
    """Writes every figure of the tables as SVG, PNG and CSV.

    Raises:
        OSError: the disk refuses.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, figure in all_figures(tables, price_per_hour=price_per_hour):
        for suffix, content in (("svg", figure.svg()), ("png", figure.png()), ("csv", figure.csv())):
            paths.append(directory / f"{stem}.{suffix}")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def _ends(numbers: Comparison) -> tuple[float | None, float | None]:
    return (numbers.interval.low, numbers.interval.high) if has_interval(numbers) else (None, None)


def _paint_differences(axes: Axes, compared: Sequence[tuple[TestTable, Row]]) -> None:
    y, table_before, ticks = 0.0, None, []
    blocks: list[list[float]] = []
    for table, row in compared:
        assert row.pair is not None
        comparison = row.pair.comparison
        if table is not table_before:
            y -= 0.35
            title = f"{table.data}, {rate_name(table.unit)}, {table.num_utterances} utterances"
            axes.text(0, y, title, transform=axes.get_yaxis_transform(), fontsize=8.5, color=MUTED, va="center")
            y -= 0.9
            table_before = table
            blocks.append([y + 0.5, y - 0.5])
        blocks[-1][1] = y - 0.5
        ink = VERDICT_INK[comparison.verdict]
        detectable = 100 * comparison.minimal_detectable_effect
        axes.barh(y, 2 * detectable, left=-detectable, height=0.6, color=LINE, alpha=0.5, linewidth=0)
        low, high = 100 * comparison.interval.low, 100 * comparison.interval.high
        axes.plot([low, high], [y, y], color=ink, linewidth=1.8, solid_capstyle="butt")
        axes.plot(100 * comparison.difference, y, "D", color=ink, markersize=4.5)
        axes.annotate(
            f"{format_points(comparison.difference)}  {verdict_word(row.pair)}",
            (1.02, y),
            xycoords=axes.get_yaxis_transform(),
            fontsize=8.5,
            color=ink,
            va="center",
            annotation_clip=False,
        )
        ticks.append((y, row.name))
        y -= 1
    scale = _set_difference_scale(axes, compared)
    # Grid lines stop at the headings of the tests, which stand on the same axes.
    for top, bottom in blocks:
        axes.vlines(axes.get_xticks(), bottom, top, color=LINE, linewidth=0.6, zorder=0)
        axes.vlines(0, bottom, top, color=MUTED, linewidth=0.9, zorder=1)
    axes.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(y + 0.4, 0.1)
    axes.tick_params(which="both", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"points, left of zero is better{scale}")
    for label in axes.get_yticklabels():
        label.set_color(INK)


def _set_difference_scale(axes: Axes, compared: Sequence[tuple[TestTable, Row]]) -> str:
    """Sets the horizontal scale and returns what has to be said of it."""
    ends = [
        100 * end
        for _, row in compared
        if row.pair is not None
        for end in (
            row.pair.comparison.interval.low,
            row.pair.comparison.interval.high,
            row.pair.comparison.minimal_detectable_effect,
            -row.pair.comparison.minimal_detectable_effect,
        )
    ]
    low, high = min(ends), max(ends)
    typical = sorted(map(abs, ends))[len(ends) // 2]
    if max(-low, high) <= 6 * typical or typical <= 0:
        margin = 0.06 * (high - low) or 1
        axes.set_xlim(low - margin, high + margin)
        axes.set_xticks([tick for tick in axes.get_xticks() if low - margin <= tick <= high + margin])
        return ""
    axes.set_xscale("symlog", linthresh=typical, linscale=1.2)
    positive = round_ticks(typical, max(-low, high), (1, 3))
    inside = sorted({0.0, *positive, *(-tick for tick in positive)})
    low, high = low * 1.25, high * 1.25
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick in inside if low <= tick <= high])
    axes.set_xticks([], minor=True)
    axes.set_xticklabels([f"{tick:g}".replace("-", "−") for tick in axes.get_xticks()])
    return f"; compressed beyond {typical:.2g}"
