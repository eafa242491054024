"""Section: the plots of all tests."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report.drawing import Figure
from asr_headroom.report.sections.blocks import Plot, Section

__all__ = ["plots_section"]


def plots_section(figures: Sequence[Figure]) -> Section | None:
    """The figures; None where there are none."""
    if not figures:
        return None
    return Section(
        id="plots",
        title="Plots",
        takeaway=", ".join(dict.fromkeys(figure.title for figure in figures if figure.title)),
        blocks=[Plot(figure) for figure in figures],
    )
