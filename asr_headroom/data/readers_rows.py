"""From one row of somebody's manifest to an :class:`Utterance`, whatever the row's dialect.

The dialects differ only in the names of their columns and in a few habits (Qwen3-ASR writes the language into
the text, NeMo an offset, Whisper-Finetune nests the audio, Common Voice keeps its files in ``clips/``), so
one set of rules reads them all. Checks here are syntactic: no audio is opened. Start with
:class:`RowCollector`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from asr_headroom.audio.waveform import AudioSource, StoredAudio
from asr_headroom.data.manifest import Problem, Utterance
from asr_headroom.errors import ConfigError, DataError
from asr_headroom.text import languages

__all__ = [
    "AUDIO_COLUMNS",
    "TEXT_COLUMNS",
    "Row",
    "RowCollector",
    "check_columns",
    "first_column",
    "language_tag",
]

AUDIO_COLUMNS = ("audio", "audio_filepath", "audio_path", "file_name", "filename", "path", "wav", "file")
TEXT_COLUMNS = ("text", "sentence", "normalized_text", "transcript", "transcription")
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
_LANGUAGE_COLUMNS = ("language", "locale", "lang")
_START_COLUMNS = ("start", "offset")

_QWEN_TEXT = re.compile(r"language\s+([^<\n]+?)\s*<asr_text>(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """Columns of one row as they were found.

    Attributes:
        where: ``file:line`` or data set row.
        number: of the row, from 1; the last resort for an id.
        values: by column name.
        is_typed: numbers are numbers (JSON, Arrow); otherwise everything is a string (CSV, Kaldi).
    """

    where: str
    number: int
    values: Mapping[str, Any]
    is_typed: bool = True


class RowCollector:
    """Turns rows into utterances and problems: each row becomes one utterance or one fatal problem.

    Args:
        folder: that relative audio paths start from.
        language: BCP-47 tag of rows that state none.
    """

    def __init__(self, folder: Path, language: str | None = None) -> None:
        self.folder = folder
        self.language = language
        self.utterances: list[Utterance] = []
        self.problems: list[Problem] = []
        self.num_rows = 0
        self._lines_of_ids: dict[str, str] = {}
        self._last_path: tuple[str, Path] = ("", Path())

    def add_all(self, rows: Iterable[Row | Problem], limit: int | None = None) -> None:
        """Adds rows until ``limit`` of them, good or bad, have been read."""
        for row in rows:
            if limit is not None and self.num_rows >= limit:
                return
            if isinstance(row, Problem):
                self.problems.append(row)
                self.num_rows += row.fatal
            else:
                self._add(row)
                self.num_rows += 1

    def _add(self, row: Row) -> None:
        faults: list[str] = []
        notes: list[str] = []
        utterance = self._build(row, faults, notes)
        if utterance is not None:
            earlier = self._lines_of_ids.setdefault(utterance.id, row.where)
            if earlier is not row.where:
                faults.append(f"id '{utterance.id}' stands already in {earlier}; give each row its own")
        if faults or utterance is None:
            self.problems.append(Problem(row.where, "; ".join(faults)))
            return
        self.utterances.append(utterance)
        self.problems.extend(Problem(row.where, note, fatal=False) for note in notes)

    def _build(self, row: Row, faults: list[str], notes: list[str]) -> Utterance | None:
        rest = dict(row.values)
        audio = self._take_audio(rest, faults)
        text, spoken = _take_text(rest, faults)
        start, end, duration = _take_times(rest, row.is_typed, faults)
        language = _take_language(rest, spoken, faults, notes) or self.language
        speaker = _take_name(rest, _SPEAKER_COLUMNS, faults)
        id_ = _take_name(rest, ("id",), faults)
        if faults or audio is None or text is None:
            return None
        if not text.strip():
            notes.append("the text is empty; it is scored as silence")
        return Utterance(
            id=id_ or self._make_id(audio, start, end, row.number),
            audio=audio,
            text=text,
            language=language,
            speaker=speaker,
            duration=duration,
            start=start,
            end=end,
            origin=row.where,
            extras=rest,
        )

    def _take_audio(self, rest: dict[str, Any], faults: list[str]) -> AudioSource | None:
        column = first_column(rest, AUDIO_COLUMNS)
        if column is None:
            faults.append(f"no audio column ({_columns_message(AUDIO_COLUMNS, rest)})")
            return None
        value = rest.pop(column)
        if isinstance(value, Mapping):
            nested = {"start": "start_time", "end": "end_time"}
            rest.update({name: value[found] for name, found in nested.items() if found in value})
            value = value.get("path")
        if not isinstance(value, str) and isinstance(value, bytes | StoredAudio):
            return value
        fault = _path_fault(value)
        if fault:
            faults.append(f"{column} {fault}")
            return None
        # Segments of one long recording follow each other: they share one path object.
        if self._last_path[0] != value:
            self._last_path = (value, self.folder / value)
        return self._last_path[1]

    def _make_id(self, audio: AudioSource, start: float, end: float | None, number: int) -> str:
        name = audio.stem if isinstance(audio, Path) else PurePath(getattr(audio, "name", "")).stem
        id_ = name or f"row-{number}"
        if start or end is not None:
            id_ += f"-{round(start * 1000):07d}-" + ("end" if end is None else f"{round(end * 1000):07d}")
        return f"{id_}-{number}" if id_ in self._lines_of_ids else id_


def first_column(columns: Collection[str], wanted: tuple[str, ...]) -> str | None:
    """The first wanted column that is there.

    >>> first_column(["path", "sentence"], TEXT_COLUMNS)
    'sentence'
    """
    return next((name for name in wanted if name in columns), None)


def check_columns(columns: Iterable[str], where: str) -> None:
    """Refuses a table without audio or without text.

    Raises:
        DataError: a column is missing; the message names those that are there.
    """
    columns = list(columns)
    missing = [
        f"no {name} column ({_columns_message(wanted, columns)})"
        for name, wanted in (("audio", AUDIO_COLUMNS), ("text", TEXT_COLUMNS))
        if first_column(columns, wanted) is None
    ]
    if missing:
        raise DataError(f"{where}: {'; '.join(missing)}")


def language_tag(name: str) -> str | None:
    """The BCP-47 tag of a language's tag or English name; None where it is neither.

    >>> language_tag("French"), language_tag("zh_CN"), language_tag("zh-CN"), language_tag("Klingon!")
    ('fr', 'zh-CN', 'zh-CN', None)
    """
    try:
        return languages.language_tag(name)
    except ConfigError:
        return None


def _columns_message(wanted: tuple[str, ...], columns: Iterable[str]) -> str:
    return f"looked for: {', '.join(wanted)}; there are: {', '.join(map(str, columns)) or 'none'}"


def _path_fault(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"is {_shown(value)}; write the path of a file"
    if not value.strip():
        return "is empty; write the path of a file"
    if "\0" in value:
        return f"is {value!r}; a path cannot hold NUL"
    if value.rstrip().endswith("|"):
        return f"is a pipe command ({_shown(value)}), which is not run; write its output to files and name those"
    if re.match(r"[a-z][a-z0-9+]+://", value):
        return f"is the address {_shown(value)}; download it and write the path of the file"
    return _surrogate_fault(value)


def _take_text(rest: dict[str, Any], faults: list[str]) -> tuple[str | None, str | None]:
    """The transcript, and the language that Qwen3-ASR's prefix states."""
    column = first_column(rest, TEXT_COLUMNS)
    if column is None:
        faults.append(f"no text column ({_columns_message(TEXT_COLUMNS, rest)})")
        return None, None
    text = rest.pop(column)
    if not isinstance(text, str):
        faults.append(f"{column} is {_shown(text)}; write a string ('' where nothing is said)")
        return None, None
    fault = _surrogate_fault(text)
    if fault:
        faults.append(f"{column} {fault}")
    match = _QWEN_TEXT.fullmatch(text) if text.startswith("language") else None
    return (match[2], match[1]) if match else (text, None)


def _surrogate_fault(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"is not valid UTF-8 at character {error.start + 1}; save the file as UTF-8"
    return None


def _take_times(rest: dict[str, Any], is_typed: bool, faults: list[str]) -> tuple[float, float | None, float | None]:
    """Start, end and duration in seconds; NeMo's offset and duration give an end."""
    start_column = first_column(rest, _START_COLUMNS)
    start = _take_seconds(rest, start_column, is_typed, faults)
    end = _take_seconds(rest, "end", is_typed, faults)
    duration = _take_seconds(rest, "duration", is_typed, faults)
    if duration == 0:
        faults.append("duration is 0; a segment must last")
    if end is not None and end <= (start or 0.0):
        faults.append(f"end {end:.2f} s is not after start {start or 0.0:.2f} s")
    if end is None and start is not None and start_column == "offset" and duration is not None:
        end = start + duration
    return start or 0.0, end, duration


def _take_seconds(rest: dict[str, Any], column: str | None, is_typed: bool, faults: list[str]) -> float | None:
    value = rest.pop(column, None) if column else None
    if value is None or (value == "" and not is_typed):
        return None
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e12 else math.inf
    elif isinstance(value, str) and not is_typed:
        with contextlib.suppress(ValueError):
            seconds = float(value)
    if not math.isfinite(seconds):
        faults.append(f"{column} is {_shown(value)}; write seconds as a number")
        return None
    if seconds < 0:
        faults.append(f"{column} is {seconds:g}; seconds cannot be negative")
        return None
    return seconds


def _take_language(rest: dict[str, Any], spoken: str | None, faults: list[str], notes: list[str]) -> str | None:
    name = _take_name(rest, _LANGUAGE_COLUMNS, faults) or spoken
    if name is None or name == "None":  # what Qwen3-ASR writes for an unknown language
        return None
    tag = language_tag(name)
    if tag is None:
        notes.append(f"language {_shown(name)} is not a BCP-47 tag such as fr or zh-CN; it is ignored")
    return tag


def _take_name(rest: dict[str, Any], columns: tuple[str, ...], faults: list[str]) -> str | None:
    """A non-empty string, or a whole number as a string."""
    column = first_column(rest, columns)
    value = rest.pop(column) if column else None
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        faults.append(f"{column} is {_shown(value)}; write a string")
        return None
    fault = _surrogate_fault(str(value))
    if fault:
        faults.append(f"{column} {fault}")
    return str(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
