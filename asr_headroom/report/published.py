"""Published values beside obtained ones: what somebody printed, what these predictions give, and whether they agree.

A published value is no measurement of ours: it is compared with our interval, never put into a table of ours. Start
with :func:`load_published` and :func:`set_beside`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from asr_headroom.analysis.scoring import clusters_of
from asr_headroom.errors import ConfigError, did_you_mean
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import ClusterBy, Comparison, Interval, compare_rates
from asr_headroom.report.tables import Row, TestTable
from asr_headroom.report.verdict import has_interval
from asr_headroom.text.normalize import Normalizer, get_normalizer
from asr_headroom.text.units import Unit

__all__ = ["Beside", "Metric", "Published", "load_published", "set_beside"]

Metric = Literal["WER", "CER", "MER"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published value.

    Attributes:
        model: name of the system in our tables, or its model id, with or without the owner.
        metric: of the value.
        value: as a fraction.
        digits: decimals of the fraction that were printed.
        test: name of the test set; None for any.
        normalizer: id of ours that scores as the publication did; None takes the table's.
        n: utterances that it was measured on, where the publication says so.
        source: where it stands.
    """

    model: str
    metric: Metric
    value: float
    digits: int
    test: str | None = None
    normalizer: str | None = None
    n: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A published value and what these predictions give.

    Attributes:
        published: what was printed.
        name: of the system here; None where no system of the tables is meant, and nothing else is known.
        test: of the table.
        normalizer: id that the obtained value was counted with.
        obtained: rate as a fraction.
        interval: of the obtained rate; None where there is none.
        n: utterances here.
    """

    published: Published
    name: str | None = None
    test: str = ""
    normalizer: str = ""
    obtained: float = math.nan
    interval: Interval | None = None
    n: int = 0

    @property
    def difference(self) -> float:
        """Obtained minus published."""
        return self.obtained - self.published.value

    @property
    def same_digits(self) -> bool:
        """Whether the obtained rate, rounded as the published one was, is the same."""
        return abs(self.difference) <= 0.5 * 10**-self.published.digits + 1e-12

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies in our interval; None without one."""
        return None if self.interval is None else self.published.value in self.interval

    @property
    def other_size(self) -> bool:
        """Whether it was measured on another number of utterances."""
        return self.published.n is not None and self.name is not None and self.published.n != self.n


def load_published(path: str | Path) -> tuple[Published, ...]:
    """Reads a YAML or JSON file: a list of rows, or a mapping that holds one under ``rows``.

    A row needs ``model``, ``metric`` and ``value`` (``0.1386``, or ``13.86 %``); ``test``, ``normalizer``, ``n`` and
    ``source`` are optional, further keys are ignored.

    Raises:
        ConfigError: the file cannot be read, or rows are malformed; all problems are listed.
    """
    try:
        plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    rows = plain.get("rows") if isinstance(plain, dict) else plain
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{path}: holds no list of published values; write 'rows:' and under it model, metric, value")
    values, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            values.append(_published(row))
        except (ConfigError, TypeError, ValueError) as error:
            problems.append(f"{path}: row {number}: {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(values)


def set_beside(
    tables: Sequence[TestTable], published: Sequence[Published], *, cluster: ClusterBy = "auto"
) -> list[Beside]:
    """Every published value with what these predictions give, in the order published; see :class:`Beside`.

    A value whose model is not in the tables comes back without a name, so that nothing is dropped in silence.

    Args:
        tables: of all tests.
        published: what was printed.
        cluster: what intervals resample as a whole.
    """
    beside = []
    for value in published:
        found = [
            _beside(value, table, row, cluster)
            for table in tables
            for row in table.rows
            if value.test in (None, table.data) and _is_meant(value.model, row)
        ]
        beside += found or [Beside(published=value)]
    return beside


def _is_meant(model: str, row: Row) -> bool:
    identity = str(row.results.run.model.get("id") or "")
    # A fine-tuned system often carries its base's id, so an id speaks for a system only where no parent is named.
    ids = (identity, identity.rpartition("/")[2]) if identity and row.results.run.parent is None else ()
    return model == row.name or (model in ids and not row.results.run.model.get("method"))


def _beside(value: Published, table: TestTable, row: Row, cluster: ClusterBy) -> Beside:
    normalizer = get_normalizer(value.normalizer) if value.normalizer else table.normalizer
    estimate = _estimate(row, value.metric, normalizer, cluster)
    return Beside(
        published=value,
        name=row.name,
        test=table.data,
        normalizer=normalizer.id,
        obtained=estimate.system,
        interval=estimate.interval if has_interval(estimate) else None,
        n=estimate.num_utterances,
    )


def _estimate(row: Row, metric: Metric, normalizer: Normalizer, cluster: ClusterBy) -> Comparison:
    """The rate as the difference to a system without errors, which has the rate's own interval."""
    results = dataclasses.replace(row.results, predictions=sorted(row.results.predictions, key=lambda p: p.id))
    units: dict[Metric, Unit] = {"WER": "word", "CER": "character", "MER": normalizer.unit}
    counts = results.counts_in(normalizer, units[metric])
    exposure = [_exposure(count, metric) for count in counts]
    errors = [count.errors for count in counts]
    return compare_rates([0] * len(errors), errors, exposure, clusters_of((results,), normalizer, cluster))


def _exposure(count: ErrorCounts, metric: Metric) -> int:
    return count.reference_length + (count.insertions if metric == "MER" else 0)


def _published(row: Any) -> Published:
    if not isinstance(row, Mapping):
        raise ConfigError(f"is {row!r}; write model, metric and value")
    missing = [key for key in ("model", "metric", "value") if row.get(key) in (None, "")]
    if missing:
        raise ConfigError(f"{' and '.join(missing)} missing; a row needs model, metric and value")
    metric = str(row["metric"]).upper()
    if metric not in get_args(Metric):
        known = get_args(Metric)
        raise ConfigError(f"metric is {row['metric']!r}{did_you_mean(metric, known)} (there are: {', '.join(known)})")
    if row.get("normalizer"):
        get_normalizer(str(row["normalizer"]))
    value, digits = _fraction(row["value"], str(row.get("unit") or ""))
    number = row.get("n")
    return Published(
        model=str(row["model"]),
        metric=metric,  # type: ignore[arg-type]
        value=value,
        digits=digits,
        test=str(row["test"]) if row.get("test") else None,
        normalizer=str(row["normalizer"]) if row.get("normalizer") else None,
        n=int(number) if number is not None else None,
        source=str(row.get("source") or ""),
    )


def _fraction(value: Any, unit: str) -> tuple[float, int]:
    """A value as a fraction, and how many decimals of it were printed."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"value is {value!r}; write a number such as 0.1386 or 13.86 %")
    match = re.fullmatch(r"\s*(\d+(?:\.(\d*))?(?:e-?\d+)?)\s*(%?)\s*", str(value))
    if match is None:
        raise ConfigError(f"value is {value!r}; write a number such as 0.1386 or 13.86 %")
    number, decimals = float(match[1]), len(match[2] or "")
    percent = match[3] == "%" or unit.strip().lower() in ("%", "percent", "per cent")
    if not percent and number > 5:
        raise ConfigError(f"value is {value!r}, an error rate of {100 * number:.0f} %; write '{value} %' or a fraction")
    return (number / 100, decimals + 2) if percent else (number, decimals)
