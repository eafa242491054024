"""``score``: the error rates of one system."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asr_headroom.cli.reading import FILE_HELP, add_reading_arguments, chosen_normalizer, read_source
from asr_headroom.errors import UsageError
from asr_headroom.metrics.clustering import CLUSTER_CHOICES
from asr_headroom.metrics.keywords import DEFAULT_KEYWORD_WEIGHT

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "error rates of one system, ours or not, with their interval"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``score``."""
    parser.add_argument("source", type=Path, metavar="FILE", help=FILE_HELP)
    add_reading_arguments(parser, "the run's own, else its language's")
    parser.add_argument(
        "--cluster", choices=CLUSTER_CHOICES, default="auto", help="what the interval takes as one observation"
    )
    add_keyword_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; rates are fractions")


def add_keyword_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags about keywords, which ``compare`` has too."""
    parser.add_argument("--keywords", type=Path, metavar="FILE", help="also score these words, one keyword per line")
    parser.add_argument(
        "--keyword-weight",
        type=float,
        metavar="W",
        help=f"what an error on a keyword counts in the weighted rate (default: {DEFAULT_KEYWORD_WEIGHT:g})",
    )


def keyword_weight(arguments: argparse.Namespace) -> float:
    """The weight that was asked for, else the default.

    Raises:
        UsageError: a weight without keywords, which would change nothing.
    """
    if arguments.keyword_weight is None:
        return DEFAULT_KEYWORD_WEIGHT
    if arguments.keywords is None:
        raise UsageError("--keyword-weight weighs the words of --keywords FILE; give that too, or leave it away")
    return float(arguments.keyword_weight)


def run(arguments: argparse.Namespace) -> int:
    """Prints the score of a run, or of a file of predictions.

    Raises:
        ResultsError: the source cannot be read, or holds no predictions.
        UsageError: there is no such normaliser or language, or the clusters or keywords cannot be had.
    """
    from asr_headroom.analysis.keywords import read_keywords, score_keywords, total_keywords
    from asr_headroom.analysis.scoring import score_results
    from asr_headroom.report.keyword_text import keyword_json, keyword_text
    from asr_headroom.report.verdict import score_facts, score_json

    weight = keyword_weight(arguments)
    results = read_source(arguments, arguments.source)
    normalizer = chosen_normalizer(arguments, results)
    score = score_results(results, normalizer=normalizer, cluster=arguments.cluster)
    counts = None
    if arguments.keywords:
        keywords = read_keywords(arguments.keywords, normalizer)
        counts = total_keywords(score_keywords(results, normalizer, keywords, weight), keywords)
    if arguments.json:
        plain = score_json(score)
        if counts is not None:
            plain["keywords"] = {"weight": weight, **keyword_json(counts)}
        print(json.dumps(plain, ensure_ascii=False, indent=1))
        return 0
    print(score.run.name)
    facts = score_facts(score)
    if counts is not None:
        facts.append(("keywords", keyword_text(counts, weight)))
    for label, text in facts:
        print(f"  {label:<11} {text}")
    for warning in score.warnings:
        print(f"  warning: {warning}")
    return 0
