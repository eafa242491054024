"""One table of systems as Markdown: which columns it has, and what must be read with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from asr_headroom.analysis.harness import ALARMS
from asr_headroom.report.damage import markdown_cell
from asr_headroom.report.delivered import describe_delivered
from asr_headroom.report.verdict import (
    format_count,
    format_interval,
    format_p,
    format_percent,
    format_points,
    has_interval,
    verdict_word,
)
from asr_headroom.text.units import rate_name

if TYPE_CHECKING:
    from asr_headroom.report.tables import Row, TestTable

__all__ = ["describe_settings", "format_memory", "format_speed", "table_markdown"]


class _Column(NamedTuple):
    """One column: its head, and its text for a row."""

    head: str
    cell: Callable[[Row], str]


def table_markdown(table: TestTable) -> str:
    """The table with its notes as GitHub-flavoured Markdown."""
    warnings = dict.fromkeys(warning for row in table.rows for warning in row.score.warnings)
    pairs = [row.pair for row in table.rows if row.pair is not None]
    for pair in pairs:
        warnings |= dict.fromkeys(
            f"{pair.system.run.name} against {pair.base.run.name}: {warning}"
            for warning in pair.warnings
            if warning not in warnings
        )
    populations = dict.fromkeys(f"differences hold for {pair.comparison.population}" for pair in pairs)
    delivered = [f"{row.name}: {describe_delivered(row.guard)}" for row in table.rows if row.guard]
    columns = _columns(table)
    lines = [
        f"### {markdown_cell(table.data)}",
        "",
        f"{table.num_utterances:,} utterances, fingerprint {table.fingerprint}, "
        f"normalizer {table.normalizer.id} ({table.normalizer.hash})",
        "",
        "| " + " | ".join(column.head for column in columns) + " |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(markdown_cell(column.cell(row)) for column in columns) + " |" for row in table.rows),
        "",
        *(f"- {markdown_cell(note)}" for note in (*describe_settings(table), *populations, *delivered)),
        *(f"- {markdown_cell(note)}" for note in dict.fromkeys((*table.notes, *warnings))),
    ]
    return "\n".join(lines) + "\n"


def describe_settings(table: TestTable) -> list[str]:
    """How speed and memory were measured, what makes them less comparable than they look, and what alarms mean."""
    speeds = [row.speed for row in table.rows if row.speed]
    notes = []
    if speeds:
        notes.append(
            "real-time factor: processing time over audio duration, reading of recordings included, the first batch of "
            "each session and N-best lists not; "
            + _settings([f"batches of up to {s.batch_size} on {_device(s.device, s.threads)}" for s in speeds])
        )
    kinds = {row.memory.of for row in table.rows if row.memory}
    if kinds:
        words = {"process": "the whole process, Python and its libraries included"}
        notes.append(f"memory: the most while transcribing, of {_settings(sorted(words.get(k, k) for k in kinds))}")
    if speeds or kinds:
        notes.append("foreign: outputs in another language or script than they should be in")
    for kind, meaning in ALARMS.items():
        named = [row.name for row in table.rows if kind in row.alarms]
        if named:
            notes.append(
                f"harness alarm '{kind}' ({', '.join(named)}): {meaning}; suspect the harness before the model"
            )
    if len({speed.setting for speed in speeds}) > 1:
        notes.append("real-time factors of different settings are not comparable; each cell names its own")
    return notes


def format_speed(row: Row, *, with_setting: bool) -> str:
    """The real-time factor, with its setting where the rows of a table differ in it; a dash where there is none."""
    if row.speed is None:
        return "–"
    text = f"{row.speed.real_time_factor:.3g}"
    return f"{text} ({row.speed.batch_size}, {_device(row.speed.device, row.speed.threads)})" if with_setting else text


def format_memory(row: Row) -> str:
    """Gigabytes; a dash where nothing was measured.

    >>> class Other:
    ...     memory = None
    >>> format_memory(Other())
    '–'
    """
    return "–" if row.memory is None else f"{row.memory.peak_bytes / 1e9:.2f} GB"


def _columns(table: TestTable) -> list[_Column]:
    """A table of results alone has all the columns of a comparison; a bench's those that some row fills."""
    rows = table.rows
    is_bench = any(row.speed or row.memory for row in rows)
    is_trained = not is_bench or any(row.trainable_parameters is not None for row in rows)
    is_compared = not is_bench or any(row.pair for row in rows)
    many_settings = len({row.speed.setting for row in rows if row.speed}) > 1
    lists = max(row.nbest for row in rows)
    return [
        _Column("system", _name),
        _Column("parameters", lambda row: _count(row.parameters)),
        *[_Column("trained", lambda row: _count(row.trainable_parameters))] * is_trained,
        _Column(f"{rate_name(table.unit)} (95 % interval)", _rate),
        *[_Column(f"best of {lists}", _oracle)] * bool(lists),
        *[
            _Column("difference to base, points", _difference),
            _Column("verdict", lambda row: verdict_word(row.pair) if row.pair else "–"),
            _Column("detectable", _detectable),
        ]
        * is_compared,
        _Column("loops / empty / cut", lambda row: f"{row.outputs} %"),
        *[
            _Column("foreign", lambda row: f"{100 * row.foreign / row.score.num_utterances:.1f} %"),
            _Column("real-time factor", lambda row: format_speed(row, with_setting=many_settings)),
            _Column("memory", format_memory),
        ]
        * is_bench,
        *[_Column("harness alarm", _alarms)] * any(row.alarms for row in rows),
        _Column("minutes", lambda row: "–" if row.minutes is None else f"{row.minutes:.1f}"),
    ]


def _name(row: Row) -> str:
    language = row.results.run.language or "this language"
    return f"{row.name} (not made for {language})" if row.is_mismatch else row.name


def _count(number: int | None) -> str:
    return "–" if number is None else format_count(number)


def _rate(row: Row) -> str:
    estimate = row.score.estimate
    interval = format_interval(estimate.interval) if has_interval(estimate) else "no interval"
    return f"{format_percent(estimate.rate)} ({interval})"


def _oracle(row: Row) -> str:
    return "–" if row.oracle is None else format_percent(row.oracle.error_rate)


def _difference(row: Row) -> str:
    if row.pair is None:
        return "–"
    c = row.pair.comparison
    text = format_points(c.difference)
    return f"{text} ({format_interval(c.interval, signed=True)}), {format_p(c.p_value)}" if has_interval(c) else text


def _detectable(row: Row) -> str:
    if row.pair is None or not has_interval(row.pair.comparison):
        return "–"
    return f"{100 * row.pair.comparison.minimal_detectable_effect:.2f}"


def _alarms(row: Row) -> str:
    return ", ".join(row.alarms) or "–"


def _device(device: str, threads: int | None) -> str:
    if device != "cpu":
        return "the GPU"
    return "the CPU" if threads is None else f"{threads} CPU thread{'s' if threads > 1 else ''}"


def _settings(texts: list[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
