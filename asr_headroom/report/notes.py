"""The end of a page: minutes by stage, where every number comes from, and how to read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asr_headroom.analysis.scoring import decoding_windows
from asr_headroom.report.changed import Listing
from asr_headroom.report.clips import ClipShelf
from asr_headroom.report.delivered import describe_delivered
from asr_headroom.report.tables import TRAINING_STAGE, Row, TestTable
from asr_headroom.report.verdict import describe_number

__all__ = ["clip_note", "ledger", "provenance", "reading_notes"]


def clip_note(shelf: ClipShelf) -> str:
    """How many recordings the page holds, and how many it does not."""
    parts = []
    if shelf.uris or shelf.num_left_out:
        parts.append(f"{describe_number(len(shelf.uris), 'recording')} embedded")
    if shelf.num_left_out:
        parts.append(f"{shelf.num_left_out:,} left out to keep the page small (--max-clips)")
    if shelf.problems:
        parts.append(f"{len(shelf.problems):,} could not be read")
    return ", ".join(parts) + "." if parts else "No recordings: the runs name no audio files."


def ledger(tables: Sequence[TestTable]) -> list[dict[str, Any]]:
    """Minutes by stage of every system that kept a ledger; shares are of the longest, in per cent.

    Every test of a fine-tuned system carries the minutes of its one training: they are counted once.
    """
    systems: dict[tuple[Any, ...], list[tuple[str, dict[str, float]]]] = {}
    for table in tables:
        for row in table.rows:
            run = row.results.run
            if run.minutes:
                training = tuple(item for item in run.minutes.items() if item[0].startswith(TRAINING_STAGE))
                key = (row.name, run.model.get("id"), run.model.get("weights"), training)
                systems.setdefault(key, []).append((table.data, run.minutes))
    totals = [_stages(tests) for tests in systems.values()]
    longest = max((sum(stages.values()) for stages in totals), default=0.0) or 1.0
    return [
        {
            "name": key[0],
            "test": ", ".join(dict.fromkeys(test for test, _ in tests)),
            "total": f"{sum(stages.values()):.1f}",
            "stages": [
                {"name": stage, "minutes": _minutes(minutes), "share": f"{100 * minutes / longest:.2f}"}
                for stage, minutes in stages.items()
                if minutes
            ],
        }
        for (key, tests), stages in zip(systems.items(), totals, strict=True)
    ]


def _stages(tests: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
    """Minutes by stage: those of the training once, all others by test set where there are several."""
    stages: dict[str, float] = {}
    for test, minutes in tests:
        for stage, spent in minutes.items():
            if stage.startswith(TRAINING_STAGE):
                stages["train steps" if stage == "train train" else stage] = spent
            else:
                name = stage if len(tests) == 1 else f"{stage} {test}"
                stages[name] = stages.get(name, 0.0) + spent
    return stages


def _minutes(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes >= 0.05 else "<0.1"


def provenance(table: TestTable, row: Row) -> dict[str, Any]:
    """Everything needed to repeat a run, as label and text."""
    run, guard = row.results.run, row.guard
    facts: dict[str, Any] = {
        "status": run.status,
        # What the guard measured stands in the table and the plot of gain and damage.
        **{f"model {key}": value for key, value in run.model.items() if key != "guard"},
        "model guard": describe_delivered(guard) if guard else None,
        "parent": run.parent,
        **{f"data {key}": value for key, value in run.data.items()},
        "language": run.language,
        "decoding hash": run.decoding_hash,
        **{f"decoding {key}": value for key, value in run.decoding.items()},
        **{f"normalizer {key}": value for key, value in run.normalizer.items()},
        "seed": run.seed,
        **run.provenance,
        "schema": run.schema,
    }
    shown = [(key, _plain(value)) for key, value in facts.items() if value not in (None, "", {}, [])]
    return {"name": row.name, "test": table.data, "facts": shown, "warnings": row.score.warnings}


def reading_notes(tables: Sequence[TestTable], listings: Sequence[Listing]) -> Iterator[tuple[str, str]]:
    """What the numbers of these tables cover and what they do not."""
    rows = [row for table in tables for row in table.rows]
    populations = dict.fromkeys(row.score.population for row in rows)
    yield (
        "Intervals",
        "95 % percentile bootstrap over whole clusters, 10,000 resamples. They cover "
        f"{'; '.join(populations)}. They do not cover another training seed, another microphone or another "
        "domain.",
    )
    if len(listings) > 1:
        kept = [c for c in listings if c.row.holm_p is not None and c.row.holm_p < 0.05]
        names = "; ".join(f"{c.row.name} on {c.table.data}" for c in kept) or "none"
        yield (
            "Many comparisons",
            f"With {len(listings)} comparisons one in twenty looks real by chance. After Holm's correction "
            f"these remain below p = 0.05: {names}.",
        )
    windows = dict.fromkeys(json.dumps(decoding_windows(row.results.run), sort_keys=True) for row in rows)
    shown = "; ".join(_plain(json.loads(window)) or "not stated" for window in windows)
    differ = "The systems saw windows of different length: " if len(windows) > 1 else "Audio seen at once: "
    yield "Window", f"{differ}{shown}."
    normalizers = dict.fromkeys(f"{table.normalizer.id} ({table.normalizer.hash})" for table in tables)
    yield (
        "Normalizer",
        f"Reference and hypothesis both went through {', '.join(normalizers)} before errors were counted. "
        "The hash changes when the normalizer's behaviour does.",
    )
    if any(row.guard for row in rows):
        yield (
            "Guard",
            "Points between the base's weights and the fine-tuned ones were tried. What is delivered was chosen on the "
            "dev set, with the guard sets as a veto; the test sets took no part in that choice and are the better "
            "witnesses.",
        )
    yield (
        "Rates",
        "An error rate is the sum of errors over the sum of reference units of the whole test; it is not a "
        "mean over utterances.",
    )
    yield (
        "Detectable",
        "The smallest true difference that this test would show with 80 % power at the 5 % level. A smaller "
        "one may exist and not be seen.",
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
