"""``asr-headroom bench``: models on test sets."""

from __future__ import annotations

import argparse
import json

SUMMARY = "measure models on your recordings: error rates with intervals, resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``bench``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.bench import BenchConfig

    add_config_arguments(parser, BenchConfig)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Benches, then prints the table and where everything is."""
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.report.tables import build_tables, to_json, to_markdown
    from asr_headroom.stages.bench import BenchConfig, bench

    config = config_from_arguments(arguments, BenchConfig)
    if arguments.dry_run:
        return print_settings(config)
    tables = build_tables(bench(config))
    if arguments.json:
        print(json.dumps(to_json(tables), ensure_ascii=False, indent=1))
        return 0
    print(to_markdown(tables).rstrip("\n") + "\n")
    print(f"Next: asr-headroom report {config.output} --output {config.output}/page.html")
    return 0
