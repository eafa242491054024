"""The plot of gain against damage: what each fine-tuned system gained on its own data and lost elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr_headroom.metrics.significance import Comparison
from asr_headroom.report.damage import aim_of_test
from asr_headroom.report.drawing import LINE, MUTED, SET_INKS, Figure
from asr_headroom.report.labels import label_points
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import has_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["damage_figure"]

_MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class _Point:
    """One system on its own test and on another one."""

    system: str
    target: str
    other: str
    gain: Comparison
    damage: Comparison


def damage_figure(tables: Sequence[TestTable]) -> Figure | None:
    """Difference on the system's own test against the difference on every other one, both with intervals.

    A system's own test is the one whose corpus it was trained for; where no run says so, the first. None where no
    system was compared on two tests.
    """
    points = _points(tables)
    if not points:
        return None
    others = list(dict.fromkeys(point.other for point in points))
    return Figure(
        name="gain-damage",
        caption=(
            "Change in error rate on the test that a system was trained for (left is better) against its change on "
            f"another test (down is better), in points with 95 % intervals: {', '.join(others)}. In the lower left "
            "corner nothing was traded; above zero is damage."
        ),
        columns=("system", "target", "gain", "gain_ci_low", "gain_ci_high",
                 "other", "damage", "damage_ci_low", "damage_ci_high"),
        rows=tuple(
            (p.system, p.target, p.gain.difference, *_ends(p.gain), p.other, p.damage.difference, *_ends(p.damage))
            for p in points
        ),
        size=(7.6, 4.8),
        paint=lambda canvas: _paint(canvas.subplots(), points, others),
        title="gain against damage",
    )  # fmt: skip


def _points(tables: Sequence[TestTable]) -> list[_Point]:
    compared: dict[str, list[tuple[TestTable, Row]]] = {}
    for table in tables:
        for row in table.rows:
            if row.pair is not None:
                compared.setdefault(row.name, []).append((table, row))
    points = []
    for name, tests in compared.items():
        own = next((i for i, (table, row) in enumerate(tests) if aim_of_test(row.results.run, table) == "target"), 0)
        target, row = tests[own]
        assert row.pair is not None
        for table, other in tests[:own] + tests[own + 1 :]:
            assert other.pair is not None
            points.append(_Point(name, target.data, table.data, row.pair.comparison, other.pair.comparison))
    return points


def _ends(comparison: Comparison) -> tuple[float | None, float | None]:
    return (comparison.interval.low, comparison.interval.high) if has_interval(comparison) else (None, None)


def _paint(axes: Axes, points: Sequence[_Point], others: Sequence[str]) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
    labels, drawn = [], []
    for point in points:
        index = others.index(point.other)
        ink, x, y = SET_INKS[index % len(SET_INKS)], 100 * point.gain.difference, 100 * point.damage.difference
        low, high = (100 * end for end in (point.gain.interval.low, point.gain.interval.high))
        bottom, top = (100 * end for end in (point.damage.interval.low, point.damage.interval.high))
        axes.plot([low, high], [y, y], color=ink, linewidth=1.1, alpha=0.5)
        axes.plot([x, x], [bottom, top], color=ink, linewidth=1.1, alpha=0.5)
        axes.plot(x, y, _MARKERS[index % len(_MARKERS)], color=ink, markersize=5.5)
        text = point.system if len(others) == 1 else f"{point.system}, {point.other}"
        labels.append((text, x, y, ink))
        drawn += [((low, y), (high, y)), ((x, bottom), (x, top))]
    axes.margins(0.18)
    axes.grid(color=LINE)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    targets = dict.fromkeys(point.target for point in points)
    axes.set_xlabel(f"points on {targets.popitem()[0] if len(targets) == 1 else 'the own test'}, left is better")
    axes.set_ylabel(f"points on {others[0] if len(others) == 1 else 'another test'}, down is better")
    label_points(axes, labels, drawn, LINE)
