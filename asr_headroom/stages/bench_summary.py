"""What a bench leaves beside its runs: the table, as Markdown and JSON, and its plot with the plotted numbers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_headroom.errors import ResultsError
from asr_headroom.report.bench_figure import bench_figure
from asr_headroom.report.tables import TestTable, build_tables, to_json, to_markdown
from asr_headroom.results.store import Results, write_whole

__all__ = ["BenchSummary", "write_summary"]


@dataclass(frozen=True, kw_only=True)
class BenchSummary:
    """The tables of a bench and the files they are in."""

    tables: Sequence[TestTable]
    files: Sequence[Path]


def write_summary(results: Sequence[Results], output: str | Path) -> BenchSummary:
    """Writes ``tables.md``, ``tables.json`` and for each test set ``bench-N`` as SVG, PNG and CSV.

    Raises:
        UsageError: there are no results.
        ResultsError: a run holds no predictions, or the disk refuses.
    """
    tables, folder = build_tables(results), Path(output)
    texts: dict[str, str | bytes] = {
        "tables.md": to_markdown(tables),
        "tables.json": json.dumps(to_json(tables), ensure_ascii=False, indent=1) + "\n",
    }
    for number, table in enumerate(tables, start=1):
        figure = bench_figure(table)
        if figure is not None:
            # Ids inside an SVG are made of its name.
            figure = dataclasses.replace(figure, name=f"bench-{number}")
            stem = f"bench-{number}"
            texts |= {f"{stem}.svg": figure.svg(), f"{stem}.png": figure.png(), f"{stem}.csv": figure.csv()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in texts.items():
            if isinstance(content, str):
                write_whole(folder / name, content)
            else:
                (folder / name).write_bytes(content)
    except OSError as error:
        raise ResultsError(f"{folder}: the table cannot be written ({error}); check --output and the disk") from error
    return BenchSummary(tables=tables, files=[folder / name for name in texts])
