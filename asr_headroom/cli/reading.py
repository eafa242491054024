"""Flags that every verb shares which reads people's predictions: references, language, normaliser, pairing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr_headroom.results.store import Results
    from asr_headroom.text.normalize import Normalizer

__all__ = ["FILE_HELP", "add_reading_arguments", "chosen_normalizer", "read_named", "read_source"]

FILE_HELP = (
    "run directory, or file (- for standard input): JSON, JSONL, CSV, TSV; with --reference also trn, CTM, Kaldi text, "
    "plain lines"
)


def add_reading_arguments(parser: argparse.ArgumentParser, default_normalizer: str) -> None:
    """Declares the shared flags."""
    parser.add_argument("--reference", type=Path, metavar="FILE", help="references of files that hold hypotheses alone")
    parser.add_argument(
        "--language", metavar="TAG", help="language of the files (default: as stated there, else guessed)"
    )
    parser.add_argument(
        "--normalizer", metavar="ID", help=f"text clean-up before scoring (default: {default_normalizer})"
    )
    parser.add_argument(
        "--empty-as",
        metavar="TEXT",
        help="score TEXT in place of texts that are empty after normalising; only to reproduce such published rates",
    )
    parser.add_argument(
        "--intersect", action="store_true", help="score the shared utterances of two sets that differ, and say so"
    )


def read_source(arguments: argparse.Namespace, source: Path) -> Results:
    """Reads one of the sources by the shared flags."""
    from asr_headroom.results.readers import read_results

    return read_results(
        source, reference=arguments.reference, language=arguments.language, intersect=arguments.intersect
    )


def read_named(arguments: argparse.Namespace, sources: list[Path]) -> list[Results]:
    """Reads several; those whose names are equal get their folder's in front."""
    import dataclasses

    from asr_headroom.results.readers import read_several

    read = read_several(
        sources, reference=arguments.reference, language=arguments.language, intersect=arguments.intersect
    )
    names = [results.run.name for results in read]
    renamed = []
    for results, source in zip(read, sources, strict=True):
        if names.count(results.run.name) > 1 and results.run.kind == "import":
            name = f"{source.absolute().parent.name}/{results.run.name}"
            results = dataclasses.replace(results, run=dataclasses.replace(results.run, name=name))
        renamed.append(results)
    return renamed


def chosen_normalizer(arguments: argparse.Namespace, first: Results) -> Normalizer:
    """The normaliser that was asked for, else the first source's own; with the placeholder for empty texts."""
    from asr_headroom.analysis.scoring import own_normalizer
    from asr_headroom.text.normalize import get_normalizer, mark_empty

    normalizer = get_normalizer(arguments.normalizer) if arguments.normalizer else own_normalizer(first)
    return normalizer if arguments.empty_as is None else mark_empty(normalizer, arguments.empty_as)
