"""The label doctor: which transcripts of a corpus are probably wrong, in which way, and how sure that is.

Evidence on each transcript (:mod:`asr_headroom.analysis.label_doctor_evidence`) is compared with the evidence on wrong
transcripts that were made on purpose (:mod:`asr_headroom.analysis.label_doctor_planting`) and turned into
probabilities and p-values (:mod:`asr_headroom.analysis.label_doctor_calibration`); what needs no model is in
:mod:`asr_headroom.analysis.label_doctor_rules`. Nothing here opens a recording or loads a model, and nothing changes
a transcript: a suspect is a place to listen to. Start with :func:`diagnose`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from rapidfuzz.distance import Indel

from asr_headroom.analysis.label_doctor_calibration import Calibrated, calibrate
from asr_headroom.analysis.label_doctor_evidence import Clip, Judged, TextPool, evidence_of
from asr_headroom.analysis.label_doctor_planting import Kind
from asr_headroom.analysis.label_doctor_rules import Finding, text_findings
from asr_headroom.errors import DataError, UsageError
from asr_headroom.metrics.alignment import Block, align
from asr_headroom.text.units import split_units

__all__ = ["KIND_WORDS", "Diagnosis", "Verdict", "diagnose", "verdict_to_json"]

KIND_WORDS: dict[str, str] = {
    "swapped": "transcript of another recording",
    "truncated": "the end is missing",
    "extended": "says more than the recording",
    "changed": "a word is wrong",
    "rule": "an oddity that needs no model",
}

_MIN_CLIPS = 40
"""With fewer there is no telling what is usual."""
_MIN_GROUPS = 5
_PARTNER_SIMILARITY = 0.5
"""Of the hypothesis to another clip's transcript, for that to be called the partner of a swap."""
_PARTNER_LEAD = 0.1
"""By which it must be more similar than the clip's own, and than any other."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is thought of one transcript.

    Attributes:
        clip: whose transcript.
        heard: by each judge, by name.
        is_suspect: listen to it.
        kind: what is probably wrong; ``rule`` where only a rule speaks against it.
        probability: that the transcript is wrong in any of the ways looked for.
        p_value: how often a right transcript looks as bad.
        by_kind: probability of each way.
        nats: loss per token of the transcript and of the model's own hypothesis; None without a model that scores.
        partner: id of the clip whose transcript this recording seems to have; None where there is none.
        findings: oddities of text and recording.
    """

    clip: Clip
    heard: Mapping[str, str]
    is_suspect: bool
    kind: str | None
    probability: float
    p_value: float
    by_kind: Mapping[Kind, float]
    nats: tuple[float, float] | None = None
    partner: str | None = None
    findings: Sequence[Finding] = field(default_factory=tuple)

    def blocks(self, pool: TextPool) -> list[Block]:
        """The transcript against what the first judge heard, unit by unit."""
        norm, heard = pool.normalizer, next(iter(self.heard.values()), "")
        return align(split_units(norm(self.clip.text), norm.unit), split_units(norm(heard), norm.unit))


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All verdicts of a corpus.

    Attributes:
        verdicts: of all clips, the most suspect first.
        false_alarms: asked-for share of the right transcripts among the suspects.
        shares: estimated share of the transcripts that are wrong, by kind.
        found_of_made: share of the wrong transcripts made on purpose that the threshold would find, by kind: what to
            expect of real ones, at best.
        columns: of the evidence that was used.
        pool: the corpus' transcripts.
    """

    verdicts: tuple[Verdict, ...]
    false_alarms: float
    shares: Mapping[Kind, float]
    found_of_made: Mapping[Kind, float]
    columns: tuple[str, ...]
    pool: TextPool

    @property
    def suspects(self) -> tuple[Verdict, ...]:
        """Those to listen to, the most suspect first."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_suspect)

    def counts(self) -> Counter[str]:
        """Suspects by kind."""
        return Counter(verdict.kind or "rule" for verdict in self.suspects)


def diagnose(
    clips: Sequence[Clip],
    judges: Mapping[str, Mapping[str, Judged]],
    spoiled: Mapping[str, Mapping[Kind, str]],
    pool: TextPool,
    *,
    false_alarms: float = 0.05,
    known: Mapping[str, Sequence[Finding]] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Verdicts on all transcripts.

    Args:
        clips: of the corpus.
        judges: by name, what each says of each clip, by id. Clips that a judge says nothing of (too long for a model)
            are judged by the rules alone.
        spoiled: wrong transcripts made of each clip's, by id and kind.
        pool: of the corpus' transcripts.
        false_alarms: share of the right transcripts that may be called suspect, in (0, 0.5].
        known: what is known of clips besides, by id: why a model could not take them.
        seed: of the division into folds.

    Raises:
        UsageError: ``false_alarms`` is out of range, or there is no judge.
        DataError: too few clips were judged.
    """
    if not 0 < false_alarms <= 0.5:
        raise UsageError(f"false_alarms is {false_alarms}; it must be above 0 and at most 0.5")
    if not judges:
        raise UsageError("the label doctor needs somebody's opinion; give a model, or predictions")
    findings = text_findings(clips)
    empty = {clip.id for clip in clips if not pool.normalizer(clip.text)}
    judged = [c for c in clips if c.id not in empty and all(c.id in heard for heard in judges.values())]
    if len(judged) < _MIN_CLIPS:
        raise DataError(
            f"{len(judged)} clips were judged; the label doctor learns what is usual from at least {_MIN_CLIPS}"
        )
    columns, evidence = evidence_of(judged, list(judges.values()), spoiled, pool)
    calibrated = calibrate(evidence, _groups(judged), seed=seed)
    place = {clip.id: row for row, clip in enumerate(judged)}
    verdicts = [
        _verdict(
            clip,
            judges,
            calibrated,
            place.get(clip.id),
            [*findings.get(clip.id, ()), *(known or {}).get(clip.id, ())],
            false_alarms,
        )
        for clip in clips
    ]
    ranked = sorted(verdicts, key=lambda v: (not v.is_suspect, -v.probability, v.p_value))
    return Diagnosis(
        verdicts=tuple(_with_partners(ranked, pool)),
        false_alarms=false_alarms,
        shares=calibrated.shares,
        found_of_made={
            kind: float(np.mean(values <= false_alarms)) for kind, values in calibrated.made_p_values.items()
        },
        columns=tuple(columns),
        pool=pool,
    )


def verdict_to_json(verdict: Verdict, pool: TextPool) -> dict[str, Any]:
    """A verdict as plain values."""
    clip = verdict.clip
    return {
        "id": clip.id,
        "suspect": verdict.is_suspect,
        "kind": verdict.kind,
        "probability": round(verdict.probability, 4),
        "p_value": round(verdict.p_value, 5),
        "by_kind": {kind: round(value, 4) for kind, value in verdict.by_kind.items()},
        "text": clip.text,
        "heard": dict(verdict.heard),
        "alignment": [[block.operation, block.reference, block.hypothesis] for block in verdict.blocks(pool)],
        "nats": [round(value, 3) for value in verdict.nats] if verdict.nats else None,
        "partner": verdict.partner,
        "findings": [
            {"kind": finding.kind, "message": finding.message, "severe": finding.is_severe}
            for finding in verdict.findings
        ],
        "duration": clip.duration,
        "speaker": clip.speaker,
        "language": clip.language,
    }


def _groups(clips: Sequence[Clip]) -> list[int]:
    """Speakers as numbers, or each clip alone where there are too few of them to divide."""
    speakers = [clip.speaker if clip.speaker is not None else f" {number}" for number, clip in enumerate(clips)]
    names = {name: number for number, name in enumerate(dict.fromkeys(speakers))}
    return [names[name] for name in speakers] if len(names) >= _MIN_GROUPS else list(range(len(clips)))


def _verdict(
    clip: Clip,
    judges: Mapping[str, Mapping[str, Judged]],
    calibrated: Calibrated,
    row: int | None,
    findings: Sequence[Finding],
    false_alarms: float,
) -> Verdict:
    severe = any(finding.is_severe for finding in findings)
    heard = {name: said[clip.id].heard for name, said in judges.items() if clip.id in said}
    if row is None:
        certain = 1.0 if severe else 0.0
        return Verdict(
            clip=clip, heard=heard, is_suspect=severe, kind="rule" if severe else None, probability=certain,
            p_value=1.0, by_kind={}, findings=tuple(findings),
        )  # fmt: skip
    by_kind = dict(zip(calibrated.kinds, calibrated.probabilities[row].tolist(), strict=True))
    stands_out = bool(calibrated.p_values[row] <= false_alarms)
    kind: str | None = max(by_kind, key=lambda name: by_kind[name]) if stands_out else ("rule" if severe else None)
    scored = [said[clip.id] for said in judges.values() if said[clip.id].given and said[clip.id].heard_scored]
    return Verdict(
        clip=clip,
        heard=heard,
        is_suspect=stands_out or severe,
        kind=kind,
        probability=float(sum(by_kind.values())),
        p_value=float(calibrated.p_values[row]),
        by_kind=by_kind,
        nats=(
            float(np.mean([one.given.nats for one in scored if one.given])),
            float(np.mean([one.heard_scored.nats for one in scored if one.heard_scored])),
        )
        if scored
        else None,
        findings=tuple(findings),
    )


def _with_partners(verdicts: Sequence[Verdict], pool: TextPool) -> list[Verdict]:
    """Suspects with the clip whose transcript the recording seems to have; of several, one that is suspect itself."""
    norm = pool.normalizer
    owners: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        owners.setdefault(norm(verdict.clip.text), []).append(verdict)
    found = []
    for verdict in verdicts:
        heard = next(iter(verdict.heard.values()), "")
        if verdict.is_suspect and verdict.kind != "rule" and norm(heard):
            own = Indel.normalized_similarity(norm(heard), norm(verdict.clip.text))
            best = pool.closest(heard, 2, without=[verdict.clip.text])
            next_best = best[1][1] if len(best) > 1 else 0.0
            if best and best[0][1] >= max(_PARTNER_SIMILARITY, own + _PARTNER_LEAD, next_best + _PARTNER_LEAD):
                # The list is ranked, so the first owner is the most suspect one.
                verdict = replace(verdict, partner=owners[norm(best[0][0])][0].clip.id)
        found.append(verdict)
    return found
