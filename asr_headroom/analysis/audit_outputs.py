"""Traps that single outputs show: A.10, D.30, D.31, D.32."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis.audit_finding import Finding, listed
from asr_headroom.analysis.audit_material import AuditedFile, Material, finding
from asr_headroom.analysis.scoring import SUSPICIOUS_SHARE
from asr_headroom.results.readers_text import decode
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
MIN_STRIPPED = 5
"""D.31: outputs that begin with what ``lstrip`` leaves of a word, while none begins with a letter that it takes."""

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
            yield finding(
                "A.10",
                "Typographic spaces in the references",
                "note",
                dict.fromkeys(test.files, float(spaced)),
                unit="utterances",
                message=f"{source}. None of these files holds a run of such marks.",
                command=f"asr-headroom score {shlex.quote(test.files[0].path)}",
            )


def find_broken_outputs(material: Material) -> Iterator[Finding]:
    """D.30: more than a few per cent of the outputs are empty, loop, or are in another language or script."""
    sizes: dict[AuditedFile, float] = {}
    told = {}
    for file in material.files:
        kinds = _oddities(file)
        many = [f"{sum(odd)} {kind}" for kind, odd in kinds.items() if _is_suspicious(sum(odd), len(odd))]
        if many:
            sizes[file] = sum(map(any, zip(*kinds.values(), strict=True)))
            told[file] = f"{file.label}, of {len(file.predictions)} outputs: {', '.join(many)}"
    if not sizes:
        return
    ranked = sorted(sizes, key=lambda file: -sizes[file] / len(file.predictions))
    yield finding(
        "D.30",
        "Empty, looping or foreign outputs",
        "severe",
        sizes,
        unit="utterances",
        message=f"{listed([told[file] for file in ranked], 8)}. More than a few per cent is a fault of the harness "
        "(the prompt, the chat template, the language, the audio), or a model that was not made for this language, "
        "until shown otherwise; such a rate does not measure hearing.",
        command=f"asr-headroom score {shlex.quote(ranked[0].path)} --normalizer {ranked[0].normalizer.id}",
        examples=_visible(ranked[0]),
    )


def find_leftovers(material: Material) -> Iterator[Finding]:
    """D.31: outputs hold special tokens or parts of the prompt, or lost their first letters to ``lstrip``."""
    found = {file: rows for file in material.files if (rows := _rows(file, _has_leftover))}
    if found:
        worst = max(found, key=lambda file: len(found[file]))
        told = [f"{file.label} in {len(rows)} of {len(file.predictions)}" for file, rows in found.items()]
        tokens = sorted({match[0].strip() for p in found[worst] if (match := _LEFTOVER.search(p.hypothesis))})
        many = any(_is_suspicious(len(rows), len(file.predictions)) for file, rows in found.items())
        yield finding(
            "D.31",
            "Prompt or special tokens left in outputs",
            "severe" if many else "warning",
            {file: float(len(rows)) for file, rows in found.items()},
            unit="utterances",
            message=f"Outputs hold what is no speech, such as {', '.join(tokens[:3])}: {listed(told)}. Read structured "
            "outputs with the model's processor.",
            command=_show(worst, _escaped(tokens[0])),
            examples=found[worst],
        )
    stripped = {file: rows for file in material.files if len(rows := _rows_stripped(file)) >= MIN_STRIPPED}
    if stripped:
        worst = max(stripped, key=lambda file: len(stripped[file]))
        yield finding(
            "D.31",
            "First letters stripped from outputs",
            "severe",
            {file: float(len(rows)) for file, rows in stripped.items()},
            unit="utterances",
            message=f"No output of {listed([file.label for file in stripped])} begins with one of the letters of "
            f"'assistant', and {len(stripped[worst])} outputs of {worst.label} begin with the rest of a first word "
            'that does. str.lstrip("assistant\\n") strips characters, not a prefix.',
            command=f"asr-headroom analyze {shlex.quote(worst.path)}",
            examples=stripped[worst],
        )


def find_cut_outputs(material: Material) -> Iterator[Finding]:
    """D.32: outputs that follow their reference and end before it does."""
    found = {}
    for file in material.files:
        rows = [p for p in file.predictions if p.truncated or _ends_early(p, file)]
        if len(rows) >= max(MIN_CUT, MIN_CUT_SHARE * len(file.predictions)):
            found[file] = rows
    if not found:
        return
    worst = max(found, key=lambda file: len(found[file]))
    told = [f"{len(rows)} of {len(file.predictions)} outputs of {file.label}" for file, rows in found.items()]
    flagged = sum(p.truncated for p in found[worst])
    known = f" ({flagged} of {worst.label} were stopped by the token limit)" if flagged else ""
    yield finding(
        "D.32",
        "Outputs cut before the end",
        "warning",
        {file: float(len(rows)) for file, rows in found.items()},
        unit="utterances",
        message=f"{listed(told)} follow the reference and end early{known}{_long_ones(found[worst], worst)}. "
        "Long audio may have been cut without a word, or the token limit is too low.",
        command=f"asr-headroom analyze {shlex.quote(worst.path)}",
        examples=found[worst],
        show_ends=True,
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
    told = []
    for file, rows in found.items():
        errors, lengths = file.events()
        sizes[file] = float(errors[rows].sum() / max(1, lengths.sum()))
        nothing = sum(not has_content(file.predictions[row].hypothesis) for row in rows)
        told.append(f"{file.label} in {len(rows)}{f' (nothing but marks in {nothing})' if nothing else ''}")
    worst = max(sizes, key=lambda file: sizes[file])
    return finding(
        "A.10",
        "Runs of quotation marks in outputs",
        "warning",
        sizes,
        message=f"Outputs run into « » marks: {listed(told)}. {source}. An output of marks alone is normalised to "
        "nothing: it counts as deletions, though it looks like a hallucination. Clean the targets.",
        command=_show(worst, "(«|») ?(«|»)"),
        examples=sorted((worst.predictions[row] for row in found[worst]), key=lambda p: has_content(p.hypothesis)),
    )


# ---------------------------------------------------------------------- D.30, D.31


def _is_suspicious(number: int, total: int) -> bool:
    return number >= MIN_BROKEN and number > SUSPICIOUS_SHARE * total


def _oddities(file: AuditedFile) -> dict[str, list[bool]]:
    return {
        "empty": [flag.empty for flag in file.flags],
        "looping": [flag.looped or p.looped for flag, p in zip(file.flags, file.predictions, strict=True)],
        "in another language or script": [flag.wrong_language or flag.wrong_script for flag in file.flags],
    }


def _visible(file: AuditedFile) -> list[Prediction]:
    """Odd outputs that can be looked at: an empty one shows nothing."""
    flagged = zip(file.flags, file.predictions, strict=True)
    return [p for flag, p in flagged if flag.looped or flag.wrong_language or flag.wrong_script]


def _has_leftover(prediction: Prediction) -> bool:
    found = _LEFTOVER.search(prediction.hypothesis)
    return found is not None and found[0].strip() not in prediction.reference


def _rows_stripped(file: AuditedFile) -> list[Prediction]:
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


def _show(file: AuditedFile, pattern: str) -> str:
    """A command that prints the places in their files; JSON may hold them escaped, and then an analysis shows them."""
    path = f"{file.path}/predictions.jsonl" if file.results.path and file.results.path.is_dir() else file.path
    written = decode(Path(path).expanduser()) if Path(path).expanduser().is_file() else ""
    escaped = "".join(one if one.isascii() else rf"\\u{ord(one):04x}" for one in pattern)
    for one in (pattern, escaped):
        if re.search(one, written):
            return f"grep -a -n -o -E {shlex.quote(f'.{{0,40}}{one}.{{0,40}}')} {shlex.quote(path)}"
    return f"asr-headroom analyze {shlex.quote(file.path)}"


def _escaped(text: str) -> str:
    """The text as an extended regular expression, for grep and for Python."""
    return re.sub(r"([.\[\]{}()*+?|^$\\])", r"\\\1", text)
