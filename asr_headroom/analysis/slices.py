"""Error rates of parts of a test: by speaker, duration, language, length, or any column of the manifest.

A slice with few clusters shows how many there are and no rate, as such a rate would be a story about three people. The
paired differences of all slices are one family of tests and are adjusted together (Holm, 1979): with forty slices, two
differ at the 5 % level by chance. What a slice shows is where an error sits, not why it does.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from asr_headroom.errors import ResultsError, UsageError, did_you_mean
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import (
    MIN_CLUSTERS,
    ClusterBy,
    Clustering,
    Comparison,
    RateEstimate,
    choose_clusters,
    compare_systems,
    estimate_rate,
)
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import unit_name

__all__ = ["UNKNOWN", "Column", "Slice", "Slices", "slice_results"]

UNKNOWN = "unknown"
"""Label of the utterances that have no value in a column."""

_NUM_BANDS = 4
"""Quantile bands of a numeric column: quarters."""
_MAX_NAMED_NUMBERS = 6
"""A numeric column with at most this many values (a distance, a channel) is sliced by value."""
_POSITIONS = ("start", "end")
"""Where a segment lies in its recording; it says how a file was cut, not how it sounds."""

_OF_THE_OUTPUT = frozenset(
    (
        *("hyp", "hypothesis", "pred", "prediction", "predicted", "output", "decoded", "recognized", "recognised"),
        *("wer", "cer", "mer", "ter", "errors", "edits", "substitutions", "deletions", "insertions", "hits", "correct"),
        *("confidence", "score", "logprob", "rtf", "latency", "norm", "normalized", "normalised"),
    )
)
"""Words in the names of columns that somebody's scoring left behind."""

Value = str | float | None


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The utterances that share a value, or a band of values, in a column.

    Attributes:
        column: its name.
        label: the value, the band or :data:`UNKNOWN`.
        num_utterances: in the slice.
        num_clusters: that an interval over the slice would resample.
        reference_length: in the normaliser's unit.
        base: rate of the base with its interval; None with too few clusters or no reference.
        comparison: of the system with the base in this slice; None without a system, or where ``base`` is None.
        holm_p: p of the comparison, adjusted for all slices of the report.
    """

    column: str
    label: str
    num_utterances: int
    num_clusters: int
    reference_length: int
    base: RateEstimate | None = None
    comparison: Comparison | None = None
    holm_p: float | None = None

    @property
    def tells(self) -> bool:
        """Whether the two systems differ here, other slices accounted for."""
        return (
            self.comparison is not None
            and self.holm_p is not None
            and self.holm_p < 0.05
            and self.comparison.verdict != "cannot tell"
        )


@dataclass(frozen=True, kw_only=True)
class Column:
    """One way to cut the test.

    Attributes:
        name: ``speaker``, ``language``, ``duration`` (seconds), ``reference words`` (or characters), or a column of
            the manifest.
        kind: ``names``: one slice for each value, the largest first; ``bands``: quantile bands, from low to high.
        slices: every utterance is in exactly one.
    """

    name: str
    kind: Literal["names", "bands"]
    slices: tuple[Slice, ...]


@dataclass(frozen=True, kw_only=True)
class Slices:
    """A test cut in all ways that were asked for, or that it allows.

    Attributes:
        columns: in the order asked for, or of the data.
        left_out: columns that no slice would come from, with the reason.
        min_clusters: below which a slice shows no rate.
    """

    columns: tuple[Column, ...]
    left_out: tuple[tuple[str, str], ...]
    min_clusters: int

    def __iter__(self) -> Iterator[Slice]:
        return (part for column in self.columns for part in column.slices)

    @property
    def smallest_that_tells(self) -> Slice | None:
        """The slice of the fewest utterances in which the two systems differ; None where none does."""
        return min((part for part in self if part.tells), key=lambda part: part.num_utterances, default=None)


def slice_results(
    base: Results,
    system: Results | None = None,
    *,
    normalizer: Normalizer,
    columns: Sequence[str] | None = None,
    cluster: ClusterBy = "auto",
    min_clusters: int = MIN_CLUSTERS,
) -> Slices:
    """Cuts one run, or a pair of runs on the same utterances, into slices.

    What is resampled within a slice is what would be resampled in the whole test; only within one speaker it is
    sentences or utterances, and the interval speaks of that speaker.

    Args:
        base: the run, or the one to be better than.
        system: the one to judge; None slices the base alone.
        normalizer: that both are scored under.
        columns: to cut by; None takes every column from which at least two slices with a rate come, and which was not
            made from the outputs.
        cluster: what is resampled as a whole.
        min_clusters: a slice of fewer shows no rate.

    Raises:
        ResultsError: there are no predictions, or the two runs were not tested on the same utterances.
        UsageError: a column is not there, or the clusters cannot be had.
    """
    if not base.predictions:
        raise ResultsError(f"'{base.run.name}' holds no predictions, so there is nothing to slice")
    if min_clusters < 2:
        raise UsageError(f"min_clusters is {min_clusters}; an interval needs at least 2")
    if system is not None:
        base, system = pair_results(base, system)
    cut = _Cutter(base, system, normalizer, cluster, min_clusters)
    values = _columns(base, system, cut.lengths, normalizer)
    for name in columns or ():
        if name not in values:
            raise UsageError(
                f"no column '{name}' to slice by{did_you_mean(name, values)} (there are: {', '.join(sorted(values))})"
            )
    made, left_out = [], []
    for name in columns or values:
        reason = None if columns else _is_no_condition(name, values[name])
        if reason:
            left_out.append((name, reason))
            continue
        column = cut(name, values[name])
        reason = None if columns else _says_nothing(column, min_clusters)
        if reason:
            left_out.append((name, reason))
        else:
            made.append(column)
    return Slices(columns=_adjusted(made), left_out=tuple(left_out), min_clusters=min_clusters)


class _Cutter:
    """Makes columns of slices from columns of values, all over the same utterances."""

    def __init__(
        self, base: Results, system: Results | None, normalizer: Normalizer, cluster: ClusterBy, min_clusters: int
    ) -> None:
        self.counts = [
            [counts.of(normalizer.unit) for counts in results.counts(normalizer)]
            for results in (base, system)
            if results is not None
        ]
        self.lengths = [count.reference_length for count in self.counts[0]]
        self.min_clusters = min_clusters
        rows = list(zip(*(r.predictions for r in (base, system) if r is not None), strict=True))
        self.speakers = [next((p.speaker for p in row if p.speaker is not None), None) for row in rows]
        self.sentences = [normalizer(row[0].reference) for row in rows]
        whole = choose_clusters(self.speakers, self.sentences, cluster)
        self.cluster_by = cast(ClusterBy, whole.by)

    def __call__(self, name: str, values: Sequence[Value]) -> Column:
        labels, order, kind = _labels(name, values)
        members: dict[str, list[int]] = {label: [] for label in order}
        for index, label in enumerate(labels):
            members[label].append(index)
        if kind == "names":
            order = sorted(order, key=lambda label: (label == UNKNOWN, -len(members[label]), label))
        return Column(name=name, kind=kind, slices=tuple(self._slice(name, label, members[label]) for label in order))

    def _slice(self, column: str, label: str, members: Sequence[int]) -> Slice:
        clustering = self._clustering(members)
        counts = [[of_run[index] for index in members] for of_run in self.counts]
        part = Slice(
            column=column,
            label=label,
            num_utterances=len(members),
            num_clusters=clustering.num_clusters,
            reference_length=sum(self.lengths[index] for index in members),
        )
        if clustering.num_clusters < self.min_clusters or not part.reference_length:
            return part
        comparison = compare_systems(counts[0], counts[1], clustering) if len(counts) == 2 else None
        return replace(part, base=estimate_rate(counts[0], clustering), comparison=comparison)

    def _clustering(self, members: Sequence[int]) -> Clustering:
        speakers = [self.speakers[index] for index in members]
        sentences = [self.sentences[index] for index in members]
        alone = self.cluster_by == "speaker" and len(set(speakers)) == 1
        return choose_clusters(speakers, sentences, "auto" if alone else self.cluster_by)


def _columns(
    base: Results, system: Results | None, lengths: Sequence[int], normalizer: Normalizer
) -> dict[str, list[Value]]:
    """Everything known of the utterances before they were recognised, by name; [utterances] values each."""
    paired = zip(base.predictions, (system or base).predictions, strict=True)
    rows = [{**_conditions(after), **_conditions(before)} for before, after in paired]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns[f"reference {unit_name(normalizer.unit)}"] = list(lengths)
    return columns


def _conditions(prediction: Prediction) -> dict[str, Value]:
    known = {"speaker": prediction.speaker, "language": prediction.language, "duration": prediction.duration}
    return {name: value for name, value in {**known, **_flat(prediction.extras)}.items() if value is not None}


def _flat(extras: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for name, value in extras.items():
        if not prefix and name in _POSITIONS:
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            flat[prefix + name] = "yes" if value else "no"
        elif isinstance(value, (int, float)) and math.isfinite(value):
            flat[prefix + name] = value
        elif isinstance(value, str) and value.strip():
            flat[prefix + name] = value.strip()
    return flat


def _labels(name: str, values: Sequence[Value]) -> tuple[list[str], list[str], Literal["names", "bands"]]:
    """The label of each value, all labels, and whether they are names or bands (from low to high)."""
    # Speaker 1002 is not less than speaker 1003.
    numbers = None if name == "speaker" or name.lower().endswith("id") else _as_numbers(values)
    known = {number for number in numbers or () if number is not None}
    if numbers is None or len(known) <= _MAX_NAMED_NUMBERS:
        labels = [
            UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values
        ]
        return labels, list(dict.fromkeys(labels)), "names"
    band, bands = _bands(numbers)
    labels = [UNKNOWN if number is None else band(number) for number in numbers]
    return labels, [*bands, *([UNKNOWN] if None in numbers else [])], "bands"


def _as_numbers(values: Sequence[Value]) -> list[float | None] | None:
    """The values as numbers, also where a file kept them as text; None when one is no number."""
    try:
        numbers = [None if value is None else float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(number is None or math.isfinite(number) for number in numbers) else None


def _bands(numbers: Sequence[float | None]) -> tuple[Callable[[float], str], list[str]]:
    """Quantile bands: what names a number's band, and their names from low to high."""
    known = np.array([number for number in numbers if number is not None])
    # Cut where the label says, to the digit: an edge is rounded before anything is sorted by it.
    edges = sorted({float(f"{edge:.3g}") for edge in np.quantile(known, np.arange(1, _NUM_BANDS) / _NUM_BANDS)})
    edges = [edge for edge in edges if known.min() < edge <= known.max()]
    shown = [f"{edge:g}" for edge in edges]
    labels = [
        *([f"below {shown[0]}"] if edges else ["all"]),
        *(f"{low} to {high}" for low, high in itertools.pairwise(shown)),
        *([f"{shown[-1]} or more"] if edges else []),
    ]
    return lambda number: labels[int(np.searchsorted(edges, number, side="right"))], labels


def _is_no_condition(name: str, values: Sequence[Value]) -> str | None:
    """Why a column says nothing of the conditions of a recording; None when it may."""
    words = {word for word in re.split(r"[^a-z]+", name.lower()) if word}
    if words & _OF_THE_OUTPUT:
        return "left by a scoring of these outputs; it is no condition of the recording"
    texts = [value for value in values if isinstance(value, str)]
    if _as_numbers(values) is None and 2 * len(set(texts)) > len(values):
        return f"{len(set(texts))} different texts; it names utterances, not groups of them"
    return None


def _says_nothing(column: Column, min_clusters: int) -> str | None:
    """Why a column is no use to cut by; None when it is."""
    if len(column.slices) == 1:
        return f"the same for all utterances ({column.slices[0].label})"
    with_rate = sum(part.base is not None for part in column.slices)
    if with_rate < 2:
        return (
            f"{len(column.slices)} slices, of which {with_rate} with at least {min_clusters} clusters; "
            "a rate of fewer would mean nothing"
        )
    return None


def _adjusted(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns with p-values adjusted over all their slices together."""
    compared = [part for column in columns for part in column.slices if part.comparison is not None]
    adjusted = holm_adjusted([part.comparison.p_value for part in compared if part.comparison is not None])
    holm = {(part.column, part.label): p_value for part, p_value in zip(compared, adjusted, strict=True)}
    return tuple(
        replace(
            column,
            slices=tuple(replace(part, holm_p=holm.get((part.column, part.label))) for part in column.slices),
        )
        for column in columns
    )
