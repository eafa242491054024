"""``asr-headroom normalize``: what scoring sees of a text."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asr_headroom.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr_headroom.text.normalize import Normalizer

SUMMARY = "show how a text is cleaned before it is scored, step by step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``normalize``."""
    parser.add_argument("text", nargs="*", help="one or more texts; standard input, line by line, when none is given")
    parser.add_argument("--file", metavar="FILE", type=Path, help="a file with one text per line, in their place")
    parser.add_argument("--normalizer", metavar="ID", help="which one; --language picks a default")
    parser.add_argument(
        "--language", metavar="TAG", help="language whose default normaliser is used: fr, zh-TW, French"
    )
    parser.add_argument("--list", action="store_true", help="list the normalisers with version, unit and hash")
    parser.add_argument("--json", action="store_true", help="one JSON object per text, or per normaliser with --list")


def run(arguments: argparse.Namespace) -> int:
    """Prints each text after each step that changed it, and warns where the number of words changes much.

    Raises:
        UsageError: both texts and a file are given, or an unknown normaliser or language.
        DataError: a line is not UTF-8.
    """
    from asr_headroom.text.normalize import (
        count_alarm,
        get_normalizer,
        normalizer_for_language,
        normalizer_ids,
    )

    if arguments.list:
        for normalizer_id in normalizer_ids():
            print(_entry(get_normalizer(normalizer_id), as_json=arguments.json))
        return 0
    normalizer = (
        get_normalizer(arguments.normalizer) if arguments.normalizer else normalizer_for_language(arguments.language)
    )
    texts = []
    for number, text in enumerate(_texts(arguments)):
        if number and not arguments.json:
            print()
        print(_trace(normalizer, text, as_json=arguments.json))
        texts.append(text)
    alarm = count_alarm(texts, normalizer) if len(texts) > 1 else None
    if alarm:
        print(f"warning: {alarm}", file=sys.stderr)
    return 0


def _entry(normalizer: Normalizer, *, as_json: bool) -> str:
    facts = {"id": normalizer.id, "version": normalizer.version, "unit": normalizer.unit, "hash": normalizer.hash}
    if as_json:
        return json.dumps(facts | {"description": normalizer.description}, ensure_ascii=False)
    return "{id:<17} version {version}  {unit:<9}  {hash}".format(**facts) + f"  {normalizer.description}"


def _trace(normalizer: Normalizer, text: str, *, as_json: bool) -> str:
    from asr_headroom.text.units import split_units

    trace = normalizer.trace(text)
    if as_json:
        row = {
            "normalizer": normalizer.id,
            "version": normalizer.version,
            "hash": normalizer.hash,
            "unit": normalizer.unit,
            "text": text,
            "normalized": trace[-1][1],
            "units": len(split_units(trace[-1][1], normalizer.unit)),
            "steps": [{"step": name, "text": changed} for name, changed in trace[1:]],
        }
        return json.dumps(row, ensure_ascii=False)
    width = max(len(name) for name, _ in trace)
    return "\n".join(f"{name:<{width}}  {changed}" for name, changed in trace)


def _texts(arguments: argparse.Namespace) -> Iterable[str]:
    if arguments.file is None:
        return arguments.text or _lines(sys.stdin.buffer, "standard input, line ")
    if arguments.text:
        raise UsageError("give texts or --file, not both")
    try:
        content = arguments.file.read_bytes()
    except OSError as error:
        raise DataError(f"'{arguments.file}' cannot be read ({error.strerror}); give a text file") from error
    return _lines(content.splitlines(), f"{arguments.file}:")


def _lines(lines: Iterable[bytes], place: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{place}{number}: not UTF-8 ({error}); convert it first") from error
