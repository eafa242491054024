"""Prediction files that are tables: commas, tabs, semicolons or bars, and a header that names the columns."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from asr_headroom.errors import ResultsError
from asr_headroom.results.readers_rows import AUDIO_COLUMNS, ID_COLUMNS, TEXT_COLUMNS, Rows, Side, entries_of, folded

__all__ = ["is_table", "read_table"]


def is_table(first_line: str) -> bool:
    """Whether a first line is the header of a table of texts."""
    names = folded(_split_header(first_line)[0])
    texts = names & TEXT_COLUMNS
    return len(names) > 1 and (len(texts) > 1 or bool(texts and names & {*ID_COLUMNS, *AUDIO_COLUMNS}))


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
    return Side(path, kind, entries_of(rows, role, is_typed=False), notes=notes)


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
