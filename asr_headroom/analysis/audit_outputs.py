"""Traps that single outputs show: A.10, D.30, D.31, D.32."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence

from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis.audit_material import AuditedFile, AuditedTest, Finding, Material
from asr_headroom.analysis.scoring import SUSPICIOUS_SHARE
from asr_headroom.results.schema import Prediction
from asr_headroom.text.detect import has_content
from asr_headroom.text.units import split_units

__all__ = ["find_broken_outputs", "find_cut_outputs", "find_leftovers", "find_marks"]

MIN_BROKEN = 3
"""D.30: fewer odd outputs than this are no fault of the harness, however small the test."""
MIN_CUT = 3
"""D.32: outputs that end early, in number and as a share of the test."""
MIN_CUT_SHARE = 0.01
MIN_CUT_UNITS = 5
MIN_CUT_OF_REFERENCE = 0.25
MIN_STRIPPED_REFERENCES = 10
"""D.31: as many references must begin with a letter of "assistant" before their absence says anything."""
_MAX_NAMED = 4
_EXCERPT = 60

_GUILLEMET_RUN = re.compile(r"[«»](?:\s*[«»])+")
_TYPOGRAPHIC_SPACE = re.compile("[\u00a0\u202f\u2007\u2009]")
_LEFTOVER = re.compile(
    r"<\|[^|<>]{1,40}\|>|<(?:asr_text|s|/s|pad|unk|bos|eos|sos|blank|unused\d*|extra_id_\d+|audio|speech)>"
    r"|\[(?:INST|/INST|PAD|UNK|CLS|SEP|MASK)\]"
    r"|\A\s*(?:assistant|user|system)\s*[:\n]|\A\s*language [A-Z][a-z]+\s*<"
    r"|\A\s*(?:transcription|the transcription is|here is the transcription|sure, here)\s*:",
    re.IGNORECASE,
)
_STRIPPED = frozenset("asistant\n")
"""What ``str.lstrip("assistant\\n")`` strips: each of these characters, not the word."""


def find_marks(material: Material) -> Iterator[Finding]:
    """A.10: runs of quotation marks in outputs, learnt from references that hold them with typographic spaces."""
    for test in material.tests:
        references = [p.reference for p in test.files[0].predictions]
        spaced = sum(bool(_TYPOGRAPHIC_SPACE.search(text)) for text in references)
        quoted = sum("«" in text or "»" in text for text in references)
        source = (
            f"Of {len(references)} references {quoted} hold « » and {spaced} a no-break or thin space, which a system "
            "tuned on such texts learns to write"
        )
        found = {file: runs for file in test.files if (runs := _runs(file))}
        if found:
            yield _marks_in_outputs(found, source)
        elif spaced:
            yield Finding(
                trap="A.10",
                title="Typographic spaces in the references",
                severity="note",
                files=tuple(file.path for file in test.files),
                size=spaced,
                unit="utterances",
                message=f"{source}. None of these files holds a run of such marks.",
                command=f"asr-headroom score {shlex.quote(test.files[0].path)}",
                sizes=(float(spaced),) * len(test.files),
            )


def find_broken_outputs(material: Material) -> Iterator[Finding]:
    """D.30: more than a few per cent of the outputs are empty, loop, or are in another language or script."""
    for test in material.tests:
        sizes, told = {}, []
        for file in test.files:
            kinds = {
                "empty": [flag.empty for flag in file.flags],
                "looping": [flag.looped or p.looped for flag, p in zip(file.flags, file.predictions, strict=True)],
                "in another language or script": [flag.wrong_language or flag.wrong_script for flag in file.flags],
            }
            many = {kind: sum(odd) for kind, odd in kinds.items() if _is_suspicious(sum(odd), len(odd))}
            if many:
                sizes[file] = sum(any(odd[row] for odd in kinds.values()) for row in range(len(file.flags)))
                counted = ", ".join(f"{number} {kind}" for kind, number in many.items())
                told.append(f"{file.label}: {counted} of {len(file.flags)}")
        if sizes:
            worst = max(sizes, key=lambda file: sizes[file])
            yield Finding(
                trap="D.30",
                title="Empty, looping or foreign outputs",
                severity="severe",
                files=tuple(file.path for file in sizes),
                size=max(sizes.values()),
                unit="utterances",
                message=f"{_joined(told)}. More than a few per cent is a fault of the harness (the prompt, the "
                "language, the chat template, the audio), or a model that was not made for this language, until shown "
                "otherwise; the rate does not measure hearing.",
                command=f"asr-headroom score {shlex.quote(worst.path)} --normalizer {worst.normalizer.id}",
                sizes=tuple(float(size) for size in sizes.values()),
                examples=tuple(_excerpt(p) for p in _odd(worst)[:2]),
            )


def find_leftovers(material: Material) -> Iterator[Finding]:
    """D.31: outputs hold special tokens or parts of the prompt, or lost their first letters to ``lstrip``."""
    for test in material.tests:
        found = {file: rows for file in test.files if (rows := _rows(file, _has_leftover))}
        if found:
            worst = max(found, key=lambda file: len(found[file]))
            told = "; ".join(f"{file.label} in {len(rows)} of {test.num_utterances}" for file, rows in found.items())
            tokens = sorted({match[0].strip() for p in found[worst] if (match := _LEFTOVER.search(p.hypothesis))})
            yield Finding(
                trap="D.31",
                title="Prompt or special tokens left in outputs",
                severity="severe" if len(found[worst]) > SUSPICIOUS_SHARE * test.num_utterances else "warning",
                files=tuple(file.path for file in found),
                size=len(found[worst]),
                unit="utterances",
                message=f"Outputs hold what is no speech, such as {', '.join(tokens[:3])}: {told}. Read structured "
                "outputs with the model's processor.",
                command=_show(worst, tokens[0]),
                sizes=tuple(float(len(rows)) for rows in found.values()),
                examples=tuple(_excerpt(p) for p in found[worst][:2]),
            )
        yield from _stripped(test)


def find_cut_outputs(material: Material) -> Iterator[Finding]:
    """D.32: outputs that follow their reference and end before it does."""
    for test in material.tests:
        found = {}
        for file in test.files:
            rows = _rows(file, lambda p, file=file: p.truncated or _ends_early(p, file))  # type: ignore[misc]
            if len(rows) >= max(MIN_CUT, MIN_CUT_SHARE * test.num_utterances):
                found[file] = rows
        if not found:
            continue
        worst = max(found, key=lambda file: len(found[file]))
        told = [f"{len(rows)} of {test.num_utterances} outputs of {file.label}" for file, rows in found.items()]
        flagged = sum(p.truncated for p in found[worst])
        known = f" ({flagged} were stopped by the token limit)" if flagged else ""
        yield Finding(
            trap="D.32",
            title="Outputs cut before the end",
            severity="warning",
            files=tuple(file.path for file in found),
            size=len(found[worst]),
            unit="utterances",
            message=f"{_joined(told)} follow the reference and then end early{known}{_long_ones(found[worst], worst)}. "
            "Long audio may have been cut without a word, or the token limit is too low.",
            command=f"asr-headroom analyze {shlex.quote(worst.path)}",
            sizes=tuple(float(len(rows)) for rows in found.values()),
            examples=tuple(_excerpt(p) for p in found[worst][:2]),
        )


# ---------------------------------------------------------------------- A.10


def _runs(file: AuditedFile) -> list[int]:
    """Positions of outputs with a run of quotation marks that their reference does not have."""
    return [
        row
        for row, p in enumerate(file.predictions)
        if _GUILLEMET_RUN.search(p.hypothesis) and not _GUILLEMET_RUN.search(p.reference)
    ]


def _marks_in_outputs(found: dict[AuditedFile, list[int]], source: str) -> Finding:
    sizes = {}
    for file, rows in found.items():
        errors, lengths = file.events()
        sizes[file] = 100 * float(errors[rows].sum() / max(1, lengths.sum()))
    worst = max(sizes, key=lambda file: sizes[file])
    told = []
    for file, rows in found.items():
        nothing = sum(not has_content(file.predictions[row].hypothesis) for row in rows)
        told.append(
            f"{file.label} in {len(rows)}{f', of which {nothing} normalise to nothing at all' if nothing else ''}"
        )
    return Finding(
        trap="A.10",
        title="Runs of quotation marks in outputs",
        severity="warning",
        files=tuple(file.path for file in found),
        size=sizes[worst],
        unit="points",
        message=f"Outputs run into « » marks: {_joined(told)}. {source}. Clean the targets; such an output counts as "
        "deletions, not as a hallucination.",
        command=_show(worst, "«"),
        sizes=tuple(sizes.values()),
        examples=tuple(_excerpt(worst.predictions[row]) for row in found[worst][:2]),
    )


# ---------------------------------------------------------------------- D.30, D.31


def _is_suspicious(number: int, total: int) -> bool:
    return number >= MIN_BROKEN and number > SUSPICIOUS_SHARE * total


def _odd(file: AuditedFile) -> list[Prediction]:
    """Outputs that can be looked at: an empty one shows nothing."""
    flagged = zip(file.flags, file.predictions, strict=True)
    return [p for flag, p in flagged if flag.looped or flag.wrong_language or flag.wrong_script]


def _has_leftover(prediction: Prediction) -> bool:
    found = _LEFTOVER.search(prediction.hypothesis)
    return found is not None and found[0].strip() not in prediction.reference


def _stripped(test: AuditedTest) -> Iterator[Finding]:
    found = {file: rows for file in test.files if (rows := _rows_stripped(file))}
    if found:
        worst = max(found, key=lambda file: len(found[file]))
        yield Finding(
            trap="D.31",
            title="First letters stripped from outputs",
            severity="severe",
            files=tuple(file.path for file in found),
            size=len(found[worst]),
            unit="utterances",
            message=f"No output of {', '.join(file.label for file in found)} begins with one of the letters of "
            f"'assistant', though {_number_beginning(worst)} references do, and {len(found[worst])} begin with the "
            'rest of the first word. str.lstrip("assistant\\n") strips characters, not a prefix.',
            command=f"asr-headroom analyze {shlex.quote(worst.path)}",
            sizes=tuple(float(len(rows)) for rows in found.values()),
            examples=tuple(_excerpt(prediction) for prediction in found[worst][:2]),
        )


def _rows_stripped(file: AuditedFile) -> list[Prediction]:
    if _number_beginning(file) < MIN_STRIPPED_REFERENCES:
        return []
    if any(p.hypothesis[:1] in _STRIPPED for p in file.predictions if p.hypothesis):
        return []
    letters = "".join(_STRIPPED)
    return [
        p
        for p in file.predictions
        if p.hypothesis
        and p.reference[:1].lower() in _STRIPPED
        and (rest := p.reference.split(" ", 1)[0].lower().lstrip(letters))
        and p.hypothesis.split(" ", 1)[0] == rest
    ]


def _number_beginning(file: AuditedFile) -> int:
    return sum(p.reference[:1].lower() in _STRIPPED for p in file.predictions if p.reference)


# ---------------------------------------------------------------------- D.32


def _ends_early(prediction: Prediction, file: AuditedFile) -> bool:
    unit = file.normalizer.unit
    reference, hypothesis = (
        split_units(file.normalizer(text), unit) for text in (prediction.reference, prediction.hypothesis)
    )
    missing = len(reference) - len(hypothesis)
    if missing < max(MIN_CUT_UNITS, MIN_CUT_OF_REFERENCE * len(reference)) or len(hypothesis) < MIN_CUT_UNITS:
        return False
    last = Levenshtein.opcodes(reference, hypothesis)[-1]
    if last.tag != "delete" or last.src_end - last.src_start < MIN_CUT_OF_REFERENCE * len(reference):
        return False
    head = reference[: last.src_start]
    return len(head) >= MIN_CUT_UNITS and Levenshtein.distance(head, hypothesis) <= len(head) / 2


def _long_ones(cut: Sequence[Prediction], file: AuditedFile) -> str:
    durations = [p.duration for p in file.predictions]
    if None in durations:
        return ""
    shortest = min(p.duration for p in cut if p.duration is not None)
    longer = sum(duration is not None and duration >= shortest for duration in durations)
    return f"; they last {shortest:.1f} s or more, as {longer} of {len(durations)} do"


# ---------------------------------------------------------------------- words


def _rows(file: AuditedFile, is_so: Callable[[Prediction], bool]) -> list[Prediction]:
    return [prediction for prediction in file.predictions if is_so(prediction)]


def _excerpt(prediction: Prediction) -> str:
    heard, said = (
        text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
        for text in (prediction.hypothesis, prediction.reference)
    )
    return f"{heard!r} for {said!r}"


def _joined(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _MAX_NAMED} more" if len(told) > _MAX_NAMED else ""
    return "; ".join(told[:_MAX_NAMED]) + more


def _show(file: AuditedFile, text: str) -> str:
    """A command that prints the outputs: the files are what they are, and grep reads all of them."""
    where = f"{file.path}/predictions.jsonl" if file.results.path and file.results.path.is_dir() else file.path
    return f"grep -F -n -o -e {shlex.quote(text)} {shlex.quote(where)}"
