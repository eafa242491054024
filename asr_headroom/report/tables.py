"""Tables of many systems: one table per test set, each system beside its base.

Systems share a table only when they were tested on the same utterances with the same references, so that no
row can be compared with another test. Start with :func:`build_tables`; :func:`to_markdown` and
:func:`to_json` print them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asr_headroom.analysis.scoring import PairedResults, Score, compare_results, own_normalizer, score_results
from asr_headroom.errors import UsageError, did_you_mean
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.report.verdict import (
    comparison_json,
    format_count,
    format_interval,
    format_p,
    format_percent,
    format_points,
    score_json,
    verdict_word,
)
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer, normalizer_for_language
from asr_headroom.text.units import Unit, rate_name

__all__ = ["Row", "TestTable", "build_tables", "holm_adjusted", "to_json", "to_markdown"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system on one test set.

    Attributes:
        name: of the system; unique in its table.
        results: what it is computed from.
        score: its rates.
        pair: compared with its base; None where it has none here.
        holm_p: p of the comparison, adjusted for the number of comparisons in all tables (Holm, 1979).
    """

    name: str
    results: Results
    score: Score
    pair: PairedResults | None = None
    holm_p: float | None = None

    @property
    def parameters(self) -> int | None:
        """Number of weights; None where the run does not say."""
        return _whole(self.results.run.model.get("parameters"))

    @property
    def trainable_parameters(self) -> int | None:
        """Number of weights that training moved; None where the run does not say."""
        return _whole(self.results.run.model.get("trainable_parameters"))

    @property
    def minutes(self) -> float | None:
        """Wall-clock minutes of all stages; None where no ledger was kept."""
        ledger = self.results.run.minutes
        return sum(ledger.values()) if ledger else None


@dataclass(frozen=True, kw_only=True)
class TestTable:
    """All systems on one test set.

    Attributes:
        data: name of the test set.
        fingerprint: of ids and references.
        normalizer: that every row was scored with.
        rows: systems in the order given.
        notes: what a reader of the table has to know.
    """

    __test__ = False  # the name is no test case to pytest

    data: str
    fingerprint: str
    normalizer: Normalizer
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        """What errors are counted in."""
        return self.normalizer.unit

    @property
    def num_utterances(self) -> int:
        """Utterances of the test set."""
        return self.rows[0].score.num_utterances


def build_tables(
    results: Sequence[Results],
    *,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    base: str | None = None,
) -> list[TestTable]:
    """One table per test set, in order of first appearance.

    The base of a run is the one its ``parent`` names. Where no run of a table has its parent there, two
    systems are compared with each other, the first as base.

    Args:
        results: of all runs.
        normalizer: None takes the runs' own, or the language's default where those differ.
        cluster: what intervals resample as a whole.
        base: name of the system to compare all others with, instead of their parents.

    Raises:
        UsageError: no results, or no system has the name ``base``.
        ResultsError: a run holds no predictions.
    """
    if not results:
        raise UsageError("no results to show; give at least one run directory")
    names = sorted({r.run.name for r in results})
    if base is not None and base not in names:
        raise UsageError(f"no system is called '{base}'{did_you_mean(base, names)} (there are: {', '.join(names)})")
    groups: dict[tuple[str, str, str], list[Results]] = {}
    for result in results:
        groups.setdefault(_test_key(result), []).append(result)
    tables = [_build_table(group, normalizer, cluster, base) for group in groups.values()]
    return _with_holm(tables)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm, 1979), in their own order.

    >>> holm_adjusted([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def to_markdown(tables: Sequence[TestTable]) -> str:
    """The tables as GitHub-flavoured Markdown."""
    return "\n".join(_table_markdown(table) for table in tables)


def to_json(tables: Sequence[TestTable]) -> list[dict[str, Any]]:
    """The tables as plain values; rates are fractions."""
    return [
        {
            "data": table.data,
            "fingerprint": table.fingerprint,
            "n": table.num_utterances,
            "unit": table.unit,
            "normalizer": {"id": table.normalizer.id, "hash": table.normalizer.hash},
            "notes": list(table.notes),
            "rows": [_row_json(row) for row in table.rows],
        }
        for table in tables
    ]


def _test_key(results: Results) -> tuple[str, str, str]:
    """What makes two tests the same: the declared name and fingerprint, and the rows really there."""
    digest = hashlib.sha256()
    for pair in sorted((p.id, p.reference) for p in results.predictions):
        digest.update(repr(pair).encode())
    data = results.run.data
    return str(data.get("name", "")), str(data.get("fingerprint", "")), digest.hexdigest()


def _build_table(
    group: Sequence[Results], normalizer: Normalizer | None, cluster: ClusterBy, base: str | None
) -> TestTable:
    notes: list[str] = []
    if normalizer is None:
        own = {own_normalizer(results).id: own_normalizer(results) for results in group}
        normalizer = next(iter(own.values()))
        if len(own) > 1:
            normalizer = normalizer_for_language(group[0].run.language)
            notes.append(
                f"the runs were scored with different normalizers ({', '.join(sorted(own))}); "
                f"all are shown under {normalizer.id}"
            )
    names = _unique_names(group)
    bases = _choose_bases(group, base, notes)
    rows = []
    for index, (results, name) in enumerate(zip(group, names, strict=True)):
        results = _renamed(results, name)
        pair = None
        if (choice := bases[index]) is not None:
            other = _renamed(group[choice], names[choice])
            pair = compare_results(other, results, normalizer=normalizer, cluster=cluster)
        score = score_results(results, normalizer=normalizer, cluster=cluster)
        rows.append(Row(name=name, results=results, score=score, pair=pair))
    data, fingerprint, content = _test_key(group[0])
    return TestTable(
        data=data or "unnamed test set",
        fingerprint=fingerprint or content[:12],
        normalizer=normalizer,
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _renamed(results: Results, name: str) -> Results:
    return dataclasses.replace(results, run=dataclasses.replace(results.run, name=name))


def _unique_names(group: Sequence[Results]) -> list[str]:
    """Names of the systems; those that occur twice are told apart by window, by directory, or by a number."""
    times = Counter(results.run.name for results in group)
    windows = {name: [r.run.decoding.get("window") for r in group if r.run.name == name] for name in times}
    names: list[str] = []
    for index, results in enumerate(group):
        name = results.run.name
        if times[name] > 1 and None not in windows[name] and len(set(windows[name])) == times[name]:
            name = f"{name} [window {results.run.decoding['window']}]"
        elif times[name] > 1:
            name = f"{name} [{results.path.name if results.path else index + 1}]"
            name = name if name not in names else f"{name} {index + 1}"
        names.append(name)
    return names


def _choose_bases(group: Sequence[Results], base: str | None, notes: list[str]) -> list[int | None]:
    """[systems] index of each system's base in the group."""
    index = {results.run.name: i for i, results in reversed(list(enumerate(group)))}
    if base is not None:
        return [index.get(base) if results.run.name != base else None for results in group]
    parents = [results.run.parent for results in group]
    # A parent that was benched twice is taken as it was decoded with the child's settings.
    alike = {(r.run.name, r.run.decoding_hash): i for i, r in reversed(list(enumerate(group)))}
    bases = [
        alike.get((p, r.run.decoding_hash), index.get(p)) if p is not None and p != r.run.name else None
        for p, r in zip(parents, group, strict=True)
    ]
    if all(choice is None for choice in bases) and len(group) == 2:
        notes.append(f"neither run names the other as its parent; '{group[0].run.name}' is taken as the base")
        return [None, 0]
    orphans: dict[str, list[str]] = {}
    for results, choice in zip(group, bases, strict=True):
        if results.run.parent is not None and choice is None:
            orphans.setdefault(results.run.parent, []).append(results.run.name)
    for parent, names in orphans.items():
        notes.append(
            f"{', '.join(names)}: no difference is given, because the parent '{parent}' is not among these runs "
            "on these utterances"
        )
    return bases


def _with_holm(tables: Sequence[TestTable]) -> list[TestTable]:
    compared = [row for table in tables for row in table.rows if row.pair is not None]
    adjusted = holm_adjusted([row.pair.comparison.p_value for row in compared if row.pair is not None])
    holm = {id(row): p for row, p in zip(compared, adjusted, strict=True)}
    return [
        dataclasses.replace(table, rows=tuple(dataclasses.replace(row, holm_p=holm.get(id(row))) for row in table.rows))
        for table in tables
    ]


def _table_markdown(table: TestTable) -> str:
    name = rate_name(table.unit)
    warnings = dict.fromkeys(warning for row in table.rows for warning in row.score.warnings)
    pairs = [row.pair for row in table.rows if row.pair is not None]
    for pair in pairs:
        warnings |= dict.fromkeys(
            f"{pair.system.run.name} against {pair.base.run.name}: {warning}"
            for warning in pair.warnings
            if warning not in warnings
        )
    populations = dict.fromkeys(f"differences hold for {pair.comparison.population}" for pair in pairs)
    header = (
        "system", "parameters", "trained", f"{name} (95 % interval)", "difference to base, points", "verdict",
        "detectable", "loops / empty / cut", "minutes",
    )  # fmt: skip
    lines = [
        f"### {_cell(table.data)}",
        "",
        f"{table.num_utterances:,} utterances, fingerprint {table.fingerprint}, "
        f"normalizer {table.normalizer.id} ({table.normalizer.hash})",
        "",
        "| " + " | ".join(header) + " |",
        "|---" + "|---:" * (len(header) - 1) + "|",
        *("| " + " | ".join(_cell(text) for text in _row_cells(row)) + " |" for row in table.rows),
        "",
        *(f"- {_cell(note)}" for note in (*populations, *table.notes, *warnings)),
    ]
    return "\n".join(lines) + "\n"


def _row_cells(row: Row) -> list[str]:
    estimate, total = row.score.estimate, row.score.num_utterances
    shares = (row.score.looped, row.score.empty, row.score.truncated)
    difference = verdict = detectable = "–"
    if row.pair is not None:
        c = row.pair.comparison
        interval = format_interval(c.interval, signed=True)
        difference = f"{format_points(c.difference)} ({interval}), {format_p(c.p_value)}"
        verdict, detectable = verdict_word(row.pair), f"{100 * c.minimal_detectable_effect:.2f}"
    return [
        row.name,
        "–" if row.parameters is None else format_count(row.parameters),
        "–" if row.trainable_parameters is None else format_count(row.trainable_parameters),
        f"{format_percent(estimate.rate)} ({format_interval(estimate.interval)})",
        difference,
        verdict,
        detectable,
        " / ".join(f"{100 * share / total:.1f}" for share in shares) + " %",
        "–" if row.minutes is None else f"{row.minutes:.1f}",
    ]


def _cell(text: str) -> str:
    """Text that cannot end a cell or a row, nor start HTML."""
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)


def _row_json(row: Row) -> dict[str, Any]:
    run = row.results.run
    return {
        **score_json(row.score),
        "name": row.name,
        "language": run.language,
        "model_id": run.model.get("id"),
        "family": run.model.get("family"),
        "method": run.model.get("method"),
        "parameters": row.parameters,
        "trainable_parameters": row.trainable_parameters,
        "minutes": dict(run.minutes),
        "comparison": None if row.pair is None else {**comparison_json(row.pair), "holm_p": row.holm_p},
    }


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
