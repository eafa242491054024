"""Names beside the points of a plot, where they cover neither each other nor what is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

__all__ = ["label_points"]


def label_points(
    axes: Axes,
    points: Sequence[tuple[str, float, float, str]],
    arrows: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    leader_ink: str,
) -> None:
    """Writes each name beside its point, at the first of some places where it covers nothing.

    Args:
        axes: with scales and limits set.
        points: name, x, y and colour of each.
        arrows: start and end of what the names should not cover either.
        leader_ink: colour of the line from a name that had to stand away from its point.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    # The layout must be settled before pixels mean anything.
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    pixels = [axes.transData.transform((x, y)) for _, x, y, _ in points]
    half = 5 * renderer.points_to_pixels(1.0)
    taken = [Bbox.from_extents(px - half, py - half, px + half, py + half) for px, py in pixels]
    for ends in arrows:
        (x0, y0), (x1, y1) = axes.transData.transform(ends)
        steps = max(1, int(math.hypot(x1 - x0, y1 - y0) / half))
        along = [(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps) for i in range(steps + 1)]
        taken += [Bbox.from_extents(x - 2, y - 2, x + 2, y + 2) for x, y in along]
    frame = axes.get_window_extent(renderer)
    for text, x, y, ink in points:
        best: tuple[float, Any, Bbox] | None = None
        for dx, dy, align in _label_places():
            leader = {"arrowstyle": "-", "color": leader_ink, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 3}
            label = axes.annotate(
                text,
                (x, y),
                (dx, dy),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=8.5,
                color=ink,
                arrowprops=leader if abs(dy) > 12 else None,
            )
            # Of the words alone: annotate's own extent would take in the leader.
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer).padded(1.5)
            cost = 4 * _covered(box, taken) + 4 * _outside(box, frame) + 2 * math.hypot(dx, dy)
            if best is None or cost < best[0]:
                if best:
                    best[1].remove()
                best = (cost, label, box)
            else:
                label.remove()
        assert best is not None
        taken.append(best[2])


def _label_places() -> Iterator[tuple[float, float, str]]:
    for distance in (0, 11, 22, 33, 44, 55):
        for sign in (1, -1) if distance else (1,):
            yield 8, sign * distance, "left"
            yield -8, sign * distance, "right"


def _covered(box: Bbox, taken: Sequence[Bbox]) -> float:
    """Square pixels of other labels and points under a box."""
    overlaps = [box.intersection(box, other) for other in taken]
    return sum(float(overlap.width * overlap.height) for overlap in overlaps if overlap is not None)


def _outside(box: Bbox, frame: Bbox) -> float:
    overlap = box.intersection(box, frame)
    inside = 0.0 if overlap is None else float(overlap.width * overlap.height)
    return float(box.width * box.height) - inside
