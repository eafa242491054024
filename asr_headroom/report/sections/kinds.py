"""Sections: kinds of errors, confusions, and what got worse by cause, where comparisons were explained in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr_headroom.analysis.categories import CATEGORIES, Categories
from asr_headroom.analysis.confusions import Confusion
from asr_headroom.analysis.explanation import Explanation
from asr_headroom.report.sections.blocks import Cell, Grid, Section
from asr_headroom.report.verdict import format_points
from asr_headroom.text.units import unit_name

__all__ = ["confusions_section", "kind_changes", "kinds_section", "regressions_section"]

Named = Sequence[tuple[str, Explanation]]

_LABELS = {category.id: category.label for category in CATEGORIES}
_MAX_TEXT = 60
"""Characters of an example; a loop would fill the page."""


def kind_changes(explanation: Explanation) -> list[tuple[str, float]]:
    """Label of each kind of error and its change in points of the error rate, the largest change first."""
    if explanation.system is None:
        return []
    before, after = explanation.base.categories, explanation.system.categories
    names = dict.fromkeys(count.category for count in (*after.counts, *before.counts))
    changes = [(name, _rate(after, name) - _rate(before, name)) for name in names]
    return [(_LABELS[name], change) for name, change in sorted(changes, key=lambda pair: -abs(pair[1])) if change]


def kinds_section(explained: Named) -> Section | None:
    """What kind of errors each of the two makes; None where nothing was explained or nothing is wrong."""
    grids = [_kinds_grid(title, found) for title, found in explained if found.system and _has_errors(found)]
    if not grids:
        return None
    changes = [kind_changes(found) for _, found in explained]
    first = next((change for change in changes if change), [])
    takeaway = ", ".join(f"{label} {format_points(change)}" for label, change in first[:2]) if len(grids) == 1 else ""
    return Section(id="kinds", title="Kinds of errors", takeaway=takeaway, blocks=grids)


def confusions_section(explained: Named) -> Section | None:
    """What is taken for what, where it grew; None where nothing did."""
    grids = [_confusions_grid(title, found) for title, found in explained if found.confusions]
    return Section(id="confusions", title="Confusions that grew", blocks=grids) if grids else None


def regressions_section(explained: Named) -> Section | None:
    """What got worse and what better, by cause, utterance by utterance; None where nothing changed."""
    grids = [grid for title, found in explained if (grid := _regressions_grid(title, found))]
    return Section(id="regressions", title="What got worse, by cause", blocks=grids) if grids else None


def _has_errors(found: Explanation) -> bool:
    return bool(found.base.categories.counts or (found.system and found.system.categories.counts))


def _rate(categories: Categories, name: str) -> float:
    count = categories.of(name)
    return count.errors / categories.length if count and categories.length else 0.0


def _kinds_grid(title: str, found: Explanation) -> Grid:
    assert found.system is not None
    before, after = found.base.categories, found.system.categories
    names = dict.fromkeys(count.category for count in (*after.counts, *before.counts))
    largest = max((abs(change) for _, change in kind_changes(found)), default=0.0) or 1.0
    rows: list[list[Cell | str]] = []
    for name in names:
        one, two = before.of(name), after.of(name)
        change = _rate(after, name) - _rate(before, name)
        example = next((e for count in (two, one) if count for e in count.examples), None)
        rows.append(
            [
                _LABELS[name],
                str(one.errors if one else 0),
                str(two.errors if two else 0),
                format_points(change),
                Cell(bar=change / largest),
                str(two.sentences if two else 0),
                f"{_short(example[0])} → {_short(example[1])}" if example else "",
            ]
        )
    notes = [] if after.cased else ["Names are not told apart: the references hold no capitals inside sentences"]
    return Grid(
        title=title,
        about=f"Errors in {unit_name(found.normalizer.unit)} as {found.normalizer.id} counts them, each of one kind.",
        head=[
            "kind",
            "errors\nof the base",
            "of the\nsystem",
            "change,\npoints",
            "",
            "sentences\n(system)",
            "for example",
        ],
        rows=rows,
        notes=notes,
        text_columns=(6,),
    )


def _confusions_grid(title: str, found: Explanation) -> Grid:
    return Grid(
        title=title,
        about="Ranked by different sentences, so that one sentence which many people read counts once.",
        head=["said → heard", "kind", "sentences\nof the base", "of the\nsystem", "times\n(system)"],
        rows=[list(_confusion(confusion, earlier)) for confusion, earlier in found.confusions],
    )


def _confusion(confusion: Confusion, earlier: int | None) -> Iterator[Cell | str]:
    yield f"{_short(confusion.reference)} → {_short(confusion.hypothesis)}"
    yield _LABELS[confusion.category]
    yield "0" if earlier is None else str(earlier)
    yield str(confusion.sentences)
    yield str(confusion.occurrences)


def _regressions_grid(title: str, found: Explanation) -> Grid | None:
    regressions, difference = found.regressions, found.difference
    if regressions is None or difference is None:
        return None
    labels = {part.cause.id: part.cause.label for part in difference.parts}
    rows: list[list[Cell | str]] = [
        [
            labels.get(change.cause, change.cause),
            Cell(f"+{100 * regressions.points(change.gained):.2f}", ink="worse" if change.gained else ""),
            f"{100 * regressions.share_of_gained(change):.0f} %",
            f"{change.num_worse} ({change.num_sentences_worse})",
            Cell(format_points(-regressions.points(change.lost)), ink="better" if change.lost else ""),
            str(change.num_better),
        ]
        for change in regressions.causes
        if change.num_worse or change.num_better
    ]
    if not rows:
        return None
    return Grid(
        title=title,
        about="Followed utterance by utterance, so that what one gains does not hide behind what another loses.",
        head=[
            "cause",
            "points worse",
            "share of all\nthat got worse",
            "utterances\n(sentences)",
            "points better",
            "utterances",
        ],
        rows=rows,
    )


def _short(text: str) -> str:
    text = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
    return text or "∅"
