"""The plot of size, minutes or cost against error rate, with the frontier: what cannot be had for less.

Start with :func:`frontier_figure`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from asr_headroom.metrics.significance import RateEstimate
from asr_headroom.report.drawing import INK, LINE, MUTED, VERDICT_INK, Figure, round_ticks
from asr_headroom.report.labels import label_points
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import format_count, has_interval
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Expense", "frontier_figure", "pareto", "set_rate_scale"]

Expense = Literal["parameters", "minutes", "cost"]


class _Scale(NamedTuple):
    """What is paid for a low error rate: of which rows, in words, and on which axis."""

    value: Callable[[Row], float | None]
    title: str
    label: str


def frontier_figure(
    table: TestTable, over: Expense = "parameters", *, price_per_hour: float | None = None
) -> Figure | None:
    """What was paid against error rate, with intervals, an arrow from each base to what it became.

    The line is the frontier: no system on the plot reaches a lower rate for as little. Systems that paid the same
    stand side by side.

    Args:
        table: of the test.
        over: number of weights, wall-clock minutes of all stages (training included), or their price.
        price_per_hour: of the machine, for ``cost``; any currency.

    Returns:
        None when no system states what it paid.
    """
    scale = _scale(over, price_per_hour)
    paid = {row.name: value for row in table.rows if (value := scale.value(row))}
    rows = [row for row in table.rows if row.name in paid]
    if not rows:
        return None
    name = rate_name(table.unit)
    left_out = [row.name for row in table.rows if row.name not in paid]
    caption = f"{name} against {scale.title} on {table.data}; bars are 95 % intervals, the line is the frontier"
    if any(row.pair for row in rows):
        caption += ", arrows lead from a base to its fine-tuned system"
    if left_out:
        caption += f". Without {scale.label} and not shown: {', '.join(left_out)}"
    values = [paid[row.name] for row in rows]
    places = _side_by_side(values)
    return Figure(
        name="frontier",
        caption=caption + ".",
        columns=("system", over, name.lower(), "ci_low", "ci_high", "base", "on_frontier"),
        rows=tuple(
            (
                row.name,
                value,
                row.score.estimate.rate,
                *_ends(row.score.estimate),
                row.pair.base.run.name if row.pair else "",
                index in pareto([(v, r.score.estimate.rate) for v, r in zip(values, rows, strict=True)]),
            )
            for index, (row, value) in enumerate(zip(rows, values, strict=True))
        ),
        size=(7.6, 4.4),
        paint=lambda canvas: _paint_frontier(canvas.subplots(), rows, values, places, (name, scale.label)),
        title=f"{scale.title} against error rate",
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points that no other beats, cheapest first: none costs at most as much and errs less.

    >>> pareto([(1, 0.5), (2, 0.2), (2, 0.3), (4, 0.2), (8, 0.1)])
    [0, 1, 4]
    """
    best, kept = math.inf, []
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best:
            best = points[index][1]
            kept.append(index)
    return kept


def _scale(over: Expense, price_per_hour: float | None) -> _Scale:
    if over == "parameters":
        return _Scale(lambda row: row.parameters, "number of weights", "weights")
    if over == "minutes":
        return _Scale(lambda row: row.minutes, "minutes spent", "minutes")
    price = price_per_hour or 0.0
    return _Scale(lambda row: row.minutes and row.minutes / 60 * price, "cost", "cost")


def _ends(estimate: RateEstimate) -> tuple[float | None, float | None]:
    return (estimate.interval.low, estimate.interval.high) if has_interval(estimate) else (None, None)


def _side_by_side(sizes: Sequence[float]) -> list[float]:
    """[systems] x of each system: what it paid, or beside it where several paid the same."""
    step = max(1.06, (max(sizes) / min(sizes)) ** 0.025)
    places = []
    for index, size in enumerate(sizes):
        twins = [i for i, other in enumerate(sizes) if math.isclose(other, size, rel_tol=0.02)]
        places.append(size * step ** (twins.index(index) - (len(twins) - 1) / 2))
    return places


def _paint_frontier(
    axes: Axes, rows: Sequence[Row], values: Sequence[float], places: Sequence[float], names: tuple[str, str]
) -> None:
    position = {row.name: (x, 100 * row.score.estimate.rate) for row, x in zip(rows, places, strict=True)}
    _set_frontier_scales(axes, [y for _, y in position.values()], places, names[1])
    kept = pareto([(value, row.score.estimate.rate) for value, row in zip(values, rows, strict=True)])
    corners = [position[rows[index].name] for index in kept]
    steps = [*corners, (axes.get_xlim()[1], corners[-1][1])]
    axes.plot(*zip(*steps, strict=True), color=MUTED, linewidth=0.9, drawstyle="steps-post", alpha=0.6, zorder=1)
    drawn = [edge for (a, b), (c, d) in itertools.pairwise(steps) for edge in (((a, b), (c, b)), ((c, b), (c, d)))]
    for row in rows:
        x, y = position[row.name]
        interval, ink = row.score.estimate.interval, _ink(row)
        axes.plot([x, x], [100 * interval.low, 100 * interval.high], color=ink, linewidth=1.2, alpha=0.55)
        drawn.append(((x, 100 * interval.low), (x, 100 * interval.high)))
        axes.plot(x, y, "D" if row.pair else "o", color=ink, markersize=5)
        start = position.get(row.pair.base.run.name) if row.pair else None
        if start:
            style = {"arrowstyle": "-|>", "color": ink, "linewidth": 0.9, "mutation_scale": 7}
            axes.annotate("", xy=(x, y), xytext=start, arrowprops=style)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel(names[1])
    axes.set_ylabel(f"{names[0]}, %")
    drawn += [
        (position[row.pair.base.run.name], position[row.name])
        for row in rows
        if row.pair and row.pair.base.run.name in position
    ]
    label_points(axes, [(row.name, *position[row.name], _ink(row)) for row in rows], drawn, LINE)


def _ink(row: Row) -> str:
    return VERDICT_INK[row.pair.comparison.verdict] if row.pair else INK


def _set_frontier_scales(axes: Axes, rates: Sequence[float], places: Sequence[float], label: str) -> None:
    axes.set_xscale("log")
    spread = max(max(places) / min(places), 4)
    # Names are written to the right of their points, so that side gets the room.
    axes.set_xlim(min(places) / spread**0.08, max(places) * spread**0.3)
    low, high = axes.get_xlim()
    ticks = [tick for tick in round_ticks(low, high) if low <= tick <= high]
    shown = [re.sub(r"\.0+ ", " ", format_count(tick)) if label == "weights" else f"{tick:g}" for tick in ticks]
    axes.set_xticks(ticks, shown)
    axes.set_xticks([], minor=True)
    set_rate_scale(axes, rates)


def set_rate_scale(axes: Axes, rates: Sequence[float]) -> None:
    """The vertical axis of error rates in per cent: from zero, or logarithmic where they are far apart."""
    # One system that failed altogether must not squeeze all others into a line.
    if min(rates) > 0 and max(rates) / min(rates) > 5:
        axes.set_yscale("log")
        axes.set_ylim(min(rates) / 1.5, max(rates) * 1.5)
        ticks = round_ticks(min(rates) / 1.15, max(rates) * 1.15)
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
    else:
        axes.set_ylim(0, max(rates) * 1.25 or 1)
