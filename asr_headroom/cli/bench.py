"""``asr-headroom bench``: models on test sets."""

from __future__ import annotations

import argparse

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
    from asr_headroom.report.tables import render_tables
    from asr_headroom.stages.bench import BenchConfig, bench

    config = config_from_arguments(arguments, BenchConfig)
    if arguments.dry_run:
        return print_settings(config)
    results = bench(config)
    print(render_tables(results, as_json=arguments.json))
    if not arguments.json:
        paths = " ".join(str(result.path) for result in results)
        print(f"\nNext: asr-headroom report {paths} --output {config.output}/page.html")
    return 0
