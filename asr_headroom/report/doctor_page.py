"""The label doctor's findings as a terminal table and as a page to listen with: one self-contained file.

The page is laid out by the same ``page.html`` as the page of results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_headroom.analysis.label_doctor import KIND_WORDS, Diagnosis, Verdict
from asr_headroom.analysis.suspects import Suspects
from asr_headroom.data.manifest import Utterance
from asr_headroom.metrics.alignment import align
from asr_headroom.report.changed import diff_spans
from asr_headroom.report.clips import ClipShelf, choose_clips
from asr_headroom.report.headline import Headline
from asr_headroom.report.sections.blocks import Grid, ListenList, Notes, Section
from asr_headroom.report.sections.suspects import suspects_section
from asr_headroom.report.verdict import describe_number
from asr_headroom.results.recordings import Recording
from asr_headroom.text.units import split_units

__all__ = ["doctor_lines", "doctor_page"]

_SHOWN_IN_TERMINAL = 20
_LISTED = 500
"""Suspects on a page, with or without a recording."""


def doctor_lines(diagnosis: Diagnosis, *, limit: int = _SHOWN_IN_TERMINAL) -> list[str]:
    """The findings for a terminal, the most suspect first."""
    found = ", ".join(f"{KIND_WORDS[kind]} {100 * share:.0f} %" for kind, share in diagnosis.found_of_made.items())
    lines = [_summary(diagnosis) + ".", f"Of wrong transcripts made on purpose it would find: {found}.", ""]
    shown = diagnosis.suspects[:limit]
    for verdict in shown:
        heard = next(iter(verdict.heard.values()), "")
        lines.append(f"{_probability(verdict):>5}  {KIND_WORDS[verdict.kind or 'rule']}  {verdict.clip.id}")
        lines.append(f"       transcript  {verdict.clip.text}")
        lines.append(f"       heard       {heard}")
        lines += [f"       {flag}" for flag in _flags(verdict)]
    hidden = len(diagnosis.suspects) - len(shown)
    if hidden > 0:
        lines.append(f"… and {hidden} more")
    return lines


def doctor_page(
    diagnosis: Diagnosis,
    utterances: Mapping[str, Utterance],
    places: Suspects | None,
    *,
    max_clips: int,
    title: str = "Transcripts to listen to",
) -> str:
    """The page as one HTML text that needs nothing else.

    Args:
        diagnosis: all verdicts.
        utterances: by id, for their recordings.
        places: where systems of several families agree against a transcript; None where that was not looked for.
        max_clips: recordings embedded, at most.
        title: of the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    listed = diagnosis.suspects[:_LISTED]
    recordings = {verdict.clip.id: _recording(utterances[verdict.clip.id]) for verdict in listed}
    shelf = choose_clips([[r for r in recordings.values() if r is not None]], max_clips)
    sections = [
        Section(
            id="listen",
            title="Listen",
            takeaway=f"{describe_number(len(diagnosis.suspects), 'suspect')}, the most probable first",
            blocks=[
                ListenList(
                    [_item(n, v, diagnosis, utterances, recordings[v.clip.id], shelf) for n, v in enumerate(listed)],
                    _about(diagnosis, shelf),
                )
            ],
            is_open=True,
        ),
        _kinds(diagnosis),
        _oddities(diagnosis),
        suspects_section([("agreement of systems", places)]) if places is not None else None,
        _reading(diagnosis),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    headline = Headline(summary=_summary(diagnosis), verdicts=(), warnings=(), shared="", compressed=False)
    return environment.get_template("page.html").render(
        title=title, headline=headline, sections=[section for section in sections if section is not None]
    )


def _summary(diagnosis: Diagnosis) -> str:
    shares = ", ".join(
        f"{KIND_WORDS[kind]} {100 * share:.1f} %" for kind, share in diagnosis.shares.items() if share >= 5e-4
    )
    return (
        f"{len(diagnosis.suspects)} of {describe_number(len(diagnosis.verdicts), 'transcript')} suspect; "
        f"estimated to be wrong: {shares or 'next to none'}"
    )


def _about(diagnosis: Diagnosis, shelf: ClipShelf) -> str:
    parts = [
        f"The threshold lets about {100 * diagnosis.false_alarms:g} % of the right transcripts through as false "
        "alarms; those that look wrong beyond doubt, because a judge cannot hear the recording, come on top. What a "
        "judge heard is marked against the transcript: marked words stand in place of others, struck ones "
        "are in the transcript and were not heard. Nothing was changed."
    ]
    hidden = len(diagnosis.suspects) - _LISTED
    if hidden > 0:
        parts.append(f"{hidden} more are in verdicts.jsonl.")
    if shelf.num_left_out:
        parts.append(
            f"{describe_number(shelf.num_left_out, 'recording')} left out to keep the page small (--max-clips)."
        )
    return " ".join(parts)


def _item(
    number: int,
    verdict: Verdict,
    diagnosis: Diagnosis,
    utterances: Mapping[str, Utterance],
    recording: Recording | None,
    shelf: ClipShelf,
) -> dict[str, Any]:
    norm, clip = diagnosis.pool.normalizer, verdict.clip
    reference = split_units(norm(clip.text), norm.unit)
    speaker = f"speaker {clip.speaker}" if clip.speaker else ""
    partner = utterances[verdict.partner] if verdict.partner else None
    return {
        "anchor": f"suspect-{number}",
        "id": clip.id,
        "kind": verdict.kind or "rule",
        "words": KIND_WORDS[verdict.kind or "rule"],
        "probability": _probability(verdict),
        "about": ", ".join(filter(None, (f"{clip.duration:.1f} s", speaker))),
        "flags": _flags(verdict),
        "text": clip.text,
        "heard": [
            (name, diff_spans(align(reference, split_units(norm(heard), norm.unit)), norm.unit))
            for name, heard in verdict.heard.items()
        ],
        "joint": "" if norm.unit == "character" else " ",
        "partner": {"id": partner.id, "text": partner.text} if partner else None,
        "uri": shelf.uris.get(recording) if recording else None,
        "problem": shelf.problems.get(recording) if recording else "the recording is not a file of its own",
    }


def _recording(utterance: Utterance) -> Recording | None:
    audio = utterance.audio
    return Recording(audio, utterance.start, utterance.end) if isinstance(audio, Path) else None


def _probability(verdict: Verdict) -> str:
    if verdict.kind == "rule":
        return "rule"
    return f"{100 * verdict.probability:.0f} %"


def _flags(verdict: Verdict) -> list[str]:
    flags = [finding.message for finding in verdict.findings]
    if verdict.nats is not None and verdict.kind != "rule":
        given, heard = verdict.nats
        flags.insert(0, f"{given - heard:+.1f} nats per token against what was heard".replace("-", "−"))
    return flags


def _kinds(diagnosis: Diagnosis) -> Section:
    counts = diagnosis.counts()
    rows = [
        [
            KIND_WORDS[kind],
            str(counts[kind]),
            f"{100 * share:.2f} %",
            f"{share * len(diagnosis.verdicts):.0f}",
            f"{100 * diagnosis.found_of_made[kind]:.0f} %",
        ]
        for kind, share in diagnosis.shares.items()
    ]
    rows.append([KIND_WORDS["rule"], str(counts["rule"]), "", "", ""])
    return Section(
        id="kinds",
        title="Kinds",
        takeaway="",
        blocks=[
            Grid(
                head=["probably", "suspects", "estimated share", "transcripts", "found of those made"],
                rows=rows,
                about="The estimate counts also what cannot be pointed at; of kinds that are hard to tell it is rough. "
                "Last: of wrong transcripts made on purpose from these data, how many the threshold finds. Of kinds "
                "with a low figure, most stay hidden.",
            )
        ],
    )


def _oddities(diagnosis: Diagnosis) -> Section | None:
    """Findings on transcripts that are no suspects: a matter of form."""
    rows = [
        [verdict.clip.id, verdict.clip.text, "; ".join(finding.message for finding in verdict.findings)]
        for verdict in diagnosis.verdicts
        if verdict.findings and not verdict.is_suspect
    ]
    if not rows:
        return None
    return Section(
        id="oddities",
        title="Oddities",
        takeaway=f"{describe_number(len(rows), 'transcript')} of unusual form, not suspect otherwise",
        blocks=[
            Grid(
                head=["utterance", "transcript", "what is odd"],
                rows=rows[:_LISTED],
                notes=[f"{len(rows) - _LISTED} more are in verdicts.jsonl"] if len(rows) > _LISTED else (),
                text_columns=(1, 2),
            )
        ],
    )


def _reading(diagnosis: Diagnosis) -> Section:
    items: Sequence[tuple[str, str]] = (
        ("Probability", "That the transcript is wrong in one of these ways, as far as the evidence goes."),
        (
            "How it is known",
            "Wrong transcripts were made on purpose and scored like the given ones; a regression tells the two apart, "
            "by speaker on others than those it judges.",
        ),
        ("Evidence", ", ".join(diagnosis.columns)),
        ("Nothing is corrected", "A suspect is a place to listen to. The recogniser may be wrong, too."),
    )
    return Section(id="reading", title="How to read this", blocks=[Notes(items)])
