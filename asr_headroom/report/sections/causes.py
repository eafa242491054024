"""Section: what each difference is made of, format or hearing."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.analysis.causes import CauseDifference, DifferenceSplit
from asr_headroom.report.sections.blocks import Cell, Grid, Section
from asr_headroom.report.verdict import format_interval, format_percent, format_points, has_interval
from asr_headroom.text.units import rate_name

__all__ = ["causes_section"]

_ABOUT = (
    "What an error rate owes to each cause is its Shapley value over all orders in which the causes can be removed, "
    "so the parts add up to the whole. Removing traditional characters, digits or a loop from both texts shows what "
    "is left; that was heard differently."
)


def causes_section(splits: Sequence[tuple[str, DifferenceSplit]]) -> Section | None:
    """The splits, each with a title; None where there is none."""
    if not splits:
        return None
    formats = [abs(split.group_difference("format")) for _, split in splits]
    return Section(
        id="causes",
        title="Why: format or hearing",
        takeaway=_takeaway(splits[0][1]) if len(splits) == 1 else f"at most {100 * max(formats):.2f} points are format",
        blocks=[_grid(title, split) for title, split in splits],
    )


def _takeaway(split: DifferenceSplit) -> str:
    parts = {
        "format": split.group_difference("format"),
        "broken outputs": split.group_difference("output"),
        "hearing": split.group_difference("hearing"),
    }
    return ", ".join(f"{name} {format_points(part)}" for name, part in parts.items())


def _grid(title: str, split: DifferenceSplit) -> Grid:
    normalizer = split.base.normalizer
    name = rate_name(normalizer.unit)
    largest = max((abs(part.difference) for part in split.ranked), default=0.0) or 1.0
    total: list[Cell | str] = [
        Cell("all errors", strong=True),
        f"{100 * split.base.rate:.2f}",
        f"{100 * split.system.rate:.2f}",
        Cell(format_points(split.difference), strong=True),
        Cell(" "),
        Cell(" "),
    ]
    return Grid(
        title=title,
        about=(
            f"Errors as {normalizer.id} counts them, a profile in which formats still show: {name} "
            f"{format_percent(split.base.rate)} → {format_percent(split.system.rate)}. {_ABOUT}"
        ),
        head=["cause", f"base,\npoints of {name}", "system", "difference, points\n(95 % interval)", "", "share"],
        rows=[total, *(_row(part, largest) for part in split.ranked)],
    )


def _row(part: CauseDifference, largest: float) -> list[Cell | str]:
    known = has_interval(part.comparison)
    told = part.comparison.verdict
    interval = format_interval(part.comparison.interval, signed=True) if known and part.difference else ""
    return [
        part.cause.label,
        f"{100 * part.base:.2f}",
        f"{100 * part.system:.2f}",
        Cell(format_points(part.difference), small=interval, ink=told.replace(" ", "-") if part.difference else ""),
        Cell(bar=part.difference / largest),
        "" if part.share is None else f"{round(100 * part.share)} %".replace("-", "−"),
    ]
