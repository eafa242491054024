"""Prediction files in JSON: lines of objects, a list, or an object that holds rows, columns or entries by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr_headroom.errors import ResultsError
from asr_headroom.results.readers_rows import (
    AUDIO_COLUMNS,
    ID_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    Rows,
    Side,
    entries_of,
    fold,
    folded,
    kind_of,
    shown_names,
)

__all__ = ["looks_like_json", "read_json"]

_LIST_NAMES = ("predictions", "results", "utterances", "utts", "samples", "items", "rows", "data", "examples",
               "records", "outputs", "segments")  # fmt: skip


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
    return Side(path, kind, entries_of(rows, role, is_typed=True), head, notes)


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
        hint = "give one object per line" if error.msg == "Extra data" else "the file may be cut"
        raise ResultsError(f"{place}: not JSON at column {error.colno} ({error.msg}); {hint}") from error
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
            raise ResultsError(f"{path}:{number}: holds {kind_of(values)} where an object is needed")
        rows.append((f"{path}:{number}", values))
    return rows, [f"{path}: {blank} blank lines between the rows; they are no utterances"] if blank else []


def _json_document(path: Path, document: Any) -> tuple[dict[str, Any], Rows]:
    if isinstance(document, list):
        return {}, _list_rows(path, document)
    if not isinstance(document, dict):
        raise ResultsError(f"{path}: holds {kind_of(document)} where a list of utterances is needed")
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
        f"{path}: no list of utterances in it (there are: {shown_names(document)}); "
        "put them under 'predictions', each with 'ref' and 'hyp'"
    )


def _is_row(values: Mapping[str, Any]) -> bool:
    names = folded(name for name, value in values.items() if isinstance(value, str))
    known = TEXT_COLUMNS
    return len(names & known) > 1 or bool(names & known and names & {*ID_COLUMNS, *AUDIO_COLUMNS})


def _is_column(name: str, values: Any) -> bool:
    known = TEXT_COLUMNS | {*ID_COLUMNS, "ids", *SPEAKER_COLUMNS}
    return (
        fold(name) in known
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
            raise ResultsError(f"{where}: holds {kind_of(value)} where an object is needed, with 'ref' and 'hyp'")
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
            raise ResultsError(f"{path}: entry '{id_}' holds {kind_of(value)} where an object is needed")
        rows.append((f"{path}: entry '{id_}'", {"id": id_, **row}))
    return rows
