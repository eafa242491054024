"""Rows of other people's prediction files: JSON, JSON lines and tables, and what their columns mean.

Everything here turns a text into :class:`Entry` objects, each with the place it came from, or refuses with that place.
Nothing is repaired and nothing is dropped in silence: an empty text is data, a missing one is an error.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_headroom.errors import ResultsError

__all__ = ["Entry", "Side", "TimedWord", "is_table", "looks_like_json", "read_json", "read_table"]

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
_ID_COLUMNS = ("id", "utt_id", "utterance_id", "utterance", "uttid", "utt", "key", "uid", "segment_id", "sample_id",
               "audio_id", "recording_id", "index", "idx")  # fmt: skip
_AUDIO_COLUMNS = ("audio_filepath", "audio_path", "audio_file", "audio", "file_name", "filename", "path", "wav", "file")
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "spk", "spk_id", "client_id")
_LANGUAGE_COLUMNS = ("language", "lang", "locale")
_FLAG_COLUMNS = ("truncated", "looped")
_LIST_NAMES = ("predictions", "results", "utterances", "utts", "samples", "items", "rows", "data", "examples",
               "records", "outputs", "segments")  # fmt: skip


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


def looks_like_json(text: str) -> bool:
    """Whether a text begins like JSON; speech in brackets, or sclite's ``{ a / b }``, does not."""
    start = text.lstrip()[:200]
    inside = start[1:].lstrip()[:1]
    # Single quotes are no JSON, but meant as such; the message that says so is the more helpful one.
    return bool(start) and inside in {"{": ("", '"', "'", "}"), "[": ("", '"', "{", "[", "]")}.get(start[0], ())


def read_json(path: Path, text: str, role: str) -> Side:
    """JSON lines, a list of objects, or one object that holds such a list, columns, or entries by id.

    Args:
        path: for messages.
        text: of the whole file.
        role: ``reference`` when the texts of this file are the references, else ``hypothesis``.

    Raises:
        ResultsError: not JSON, or rows that cannot be used.
    """
    first, _, rest = text.lstrip().partition("\n")
    if rest.strip() and _is_object(first):
        kind, head = "JSON lines", dict[str, Any]()
        rows, notes = _json_lines(path, text)
    else:
        kind, notes = "JSON", []
        head, rows = _json_document(path, _parse(text, str(path), 1))
    if not rows:
        raise ResultsError(f"{path}: holds no rows; give one object per utterance")
    return Side(path, kind, _entries(rows, role, is_typed=True), head, notes)


def is_table(first_line: str) -> bool:
    """Whether a first line is the header of a table of texts."""
    names = _folded(_split_header(first_line)[0])
    texts = names & {*REFERENCE_COLUMNS, *HYPOTHESIS_COLUMNS, *EITHER_COLUMNS}
    return len(names) > 1 and (len(texts) > 1 or bool(texts and names & {*_ID_COLUMNS, *_AUDIO_COLUMNS}))


def read_table(path: Path, text: str, role: str) -> Side:
    """A table (CSV, TSV, semicolons or bars) whose first line names its columns.

    Raises:
        ResultsError: no such header, or a row that does not fit it.
    """
    notes: list[str] = []
    header, delimiter = _split_header(text.split("\n", 1)[0])
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ResultsError(f"{path}:1: the columns {', '.join(map(repr, repeated))} occur twice; keep one of each")
    try:
        rows = _table_rows(path, text, header, delimiter, csv.QUOTE_MINIMAL, notes)
    except ResultsError:
        if delimiter != "\t":
            raise
        # Tab-separated files are often written without any quoting; then a quote is a character of the text.
        notes.clear()
        rows = _table_rows(path, text, header, delimiter, csv.QUOTE_NONE, notes)
        notes.append(f"{path}: quotes are taken as part of the texts, because they do not enclose whole fields")
    if not rows:
        raise ResultsError(f"{path}: holds a header and no rows; give one row per utterance")
    kind = "a table separated by " + {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}[delimiter]
    return Side(path, kind, _entries(rows, role, is_typed=False), notes=notes)


# ---------------------------------------------------------------------- JSON


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(text: str, where: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        place = f"{where}:{line + error.lineno - 1}"
        raise ResultsError(f"{place}: not JSON at column {error.colno} ({error.msg}); the file may be cut") from error
    except RecursionError as error:
        raise ResultsError(f"{where}:{line}: nested too deep for a file of predictions") from error
    except ValueError as error:
        raise ResultsError(f"{where}:{line}: not JSON that can be used ({error})") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice in one object; keep one of them")
    return values


Rows = list[tuple[str, Mapping[str, Any]]]


def _json_lines(path: Path, text: str) -> tuple[Rows, list[str]]:
    rows: Rows = []
    blank = 0
    lines = text.rstrip().split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank += 1
            continue
        values = _parse(line, str(path), number)
        if not isinstance(values, dict):
            raise ResultsError(f"{path}:{number}: holds {_kind(values)} where an object is needed")
        rows.append((f"{path}:{number}", values))
    return rows, [f"{path}: {blank} blank lines between the rows; they are no utterances"] if blank else []


def _json_document(path: Path, document: Any) -> tuple[dict[str, Any], Rows]:
    if isinstance(document, list):
        return {}, _list_rows(path, document)
    if not isinstance(document, dict):
        raise ResultsError(f"{path}: holds {_kind(document)} where a list of utterances is needed")
    if _is_row(document):
        return {}, [(f"{path}: row 1", document)]
    columns = {name: values for name, values in document.items() if _is_column(name, values)}
    name = next((name for name in _LIST_NAMES if _holds_rows(document.get(name))), None)
    if name is None and columns:
        return {k: v for k, v in document.items() if k not in columns}, _column_rows(path, columns)
    if name is None:
        candidates = [key for key, value in document.items() if _holds_rows(value)]
        if len(candidates) == 1:
            name = candidates[0]
    if name is not None:
        head = {key: value for key, value in document.items() if key != name}
        rows = document[name]
        return head, _list_rows(path, rows) if isinstance(rows, list) else _rows_by_id(path, rows)
    if document and all(isinstance(value, (dict, str)) for value in document.values()):
        return {}, _rows_by_id(path, document)
    empty = next((key for key in _LIST_NAMES if key in document and not document[key]), None)
    if empty:
        raise ResultsError(f"{path}: '{empty}' is empty; give one object per utterance")
    raise ResultsError(
        f"{path}: no list of utterances in it (there are: {_shown_names(document)}); "
        "put them under 'predictions', each with 'ref' and 'hyp'"
    )


def _is_row(values: Mapping[str, Any]) -> bool:
    names = _folded(name for name, value in values.items() if isinstance(value, str))
    known = {*REFERENCE_COLUMNS, *HYPOTHESIS_COLUMNS, *EITHER_COLUMNS}
    return len(names & known) > 1 or bool(names & known and names & {*_ID_COLUMNS, *_AUDIO_COLUMNS})


def _is_column(name: str, values: Any) -> bool:
    known = {*REFERENCE_COLUMNS, *HYPOTHESIS_COLUMNS, *EITHER_COLUMNS, *_ID_COLUMNS, "ids", *_SPEAKER_COLUMNS}
    return (
        _fold(name) in known
        and isinstance(values, list)
        and bool(values)
        and not any(isinstance(value, (dict, list)) for value in values)
    )


def _holds_rows(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict)
    return isinstance(value, dict) and bool(value) and all(isinstance(row, dict) for row in value.values())


def _list_rows(path: Path, values: list[Any]) -> Rows:
    rows: Rows = []
    for number, value in enumerate(values, start=1):
        where = f"{path}: row {number}"
        if isinstance(value, str):
            value = {"text": value}
        if not isinstance(value, dict):
            raise ResultsError(f"{where}: holds {_kind(value)} where an object is needed, with 'ref' and 'hyp'")
        rows.append((where, value))
    return rows


def _column_rows(path: Path, columns: Mapping[str, list[Any]]) -> Rows:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise ResultsError(f"{path}: its columns differ in length ({shown}); give one value of each per utterance")
    names = ["id" if name == "ids" else name for name in columns]
    return [
        (f"{path}: row {number}", dict(zip(names, values, strict=True)))
        for number, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]


def _rows_by_id(path: Path, values: Mapping[str, Any]) -> Rows:
    rows: Rows = []
    for id_, value in values.items():
        row = {"text": value} if isinstance(value, str) else value
        if not isinstance(row, dict):
            raise ResultsError(f"{path}: entry '{id_}' holds {_kind(value)} where an object is needed")
        rows.append((f"{path}: entry '{id_}'", {"id": id_, **row}))
    return rows


# ---------------------------------------------------------------------- tables


def _split_header(line: str) -> tuple[list[str], str]:
    delimiter = max("\t,;|", key=line.count)
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        names = line.split(delimiter)
    return [name.strip() for name in names], delimiter


def _table_rows(path: Path, text: str, header: list[str], delimiter: str, quoting: Any, notes: list[str]) -> Rows:
    # Strict: otherwise a quote that is never closed swallows the rest of the file as one long text.
    body = text.rstrip("\n").split("\n")[1:]
    reader = csv.reader((line + "\n" for line in body), delimiter=delimiter, quoting=quoting, strict=True)
    rows: Rows = []
    blank = 0
    while True:
        where = f"{path}:{reader.line_num + 2}"
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise ResultsError(
                f"{where}: not a row of the table ({error}); look for a quote that is not closed"
            ) from error
        if not fields:
            blank += 1
            continue
        if len(fields) != len(header):
            raise ResultsError(
                f"{where}: has {len(fields)} fields where the header has {len(header)} ({', '.join(header)}); "
                "enclose texts that hold the separator in double quotes"
            )
        rows.append((where, dict(zip(header, fields, strict=True))))
    if blank:
        notes.append(f"{path}: {blank} blank lines between the rows; they are no utterances")
    return rows


# ---------------------------------------------------------------------- columns


def _fold(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _folded(names: Iterable[str]) -> set[str]:
    return {_fold(name) for name in names}


def _entries(rows: Rows, role: str, *, is_typed: bool) -> list[Entry]:
    folded: Rows = []
    for where, values in rows:
        row = {_fold(str(name)): value for name, value in values.items()}
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
            f"{where}: no text in it (there are: {_shown_names(names)}); name the columns 'reference' and 'hypothesis'"
        )
    return found


def _entry(where: str, row: dict[str, Any], columns: Mapping[str, str], is_typed: bool) -> Entry:
    texts: dict[str, str] = {}
    for part, column in columns.items():
        if column not in row:
            raise ResultsError(f"{where}: no '{column}', which other rows have; write '' where there is no text")
        texts[part] = _text(row.pop(column), column, where)
    id_ = _name(row, _ID_COLUMNS, where)
    audio = _audio(row, where)
    start = _seconds(row, "offset" if "offset" in row else "start", where, is_typed)
    entry = Entry(
        where,
        id=id_,
        **texts,  # type: ignore[arg-type]
        duration=_seconds(row, "duration", where, is_typed),
        speaker=_name(row, _SPEAKER_COLUMNS, where),
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
        raise ResultsError(f"{where}: '{column}' is {_shown(value)}, {_kind(value)}; {hint}")
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
        raise ResultsError(f"{where}: '{column}' is {_shown(value)}, {_kind(value)}; write a string")
    _check_characters(str(value), column, where)
    return str(value)


def _audio(row: dict[str, Any], where: str) -> str | None:
    column = next((name for name in _AUDIO_COLUMNS if name in row), None)
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


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _shown_names(names: Iterable[str]) -> str:
    names = list(names)
    return (", ".join(repr(name) for name in names[:12]) + (" …" if len(names) > 12 else "")) or "nothing"
