"""The wording of a matrix of systems: verdict first, then the ranking, then every difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE
from asr_headroom.report.damage import markdown_cell
from asr_headroom.report.matrix import LEVEL, Matrix, MatrixPair
from asr_headroom.report.verdict import (
    describe_number,
    format_interval,
    format_percent,
    format_points,
    has_interval,
)
from asr_headroom.text.units import rate_name

__all__ = [
    "describe_cell",
    "matrix_json",
    "matrix_markdown",
    "matrix_notes",
    "matrix_text",
    "matrix_verdict",
    "tie_letters",
]

_NAMED = 4
"""Systems named in a sentence; more are counted."""


def matrix_verdict(matrix: Matrix) -> str:
    """Who is best, in one line.

    It begins with ``best:``, or with ``cannot tell which is best:`` where others cannot be told from the first.
    """
    best, rate = matrix.names[0], f"{rate_name(matrix.normalizer.unit)} {_rate(matrix, 0)}"
    clusters = matrix.scores[0].estimate.num_clusters
    if clusters < MIN_CLUSTERS_TO_JUDGE:
        few = describe_number(clusters, "cluster")
        return f"cannot tell which is best: {few} are too few for any verdict; lowest is {best}, {rate}"
    tied, others = matrix.tied_with(0), len(matrix.names) - 1
    if not tied:
        rest = f"all {others} others" if others > 1 else matrix.names[1]
        return f"best: {best}, {rate}; better than {rest}"
    beaten = [name for i, name in enumerate(matrix.names) if i and i not in tied]
    rest = f", and is better than {beaten[0] if len(beaten) == 1 else f'the other {len(beaten)}'}" if beaten else ""
    named = _list([matrix.names[i] for i in tied])
    return f"cannot tell which is best: {best} has the lowest {rate}, cannot be told from {named}{rest}"


def matrix_notes(matrix: Matrix) -> list[str]:
    """What the verdict rests on, one sentence each."""
    estimate = matrix.scores[0].estimate
    notes = [
        f"{describe_number(estimate.num_utterances, 'utterance')} in "
        f"{describe_number(estimate.num_clusters, 'cluster')} (by {estimate.cluster_by}), normalizer "
        f"{matrix.normalizer.id} ({matrix.normalizer.hash}); holds for {matrix.scores[0].population}",
    ]
    if estimate.num_clusters >= MIN_CLUSTERS_TO_JUDGE:
        told = sum(pair.told_apart for pair in matrix.pairs)
        notes.append(
            f"{told} of {describe_number(len(matrix.pairs), 'pair')} told apart: p below {LEVEL:g} after Holm's "
            "correction over all pairs"
        )
    groups = [_list([matrix.names[i] for i in group]) for group in matrix.ties if len(group) > 1]
    if groups:
        notes.append("no two of these can be told apart: " + "; ".join(groups))
    if matrix.other_normalizer is not None:
        notes.append(_format_note(matrix, matrix.other_normalizer.id))
    return notes


def tie_letters(matrix: Matrix) -> list[str]:
    """[systems] letters of the groups that each belongs to; systems that share a letter cannot be told apart.

    Empty throughout where there are too few clusters to tell anything.
    """
    if matrix.scores[0].estimate.num_clusters < MIN_CLUSTERS_TO_JUDGE:
        return [""] * len(matrix.names)
    return [
        "".join(_letter(number) for number, group in enumerate(matrix.ties) if system in group)
        for system in range(len(matrix.names))
    ]


def describe_cell(pair: MatrixPair) -> str:
    """A difference in points, in brackets where it may be chance.

    The first of a pair has the lower rate, so only the size is said.
    """
    points = format_points(pair.comparison.difference)
    return points if pair.told_apart else f"({points})"


def matrix_text(matrix: Matrix) -> str:
    """The whole matrix for a terminal, the verdict on its first line."""
    name = rate_name(matrix.normalizer.unit)
    letters = tie_letters(matrix)
    ranking = [["", "system", f"{name}, %", "95 % interval", "ties"]]
    for index, score in enumerate(matrix.scores):
        ranking.append([str(index + 1), matrix.names[index], f"{100 * score.estimate.rate:.2f}",
                        _interval(matrix, index), letters[index]])  # fmt: skip
    numbers = range(1, len(matrix.names))
    grid = [["", *(str(number) for number in numbers)]]
    for row in numbers:
        grid.append([str(row + 1), *(describe_cell(matrix.pair(row, column)) for column in range(row))])
    lines = [
        matrix_verdict(matrix),
        *(f"  {note}" for note in matrix_notes(matrix)),
        "",
        *_columns(ranking, left=(1,)),
        "",
        "  points that the row's rate is above the column's; in brackets: cannot be told apart",
        *_columns(grid),
        *(f"  warning: {warning}" for warning in matrix.warnings),
    ]
    return "\n".join(lines)


def matrix_markdown(matrix: Matrix) -> str:
    """The whole matrix as GitHub-flavoured Markdown."""
    name, letters, numbers = rate_name(matrix.normalizer.unit), tie_letters(matrix), range(len(matrix.names))
    head = ["", "system", f"{name} (95 % interval)", "ties", *(str(number + 1) for number in numbers[:-1])]
    rows = []
    for row in numbers:
        interval = _interval(matrix, row)
        rate = _rate(matrix, row) + (f" ({interval})" if interval else "")
        cells = [describe_cell(matrix.pair(row, column)) if column < row else "" for column in numbers[:-1]]
        rows.append([str(row + 1), matrix.names[row], rate, letters[row], *cells])
    return "\n".join(
        [
            f"**{markdown_cell(matrix_verdict(matrix))}**",
            "",
            "Points that the row's rate is above the column's; in brackets: cannot be told apart.",
            "",
            "| " + " | ".join(head) + " |",
            "|---:|---|---:|---" + "|---:" * (len(head) - 4) + "|",
            *("| " + " | ".join(map(markdown_cell, row)) + " |" for row in rows),
            "",
            *(f"- {markdown_cell(note)}" for note in (*matrix_notes(matrix), *matrix.warnings)),
            "",
        ]
    )


def matrix_json(matrix: Matrix) -> dict[str, Any]:
    """The whole matrix for machines; rates and differences are fractions, null is "cannot be said"."""
    estimate = matrix.scores[0].estimate
    return {
        "verdict": matrix_verdict(matrix),
        "n": estimate.num_utterances,
        "clusters": estimate.num_clusters,
        "cluster_by": estimate.cluster_by,
        "population": matrix.scores[0].population,
        "unit": matrix.normalizer.unit,
        "normalizer": {"id": matrix.normalizer.id, "hash": matrix.normalizer.hash},
        "systems": [
            {
                "name": name,
                "rate": score.estimate.rate,
                "ci_low": score.estimate.interval.low if has_interval(score.estimate) else None,
                "ci_high": score.estimate.interval.high if has_interval(score.estimate) else None,
                "tied_with": [matrix.names[i] for i in matrix.tied_with(index)],
            }
            for index, (name, score) in enumerate(zip(matrix.names, matrix.scores, strict=True))
        ],
        "ties": [[matrix.names[i] for i in group] for group in matrix.ties],
        "pairs": [_pair_json(matrix, pair) for pair in matrix.pairs],
        "left_out": matrix.left_out,
        "warnings": list(matrix.warnings),
    }


def _pair_json(matrix: Matrix, pair: MatrixPair) -> dict[str, Any]:
    c = pair.comparison
    believable = has_interval(c)
    return {
        "base": matrix.names[pair.better],
        "system": matrix.names[pair.worse],
        "difference": c.difference,
        "ci_low": c.interval.low if believable else None,
        "ci_high": c.interval.high if believable else None,
        "p_value": c.p_value if c.num_clusters > 1 else None,
        "holm_p": pair.holm_p,
        "minimal_detectable_effect": c.minimal_detectable_effect if believable else None,
        "told_apart": pair.told_apart,
        "depends_on_normalizer": (pair.better, pair.worse) in matrix.changed_by_format,
    }


def _format_note(matrix: Matrix, other: str) -> str:
    changed = [f"{matrix.names[a]} and {matrix.names[b]}" for a, b in matrix.changed_by_format]
    if not changed:
        return f"under {other} the same pairs are told apart, in the same direction"
    return (
        f"under {other} the verdict on {describe_number(len(changed), 'pair')} is another one, which is format and "
        f"not hearing: {_list(changed, joint='; ')}"
    )


def _rate(matrix: Matrix, system: int) -> str:
    return format_percent(matrix.scores[system].estimate.rate)


def _interval(matrix: Matrix, system: int) -> str:
    estimate = matrix.scores[system].estimate
    return format_interval(estimate.interval).removesuffix(" %") if has_interval(estimate) else ""


def _list(names: Sequence[str], joint: str = ", ") -> str:
    """Names as a list; beyond a few the rest is counted."""
    if len(names) > _NAMED + 1:
        return joint.join(names[:_NAMED]) + f" and {len(names) - _NAMED} more"
    if joint != ", ":
        return joint.join(names)
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _letter(number: int) -> str:
    """Letters a … z, then aa, ab … for the groups beyond."""
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + chr(ord("a") + number % 26)


def _columns(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> list[str]:
    """Rows as lines with aligned columns; short rows are allowed."""
    number = max(map(len, rows))
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(number)]
    return [
        "  " + "  ".join(
            cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]  # fmt: skip
