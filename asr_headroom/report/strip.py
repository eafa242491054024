"""A difference as a strip: zero, the interval, and what the test could not have shown, on one scale for all.

Positions are per cent of the width, so that a page can draw them at any width without a script.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.metrics.significance import Comparison
from asr_headroom.report.verdict import has_interval

__all__ = ["Strip", "draw_strips"]

_COMPRESS_BEYOND = 8.0
"""A scale on which the largest number is more often than this the typical one is compressed."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Where things stand, from 0 (left edge) to 100 (right edge).

    Attributes:
        zero: no difference.
        point: the difference.
        low: lower end of the interval; the point itself where there is none.
        high: upper end.
        band_low: what lies between here and ``band_high`` the test could not have shown (80 % power).
        band_high: see ``band_low``.
        compressed: whether large differences are drawn shorter than they are.
    """

    zero: float
    point: float
    low: float
    high: float
    band_low: float
    band_high: float
    compressed: bool


def draw_strips(comparisons: Sequence[Comparison]) -> list[Strip]:
    """One strip for each comparison, all on the same scale."""
    if not comparisons:
        return []
    ends = [[c.difference, *((c.interval.low, c.interval.high) if has_interval(c) else ())] for c in comparisons]
    bands = [c.minimal_detectable_effect if has_interval(c) else 0.0 for c in comparisons]
    sizes = [abs(value) for group in ends for value in group] + bands
    typical = statistics.median([size for size in sizes if size > 0] or [1.0])
    compressed = max(sizes) > _COMPRESS_BEYOND * typical

    def scaled(value: float) -> float:
        return math.asinh(value / typical) if compressed else value

    values = [scaled(value) for group in [*ends, bands, [-band for band in bands], [0.0]] for value in group]
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return round(100 * (scaled(value) - low) / (high - low), 2)

    return [
        Strip(
            zero=place(0.0),
            point=place(group[0]),
            low=place(min(group)),
            high=place(max(group)),
            band_low=place(-band),
            band_high=place(band),
            compressed=compressed,
        )
        for group, band in zip(ends, bands, strict=True)
    ]
