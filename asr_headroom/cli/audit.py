"""``audit``: which known traps of measurement some files of predictions show."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "which known traps of measurement some files show, each with its size"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``audit``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="run directories, or anybody's files of predictions")
    parser.add_argument(
        "--normalizer",
        metavar="ID",
        help="in which errors are counted (default: the one that a file's own rates were made with)",
    )
    parser.add_argument("--language", metavar="TAG", help="of the recordings (default: what the files say)")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="references, where the files hold none")
    parser.add_argument(
        "--base", metavar="FILE", help="the file that the others claim to improve upon (default: by model and name)"
    )
    parser.add_argument("--fail-on-findings", action="store_true", help="exit with 1 when something is found")
    parser.add_argument("--json", action="store_true", help="print a list of findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings, the most severe first.

    Raises:
        ResultsError: a file cannot be read, or is given twice.
        UsageError: there is no such normaliser or language, or the base is none of the files.
    """
    from asr_headroom.analysis.audit import audit
    from asr_headroom.errors import UsageError
    from asr_headroom.report.audit_text import audit_json, audit_lines
    from asr_headroom.results.readers import read_results
    from asr_headroom.text.normalize import get_normalizer

    normalizer = get_normalizer(arguments.normalizer) if arguments.normalizer else None
    places = [Path(path).expanduser().resolve() for path in arguments.files]
    twice = next((path for i, path in enumerate(arguments.files) if places[i] in places[:i]), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice; give each file once")
    results = {
        path: read_results(path, reference=arguments.reference, language=arguments.language) for path in arguments.files
    }
    read_with = {"--reference": arguments.reference, "--language": arguments.language}
    flags = [word for flag, value in read_with.items() if value is not None for word in (flag, str(value))]
    found = audit(results, normalizer=normalizer, base=arguments.base, flags=flags)
    if arguments.json:
        print(json.dumps(audit_json(found), ensure_ascii=False, indent=1))
    else:
        print("\n".join(audit_lines(found)))
    return 1 if arguments.fail_on_findings and found.findings else 0
