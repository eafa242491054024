"""``report``: one self-contained HTML page of one or more runs."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path

from asr_headroom.errors import ResultsError, UsageError
from asr_headroom.metrics.significance import CLUSTER_CHOICES

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "one HTML page: verdict, table, plots, what got worse, with audio"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the flags of ``report``."""
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="RUN_DIR", help="run directories, the base first")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the page, for example page.html")
    parser.add_argument("--title", default="What fine-tuning bought", help="of the page (default: %(default)s)")
    parser.add_argument("--base", metavar="NAME", help="compare every system with this one (default: its parent)")
    parser.add_argument("--normalizer", metavar="ID", help="text clean-up before scoring (default: the runs' own)")
    parser.add_argument("--cluster", choices=CLUSTER_CHOICES, default="auto", help="as in compare (default: auto)")
    parser.add_argument(
        "--max-clips", type=int, default=50, metavar="N", help="recordings embedded, at most (default: 50)"
    )
    parser.add_argument("--tables", type=Path, metavar="FILE", help="also write the tables, .md or .json")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="also write the plots as SVG, PNG and CSV")
    parser.add_argument("--json", action="store_true", help="print what was written, and the tables, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and prints where it is.

    Raises:
        UsageError: a flag has an impossible value.
        ResultsError: a directory is not a run, or something cannot be written.
    """
    from asr_headroom.report.figures import save_figures
    from asr_headroom.report.page import render_page
    from asr_headroom.report.tables import build_tables, to_json, to_markdown
    from asr_headroom.results.store import load_results
    from asr_headroom.text.normalize import get_normalizer

    _check(arguments)
    tables = build_tables(
        [load_results(directory) for directory in arguments.run_dirs],
        normalizer=get_normalizer(arguments.normalizer) if arguments.normalizer else None,
        cluster=arguments.cluster,
        base=arguments.base,
    )
    page = render_page(tables, title=arguments.title, max_clips=arguments.max_clips)
    files = [_write(arguments.output, page.html)]
    if arguments.tables:
        plain = json.dumps(to_json(tables), ensure_ascii=False, indent=1) + "\n"
        files.append(_write(arguments.tables, plain if arguments.tables.suffix == ".json" else to_markdown(tables)))
    if arguments.figures:
        try:
            files += save_figures(tables, arguments.figures)
        except OSError as error:
            raise ResultsError(f"{arguments.figures}: cannot be written ({error.strerror or error})") from error
    if arguments.json:
        written = {
            "output": str(arguments.output),
            "files": [str(path) for path in files],
            "bytes": arguments.output.stat().st_size,
            "clips": page.num_clips,
            "clips_left_out": page.num_clips_left_out,
            "clips_missing": page.num_clips_missing,
            "tests": to_json(tables),
        }
        print(json.dumps(written, ensure_ascii=False, indent=1))
        return 0
    for path in files:
        print(path)
    print(
        f"{page.num_clips} recordings embedded, {page.num_clips_left_out} left out, "
        f"{page.num_clips_missing} could not be read; {arguments.output.stat().st_size / 1e6:.1f} MB"
    )
    return 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.max_clips < 0:
        raise UsageError(f"--max-clips is {arguments.max_clips}; it must be at least 0")
    if arguments.output.is_dir():
        raise UsageError(f"--output {arguments.output} is a directory; give the name of a file, for example page.html")
    if arguments.tables and arguments.tables.suffix not in (".md", ".json"):
        raise UsageError(f"--tables {arguments.tables}: the name must end in .md or .json")


def _write(path: Path, text: str) -> Path:
    """Writes a file whole, so that a reader never sees half a page.

    Raises:
        ResultsError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A transcript may hold half a surrogate pair, which UTF-8 cannot write.
        temporary.write_bytes(text.encode("utf-8", "replace"))
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path
