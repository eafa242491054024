"""Traps in what outputs are held against: E.1, outputs beside the wrong reference; E.2, references that are wrong."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence

from rapidfuzz import process
from rapidfuzz.distance import Indel

from asr_headroom.analysis.audit_finding import Finding, listed
from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Material, finding
from asr_headroom.analysis.suspects import Suspect, family_of, find_suspects
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_for_language
from asr_headroom.text.units import primary_subtag

__all__ = ["comparable_systems", "find_mispaired", "find_suspect_references"]

MIN_WRONG = 0.6
"""E.1 looks at outputs with at least this error rate,"""
MIN_UNITS = 4
"""and with as many units on both sides,"""
MAX_LOOKED_AT = 50
"""at this many of them,"""
MIN_ALIKE = 0.75
"""and calls another reference theirs that is as similar, by letters."""
MIN_MISPAIRED = 2
MIN_SUSPECT = 3
"""E.2: utterances with a suspect place, in number and as a share of the test."""
MIN_SUSPECT_SHARE = 0.01
_NUMBERS_ALIKE = {"fr": "fr-digits", "zh": "zh-numerals"}
"""Profiles under which systems do not agree because they write numbers as most people do."""


def find_mispaired(material: Material) -> Iterator[Finding]:
    """E.1: outputs that are wrong throughout where they stand, and right beside another reference."""
    found: dict[AuditedFile, list[Prediction]] = {}
    looked_at = {}
    for test in material.tests:
        for file in test.files:
            wrong = _wrong_throughout(file)
            rows = [row for row in wrong if _belongs_elsewhere(row, file)]
            if len(rows) >= MIN_MISPAIRED:
                found[file], looked_at[file] = [file.predictions[row] for row in rows], len(wrong)
    if not found:
        return
    worst = max(found, key=lambda file: len(found[file]))
    told = [
        f"{file.label}, {len(rows)} of {looked_at[file]} looked at that are wrong throughout"
        for file, rows in found.items()
    ]
    yield finding(
        "E.1",
        "Outputs beside the references of other utterances",
        "severe",
        {file: float(len(rows)) for file, rows in found.items()},
        unit="utterances",
        message=f"Outputs that say what another reference of the file says: {listed(told)}. Rows were shifted, sorted "
        "or swapped before they were joined; such a rate measures the joining.",
        command=f"asr-headroom analyze {shlex.quote(worst.path)}",
        examples=found[worst],
    )


def find_suspect_references(material: Material) -> Iterator[Finding]:
    """E.2: places at which systems of several families agree with each other against the reference."""
    for test in material.tests:
        files = comparable_systems(test)
        if not files:
            continue
        suspects = find_suspects(_alike(files), _profile(test))
        number = suspects.num_suspect_utterances
        if number < max(MIN_SUSPECT, MIN_SUSPECT_SHARE * test.num_utterances):
            continue
        points = [share.points for share in suspects.shares]
        unheard = [place for place in suspects.places if not place.families_as_written]
        yield finding(
            "E.2",
            "Suspect references",
            "note",
            dict(zip(files, points, strict=True)),
            message=f"{len(files)} systems of {suspects.num_families} families agree with each other against the "
            f"transcript in {len(suspects.places)} places of {number} utterances, of which {len(unheard)} no family "
            f"hears as written: {_shown(unheard or suspects.places)}. {100 * min(points):.2f} to "
            f"{100 * max(points):.2f} points of an error rate rest on them.{_doubt(test)} Listen before "
            "believing either.",
            command=f"asr-headroom report {shlex.join(file.path for file in files)} --output suspects.html",
        )


def comparable_systems(test: AuditedTest) -> list[AuditedFile]:
    """The files of a test whose model's family is known; empty unless they are of two families at least."""
    families = {file: family_of(file.results.run) for file in test.files}
    known = [file for file in test.files if families[file]]
    return known if len({families[file] for file in known}) > 1 else []


# ---------------------------------------------------------------------- outputs of other utterances


def _wrong_throughout(file: AuditedFile) -> list[int]:
    """Positions of outputs that share little with their references; evenly over the file where there are many."""
    counts = [count.of(file.normalizer.unit) for count in file.counts(file.normalizer)]
    wrong = [
        row
        for row, c in enumerate(counts)
        if c.reference_length >= MIN_UNITS
        and c.hits + c.substitutions + c.insertions >= MIN_UNITS
        and c.errors >= MIN_WRONG * c.reference_length
    ]
    step = max(1, -(-len(wrong) // MAX_LOOKED_AT))
    return wrong[::step]


def _belongs_elsewhere(row: int, file: AuditedFile) -> bool:
    references = file.references
    heard = file.normalizer(file.predictions[row].hypothesis)
    best = process.extractOne(heard, references, scorer=Indel.normalized_similarity, score_cutoff=MIN_ALIKE)
    own = Indel.normalized_similarity(heard, references[row])
    return best is not None and best[1] > own and best[0] != references[row]


# ---------------------------------------------------------------------- suspect references


def _alike(files: Sequence[AuditedFile]) -> list[Results]:
    """The results under the ids and references of the first: people name and clean the same ones differently."""
    first = files[0].predictions
    return [
        dataclasses.replace(
            file.results,
            predictions=[
                dataclasses.replace(own, id=str(row), reference=usual.reference)
                for row, (own, usual) in enumerate(zip(file.predictions, first, strict=True))
            ],
        )
        for file in files
    ]


def _profile(test: AuditedTest) -> Normalizer:
    primary = primary_subtag(test.language) if test.language else ""
    known = _NUMBERS_ALIKE.get(primary)
    return get_normalizer(known) if known else normalizer_for_language(test.language)


def _shown(places: Sequence[Suspect]) -> str:
    return listed([f"{_quoted(place.heard)} for {_quoted(place.reference)}" for place in places], 3)


def _quoted(text: str) -> str:
    return repr(text) if text else "nothing"


def _doubt(test: AuditedTest) -> str:
    if test.language and primary_subtag(test.language) == "zh":
        return " In Chinese they may also share the usual characters of one sound, such as those of names."
    return ""
