"""``asr-headroom bench``: models on test sets."""

from __future__ import annotations

import argparse
import json

SUMMARY = "measure models on your recordings: error rates with intervals, speed, memory; resumable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``bench``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.bench import BenchConfig

    add_config_arguments(parser, BenchConfig)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Benches, then prints the table and where everything is; what failed is told last and makes the exit status 1."""
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.report.tables import to_json, to_markdown
    from asr_headroom.stages.bench import BenchConfig, bench_models
    from asr_headroom.stages.bench_summary import write_summary

    config = config_from_arguments(arguments, BenchConfig)
    if arguments.dry_run:
        return print_settings(config)
    outcome = bench_models(config)
    failure = outcome.failure()
    if not outcome.results and failure is not None:
        raise failure
    summary = write_summary(outcome.results, config.output)
    if arguments.json:
        print(json.dumps(to_json(summary.tables), ensure_ascii=False, indent=1))
    else:
        print(to_markdown(summary.tables).rstrip("\n") + "\n")
        print(f"Table and plot: {', '.join(str(path) for path in summary.files if path.suffix in ('.md', '.png'))}")
        print(f"Next: asr-headroom report {config.output} --output {config.output}/page.html")
    if failure is not None:
        raise failure
    return 0
