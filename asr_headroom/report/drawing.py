"""A figure that is drawn when asked for, and the inks of all figures.

Inks of the SVG are CSS variables with a fallback, so that a page can recolour them for a dark screen.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

__all__ = [
    "BETTER",
    "INK",
    "LINE",
    "MUTED",
    "PAPER",
    "SET_INKS",
    "STYLE",
    "UNSURE",
    "VERDICT_INK",
    "WORSE",
    "Figure",
    "round_ticks",
]

INK, MUTED, LINE = "#1c1b1a", "#6f6b66", "#d9d5cf"
PAPER = "#fcfbf9"
BETTER, WORSE, UNSURE = "#1d6b52", "#b03a2e", "#7d7870"
SET_INKS = ("#0072b2", "#d55e00", "#8a5a9e", "#00795c")
"""Of things that are neither good nor bad; told apart without red-green vision (after Okabe & Ito)."""
_CSS_NAMES = {
    **{ink: f"--set-{number}" for number, ink in enumerate(SET_INKS, start=1)},
    PAPER: "--paper",
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    BETTER: "--better",
    WORSE: "--worse",
    UNSURE: "--unsure",
}
VERDICT_INK = {"better": BETTER, "worse": WORSE, "cannot tell": UNSURE}
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    # A "$" in the name of a model is a dollar.
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Figure:
    """A plot that is drawn when asked for.

    Attributes:
        name: for file names.
        caption: what is shown, in a sentence.
        columns: of the plotted numbers.
        rows: the plotted numbers, rates as fractions.
        size: inches.
        paint: draws on an empty canvas of that size.
        title: in two or three words; empty for none.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    size: tuple[float, float]
    paint: Callable[[Canvas], None]
    title: str = ""

    def svg(self) -> str:
        """An ``<svg>`` element without size, ids made of this figure's name."""
        text = self._render("svg").decode()
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text[text.index("<svg") :], count=2)
        text = text.replace("<svg", f'<svg role="img" aria-label={quoteattr(self.caption)}', 1)
        for color, name in _CSS_NAMES.items():
            text = text.replace(f": {color}", f": var({name}, {color})")
        return text

    def png(self) -> bytes:
        """The plot at 200 dots per inch."""
        return self._render("png")

    def csv(self) -> str:
        """The plotted numbers."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return buffer.getvalue()

    def _render(self, kind: str) -> bytes:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        buffer = io.BytesIO()
        with rc_context({**STYLE, "svg.hashsalt": self.name}), warnings.catch_warnings():
            # Names in scripts that matplotlib's font lacks: an SVG leaves them to the browser's fonts.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            canvas = Canvas(figsize=self.size, layout="constrained")
            FigureCanvasAgg(canvas)
            self.paint(canvas)
            metadata = {"Date": None, "Creator": None} if kind == "svg" else None
            transparent = kind == "svg"
            canvas.savefig(buffer, format=kind, dpi=200, metadata=metadata, transparent=transparent)
        return buffer.getvalue()


def round_ticks(low: float, high: float, mantissas: Sequence[float] = (1, 2, 5)) -> list[float]:
    """Round numbers between two, a little beyond them too: mantissas times powers of ten.

    >>> round_ticks(3, 40)
    [5.0, 10.0, 20.0, 50.0]
    """
    steps = [mantissa * 10.0**exponent for exponent in range(-3, 13) for mantissa in mantissas]
    return [step for step in steps if low / 1.3 <= step <= high * 1.3]
