"""Tables of many systems: one table per test set, each system beside its base.

Systems share a table only when they were tested on the same utterances with the same references, so that no
row can be compared with another test. Start with :func:`build_tables`; :func:`to_markdown` and
:func:`to_json` print them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asr_headroom.analysis.guard import GuardFacts, read_guard
from asr_headroom.analysis.harness import count_foreign, harness_alarms
from asr_headroom.analysis.measured import Memory, Speed, notes_of_run, read_memory, read_speed
from asr_headroom.analysis.nbest import list_size, oracle_counts
from asr_headroom.analysis.scoring import PairedResults, Score, compare_results, own_normalizer, score_results
from asr_headroom.errors import UsageError, did_you_mean
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import MIN_CLUSTERS_TO_JUDGE, ClusterBy
from asr_headroom.report.damage import damage_markdown, gain_and_damage
from asr_headroom.report.pairing import choose_bases, key_of_test, unique_names
from asr_headroom.report.table_text import table_markdown
from asr_headroom.report.verdict import comparison_json, describe_number, score_json
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer, normalizer_for_language
from asr_headroom.text.units import Unit

__all__ = [
    "TRAINING_STAGE",
    "Row",
    "TestTable",
    "build_tables",
    "holm_adjusted",
    "to_json",
    "to_markdown",
    "trained_once",
]

TRAINING_STAGE = "train "
"""How the ledger's names of a training's stages begin; all others are of the bench."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system on one test set.

    Attributes:
        name: of the system; unique in its table.
        results: what it is computed from.
        score: its rates.
        pair: compared with its base; None where it has none here.
        holm_p: p of the comparison, adjusted for the number of comparisons in all tables (Holm, 1979); None
            where there are too few clusters for a p-value.
        foreign: outputs in another language or script.
        alarms: why the harness is to be suspected before the system, as keys of
            :data:`asr_headroom.analysis.harness.ALARMS`.
        oracle: counts of the best of each N-best list; None where there are no lists.
        nbest: hypotheses in the longest list.
    """

    name: str
    results: Results
    score: Score
    pair: PairedResults | None = None
    holm_p: float | None = None
    foreign: int = 0
    alarms: tuple[str, ...] = ()
    oracle: ErrorCounts | None = None
    nbest: int = 0

    @property
    def parameters(self) -> int | None:
        """Number of weights; None where the run does not say."""
        return _whole(self.results.run.model.get("parameters"))

    @property
    def trainable_parameters(self) -> int | None:
        """Number of weights that training moved; None where the run does not say."""
        return _whole(self.results.run.model.get("trainable_parameters"))

    @property
    def outputs(self) -> str:
        """Loops, empty outputs and outputs cut at the limit, in per cent; a dash where a file cannot say."""
        found, total = self.score.outputs, self.score.num_utterances
        counts = (found.looped, found.empty, found.truncated)
        return " / ".join("–" if count is None else f"{100 * count / total:.1f}" for count in counts)

    @property
    def is_mismatch(self) -> bool:
        """Whether the system was not made for the language of the test: a baseline, not a competitor."""
        return bool(self.results.run.model.get("language_mismatch"))

    @property
    def speed(self) -> Speed | None:
        """How fast it transcribed; None where that was not measured."""
        return read_speed(self.results.run)

    @property
    def memory(self) -> Memory | None:
        """Most memory held while transcribing; None where that was not measured."""
        return read_memory(self.results.run)

    @property
    def guard(self) -> GuardFacts | None:
        """What training's guard measured; None where no guard was at work."""
        return read_guard(self.results.run)

    @property
    def minutes(self) -> float | None:
        """Wall-clock minutes of all stages, training included; None where no ledger was kept."""
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
        groups.setdefault(key_of_test(result), []).append(result)
    tables = [_build_table(group, normalizer, cluster, base) for group in groups.values()]
    return _with_holm(tables)


def to_markdown(tables: Sequence[TestTable]) -> str:
    """The tables as GitHub-flavoured Markdown."""
    parts = [table_markdown(table) for table in tables]
    if damage := gain_and_damage(tables):
        parts.append(damage_markdown(damage))
    if trained_once(tables):
        parts.append("The minutes of a training stand in every table of its system; they were spent once.\n")
    return "\n".join(parts)


def trained_once(tables: Sequence[TestTable]) -> bool:
    """Whether the minutes of one training stand in more than one table."""
    trained = [
        row.name
        for table in tables
        for row in table.rows
        if any(stage.startswith(TRAINING_STAGE) for stage in row.results.run.minutes)
    ]
    return len(set(trained)) < len(trained)


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
    names = unique_names(group)
    bases = choose_bases(group, base, notes)
    rows = []
    for index, (results, name) in enumerate(zip(group, names, strict=True)):
        results = _renamed(results, name)
        pair = None
        if (choice := bases[index]) is not None:
            other = _renamed(group[choice], names[choice])
            pair = compare_results(other, results, normalizer=normalizer, cluster=cluster)
        score = score_results(results, normalizer=normalizer, cluster=cluster)
        rows.append(_row(results, score, pair))
        notes += notes_of_run(results.run)
    data, fingerprint, content = key_of_test(group[0])
    return TestTable(
        # Prediction files of other people name no test.
        data=data or f"test of {describe_number(len(group[0].predictions), 'utterance')}",
        fingerprint=fingerprint or content[:12],
        normalizer=normalizer,
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _row(results: Results, score: Score, pair: PairedResults | None) -> Row:
    foreign = count_foreign(results)
    return Row(
        name=results.run.name,
        results=results,
        score=score,
        pair=pair,
        foreign=foreign,
        alarms=harness_alarms(
            results, score.normalizer, rate=score.estimate.rate, outputs=score.outputs, foreign=foreign
        ),
        oracle=oracle_counts(results, score.normalizer),
        nbest=list_size(results),
    )


def _renamed(results: Results, name: str) -> Results:
    return dataclasses.replace(results, run=dataclasses.replace(results.run, name=name))


def _with_holm(tables: Sequence[TestTable]) -> list[TestTable]:
    # What can have no verdict has no p-value that means anything, and takes no part in the correction.
    compared = [
        (id(row), row.pair.comparison.p_value)
        for table in tables
        for row in table.rows
        if row.pair is not None and row.pair.comparison.num_clusters >= MIN_CLUSTERS_TO_JUDGE
    ]
    adjusted = holm_adjusted([p_value for _, p_value in compared])
    holm = {row: p for (row, _), p in zip(compared, adjusted, strict=True)}
    return [
        dataclasses.replace(table, rows=tuple(dataclasses.replace(row, holm_p=holm.get(id(row))) for row in table.rows))
        for table in tables
    ]


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
        "rate": row.score.estimate.rate,
        "oracle_rate": row.oracle.error_rate if row.oracle else None,
        "nbest": row.nbest,
        "foreign": row.foreign,
        "alarms": list(row.alarms),
        "language_mismatch": row.is_mismatch,
        "real_time_factor": row.speed.real_time_factor if row.speed else None,
        "measured": dict(run.measured),
        "minutes": dict(run.minutes),
        "guard": run.model.get("guard"),
        "comparison": None if row.pair is None else {**comparison_json(row.pair), "holm_p": row.holm_p},
    }


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
