"""Section: the settings that were raced for a model, where its folder is at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_headroom.report.ablation_text import ablation_conclusions, ablation_table
from asr_headroom.report.sections.blocks import Block, Grid, Section
from asr_headroom.report.tables import TestTable

__all__ = ["ablation_section"]


def ablation_section(tables: Sequence[TestTable]) -> Section | None:
    """A table for each system that an ablation chose; None where there is none."""
    folders = dict.fromkeys(
        Path(str(row.results.run.model.get("id", ""))).parent for table in tables for row in table.rows
    )
    found = {folder: facts for folder in folders if (facts := _facts(folder / "ablation.json"))}
    if not found:
        return None
    blocks: list[Block] = [_grid(str(folder), facts) for folder, facts in found.items()]
    only = next(iter(found.values()))
    return Section(
        id="ablation",
        title="Settings that were tried",
        takeaway=f"{ablation_conclusions(only)[0]} Chosen on dev, never on a test." if len(found) == 1 else "",
        blocks=blocks,
    )


def _grid(name: str, facts: Mapping[str, Any]) -> Grid:
    head, rows = ablation_table(facts)
    return Grid(
        title=name,
        about=(
            "Differences are from the best setting that reached the same share of its steps, in points of dev; in "
            "brackets their interval, which holds over all pairs and looks together."
        ),
        head=head,
        rows=rows,
        notes=ablation_conclusions(facts),
        text_columns=(len(head) - 1,),
    )


def _facts(path: Path) -> dict[str, Any] | None:
    """A finished ablation's record; None where there is none to be read, as for a model from elsewhere."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(facts, dict) and facts.get("schema") == "asr-headroom/ablation/1"
    return facts if known and "chosen" in facts else None
