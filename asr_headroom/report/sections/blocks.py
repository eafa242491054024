"""What a section of the page is made of: plain values that ``page.html`` lays out, and nothing else.

A section has a takeaway: the one sentence that a reader who does not open it should know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from asr_headroom.report.drawing import Figure

__all__ = [
    "Block",
    "Cell",
    "Facts",
    "Grid",
    "Ledger",
    "ListenList",
    "Listings",
    "Notes",
    "Paragraph",
    "Plot",
    "Section",
    "ink_of",
]


@dataclass(frozen=True)
class Cell:
    """One cell of a grid.

    Attributes:
        main: the text; empty shows a dash.
        small: what stands smaller beside it.
        below: a second line.
        ink: colours the text: ``better``, ``worse``, ``cannot-tell`` or empty.
        bar: length of a bar in the cell, in [-1, 1], left of the middle when negative; None for no bar.
        strong: set in bold.
    """

    main: str = ""
    small: str = ""
    below: str = ""
    ink: str = ""
    bar: float | None = None
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table; the first column names the rows.

    Attributes:
        head: of the columns.
        rows: of cells, or of plain texts.
        title: above it; empty for none.
        about: small text below the title.
        notes: sentences below.
        text_columns: positions of the columns that hold words, which may be broken into lines.
    """

    kind: ClassVar[str] = "grid"
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    title: str = ""
    about: str = ""
    notes: Sequence[str] = ()
    text_columns: Sequence[int] = ()

    def cells(self) -> list[list[Cell]]:
        """The rows with every text as a cell."""
        return [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of muted text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Plot:
    """A figure with its caption."""

    kind: ClassVar[str] = "plot"
    figure: Figure

    @property
    def svg(self) -> str:
        """The drawing."""
        return self.figure.svg()

    @property
    def caption(self) -> str:
        """What is shown."""
        return self.figure.caption


@dataclass(frozen=True)
class Listings:
    """Utterances that changed, comparison by comparison; see :mod:`asr_headroom.report.changed`."""

    kind: ClassVar[str] = "listings"
    comparisons: Sequence[dict[str, Any]]
    about: str


@dataclass(frozen=True)
class ListenList:
    """Suspect transcripts with their recordings; see :mod:`asr_headroom.report.doctor_page`."""

    kind: ClassVar[str] = "listen"
    items: Sequence[dict[str, Any]]
    about: str


@dataclass(frozen=True)
class Ledger:
    """Minutes by stage; see :func:`asr_headroom.report.notes.ledger`."""

    kind: ClassVar[str] = "ledger"
    rows: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Facts:
    """Folded lists of label and text; see :func:`asr_headroom.report.notes.provenance`."""

    kind: ClassVar[str] = "facts"
    runs: Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Notes:
    """Labels and what they mean."""

    kind: ClassVar[str] = "notes"
    items: Sequence[tuple[str, str]]


Block = Grid | Paragraph | Plot | Listings | ListenList | Ledger | Facts | Notes


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page that folds.

    Attributes:
        id: of the element, for links.
        title: in the fold's head.
        takeaway: beside the title, without a full stop; empty for none.
        blocks: from top to bottom.
        is_open: unfolded from the start.
    """

    id: str
    title: str
    takeaway: str = ""
    blocks: Sequence[Block]
    is_open: bool = False


def ink_of(verdict: str) -> str:
    """The ink of a verdict.

    >>> ink_of("cannot tell")
    'cannot-tell'
    """
    return verdict.replace(" ", "-")
