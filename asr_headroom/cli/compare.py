"""``compare``: is one system better than another on the same utterances, and for whom does that hold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asr_headroom.cli.reading import FILE_HELP, add_reading_arguments, chosen_normalizer, read_named
from asr_headroom.cli.score import add_keyword_arguments, keyword_weight
from asr_headroom.errors import UsageError
from asr_headroom.metrics.clustering import CLUSTER_CHOICES

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "whether one system is better than another, by how much, and for whom; or which of many is best"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``compare``."""
    parser.add_argument("base", type=Path, metavar="BASE", help=f"the one to be better than: {FILE_HELP}")
    parser.add_argument("system", type=Path, metavar="SYSTEM", help="the one to judge, in any of these forms")
    parser.add_argument(
        "more", type=Path, nargs="*", default=[], metavar="SYSTEM", help="further ones: every two of all are compared"
    )
    add_reading_arguments(parser, "the base's own, else its language's")
    parser.add_argument(
        "--cluster",
        choices=CLUSTER_CHOICES,
        default="auto",
        help="what counts as one independent observation (default: auto, speakers if known and enough)",
    )
    add_keyword_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON; rates and differences are fractions")
    form.add_argument("--markdown", action="store_true", help="print Markdown (with three systems or more)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the verdict on its first line, then what it rests on; of more than two systems, every pair.

    Raises:
        ResultsError: a source cannot be read, or the two are not the same test.
        UsageError: there is no such normaliser or language, or the clusters or keywords cannot be had.
    """
    if arguments.more:
        return _run_matrix(arguments)
    if arguments.markdown:
        raise UsageError("--markdown prints the matrix of three systems or more; give another one, or leave it away")
    return _run_pair(arguments)


def _run_matrix(arguments: argparse.Namespace) -> int:
    from asr_headroom.report.matrix import build_matrix
    from asr_headroom.report.matrix_text import matrix_json, matrix_markdown, matrix_text

    if arguments.keywords:
        raise UsageError("--keywords compares two systems; give two, or leave it away")
    systems = read_named(arguments, [arguments.base, arguments.system, *arguments.more])
    matrix = build_matrix(
        systems,
        normalizer=chosen_normalizer(arguments, systems[0]),
        cluster=arguments.cluster,
        intersect=arguments.intersect,
    )
    if arguments.json:
        print(json.dumps(matrix_json(matrix), ensure_ascii=False, indent=1))
    else:
        print(matrix_markdown(matrix) if arguments.markdown else matrix_text(matrix))
    return 0


def _run_pair(arguments: argparse.Namespace) -> int:
    from asr_headroom.analysis.keywords import compare_keywords, read_keywords
    from asr_headroom.analysis.scoring import compare_results
    from asr_headroom.report.keyword_text import keyword_comparison_json, keyword_comparison_text
    from asr_headroom.report.verdict import comparison_facts, comparison_json, verdict_line

    weight = keyword_weight(arguments)
    base, system = read_named(arguments, [arguments.base, arguments.system])
    normalizer = chosen_normalizer(arguments, base)
    pair = compare_results(
        base, system, normalizer=normalizer, cluster=arguments.cluster, intersect=arguments.intersect
    )
    compared = None
    if arguments.keywords:
        keywords = read_keywords(arguments.keywords, normalizer)
        compared = compare_keywords(pair, keywords, weight, arguments.cluster)
    if arguments.json:
        plain = comparison_json(pair)
        if compared is not None:
            plain["keywords"] = {"weight": weight, **keyword_comparison_json(compared)}
        print(json.dumps(plain, ensure_ascii=False, indent=1))
        return 0
    print(verdict_line(pair))
    facts = comparison_facts(pair)
    if compared is not None:
        facts.append(("keywords", keyword_comparison_text(compared, weight)))
    for label, text in facts:
        print(f"  {label:<11} {text}")
    for warning in pair.warnings:
        print(f"  warning: {warning}")
    return 0
