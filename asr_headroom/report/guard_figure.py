"""The plot of the guard: from each base to its fine-tuned weights, what is gained and what is lost on the way.

Small multiples, one panel per guarded system, one line per set; the delivered point is marked. What is put
out over silence and noise has another unit and stands in the table of :mod:`asr_headroom.report.damage`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from asr_headroom.analysis.guard import GuardFacts, GuardSet
from asr_headroom.report.drawing import INK, LINE, MUTED, PAPER, SET_INKS, Figure
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from asr_headroom.report.tables import TestTable

__all__ = ["guard_figure"]

_MARKERS = ("s", "^", "v", "D", "P", "X")
_DASHES = ("--", "-.", ":")
_OWN_SCALE = 5.0
"""Panels whose ranges differ by more than this factor get a scale each."""


class _Look(NamedTuple):
    label: str
    ink: str
    marker: str
    dashes: Any


def guard_figure(tables: Sequence[TestTable]) -> Figure | None:
    """Change in error rate from the base to the fine-tuned weights, per set and guarded system.

    None where no system on the tables was guarded on speech.
    """
    guards: dict[str, GuardFacts] = {}
    for table in tables:
        for row in table.rows:
            if row.guard and row.guard.speech and len(row.guard.points) > 1:
                guards.setdefault(row.name, row.guard)
    if not guards:
        return None
    num_columns = 1 if len(guards) == 1 else 2
    num_rows = math.ceil(len(guards) / num_columns)
    shares = _share_scale(list(guards.values()))
    caption = (
        "On the way from the base (0) to the fine-tuned weights (1): change in error rate against the base, in points "
        "with 95 % intervals, on the dev set that was trained for and on the guard sets. Above zero is damage. "
        "Filled points at the upright line are what was delivered"
    )
    return Figure(
        name="guard",
        caption=caption + ("." if shares else "; each panel has its own scale."),
        columns=(
            "system", "set", "role", "unit", "alpha", "delivered", "rate", "difference", "ci_low", "ci_high",
        ),
        rows=tuple(
            (
                name, measured.name, measured.role, measured.unit, alpha, alpha == guard.alpha, measured.rates[i],
                measured.differences[i], *(measured.intervals[i] or (None, None)),
            )
            for name, guard in guards.items()
            for measured in guard.speech
            for i, alpha in enumerate(guard.points)
        ),
        size=(7.6, 0.6 + 0.22 * math.ceil(len(_looks(guards)) / 2) + (3.0 if num_columns == 1 else 2.7) * num_rows),
        paint=lambda canvas: _paint(canvas, guards, (num_rows, num_columns), shares),
    )  # fmt: skip


def _looks(guards: Mapping[str, GuardFacts]) -> dict[tuple[str, str], _Look]:
    """How each set is drawn, by name and role, the same in every panel; targets are black and solid."""
    looks: dict[tuple[str, str], _Look] = {}
    num_targets = num_guards = 0
    for guard in guards.values():
        for measured in guard.speech:
            key = (measured.name, measured.role)
            if key in looks:
                continue
            label = f"{measured.name}, {rate_name(measured.unit)}"
            if measured.role == "target":
                marker = "o" if num_targets == 0 else _MARKERS[-1 - num_targets % 2]
                looks[key] = _Look(f"{label} (target)", INK, marker, "-")
                num_targets += 1
            else:
                ink, marker = SET_INKS[num_guards % len(SET_INKS)], _MARKERS[num_guards % 4]
                looks[key] = _Look(f"{label} (guard)", ink, marker, _DASHES[num_guards % 3])
                num_guards += 1
    return looks


def _extent(guard: GuardFacts) -> tuple[float, float]:
    """Lowest and highest point or end of an interval, in points."""
    values = [0.0]
    for measured in guard.speech:
        values += measured.differences
        values += [end for interval in measured.intervals if interval for end in interval]
    return 100 * min(values), 100 * max(values)


def _share_scale(guards: Sequence[GuardFacts]) -> bool:
    spans = [high - low for low, high in map(_extent, guards)]
    return min(spans) > 0 and max(spans) <= _OWN_SCALE * min(spans)


def _paint(canvas: Canvas, guards: Mapping[str, GuardFacts], grid: tuple[int, int], shares: bool) -> None:
    looks = _looks(guards)
    panels = canvas.subplots(*grid, squeeze=False, sharex=True, sharey=shares).flat
    for axes, (name, guard) in zip(panels, guards.items(), strict=False):
        _paint_panel(axes, name, guard, looks)
    for axes in panels[len(guards) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(guards) - grid[1]) : len(guards)]:
        axes.set_xlabel("from base (0) to fine-tuned (1)")
        axes.tick_params(labelbottom=True)
    for axes in panels[: len(guards) : grid[1]]:
        axes.set_ylabel("change, points")
    canvas.legend(
        handles=[_handle(look) for look in looks.values()],
        loc="outside upper left",
        ncols=min(2, len(looks)),
        frameon=False,
        fontsize=8.5,
        handlelength=3.2,
        borderpad=0,
        borderaxespad=0.2,
    )


def _handle(look: _Look) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=look.ink, linestyle=look.dashes, marker=look.marker, markersize=5, markerfacecolor=PAPER,
        label=look.label,
    )  # fmt: skip


def _paint_panel(axes: Axes, name: str, guard: GuardFacts, looks: Mapping[tuple[str, str], _Look]) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.9, zorder=1)
    axes.axvline(guard.alpha, color=LINE, linewidth=5, zorder=0)
    for number, measured in enumerate(guard.speech):
        # Bars of several sets would cover each other at the same place.
        shift = 0.014 * (number - (len(guard.speech) - 1) / 2)
        _paint_set(axes, [alpha + shift for alpha in guard.points], measured, guard, looks)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_xlim(-0.06, 1.06)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
    title = textwrap.shorten(name, 44, placeholder=" …") if " " in name else name[:44]
    axes.set_title(title, loc="left", fontsize=9.5, color=INK, pad=14)
    axes.annotate(
        f"delivered {guard.alpha:g}", (guard.alpha, 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 2),
        textcoords="offset points", fontsize=8, color=MUTED, va="bottom",
        ha="left" if guard.alpha < 0.1 else "right" if guard.alpha > 0.9 else "center",
    )  # fmt: skip


def _paint_set(
    axes: Axes,
    places: Sequence[float],
    measured: GuardSet,
    guard: GuardFacts,
    looks: Mapping[tuple[str, str], _Look],
) -> None:
    look = looks[measured.name, measured.role]
    heights = [100 * difference for difference in measured.differences]
    for x, interval in zip(places, measured.intervals, strict=True):
        if interval:
            axes.plot([x, x], [100 * end for end in interval], color=look.ink, linewidth=1.2, alpha=0.55, zorder=2)
    axes.plot(places, heights, color=look.ink, linestyle=look.dashes, linewidth=1.3, zorder=3)
    for index, (x, y) in enumerate(zip(places, heights, strict=True)):
        face = look.ink if index == guard.delivered else PAPER
        axes.plot(x, y, look.marker, color=look.ink, markerfacecolor=face, markersize=5, zorder=4)
