"""Rows of manifests that are one file: JSON lines, a JSON array, or a table (CSV, TSV).

Files are read line by line, so that a manifest of any size is read in flat memory and each problem has its
line. A bad line is one :class:`Problem`; a file that as a whole makes no sense is a DataError. Nothing here
knows what a column means, that is :mod:`asr_headroom.data.readers_rows`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr_headroom.data.manifest import Problem
from asr_headroom.data.readers_rows import AUDIO_COLUMNS, TEXT_COLUMNS, Row, check_columns, first_column
from asr_headroom.errors import DataError

__all__ = ["TABLE_SUFFIXES", "read_file_rows", "rows_folder"]

TABLE_SUFFIXES = (".csv", ".tsv")
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_UTF8_MARK = b"\xef\xbb\xbf"


def read_file_rows(path: Path) -> Iterator[Row | Problem]:
    """The rows of a manifest file, in order; its dialect is told by extension and content.

    Raises:
        DataError: the file cannot be read, is not text, lacks a column, or is no manifest.
    """
    head = _read_head(path)
    suffix = path.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        return _table_rows(path)
    start = head.removeprefix(_UTF8_MARK).lstrip()[:1]
    if suffix == ".json" and start == b"[":
        return _array_rows(path)
    if suffix in _JSON_SUFFIXES or start == b"{":
        return _line_rows(path)
    raise DataError(f"{path}: not a manifest; give .jsonl, .json, .csv, .tsv, .parquet or a folder of one")


def rows_folder(path: Path) -> Path:
    """The folder that relative audio paths of a manifest file start from.

    Common Voice names files without their folder: they lie in ``clips/`` beside the table, or beside it.
    """
    clips = path.parent / "clips"
    if path.suffix.lower() not in TABLE_SUFFIXES or not clips.is_dir():
        return path.parent
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        return clips if _is_common_voice(file.readline()) else path.parent


def _is_common_voice(header: str) -> bool:
    columns = header.rstrip("\r\n").split("\t")
    return {"client_id", "path", "sentence"} <= set(columns)


def _read_head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        kind = "UTF-16 text" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "binary"
        raise DataError(f"{path}: is {kind}, not a manifest in UTF-8; save it as UTF-8 or give the manifest's path")
    return head


def _line_rows(path: Path) -> Iterator[Row | Problem]:
    with path.open("rb") as file:
        number = 0
        for line_number, line in enumerate(file, start=1):
            where = f"{path}:{line_number}"
            if line_number == 1:
                line = line.removeprefix(_UTF8_MARK)
            if not line.strip():
                # A line end too many at the end of a file is usual; a hole in it is worth a look.
                yield Problem(where, "the line is blank; it is not counted as a row", fatal=False)
                continue
            number += 1
            yield _parse_line(line, where, number)


def _parse_line(line: bytes, where: str, number: int) -> Row | Problem:
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Problem(where, f"is not UTF-8 at byte {error.start + 1}; save the file as UTF-8")
    except json.JSONDecodeError as error:
        return Problem(where, f"not JSON at column {error.colno} ({error.msg}); write one object per line")
    except (RecursionError, ValueError) as error:
        return Problem(where, f"not JSON that can be read ({error})")
    return _json_row(values, where, number)


def _json_row(values: Any, where: str, number: int) -> Row | Problem:
    if not isinstance(values, dict):
        return Problem(where, f"holds a {type(values).__name__} where an object is needed")
    return Row(where, number, values)


def _array_rows(path: Path) -> Iterator[Row | Problem]:
    """Rows of a JSON array, each with the line on which it begins."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 at byte {error.start + 1}; save the file as UTF-8") from error
    decoder = json.JSONDecoder()
    position = _skip(text, text.index("[") + 1)
    line, counted, number = 1, 0, 0
    while position < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        where, number = f"{path}:{line}", number + 1
        try:
            values, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield Problem(where, f"not JSON from here on ({error}); the rest of the file is not read")
            return
        yield _json_row(values, where, number)
        position = _skip(text, position)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] not in ("]", ""):
            yield Problem(where, "not followed by ',' or ']'; the rest of the file is not read")
            return
    if position >= len(text):
        yield Problem(f"{path}:{text.count(chr(10)) + 1}", "the array is not closed; the file may have been cut")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _table_rows(path: Path) -> Iterator[Row | Problem]:
    # Surrogate escapes carry bytes that are not UTF-8 as far as the row that holds them.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header_line = file.readline()
        if not header_line.strip():
            raise DataError(f"{path}:1: no header; name the columns in the first line")
        reader_options = _table_options(path, header_line)
        header = [name.strip() for name in next(csv.reader([header_line], **reader_options))]
        _check_header(header, f"{path}:1")
        reader = csv.reader(file, **reader_options)
        number = 0
        while True:
            where = f"{path}:{reader.line_num + 2}"
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(where, f"not a row of the table ({error}); look for a quote that is not closed")
                continue
            if not fields:
                yield Problem(where, "the line is blank; it is not counted as a row", fatal=False)
                continue
            number += 1
            yield _table_row(header, fields, where, number)


def _table_options(path: Path, header: str) -> dict[str, Any]:
    if path.suffix.lower() == ".tsv":
        # Common Voice writes quotes as they are; other programs quote the fields that hold one.
        quoting = csv.QUOTE_NONE if _is_common_voice(header) else csv.QUOTE_MINIMAL
        return {"delimiter": "\t", "quoting": quoting, "strict": True}
    # Strict: otherwise a quote that is never closed swallows the rest of the file as one long transcript.
    return {"delimiter": max(",;\t|", key=header.count), "strict": True}


def _check_header(header: list[str], where: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(f"{where}: the columns {', '.join(map(repr, repeated))} occur twice; keep one of each")
    check_columns(header, where)


def _table_row(header: list[str], fields: list[str], where: str, number: int) -> Row | Problem:
    if len(fields) != len(header):
        return Problem(where, f"has {len(fields)} fields where the header has {len(header)}")
    # An empty field is an absent one; an empty transcript is data, an empty path a fault.
    needed = (first_column(header, AUDIO_COLUMNS), first_column(header, TEXT_COLUMNS))
    values = {name: field for name, field in zip(header, fields, strict=True) if field or name in needed}
    return Row(where, number, values, is_typed=False)
