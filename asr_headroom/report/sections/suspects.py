"""Section: references that may be wrong, because systems of several families agree against them."""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.analysis.suspects import Suspect, Suspects
from asr_headroom.report.sections.blocks import Block, Cell, Grid, Section
from asr_headroom.report.verdict import describe_number

__all__ = ["suspects_section"]

_SHOWN = 40


def suspects_section(found: Sequence[tuple[str, Suspects]]) -> Section | None:
    """The places, test by test; None where there are none."""
    if not found:
        return None
    number = sum(len(suspects.places) for _, suspects in found)
    blocks: list[Block] = []
    for test, suspects in found:
        blocks += [_places(test, suspects), _shares(suspects)]
    return Section(
        id="suspects",
        title="Suspect references",
        takeaway=f"{describe_number(number, 'place')} where systems of several families agree against the reference",
        blocks=blocks,
    )


def _places(test: str, suspects: Suspects) -> Grid:
    hidden = len(suspects.places) - _SHOWN
    return Grid(
        title=test,
        about=(
            f"In {suspects.num_suspect_utterances} of {describe_number(suspects.num_utterances, 'utterance')}, more "
            f"than half of {suspects.num_families} model families write the same and the reference something else. "
            "Places to listen to, never corrections: nothing here changes a score."
        ),
        head=["written → heard", "in its sentence", "families that agree", "that hear the reference", "utterances"],
        rows=[_cells(place) for place in suspects.places[:_SHOWN]],
        notes=[f"{hidden} further places are not listed"] if hidden > 0 else (),
        text_columns=(1,),
    )


def _cells(place: Suspect) -> list[Cell | str]:
    return [
        f"{place.reference or '∅'} → {place.heard or '∅'}",
        f"… {place.before} [{place.reference or ' '}] {place.after} …",
        ", ".join(place.families),
        ", ".join(place.families_as_written),
        f"{len(place.ids)} of {place.num_readings}",
    ]


def _shares(suspects: Suspects) -> Grid:
    return Grid(
        title="",
        about="What of each system's errors rests on these places.",
        head=["system", "errors", "in suspect places", "share", "points"],
        rows=[
            [one.name, str(one.errors), str(one.suspect_errors), f"{100 * one.share:.1f} %", f"{100 * one.points:.2f}"]
            for one in suspects.shares
        ],
    )
