"""``analyze``: why a run errs, or why two differ: format or hearing, what kinds of errors, where."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from asr_headroom.metrics.significance import CLUSTER_CHOICES

if TYPE_CHECKING:
    from asr_headroom.results.store import Results

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "why a run errs, or why two differ: format or hearing, kinds of errors, where"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``analyze``."""
    parser.add_argument("base", type=Path, metavar="BASE", help="run directory, or anybody's file of predictions")
    parser.add_argument("system", type=Path, metavar="SYSTEM", nargs="?", help="another one on the same utterances")
    parser.add_argument(
        "--normalizer", metavar="ID", help="in which errors are counted (default: study-LANGUAGE, else raw)"
    )
    parser.add_argument("--language", metavar="TAG", help="of the recordings (default: what the files say)")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="references, where the files hold none")
    parser.add_argument("--cluster", choices=CLUSTER_CHOICES, default="auto", help="what intervals resample [auto]")
    parser.add_argument("--intersect", action="store_true", help="use the shared utterances of two sets that differ")
    parser.add_argument(
        "--by", metavar="COLUMN", action="append", help="slice by this column (default: all that tell something)"
    )
    parser.add_argument(
        "--snr", action="store_true", help="also slice by noise, estimated from each recording (decodes all of them)"
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="confusions shown [10]")
    parser.add_argument("--json", action="store_true", help="print JSON; rates and differences are fractions")


def run(arguments: argparse.Namespace) -> int:
    """Prints the largest cause on the first line, then the tables.

    Raises:
        ResultsError: a file cannot be read, or the two are not the same test.
        UsageError: there is no such normaliser, language or column, or the clusters cannot be had.
    """
    from asr_headroom.analysis.explanation import explain_results
    from asr_headroom.errors import UsageError
    from asr_headroom.report.analysis_text import analysis_json, analysis_lines
    from asr_headroom.results.readers import read_results
    from asr_headroom.text.normalize import get_normalizer

    if arguments.top < 0:
        raise UsageError(f"--top is {arguments.top}; it must be at least 0")
    normalizer = get_normalizer(arguments.normalizer) if arguments.normalizer else None
    read = functools.partial(
        read_results, reference=arguments.reference, language=arguments.language, intersect=arguments.intersect
    )
    base, notes = _with_noise(read(arguments.base)) if arguments.snr else (read(arguments.base), ())
    explanation = explain_results(
        base,
        read(arguments.system) if arguments.system else None,
        normalizer=normalizer,
        cluster=arguments.cluster,
        intersect=arguments.intersect,
        columns=arguments.by,
        top=arguments.top,
    )
    explanation = dataclasses.replace(explanation, notes=(*explanation.notes, *notes))
    if arguments.json:
        print(json.dumps(analysis_json(explanation), ensure_ascii=False, indent=1))
        return 0
    for line in analysis_lines(explanation):
        print(line)
    return 0


def _with_noise(results: Results) -> tuple[Results, tuple[str, ...]]:
    """The run with a column of noise, and a note where recordings could not be measured.

    Raises:
        ResultsError: none of them could.
    """
    from asr_headroom.analysis.snr import SNR_COLUMN, with_snr
    from asr_headroom.errors import ResultsError

    measured, problems = with_snr(results)
    total = len(measured.predictions)
    if not any(SNR_COLUMN in prediction.extras for prediction in measured.predictions):
        raise ResultsError(f"--snr: none of the {total} recordings could be measured ({problems[0]}); leave it away")
    note = (
        f"--snr: {len(problems)} of {total} recordings could not be measured, such as {problems[0]}" if problems else ""
    )
    return measured, (note,) if note else ()
