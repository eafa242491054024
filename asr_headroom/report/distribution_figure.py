"""The plot of how the errors are spread: the share of utterances with at most a given error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr_headroom.report.drawing import LINE, MUTED, SET_INKS, Figure
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["distribution_figure"]

_DASHES = ("-", "--", ":")
_MAX_LINES = len(SET_INKS) * len(_DASHES)
_RIGHT = 1.0
"""Error rate at which the plot ends; utterances beyond it are the gap below the top."""


def distribution_figure(table: TestTable) -> Figure | None:
    """One rising line for each system: how many utterances are at or below an error rate.

    The rates of single utterances are for this plot only; their mean is not the corpus rate. Of more systems than
    there are lines that can be told apart, those with the lowest rates are drawn.
    """
    best = sorted(table.rows, key=lambda row: row.score.estimate.rate)[:_MAX_LINES]
    spread = [(row.name, _utterance_rates(row, table)) for row in table.rows if row in best]
    if not all(rates for _, rates in spread):
        return None
    name, left_out = rate_name(table.unit), len(table.rows) - len(best)
    return Figure(
        name="distribution",
        caption=(
            f"Share of the utterances of {table.data} with at most a given {name}; where a line starts is the share "
            "without an error, what it lacks at the right has more errors than its reference is long."
            + (f" The {len(best)} systems with the lowest rates; {left_out} are not shown." if left_out else "")
        ),
        columns=("system", f"utterance_{name.lower()}", "share_at_most"),
        rows=tuple(
            (system, rate, (index + 1) / len(rates)) for system, rates in spread for index, rate in enumerate(rates)
        ),
        size=(7.6, 4.0),
        paint=lambda canvas: _paint(canvas.subplots(), spread, name),
        title="distribution of utterances",
    )


def _utterance_rates(row: Row, table: TestTable) -> list[float]:
    """Sorted rates of the utterances with a reference."""
    counts = row.results.counts_in(table.normalizer)
    return sorted(count.error_rate for count in counts if count.reference_length)


def _paint(axes: Axes, spread: Sequence[tuple[str, Sequence[float]]], name: str) -> None:
    for index, (system, rates) in enumerate(spread):
        x = [0.0, *(100 * rate for rate in rates), 1e9]
        y = [0.0, *(100 * (i + 1) / len(rates) for i in range(len(rates))), 100.0]
        ink, dashes = SET_INKS[index % len(SET_INKS)], _DASHES[index // len(SET_INKS)]
        axes.plot(x, y, color=ink, linestyle=dashes, drawstyle="steps-post", linewidth=1.5, label=system)
    axes.set_xlim(0, 100 * _RIGHT)
    axes.set_ylim(0, 100)
    axes.grid(color=LINE)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel(f"{name} of an utterance, %")
    axes.set_ylabel("utterances, %")
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
    for text in legend.get_texts():
        text.set_color(MUTED)
