"""``compare``: is one run better than another on the same utterances, and for whom does that hold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asr_headroom.metrics.significance import CLUSTER_CHOICES

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "whether one run is better than another, by how much, and for whom"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``compare``."""
    parser.add_argument("base", type=Path, metavar="BASE", help="run directory of the one to be better than")
    parser.add_argument("system", type=Path, metavar="SYSTEM", help="run directory of the one to judge")
    parser.add_argument("--normalizer", metavar="ID", help="text clean-up before scoring (default: the base's own)")
    parser.add_argument(
        "--cluster",
        choices=CLUSTER_CHOICES,
        default="auto",
        help="what counts as one independent observation (default: auto, speakers if known and enough)",
    )
    parser.add_argument(
        "--intersect", action="store_true", help="compare the shared utterances of two sets that differ"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; rates and differences are fractions")


def run(arguments: argparse.Namespace) -> int:
    """Prints the verdict on its first line, then what it rests on.

    Raises:
        ResultsError: a directory is not a run, or the two are not the same test.
        UsageError: there is no such normaliser, or the clusters asked for cannot be had.
    """
    from asr_headroom.analysis.scoring import compare_results
    from asr_headroom.report.verdict import comparison_facts, comparison_json, verdict_line
    from asr_headroom.results.store import load_results
    from asr_headroom.text.normalize import get_normalizer

    pair = compare_results(
        load_results(arguments.base),
        load_results(arguments.system),
        normalizer=get_normalizer(arguments.normalizer) if arguments.normalizer else None,
        cluster=arguments.cluster,
        intersect=arguments.intersect,
    )
    if arguments.json:
        print(json.dumps(comparison_json(pair), ensure_ascii=False, indent=1))
        return 0
    print(verdict_line(pair))
    for label, text in comparison_facts(pair):
        print(f"  {label:<11} {text}")
    for warning in pair.warnings:
        print(f"  warning: {warning}")
    return 0
