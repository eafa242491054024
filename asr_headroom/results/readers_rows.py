"""What the columns of other people's prediction files mean, whatever the file they stand in.

Everything here turns rows into :class:`Entry` objects, each with the place it came from, or refuses with that place.
Nothing is repaired and nothing is dropped in silence: an empty text is data, a missing one is an error. The files
themselves are read by :mod:`asr_headroom.results.readers_json` and :mod:`asr_headroom.results.readers_table`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_headroom.errors import ResultsError

__all__ = [
    "AUDIO_COLUMNS",
    "ID_COLUMNS",
    "SPEAKER_COLUMNS",
    "TEXT_COLUMNS",
    "Entry",
    "Rows",
    "Side",
    "TimedWord",
    "entries_of",
    "fold",
    "folded",
    "kind_of",
    "shown_names",
]

Rows = list[tuple[str, Mapping[str, Any]]]
"""Where each row stands, and its columns as they were found."""

REFERENCE_COLUMNS = (
    "reference", "references", "ref", "refs", "reference_text", "ref_text", "ground_truth", "groundtruth", "gold", "gt",
    "truth", "target", "targets", "label", "labels", "expected",
)  # fmt: skip
HYPOTHESIS_COLUMNS = (
    "hypothesis", "hypotheses", "hyp", "hyps", "hypothesis_text", "hyp_text", "prediction", "predictions", "pred",
    "preds", "predicted", "pred_text", "predicted_text", "prediction_text", "output", "outputs", "recognized",
    "recognized_text", "recognised", "asr", "asr_text", "asr_output", "decoded", "decoded_text", "generated",
    "generated_text", "response", "transcribed", "model_output", "result",
)  # fmt: skip
EITHER_COLUMNS = (
    "text", "texts", "sentence", "sentences", "transcript", "transcripts", "transcription", "transcriptions",
    "normalized_text",
)  # fmt: skip
"""What manifests call the reference and what some tools call their output: whichever of the two is still missing."""
TEXT_COLUMNS = frozenset({*REFERENCE_COLUMNS, *HYPOTHESIS_COLUMNS, *EITHER_COLUMNS})
ID_COLUMNS = ("id", "utt_id", "utterance_id", "utterance", "uttid", "utt", "key", "uid", "segment_id", "sample_id",
              "audio_id", "recording_id", "index", "idx")  # fmt: skip
AUDIO_COLUMNS = ("audio_filepath", "audio_path", "audio_file", "audio", "file_name", "filename", "path", "wav", "file")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "spk", "spk_id", "client_id")
_LANGUAGE_COLUMNS = ("language", "lang", "locale")
_FLAG_COLUMNS = ("truncated", "looped")


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One word of a CTM; ``begin`` and ``duration`` in seconds."""

    recording: str
    channel: str
    begin: float
    duration: float
    text: str

    @property
    def midpoint(self) -> float:
        """Seconds; decides which segment the word belongs to."""
        return self.begin + self.duration / 2


@dataclass(slots=True)
class Entry:
    """One utterance as one file knows it; None where the file does not say.

    Attributes:
        where: ``file:line``, or ``file: row n``.
        id: of the utterance.
        start: seconds into the recording.
        end: seconds into the recording.
        extras: whatever else the file says of it.
        words: of a CTM, with their times.
    """

    where: str
    id: str | None = None
    reference: str | None = None
    hypothesis: str | None = None
    duration: float | None = None
    speaker: str | None = None
    language: str | None = None
    audio: str | None = None
    truncated: bool = False
    looped: bool = False
    start: float | None = None
    end: float | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    words: tuple[TimedWord, ...] = ()


@dataclass(slots=True)
class Side:
    """All that one file holds.

    Attributes:
        path: of the file.
        kind: the format, in words.
        head: what stands beside the rows: model, language, stated scores.
        notes: what a reader of the scores has to know.
    """

    path: Path
    kind: str
    entries: list[Entry]
    head: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def fold(name: str) -> str:
    """A column's name without capitals, spaces and hyphens."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def folded(names: Iterable[str]) -> set[str]:
    """Names of columns, each folded."""
    return {fold(name) for name in names}


def entries_of(rows: Rows, role: str, *, is_typed: bool) -> list[Entry]:
    """The utterances of rows.

    Args:
        rows: at least one.
        role: ``reference`` when a text that could be either is the reference, else ``hypothesis``.
        is_typed: numbers are numbers (JSON); otherwise everything is a string (tables).

    Raises:
        ResultsError: a row lacks a text or an id that others have, or holds something else than text.
    """
    folded: Rows = []
    for where, values in rows:
        row = {fold(str(name)): value for name, value in values.items()}
        if len(row) < len(values):
            raise ResultsError(f"{where}: two columns differ in capitals or spaces only; keep one of them")
        folded.append((where, row))
    # In the order in which they are met, so that messages read like the file.
    names = list(dict.fromkeys(name for _, row in folded for name in row))
    columns = _text_columns(names, folded[0][0], role)
    return [_entry(where, dict(row), columns, is_typed) for where, row in folded]


def _text_columns(names: Sequence[str], where: str, role: str) -> dict[str, str]:
    """Which column holds which of ``reference`` and ``hypothesis``."""
    found: dict[str, str] = {}
    for part, known in (("reference", REFERENCE_COLUMNS), ("hypothesis", HYPOTHESIS_COLUMNS)):
        present = [name for name in names if name in known]
        if len(present) > 1:
            raise ResultsError(
                f"{where}: {' and '.join(map(repr, present))} could each be the {part}; keep one of them, or rename "
                f"the right one to '{part}'"
            )
        found |= {part: present[0]} if present else {}
    either = [name for name in names if name in EITHER_COLUMNS]
    missing = [part for part in ("reference", "hypothesis") if part not in found]
    if len(missing) == 2:
        if len(either) > 1:
            raise ResultsError(
                f"{where}: {' and '.join(map(repr, either))} could each be the reference or the hypothesis; "
                "name them 'reference' and 'hypothesis'"
            )
        if either:
            return {role: either[0]}
    elif len(missing) == 1 and len(either) == 1:
        found[missing[0]] = either[0]
    elif len(missing) == 1 and len(either) > 1:
        raise ResultsError(
            f"{where}: {' and '.join(map(repr, either))} could each be the {missing[0]}; "
            f"name the right one '{missing[0]}'"
        )
    if not found:
        raise ResultsError(
            f"{where}: no text in it (there are: {shown_names(names)}); name the columns 'reference' and 'hypothesis'"
        )
    return found


def _entry(where: str, row: dict[str, Any], columns: Mapping[str, str], is_typed: bool) -> Entry:
    texts: dict[str, str] = {}
    for part, column in columns.items():
        if column not in row:
            raise ResultsError(f"{where}: no '{column}', which other rows have; write '' where there is no text")
        texts[part] = _text(row.pop(column), column, where)
    id_ = _name(row, ID_COLUMNS, where)
    audio = _audio(row, where)
    start = _seconds(row, "offset" if "offset" in row else "start", where, is_typed)
    entry = Entry(
        where,
        id=id_,
        **texts,  # type: ignore[arg-type]
        duration=_seconds(row, "duration", where, is_typed),
        speaker=_name(row, SPEAKER_COLUMNS, where),
        language=_name(row, _LANGUAGE_COLUMNS, where),
        audio=audio,
        start=start,
        end=_seconds(row, "end", where, is_typed),
    )
    for flag in _FLAG_COLUMNS:
        if isinstance(row.get(flag), bool):
            setattr(entry, flag, row.pop(flag))
    entry.extras = row
    return entry


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        hint = "write '' where nothing was recognised" if value is None else "write a string"
        if isinstance(value, list):
            hint = "write the best of them as one string"
        shown = "null" if value is None else f"{_shown(value)}, {kind_of(value)}"
        raise ResultsError(f"{where}: '{column}' is {shown}; {hint}")
    _check_characters(value, column, where)
    return value


def _check_characters(text: str, column: str, where: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ResultsError(
            f"{where}: '{column}' holds half a surrogate pair at character {error.start + 1}; write the file as UTF-8"
        ) from error


def _name(row: dict[str, Any], columns: Collection[str], where: str) -> str | None:
    """A non-empty string, or a whole number as a string; the first column that is there counts."""
    column = next((name for name in columns if name in row), None)
    if column is None:
        return None
    value = row.pop(column)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ResultsError(f"{where}: '{column}' is {_shown(value)}, {kind_of(value)}; write a string")
    _check_characters(str(value), column, where)
    return str(value)


def _audio(row: dict[str, Any], where: str) -> str | None:
    column = next((name for name in AUDIO_COLUMNS if name in row), None)
    if column is not None and isinstance(row[column], dict):
        row[column] = row[column].get("path")
    return _name(row, (column,), where) if column else None


def _seconds(row: dict[str, Any], column: str, where: str, is_typed: bool) -> float | None:
    value = row.pop(column, None)
    if value is None or (value == "" and not is_typed):
        return None
    try:
        seconds = float(value) if not isinstance(value, bool) and (not is_typed or not isinstance(value, str)) else None
    except (TypeError, ValueError, OverflowError):
        seconds = None
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        raise ResultsError(f"{where}: '{column}' is {_shown(value)}; write seconds as a number of at least 0")
    return seconds


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def shown_names(names: Iterable[str]) -> str:
    """Names for a message, the first twelve."""
    names = list(names)
    return (", ".join(repr(name) for name in names[:12]) + (" …" if len(names) > 12 else "")) or "nothing"
