"""Which known traps of measuring speech recognition do some files of predictions show, and how much is each?

A trap is a mistake by which a rate, a difference or its certainty means something else than it says. Each has a
detector here: a function over everything audited that yields findings with a size and a command that shows it. What a
detector needs and does not get is said, so that silence is not taken for health.

Start with :func:`audit`; thresholds stand beside their detectors in ``analysis/audit_*.py`` and in docs/audit.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from asr_headroom.analysis.audit_finding import Finding
from asr_headroom.analysis.audit_material import Material, gather
from asr_headroom.analysis.audit_outputs import find_broken_outputs, find_cut_outputs, find_leftovers, find_marks
from asr_headroom.analysis.audit_pairs import find_clocks, find_reruns, find_small_claims, find_unapplied
from asr_headroom.analysis.audit_rates import find_format, find_loops, find_script
from asr_headroom.analysis.audit_references import comparable_systems, find_mispaired, find_suspect_references
from asr_headroom.analysis.audit_sets import (
    find_dependence,
    find_duplicates,
    find_duplicates_among_worst,
    find_unequal_sets,
)
from asr_headroom.analysis.audit_stated import find_means, find_normalizers, find_unexplained
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer

__all__ = ["DETECTORS", "SEVERITIES", "Audit", "Detector", "audit"]

SEVERITIES = ("severe", "warning", "note")
"""The worst first."""


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Looks for one trap, or a few that are seen by the same look.

    Attributes:
        traps: the ids of its findings.
        looks_for: in a few words.
        find: yields what is found.
        lacks: what would be needed and is not among the files; None when there is enough to look at.
    """

    traps: tuple[str, ...]
    looks_for: str
    find: Callable[[Material], Iterator[Finding]]
    lacks: Callable[[Material], str | None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found, and what it looked for.

    Attributes:
        findings: the most severe first, then the largest.
        not_found: what was looked for and is not there.
        not_looked_for: what could not be looked for, and what that would need.
        num_files: audited.
        num_tests: sets of utterances that they are about.
    """

    findings: tuple[Finding, ...]
    not_found: tuple[str, ...]
    not_looked_for: tuple[tuple[str, str], ...]
    num_files: int
    num_tests: int


def audit(
    files: Mapping[str, Results],
    *,
    normalizer: Normalizer | None = None,
    base: str | None = None,
    flags: Sequence[str] = (),
) -> Audit:
    """Looks for all known traps in files of predictions.

    Args:
        files: results by the path that they were read from.
        normalizer: in which errors are counted; None takes the run's own, else the one that a file's stated rates were
            made with, else the language's default.
        base: path of the file that the others claim to improve upon; None finds each system's base by its parent, its
            model or its name.
        flags: words of the command line that say how the files were read; the commands of findings need them, too.

    Raises:
        ResultsError: there is no file, or one holds no predictions.
        UsageError: ``base`` is none of the files.
    """
    material = gather(files, normalizer=normalizer, base=base)
    findings: list[Finding] = []
    not_found, not_looked_for = [], []
    for detector in DETECTORS:
        what = f"{', '.join(detector.traps)} {detector.looks_for}"
        if lacking := detector.lacks(material):
            not_looked_for.append((what, lacking))
            continue
        found = [_with_flags(one, flags) for one in detector.find(material)]
        findings += found
        if not found:
            not_found.append(what)
    return Audit(
        findings=tuple(sorted(findings, key=_rank)),
        not_found=tuple(not_found),
        not_looked_for=tuple(not_looked_for),
        num_files=len(material.files),
        num_tests=len(material.tests),
    )


def _with_flags(finding: Finding, flags: Sequence[str]) -> Finding:
    if not flags or not finding.command.startswith("asr-headroom "):
        return finding
    return replace(finding, command=f"{finding.command} {shlex.join(flags)}")


def _rank(finding: Finding) -> tuple[int, float]:
    return SEVERITIES.index(finding.severity), -finding.weight


def _without_pairs(material: Material) -> str | None:
    return None if any(material.pairs) else "a fine-tuned system and its base on one test (or --base FILE)"


def _without_families(material: Material) -> str | None:
    enough = any(comparable_systems(test) for test in material.tests)
    return None if enough else "two files on one test whose models are of different families"


def _without_claims(material: Material) -> str | None:
    return None if any(file.claims for file in material.files) else "a file that states its rate"


def _without_reruns(material: Material) -> str | None:
    models = [
        (number, file.results.run.model.get("id"))
        for number, test in enumerate(material.tests)
        for file in test.files
        if file.results.run.model.get("id")
    ]
    return None if len(models) > len(set(models)) else "two files on one test that name the same model"


DETECTORS = (
    Detector(traps=("A.1",), looks_for="script mix", find=find_script),
    Detector(traps=("A.2",), looks_for="loops that carry the total", find=find_loops),
    Detector(traps=("A.3",), looks_for="duplicate sentences", find=find_duplicates),
    Detector(traps=("A.4",), looks_for="words that err together", find=find_dependence),
    Detector(
        traps=("A.5",),
        looks_for="claims below the detectable effect",
        find=find_small_claims,
        lacks=_without_pairs,
    ),
    Detector(traps=("A.6",), looks_for="different normalizers or references", find=find_normalizers),
    Detector(traps=("A.6",), looks_for="rates that cannot be recomputed", find=find_unexplained, lacks=_without_claims),
    Detector(traps=("A.7", "D.28"), looks_for="one model with two results", find=find_reruns, lacks=_without_reruns),
    Detector(traps=("A.8",), looks_for="unequal utterance sets", find=find_unequal_sets),
    Detector(traps=("A.9",), looks_for="digits and format as errors", find=find_format),
    Detector(traps=("A.10",), looks_for="runs of « » and typographic spaces", find=find_marks),
    Detector(traps=("A.11",), looks_for="duplicates among the worst", find=find_duplicates_among_worst),
    Detector(traps=("A.12",), looks_for="means of rates", find=find_means, lacks=_without_claims),
    Detector(traps=("B.16",), looks_for="updates not applied", find=find_unapplied, lacks=_without_pairs),
    Detector(traps=("D.29",), looks_for="wall times that disagree", find=find_clocks, lacks=_without_reruns),
    Detector(traps=("D.30",), looks_for="empty, looping or foreign outputs", find=find_broken_outputs),
    Detector(traps=("D.31",), looks_for="leftovers of prompts", find=find_leftovers),
    Detector(traps=("D.32",), looks_for="outputs cut before the end", find=find_cut_outputs),
    Detector(traps=("E.1",), looks_for="outputs of other utterances", find=find_mispaired),
    Detector(traps=("E.2",), looks_for="suspect references", find=find_suspect_references, lacks=_without_families),
)
"""All detectors, in the order of the list of traps; E are traps of ours, which the published study does not show."""
