"""Section: every system against every other."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.report.matrix import Matrix
from asr_headroom.report.matrix_text import describe_cell, matrix_notes, matrix_verdict, tie_letters
from asr_headroom.report.sections.blocks import Cell, Grid, Section
from asr_headroom.report.verdict import format_interval, has_interval
from asr_headroom.text.units import rate_name

__all__ = ["matrix_section"]


def matrix_section(matrices: Sequence[tuple[str, Matrix]]) -> Section | None:
    """The matrices, each with the name of its test; None where no test has three systems."""
    if not matrices:
        return None
    return Section(
        id="matrix",
        title="Every pair",
        takeaway=matrix_verdict(matrices[0][1]) if len(matrices) == 1 else "",
        blocks=[_grid(test, matrix) for test, matrix in matrices],
    )


def _grid(test: str, matrix: Matrix) -> Grid:
    numbers, letters = range(len(matrix.names)), tie_letters(matrix)
    rows: list[list[Cell | str]] = []
    for row in numbers:
        estimate = matrix.scores[row].estimate
        interval = format_interval(estimate.interval).removesuffix(" %").replace(" to ", "–")
        cells: list[Cell | str] = [
            f"{row + 1}  {matrix.names[row]}",
            Cell(f"{100 * estimate.rate:.2f}", small=interval if has_interval(estimate) else ""),
            letters[row],
        ]
        for column in numbers[:-1]:
            pair = matrix.pair(row, column) if column < row else None
            ink = "" if pair is None else "worse" if pair.told_apart else "cannot-tell"
            cells.append(Cell(describe_cell(pair), ink=ink) if pair else Cell(" "))
        rows.append(cells)
    return Grid(
        title=test,
        about=(
            "Points that the row's rate is above the column's; in brackets: cannot be told apart. Systems that share "
            "a letter cannot be told apart."
        ),
        head=[
            "system",
            f"{rate_name(matrix.normalizer.unit)}, %\n(95 % interval)",
            "ties",
            *(str(number + 1) for number in numbers[:-1]),
        ],
        rows=rows,
        notes=[*matrix_notes(matrix), matrix_verdict(matrix)] if len(matrix.names) > 1 else (),
    )
