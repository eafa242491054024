"""``asr-headroom report``: one self-contained HTML page of one or more runs."""

from __future__ import annotations

import argparse
import json

SUMMARY = "one HTML page: verdict, table, plots, what got worse, with audio"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``report``."""
    from asr_headroom.cli.options import add_config_arguments
    from asr_headroom.stages.report import ReportConfig

    runs = "run directories, folders that hold them, or files of predictions; the base first"
    parser.add_argument("runs", nargs="*", default=argparse.SUPPRESS, metavar="RUN", help=runs)
    add_config_arguments(parser, ReportConfig, positional=("runs",))
    parser.add_argument("--json", action="store_true", help="print what was written, and the tables, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and prints where it is."""
    from asr_headroom.cli.options import config_from_arguments, print_settings
    from asr_headroom.report.tables import to_json
    from asr_headroom.stages.report import ReportConfig, report

    config = config_from_arguments(arguments, ReportConfig)
    if arguments.dry_run:
        return print_settings(config)
    written = report(config)
    page, size = written.page, written.page_path.stat().st_size
    if arguments.json:
        facts = {
            "output": str(written.page_path),
            "files": [str(path) for path in written.files],
            "bytes": size,
            "clips": page.num_clips,
            "clips_left_out": page.num_clips_left_out,
            "clips_missing": page.num_clips_missing,
            "tests": to_json(written.tables),
        }
        print(json.dumps(facts, ensure_ascii=False, indent=1))
        return 0
    for path in written.files:
        print(path)
    print(
        f"{page.num_clips} recordings embedded, {page.num_clips_left_out} left out, "
        f"{page.num_clips_missing} could not be read; {size / 1e6:.1f} MB"
    )
    return 0
