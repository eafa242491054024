"""Plots of the tables: size against error rate, and the difference on every test set.

A :class:`Figure` is drawn when asked for: SVG text for a page, PNG for a paper, CSV of what is plotted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr_headroom.metrics.significance import Comparison, RateEstimate
from asr_headroom.report.drawing import INK, LINE, MUTED, VERDICT_INK, Figure
from asr_headroom.report.guard_figure import guard_figure
from asr_headroom.report.labels import label_points
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import format_count, format_points, has_interval, verdict_word
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Figure", "difference_figure", "frontier_figure", "save_figures"]


def frontier_figure(table: TestTable) -> Figure | None:
    """Number of weights against error rate, with intervals, an arrow from each base to what it became.

    Systems of one size stand side by side. None when no system states its size.
    """
    rows = [row for row in table.rows if row.parameters]
    if not rows:
        return None
    name = rate_name(table.unit)
    left_out = [row.name for row in table.rows if not row.parameters]
    caption = f"{name} against number of weights on {table.data}; bars are 95 % intervals"
    if any(row.pair for row in rows):
        caption += ", arrows lead from a base to its fine-tuned system"
    if left_out:
        caption += f". Of unknown size and not shown: {', '.join(left_out)}"

    places = _side_by_side([row.parameters or 1 for row in rows])
    return Figure(
        name="frontier",
        caption=caption + ".",
        title="size against error rate",
        columns=("system", "parameters", name.lower(), "ci_low", "ci_high", "base"),
        rows=tuple(
            (
                row.name,
                row.parameters,
                row.score.estimate.rate,
                *_ends(row.score.estimate),
                row.pair.base.run.name if row.pair else "",
            )
            for row in rows
        ),
        size=(7.6, 4.4),
        paint=lambda canvas: _paint_frontier(canvas.subplots(), rows, places, name),
    )


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


def save_figures(tables: Sequence[TestTable], directory: Path) -> list[Path]:
    """Writes every figure of the tables as SVG, PNG and CSV.

    Raises:
        OSError: the disk refuses.
    """
    directory.mkdir(parents=True, exist_ok=True)
    figures = [(f"frontier-{i + 1}", frontier_figure(table)) for i, table in enumerate(tables)]
    figures += [("difference", difference_figure(tables)), ("guard", guard_figure(tables))]
    paths = []
    for stem, figure in figures:
        if figure is None:
            continue
        for suffix, content in (("svg", figure.svg()), ("png", figure.png()), ("csv", figure.csv())):
            paths.append(directory / f"{stem}.{suffix}")
            paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def _ends(numbers: Comparison | RateEstimate) -> tuple[float | None, float | None]:
    return (numbers.interval.low, numbers.interval.high) if has_interval(numbers) else (None, None)


def _side_by_side(sizes: Sequence[int]) -> list[float]:
    """[systems] x of each system: its size, or beside it where several share it."""
    step = max(1.06, (max(sizes) / min(sizes)) ** 0.025)
    places = []
    for index, size in enumerate(sizes):
        twins = [i for i, other in enumerate(sizes) if math.isclose(other, size, rel_tol=0.02)]
        places.append(size * step ** (twins.index(index) - (len(twins) - 1) / 2))
    return places


def _paint_frontier(axes: Axes, rows: Sequence[Row], places: Sequence[float], name: str) -> None:
    position = {row.name: (x, 100 * row.score.estimate.rate) for row, x in zip(rows, places, strict=True)}
    _set_frontier_scales(axes, [y for _, y in position.values()], places)
    for row in rows:
        x, y = position[row.name]
        interval, ink = row.score.estimate.interval, _ink(row)
        axes.plot([x, x], [100 * interval.low, 100 * interval.high], color=ink, linewidth=1.2, alpha=0.55)
        axes.plot(x, y, "D" if row.pair else "o", color=ink, markersize=5)
        start = position.get(row.pair.base.run.name) if row.pair else None
        if start:
            style = {"arrowstyle": "-|>", "color": ink, "linewidth": 0.9, "mutation_scale": 7}
            axes.annotate("", xy=(x, y), xytext=start, arrowprops=style)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("weights")
    axes.set_ylabel(f"{name}, %")
    arrows = [
        (position[row.pair.base.run.name], position[row.name])
        for row in rows
        if row.pair and row.pair.base.run.name in position
    ]
    label_points(axes, [(row.name, *position[row.name], _ink(row)) for row in rows], arrows, LINE)


def _ink(row: Row) -> str:
    return VERDICT_INK[row.pair.comparison.verdict] if row.pair else INK


def _set_frontier_scales(axes: Axes, rates: Sequence[float], places: Sequence[float]) -> None:
    axes.set_xscale("log")
    spread = max(max(places) / min(places), 4)
    # Names are written to the right of their points, so that side gets the room.
    axes.set_xlim(min(places) / spread**0.08, max(places) * spread**0.3)
    low, high = axes.get_xlim()
    ticks = [tick for tick in _round_ticks(low, high) if low <= tick <= high]
    axes.set_xticks(ticks, [re.sub(r"\.0+ ", " ", format_count(tick)) for tick in ticks])
    axes.set_xticks([], minor=True)
    # One system that failed altogether must not squeeze all others into a line.
    if min(rates) > 0 and max(rates) / min(rates) > 5:
        axes.set_yscale("log")
        axes.set_ylim(min(rates) / 1.5, max(rates) * 1.5)
        ticks = _round_ticks(min(rates) / 1.15, max(rates) * 1.15)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    else:
        axes.set_ylim(0, max(rates) * 1.25 or 1)


def _round_ticks(low: float, high: float, mantissas: Sequence[int] = (1, 2, 5)) -> list[float]:
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 13) for mantissa in mantissas]
    return [step for step in steps if low / 1.3 <= step <= high * 1.3]


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
    positive = _round_ticks(typical, max(-low, high), (1, 3))
    inside = sorted({0.0, *positive, *(-tick for tick in positive)})
    low, high = low * 1.25, high * 1.25
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick in inside if low <= tick <= high])
    axes.set_xticks([], minor=True)
    axes.set_xticklabels([f"{tick:g}".replace("-", "−") for tick in axes.get_xticks()])
    return f"; compressed beyond {typical:.2g}"
