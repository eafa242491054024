"""Suspect references: places where systems agree with each other against the transcript.

Two recognisers rarely invent the same wrong words. Where several write the same thing and the reference another, the
reference may be wrong, or written in a form nobody else writes, and some of every system's error rate rests on it.
Systems of one family share weights, so their agreement is counted once: what counts is how many *families* agree.
A suspect is a place to listen to, never a correction: nothing here changes a score. Where spelling does not follow
from sound (a rare name in Chinese characters), systems also agree because they share what is usual: of a suspect that
sounds like its reference, only the meaning can tell.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from asr_headroom.errors import UsageError
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import split_units

__all__ = ["Suspect", "SuspectShare", "Suspects", "family_of", "find_suspects"]

_CONTEXT = 3
"""Units shown on either side of a suspect place."""

_UNKNOWN = "unknown"
"""Systems of unknown family never make an agreement: two fine-tunings of one model agree for no reason of the text."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """One place of one sentence at which systems agree against the reference.

    Attributes:
        reference: the normalised units that stand there in the transcript; empty for an insertion.
        heard: what the systems write instead; empty where they leave it out.
        before: reference units before the place, for reading.
        after: those after it.
        start: position of the place in the normalised reference, in units.
        errors: that the place costs each system that agrees, in each reading.
        ids: the utterances (readings of the sentence) in which it is so.
        num_readings: utterances of this sentence in the test.
        systems: names of those that agree, in at least one reading.
        families: their families.
        families_as_written: families of the systems that write the reference there, in at least one of ``ids``.
        agreement: families that agree over families in the test, a mean over ``ids``; in (0, 1].
    """

    reference: str
    heard: str
    before: str
    after: str
    start: int
    errors: int
    ids: tuple[str, ...]
    num_readings: int
    systems: tuple[str, ...]
    families: tuple[str, ...]
    families_as_written: tuple[str, ...]
    agreement: float


@dataclass(frozen=True, kw_only=True)
class SuspectShare:
    """How much of one system's error rate rests on suspect places.

    Attributes:
        errors: of the system in the whole test, in the normaliser's unit.
        suspect_errors: those in suspect places where this system is among those that agree.
        reference_length: units of the test.
    """

    name: str
    errors: int
    suspect_errors: int
    reference_length: int

    @property
    def share(self) -> float:
        """Of its errors; 0 where there are none."""
        return self.suspect_errors / self.errors if self.errors else 0.0

    @property
    def points(self) -> float:
        """Of its error rate, as a fraction of reference units."""
        return self.suspect_errors / self.reference_length if self.reference_length else 0.0


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """All suspect places of a test.

    Attributes:
        places: the strongest suspicion first: the widest agreement, then the fewest families that hear the reference
            after all, the most readings, systems, errors; then the order of the test.
        shares: of each system, in the order given.
        num_families: known ones in the test.
        num_utterances: tested.
        num_suspect_utterances: with at least one suspect place.
    """

    places: tuple[Suspect, ...]
    shares: tuple[SuspectShare, ...]
    num_families: int
    num_utterances: int
    num_suspect_utterances: int


class _Edit(NamedTuple):
    """A maximal stretch without a hit: reference[start:end] was heard as ``heard``."""

    start: int
    end: int
    heard: tuple[str, ...]

    @property
    def errors(self) -> int:
        return max(self.end - self.start, len(self.heard))

    def touches(self, other: _Edit) -> bool:
        """Whether the two share reference units; edges count, as an insertion has no width."""
        return self.start <= other.end and other.start <= self.end


class _Row(NamedTuple):
    """One utterance: its reference and what each system made of it."""

    id: str
    reference: tuple[str, ...]
    edits: tuple[tuple[_Edit, ...], ...]


class _Agreed(NamedTuple):
    """One difference that enough families share in one utterance; systems by position."""

    row: _Row
    edit: _Edit
    systems: frozenset[int]


def find_suspects(
    systems: Sequence[Results],
    normalizer: Normalizer,
    *,
    families: Mapping[str, str] | None = None,
    min_agreement: float = 0.5,
) -> Suspects:
    """Places at which more than ``min_agreement`` of the families, and at least two, differ in the same way.

    Args:
        systems: of at least two families, on the same utterances.
        normalizer: applied to everything before it is compared; with a raw profile, habits of format count too.
        families: family of a system by the name of its run. Default: the family that the run itself names, else the
            first word of the model's hub id; those of unknown family never make an agreement.
        min_agreement: share of the families that has to be exceeded, in [0, 1).

    Raises:
        UsageError: fewer than two known families, a family for a system that is not there, or ``min_agreement`` out of
            range.
        ResultsError: the systems were not tested on the same utterances.
    """
    if not 0 <= min_agreement < 1:
        raise UsageError(f"min_agreement is {min_agreement}; it must be at least 0 and below 1")
    family = _families(systems, families or {})
    rows = _rows(systems, normalizer)
    agreed = [found for row in rows for found in _agreed(row, family, min_agreement)]
    return Suspects(
        places=_places(rows, agreed, [results.run.name for results in systems], family, normalizer),
        shares=_shares(rows, agreed, [results.run.name for results in systems]),
        num_families=len(_known(family)),
        num_utterances=len(rows),
        num_suspect_utterances=len({found.row.id for found in agreed}),
    )


def _families(systems: Sequence[Results], given: Mapping[str, str]) -> list[str]:
    names = [results.run.name for results in systems]
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise UsageError(f"families name '{unknown[0]}', which is none of the systems ({', '.join(names)})")
    family = [given.get(results.run.name) or family_of(results.run) or _UNKNOWN for results in systems]
    known = _known(family)
    if len(known) < 2:
        raise UsageError(
            f"suspect references need systems of at least two known families, not {len(known)} "
            f"({', '.join(sorted(set(family))) or 'no system'}); give predictions of another model too, or name "
            "the families"
        )
    return family


def _known(family: Iterable[str]) -> set[str]:
    return set(family) - {_UNKNOWN}


def family_of(run: RunInfo) -> str | None:
    """The family of a run's model: the one that it names, else the first word of the hub id; None where neither is.

    >>> family_of(RunInfo(name="base", model={"id": "openai/whisper-small"}))
    'whisper'
    """
    if family := run.model.get("family"):
        return str(family)
    # A hub id is owner/name, and names begin with their family: openai/whisper-small, Qwen/Qwen3-ASR-0.6B.
    hub_name = re.fullmatch(r"[\w.-]+/([A-Za-z]+)[\w.-]*", str(run.model.get("id", "")))
    return hub_name[1].lower() if hub_name else None


def _rows(systems: Sequence[Results], normalizer: Normalizer) -> list[_Row]:
    base, unit = systems[0], normalizer.unit
    paired = [base, *(pair_results(base, other)[1] for other in systems[1:])]
    rows = []
    for predictions in zip(*(results.predictions for results in paired), strict=True):
        reference = tuple(split_units(normalizer(predictions[0].reference), unit))
        heard = (tuple(split_units(normalizer(p.hypothesis), unit)) for p in predictions)
        rows.append(_Row(predictions[0].id, reference, tuple(_edits(reference, hypothesis) for hypothesis in heard)))
    return rows


def _edits(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> tuple[_Edit, ...]:
    edits: list[_Edit] = []
    for step in Levenshtein.opcodes(reference, hypothesis):
        if step.tag == "equal":
            continue
        edit = _Edit(step.src_start, step.src_end, hypothesis[step.dest_start : step.dest_end])
        # A substitution beside a deletion is one place, whichever of the two the alignment puts first.
        if edits and edits[-1].end == edit.start:
            last = edits.pop()
            edit = _Edit(last.start, edit.end, last.heard + edit.heard)
        edits.append(edit)
    return tuple(edits)


def _agreed(row: _Row, family: Sequence[str], min_agreement: float) -> list[_Agreed]:
    who: dict[_Edit, set[int]] = defaultdict(set)
    for index, edits in enumerate(row.edits):
        for edit in edits:
            who[edit].add(index)
    needed = max(2, math.floor(min_agreement * len(_known(family))) + 1)
    return [
        _Agreed(row, edit, frozenset(systems))
        for edit, systems in who.items()
        if len(_known(family[index] for index in systems)) >= needed
    ]


def _places(
    rows: Sequence[_Row],
    agreed: Sequence[_Agreed],
    names: Sequence[str],
    family: Sequence[str],
    normalizer: Normalizer,
) -> tuple[Suspect, ...]:
    """The differences, those of several readings of one sentence joined; ranked."""
    readings = Counter(row.reference for row in rows)
    joined: dict[tuple[tuple[str, ...], _Edit], list[_Agreed]] = defaultdict(list)
    for found in agreed:
        joined[found.row.reference, found.edit].append(found)
    joint = "" if normalizer.unit == "character" else " "
    places = [_suspect(group, readings[reference], names, family, joint) for (reference, _), group in joined.items()]
    return tuple(sorted(places, key=_rank))


def _rank(place: Suspect) -> tuple[float, ...]:
    # Families that do hear the reference speak against the suspicion as much as others speak for it.
    return (-place.agreement, len(place.families_as_written), -len(place.ids), -len(place.systems), -place.errors)


def _suspect(
    group: Sequence[_Agreed], num_readings: int, names: Sequence[str], family: Sequence[str], joint: str
) -> Suspect:
    reference, edit = group[0].row.reference, group[0].edit
    systems = frozenset[int]().union(*(found.systems for found in group))
    as_written = {
        index
        for found in group
        for index, edits in enumerate(found.row.edits)
        if not any(own.touches(edit) for own in edits)
    }
    agreement = sum(len(_known(family[index] for index in found.systems)) for found in group)
    return Suspect(
        reference=joint.join(reference[edit.start : edit.end]),
        heard=joint.join(edit.heard),
        before=joint.join(reference[max(0, edit.start - _CONTEXT) : edit.start]),
        after=joint.join(reference[edit.end : edit.end + _CONTEXT]),
        start=edit.start,
        errors=edit.errors,
        ids=tuple(found.row.id for found in group),
        num_readings=num_readings,
        systems=tuple(names[index] for index in sorted(systems)),
        families=tuple(sorted(_known(family[index] for index in systems))),
        families_as_written=tuple(sorted({family[index] for index in as_written})),
        agreement=agreement / (len(_known(family)) * len(group)),
    )


def _shares(rows: Sequence[_Row], agreed: Sequence[_Agreed], names: Sequence[str]) -> tuple[SuspectShare, ...]:
    return tuple(
        SuspectShare(
            name=name,
            errors=sum(edit.errors for row in rows for edit in row.edits[index]),
            suspect_errors=sum(found.edit.errors for found in agreed if index in found.systems),
            reference_length=sum(len(row.reference) for row in rows),
        )
        for index, name in enumerate(names)
    )
