"""A model card for the hub: ``model-index`` for machines, and for people what was measured, how, and what it cost.

A number stands nowhere without its N, interval, normaliser and decoding. Start with :func:`write_model_card`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from asr_headroom.errors import UsageError, did_you_mean
from asr_headroom.report.damage import damage_markdown, gain_and_damage, markdown_cell
from asr_headroom.report.delivered import describe_delivered
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import (
    describe_number,
    format_count,
    format_interval,
    format_p,
    format_percent,
    format_points,
    has_interval,
    verdict_headline,
    verdict_word,
)
from asr_headroom.text.units import primary_subtag, rate_name

__all__ = ["choose_system", "write_model_card"]

_TASK = "automatic-speech-recognition"


def choose_system(tables: Sequence[TestTable], name: str | None = None) -> str:
    """The system that a card is about: the one named, else the only one that was fine-tuned, else the only one.

    Raises:
        UsageError: there is no such system, or several could be meant.
    """
    names = list(dict.fromkeys(row.name for table in tables for row in table.rows))
    if name is not None:
        if name not in names:
            raise UsageError(f"no system is called '{name}'{did_you_mean(name, names)} (there are: {', '.join(names)})")
        return name
    tuned = list(dict.fromkeys(row.name for table in tables for row in table.rows if row.pair is not None))
    candidates = tuned or names
    if len(candidates) > 1:
        raise UsageError(f"a model card is about one system; say which of {', '.join(candidates)} with --card-of")
    return candidates[0]


def write_model_card(
    tables: Sequence[TestTable],
    system: str,
    *,
    licence: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> str:
    """The card of one system: YAML between dashes, then Markdown.

    Args:
        tables: of all tests.
        system: its name in them.
        licence: of the model, an id of the hub such as ``apache-2.0``; None takes what the run says, if anything.
        training: what is known of it: ``budget``, ``train_data``, ``learning_rate`` …
    """
    tests = [(table, row) for table in tables for row in table.rows if row.name == system]
    licence = licence or tests[0][1].results.run.model.get("licence")
    header = yaml.safe_dump(_metadata(tests, system, licence), sort_keys=False, allow_unicode=True)
    body = "\n".join(_body(tables, tests, system, licence, training or {}))
    return f"---\n{header}---\n\n{body}\n"


def _metadata(tests: Sequence[tuple[TestTable, Row]], system: str, licence: str | None) -> dict[str, Any]:
    run = tests[0][1].results.run
    languages = dict.fromkeys(primary_subtag(r.results.run.language) for _, r in tests if r.results.run.language)
    base = run.model.get("base")
    return {
        **({"language": list(languages)} if languages else {}),
        **({"license": licence} if licence else {}),
        # A folder of somebody's machine is no model of the hub.
        **({"base_model": base} if _is_hub_id(base) else {}),
        "pipeline_tag": _TASK,
        "tags": ["asr-headroom", *([str(run.model["method"])] if run.model.get("method") else [])],
        "metrics": list(dict.fromkeys(rate_name(table.unit).lower() for table, _ in tests)),
        "model-index": [{"name": system, "results": [_result(table, row) for table, row in tests]}],
    }


def _result(table: TestTable, row: Row) -> dict[str, Any]:
    estimate, name = row.score.estimate, rate_name(table.unit)
    interval = estimate.interval
    ends = {"ci_low": round(100 * interval.low, 2), "ci_high": round(100 * interval.high, 2)}
    source = str(row.results.run.data.get("source") or "")
    return {
        "task": {"type": _TASK, "name": "Automatic Speech Recognition"},
        "dataset": {"name": table.data, "type": source if _is_hub_id(source.split(":")[0]) else _slug(table.data)},
        "metrics": [
            {
                "type": name.lower(),
                "name": name,
                "value": round(100 * estimate.rate, 2),
                "args": {
                    "n": estimate.num_utterances,
                    **(ends if has_interval(estimate) else {}),
                    "normalizer": f"{table.normalizer.id} ({table.normalizer.hash})",
                    "decoding_hash": row.results.run.decoding_hash or "unknown",
                },
            }
        ],
    }


def _body(
    tables: Sequence[TestTable],
    tests: Sequence[tuple[TestTable, Row]],
    system: str,
    licence: str | None,
    training: Mapping[str, Any],
) -> Iterator[str]:
    yield f"# {_plain(system)}"
    yield ""
    for table, row in tests:
        if row.pair is not None:
            yield f"**{_plain(verdict_headline(row.pair))}** on {_plain(table.data)}."
            yield ""
    yield from _results(tests)
    yield from _damage(tables, system)
    yield from _section("How it was measured", _measured(tests))
    yield from _section("How it was made", _made(tests[0][1], licence, training))
    yield from _section("Provenance", _provenance(tests[0][1]))
    yield "Written by `asr-headroom report`; every number is recomputed from stored predictions."


def _results(tests: Sequence[tuple[TestTable, Row]]) -> Iterator[str]:
    yield "## Results"
    yield ""
    yield "| test | N | measure | this (95 % interval) | base | difference, points (95 % interval) | p | verdict |"
    yield "|---|---:|---|---:|---:|---:|---:|---|"
    for table, row in tests:
        yield "| " + " | ".join(markdown_cell(_plain(cell)) for cell in _cells(table, row)) + " |"
    yield ""


def _cells(table: TestTable, row: Row) -> list[str]:
    estimate, pair = row.score.estimate, row.pair
    rate = format_percent(estimate.rate)
    if has_interval(estimate):
        rate += f" ({format_interval(estimate.interval)})"
    cells = [table.data, f"{estimate.num_utterances:,}", rate_name(table.unit), rate]
    if pair is None:
        return [*cells, "–", "–", "–", "–"]
    c = pair.comparison
    difference = format_points(c.difference)
    if has_interval(c):
        difference += f" ({format_interval(c.interval, signed=True)})"
    p_value = format_p(c.p_value).removeprefix("p = ") if c.num_clusters > 1 else "–"
    return [*cells, f"{format_percent(c.base)} ({pair.base.run.name})", difference, p_value, verdict_word(pair)]


def _damage(tables: Sequence[TestTable], system: str) -> Iterator[str]:
    """The table of gain and damage, of this system alone."""
    own = [
        table.__class__(
            data=table.data,
            fingerprint=table.fingerprint,
            normalizer=table.normalizer,
            rows=tuple(row for row in table.rows if row.name == system),
        )
        for table in tables
        if any(row.name == system for row in table.rows)
    ]
    if (found := gain_and_damage(own)) is not None:
        yield damage_markdown(found).replace("### ", "## ", 1)


def _measured(tests: Sequence[tuple[TestTable, Row]]) -> Iterator[tuple[str, str]]:
    for table, row in tests:
        estimate, run = row.score.estimate, row.results.run
        clusters = describe_number(estimate.num_clusters, "cluster")
        where = table.data if len(tests) > 1 else "test"
        yield (
            where,
            (
                f"{describe_number(estimate.num_utterances, 'utterance')} in {clusters} (by {estimate.cluster_by}), "
                f"fingerprint {table.fingerprint}; intervals hold for {row.score.population}"
            ),
        )
        yield "normalizer", f"{table.normalizer.id}, hash {table.normalizer.hash}"
        options = ", ".join(f"{key} {value}" for key, value in run.decoding.items())
        yield "decoding", f"hash {run.decoding_hash or 'unknown'}" + (f" ({options})" if options else "")
        if row.pair is not None and has_interval(row.pair.comparison):
            effect = 100 * row.pair.comparison.minimal_detectable_effect
            yield "detectable", f"{effect:.2f} points is the smallest true difference that the test would show"
        for warning in dict.fromkeys((*row.score.warnings, *(row.pair.warnings if row.pair else ()))):
            yield "warning", warning


def _made(row: Row, licence: str | None, training: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    run = row.results.run
    base = run.model.get("base") or run.parent
    yield "base model", str(base) if base is None or _is_hub_id(base) else PurePath(str(base)).name
    yield "method", str(run.model.get("method") or "none: weights as published")
    if row.parameters:
        trained = f", {format_count(row.trainable_parameters)} trained" if row.trainable_parameters else ""
        yield "weights", format_count(row.parameters) + trained
    yield from ((key.replace("_", " "), str(value)) for key, value in training.items() if value not in (None, ""))
    minutes = {stage: spent for stage, spent in run.minutes.items() if stage.startswith("train ")}
    if minutes:
        yield "minutes of training", f"{sum(minutes.values()):.1f}"
    if row.guard is not None:
        yield "guard", describe_delivered(row.guard)
    yield "licence", licence or "not stated; that of the base model applies"


def _provenance(row: Row) -> Iterator[tuple[str, str]]:
    run = row.results.run
    facts = {"weights": run.model.get("weights"), "seed": run.seed, **run.provenance}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {inner}" for name, inner in value.items())
        if value not in (None, ""):
            yield key, str(value)


def _section(title: str, facts: Iterator[tuple[str, str]]) -> Iterator[str]:
    found = list(facts)
    if found:
        yield f"## {title}"
        yield ""
        yield from (f"- {label}: {_plain(text)}" for label, text in found)
        yield ""


def _plain(text: str) -> str:
    """Text that neither breaks a line nor starts HTML."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()))


def _is_hub_id(name: Any) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name))


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name.lower()).strip("-") or "unnamed"
