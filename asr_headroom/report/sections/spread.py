"""Sections: how the errors are spread over the utterances, and where they are."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.analysis.distribution import BELOW, Distribution, distribution
from asr_headroom.analysis.explanation import Explanation
from asr_headroom.analysis.slices import Slice
from asr_headroom.errors import ResultsError
from asr_headroom.report.sections.blocks import Cell, Grid, Section, ink_of
from asr_headroom.report.tables import TestTable
from asr_headroom.report.verdict import format_interval, format_p, format_points, has_interval
from asr_headroom.text.units import rate_name

__all__ = ["distribution_section", "slices_section"]


def distribution_section(tables: Sequence[TestTable]) -> Section | None:
    """Perfect utterances, and those below some error rates; None where no utterance has a reference."""
    grids = [grid for table in tables if (grid := _distribution_grid(table))]
    if not grids:
        return None
    return Section(
        id="distribution", title="Distribution", takeaway="perfect utterances, the median, the worst", blocks=grids
    )


def slices_section(explained: Sequence[tuple[str, Explanation]]) -> Section | None:
    """Rates and differences of parts of the test; None where no column cuts it."""
    grids = [_slices_grid(title, found) for title, found in explained if any(part.base for part in found.slices)]
    if not grids:
        return None
    columns = dict.fromkeys(column.name for _, found in explained for column in found.slices.columns)
    return Section(id="slices", title="Slices", takeaway=f"by {', '.join(columns)}", blocks=grids)


def _distribution_grid(table: TestTable) -> Grid | None:
    rows = []
    for row in table.rows:
        try:
            spread = distribution(row.results.counts_in(table.normalizer))
        except ResultsError:  # no utterance with a reference
            return None
        rows.append([row.name, *_distribution_cells(spread)])
    return Grid(
        title=table.data,
        about=(
            f"Utterances by their own {rate_name(table.unit)}; a perfect one is also below 5 %. The mean of these "
            "rates is not the error rate of the test, and is not shown."
        ),
        head=[
            "system",
            "perfect",
            *(f"< {100 * limit:g} %" for limit in BELOW),
            "median, %",
            "worst, %",
            "utterances with\nhalf of the errors",
        ],
        rows=rows,
    )


def _distribution_cells(spread: Distribution) -> list[str]:
    rates = (f"{100 * spread.median:.1f}", f"{100 * spread.worst:.1f}", str(spread.utterances_with_half))
    return [str(spread.perfect), *map(str, spread.below), *rates]


def _slices_grid(title: str, found: Explanation) -> Grid:
    cuts = found.slices
    name = rate_name(found.normalizer.unit)
    few = sum(part.base is None for part in cuts)
    notes = [f"{few} slices have fewer than {cuts.min_clusters} clusters and no rate"] if few else []
    if (small := cuts.smallest_that_tells) is not None:
        notes.append(f"The smallest slice that tells the two apart: {small.column}: {small.label}")
    return Grid(
        title=title,
        about=(
            f"Under {found.normalizer.id}. p is adjusted for all slices here (Holm); a slice shows where errors sit, "
            "not why they do."
        ),
        head=[
            "slice",
            "utterances",
            f"{name} of the base, %\n(95 % interval)",
            "of the\nsystem, %",
            "difference, points\n(95 % interval)",
            "p (Holm)",
        ],
        rows=[_slice_cells(part) for part in cuts],
        notes=notes,
    )


def _slice_cells(part: Slice) -> list[Cell | str]:
    name = f"{part.column}: {part.label}"
    if part.base is None:
        return [name, str(part.num_utterances), "", "", "", ""]
    interval = format_interval(part.base.interval).removesuffix(" %").replace(" to ", "–")
    cells: list[Cell | str] = [
        name,
        str(part.num_utterances),
        Cell(f"{100 * part.base.rate:.2f}", small=interval if has_interval(part.base) else ""),
    ]
    c = part.comparison
    if c is None:
        return [*cells, "", "", ""]
    ink = ink_of(c.verdict) if part.tells else "cannot-tell"
    difference = format_interval(c.interval, signed=True) if has_interval(c) else ""
    return [
        *cells,
        f"{100 * c.system:.2f}",
        Cell(format_points(c.difference), small=difference, ink=ink),
        "" if part.holm_p is None else format_p(part.holm_p).removeprefix("p = ").removeprefix("p "),
    ]
