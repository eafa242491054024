"""``asr-headroom normalize``: what scoring sees of a text."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from asr_headroom.errors import DataError

SUMMARY = "show how a text is cleaned before it is scored, step by step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``normalize``."""
    parser.add_argument("text", nargs="*", help="the text; standard input, line by line, when none is given")
    parser.add_argument("--normalizer", metavar="ID", help="which one; --language picks a default")
    parser.add_argument("--language", metavar="TAG", help="BCP-47 tag whose default normaliser is used")
    parser.add_argument("--list", action="store_true", help="list the normalisers with version, unit and hash")
    parser.add_argument("--json", action="store_true", help="one JSON object per text")


def run(arguments: argparse.Namespace) -> int:
    """Prints the text after each step that changed it."""
    from asr_headroom.text.normalize import get_normalizer, normalizer_for_language, normalizer_ids

    if arguments.list:
        for normalizer_id in normalizer_ids():
            normalizer = get_normalizer(normalizer_id)
            print(f"{normalizer.id:<18} version {normalizer.version}  {normalizer.unit:<9}  {normalizer.hash}")
        return 0
    normalizer = (
        get_normalizer(arguments.normalizer) if arguments.normalizer else normalizer_for_language(arguments.language)
    )
    for text in [" ".join(arguments.text)] if arguments.text else _lines_of_standard_input():
        trace = normalizer.trace(text)
        if arguments.json:
            row = {"normalizer": normalizer.id, "hash": normalizer.hash, "text": text, "normalized": trace[-1][1]}
            print(json.dumps(row, ensure_ascii=False))
            continue
        width = max(len(name) for name, _ in trace)
        for name, changed in trace:
            print(f"{name:<{width}}  {changed}")
    return 0


def _lines_of_standard_input() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: not UTF-8 ({error}); convert it first") from error
