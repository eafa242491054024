"""``score``: the error rates of one run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "error rates of one run, with their interval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``score``."""
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="run directory that bench wrote: OUTPUT/MODEL/TESTSET"
    )
    parser.add_argument("--normalizer", metavar="ID", help="text clean-up before scoring (default: the run's own)")
    parser.add_argument("--json", action="store_true", help="print JSON; rates are fractions")


def run(arguments: argparse.Namespace) -> int:
    """Prints the score of a run.

    Raises:
        ResultsError: the directory is not a run, or holds no predictions.
        ConfigError: there is no such normaliser.
    """
    from asr_headroom.analysis.scoring import score_results
    from asr_headroom.report.verdict import score_facts, score_json
    from asr_headroom.results.store import load_results
    from asr_headroom.text.normalize import get_normalizer

    normalizer = get_normalizer(arguments.normalizer) if arguments.normalizer else None
    score = score_results(load_results(arguments.run_dir), normalizer=normalizer)
    if arguments.json:
        print(json.dumps(score_json(score), ensure_ascii=False, indent=1))
        return 0
    print(score.run.name)
    for label, text in score_facts(score):
        print(f"  {label:<11} {text}")
    for warning in score.warnings:
        print(f"  warning: {warning}")
    return 0
