"""Is B better than A on this test set, and for whom would that hold? Paired, clustered inference.

Words of one utterance, utterances of one speaker and readings of one sentence are not independent. Resampling
whole *clusters* (speakers, sentences) keeps their dependence; the interval then covers new clusters of that
kind, and :class:`Clustering` says which population that is. Everything works on per-utterance counts; nothing
is re-scored.

Start with :func:`compare_systems`; :func:`estimate_rate` is the same for one system, :func:`compare_rates` for other
events than errors, such as words per minute of silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.error_rate import ErrorCounts

__all__ = [
    "CLUSTER_CHOICES",
    "MIN_CLUSTERS",
    "MIN_CLUSTERS_TO_JUDGE",
    "ClusterBy",
    "Clustering",
    "Comparison",
    "Interval",
    "RateEstimate",
    "choose_clusters",
    "compare_rates",
    "compare_systems",
    "estimate_rate",
]

ClusterBy = Literal["auto", "speaker", "sentence", "utterance"]
CLUSTER_CHOICES: tuple[ClusterBy, ...] = ("auto", "speaker", "sentence", "utterance")

MIN_CLUSTERS = 15
"""With fewer clusters a bootstrap over them is too narrow to be believed (Cameron et al., 2008)."""

MIN_CLUSTERS_TO_JUDGE = 6
"""With fewer, no verdict: even if all agreed, a sign test could not reach p < .05 (2 / 2^5 = .0625)."""

_RESAMPLES = 10_000
_LEVEL = 0.95
_Z_TWO_SIDED = 1.959963984540054
"""97.5 % point of the standard normal distribution."""
_Z_POWER = 0.8416212335729143
"""80 % point of the standard normal distribution: the usual power."""
_GATHER_LIMIT = 4_000_000
"""Numbers gathered at once while resampling; bounds the memory at some 100 MB."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval; ``level`` is its nominal coverage."""

    low: float
    high: float
    level: float = _LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """What is resampled as a whole.

    Attributes:
        labels: [utterances] integer label of each utterance's cluster, 0 … num_clusters - 1.
        by: "speaker", "sentence" or "utterance".
        population: whom the interval speaks of, as words for the page.
    """

    labels: np.ndarray
    by: str
    population: str

    @property
    def num_clusters(self) -> int:
        """Number of distinct clusters."""
        return int(self.labels.max()) + 1 if self.labels.size else 0


@dataclass(frozen=True, kw_only=True)
class RateEstimate:
    """The corpus error rate of one system with its clustered bootstrap interval."""

    rate: float
    interval: Interval
    num_utterances: int
    num_clusters: int
    cluster_by: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of two systems on the same utterances; in fractions.

    Attributes:
        base: corpus error rate of the base.
        system: corpus error rate of the system.
        difference: system - base; negative is better.
        interval: clustered percentile bootstrap interval of the difference.
        p_value: two-sided bootstrap p of "no difference".
        standard_error: of the difference.
        minimal_detectable_effect: the smallest true difference that this test set shows with 80 % power
            at the 5 % level.
        utterances_needed: further utterances of the same kind with which the observed difference would be
            expected to be detected (80 % power); 0 when it is already, None when the observed difference is
            zero.
    """

    base: float
    system: float
    difference: float
    interval: Interval
    p_value: float
    standard_error: float
    minimal_detectable_effect: float
    utterances_needed: int | None
    num_utterances: int
    num_clusters: int
    cluster_by: str
    population: str

    @property
    def verdict(self) -> Literal["better", "worse", "cannot tell"]:
        """``better`` or ``worse`` when the interval excludes zero, else ``cannot tell``.

        Below :data:`MIN_CLUSTERS_TO_JUDGE` clusters it is always ``cannot tell``: the interval of so few is
        no interval.
        """
        if self.num_clusters < MIN_CLUSTERS_TO_JUDGE:
            return "cannot tell"
        if self.interval.high < 0:
            return "better"
        return "worse" if self.interval.low > 0 else "cannot tell"


def choose_clusters(speakers: Sequence[str | None], sentences: Sequence[str], by: ClusterBy = "auto") -> Clustering:
    """The clusters to resample, from what is known of each utterance.

    ``auto`` takes speakers when all are known and there are at least :data:`MIN_CLUSTERS`, else sentences
    when some occur twice, else single utterances.

    Args:
        speakers: [utterances] speaker ids; None where unknown.
        sentences: [utterances] normalised references.
        by: what to resample.

    Raises:
        UsageError: clusters by speaker were asked for and a speaker is unknown, or ``by`` is not a choice.
        ShapeError: the two sequences differ in length.
    """
    if len(speakers) != len(sentences):
        raise ShapeError(f"{len(speakers)} speakers for {len(sentences)} sentences; give one of each per utterance")
    if by not in CLUSTER_CHOICES:
        raise UsageError(f"cannot cluster by '{by}'; choose from {', '.join(CLUSTER_CHOICES)}")
    known_speakers = None not in speakers
    num_speakers = len(set(speakers))
    if by == "speaker" and not known_speakers:
        missing = sum(speaker is None for speaker in speakers)
        raise UsageError(
            f"cannot cluster by speaker: {missing} of {len(speakers)} utterances name no speaker; "
            "add speakers to the manifest or use --cluster sentence"
        )
    if by == "auto":
        if known_speakers and num_speakers >= MIN_CLUSTERS:
            by = "speaker"
        else:
            by = "sentence" if len(set(sentences)) < len(sentences) else "utterance"
    who = f"the same {num_speakers} speakers" if known_speakers else "the same mix of speakers"
    if by == "speaker":
        few = "" if num_speakers >= MIN_CLUSTERS else f" (only {num_speakers} here: too few to trust the interval)"
        return Clustering(labels=_integer_labels(speakers), by=by, population=f"new speakers{few}")
    if by == "sentence":
        return Clustering(labels=_integer_labels(sentences), by=by, population=f"new sentences by {who}")
    return Clustering(labels=np.arange(len(sentences)), by=by, population=f"new utterances by {who}")


def estimate_rate(
    counts: Sequence[ErrorCounts], clustering: Clustering, *, resamples: int = _RESAMPLES, seed: int = 0
) -> RateEstimate:
    """A corpus error rate with its interval over resampled clusters.

    Raises:
        ShapeError: counts and cluster labels differ in number, or there are none.
        UsageError: no reference unit at all, so there is no rate.
    """
    sums = _cluster_sums(_errors_and_lengths(counts), clustering)
    replicates = _resampled_rates(sums, resamples, seed)
    total = ErrorCounts.total(counts)
    return RateEstimate(
        rate=total.error_rate,
        interval=_percentile_interval(replicates[:, 0]),
        num_utterances=len(counts),
        num_clusters=clustering.num_clusters,
        cluster_by=clustering.by,
    )


def compare_systems(
    base: Sequence[ErrorCounts],
    system: Sequence[ErrorCounts],
    clustering: Clustering,
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two systems on the same utterances by a clustered bootstrap.

    Args:
        base: [utterances] counts of the base.
        system: [utterances] counts of the system, in the same order.
        clustering: what is resampled as a whole.
        resamples: bootstrap repetitions.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ShapeError: the sequences differ in length, or are empty.
        UsageError: an utterance has another number of reference units in the two, so they are not the same
            test.

    Reference:
        Bisani & Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance evaluation";
        clusters after Liu & Peng (2020), arXiv:1912.09508. Effect sizes by the normal approximation to the
        bootstrap error.
    """
    if len(base) != len(system):
        raise ShapeError(f"{len(base)} base utterances but {len(system)} system utterances; compare the same ones")
    for index, (a, b) in enumerate(zip(base, system, strict=True)):
        if a.reference_length != b.reference_length:
            raise UsageError(
                f"utterance {index} has {a.reference_length} reference units in the base and "
                f"{b.reference_length} in the system; both must be scored against the same transcript "
                "with the same normalizer"
            )
    values = _errors_and_lengths(base)
    system_errors = np.array([count.errors for count in system], dtype=np.float64)
    return compare_rates(values[:, 0], system_errors, values[:, 1], clustering, resamples=resamples, seed=seed)


def compare_rates(
    base_events: ArrayLike,
    system_events: ArrayLike,
    exposure: ArrayLike,
    clustering: Clustering,
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two systems by any rate: the sum of their events over the sum of the exposure.

    :func:`compare_systems` is the case events = errors, exposure = reference units. With words written and minutes of
    audio it compares what two systems make up where nothing is said.

    Args:
        base_events: [utterances] events of the base, finite, at least 0.
        system_events: [utterances] events of the system, in the same order.
        exposure: [utterances] what the events are counted per, the same for both systems; finite, at least 0.
        clustering: what is resampled as a whole.
        resamples: bootstrap repetitions.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        rates and differences in events per unit of exposure.

    Raises:
        ShapeError: the arrays differ in length, are not vectors, or are empty.
        UsageError: a value is negative or not finite, or there is no exposure at all.

    >>> silence = choose_clusters([None] * 8, [str(i) for i in range(8)])
    >>> compared = compare_rates([0] * 8, [2, 3] * 4, [0.1] * 8, silence)
    >>> round(compared.base, 9), round(compared.system, 9), compared.verdict
    (0.0, 25.0, 'worse')
    """
    columns = _event_columns(base_events, system_events, exposure)
    replicates = _resampled_rates(_cluster_sums(columns, clustering), resamples, seed)
    deltas = replicates[:, 1] - replicates[:, 0]
    totals = columns.sum(axis=0)
    base_rate, system_rate = float(totals[0] / totals[2]), float(totals[1] / totals[2])
    difference = system_rate - base_rate
    standard_error = float(deltas.std(ddof=1))
    detectable = (_Z_TWO_SIDED + _Z_POWER) * standard_error
    needed = None
    if difference:
        needed = max(0, math.ceil(len(columns) * ((detectable / difference) ** 2 - 1)))
    # Each tail counts itself once, so that p is never 0 (Davison & Hinkley, 1997, §4.2).
    tails = [(1 + np.count_nonzero(tail)) / (resamples + 1) for tail in (deltas <= 0, deltas >= 0)]
    return Comparison(
        base=base_rate,
        system=system_rate,
        difference=difference,
        interval=_percentile_interval(deltas),
        p_value=float(min(1.0, 2 * min(tails))),
        standard_error=standard_error,
        minimal_detectable_effect=detectable,
        utterances_needed=needed,
        num_utterances=len(columns),
        num_clusters=clustering.num_clusters,
        cluster_by=clustering.by,
        population=clustering.population,
    )


def _integer_labels(values: Sequence[str | None]) -> np.ndarray:
    index: dict[str | None, int] = {}
    return np.array([index.setdefault(value, len(index)) for value in values], dtype=np.int64)


def _errors_and_lengths(counts: Sequence[ErrorCounts]) -> np.ndarray:
    """[utterances, 2] errors and reference units."""
    if not counts:
        raise ShapeError("no utterances to compare; the two result sets share none")
    values = np.array([(count.errors, count.reference_length) for count in counts], dtype=np.float64)
    if values[:, 1].sum() == 0:
        raise UsageError("all references are empty after normalising, so there is no error rate; check the normalizer")
    return values


def _event_columns(base_events: ArrayLike, system_events: ArrayLike, exposure: ArrayLike) -> np.ndarray:
    """[utterances, 3] events of the base, events of the system, exposure; checked."""
    vectors = [np.asarray(values, dtype=np.float64) for values in (base_events, system_events, exposure)]
    shapes = [vector.shape for vector in vectors]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1 or not shapes[0][0]:
        raise ShapeError(
            f"events of shape {shapes[0]} and {shapes[1]} for an exposure of shape {shapes[2]}; "
            "give one number of each per utterance, and at least one utterance"
        )
    columns = np.column_stack(vectors)
    if not np.isfinite(columns).all() or columns.min() < 0:
        raise UsageError("events and exposure must be finite and at least 0; one of them is not")
    if columns[:, 2].sum() == 0:
        raise UsageError("there is no exposure at all, so there is no rate; give utterances that last")
    return columns


def _cluster_sums(columns: np.ndarray, clustering: Clustering) -> np.ndarray:
    """[clusters, columns] the sums over each cluster's utterances of [utterances, columns]."""
    if len(columns) != len(clustering.labels):
        raise ShapeError(
            f"{len(columns)} utterances but {len(clustering.labels)} cluster labels; give one per utterance"
        )
    return np.column_stack(
        [np.bincount(clustering.labels, weights=column, minlength=clustering.num_clusters) for column in columns.T]
    )


def _resampled_rates(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[resamples, columns - 1] rates of resampled clusters: each column of ``sums`` over its last."""
    generator = np.random.default_rng(seed)
    num_clusters = len(sums)
    totals = np.empty((resamples, sums.shape[1]))
    step = max(1, _GATHER_LIMIT // num_clusters)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        drawn = generator.integers(0, num_clusters, size=(stop - start, num_clusters), dtype=np.int32)
        for column in range(sums.shape[1]):
            totals[start:stop, column] = np.take(sums[:, column], drawn).sum(axis=1)
    # A resample of only empty references has no rate; it can occur on tiny sets and counts as no error.
    lengths = totals[:, -1:]
    return np.divide(totals[:, :-1], lengths, out=np.zeros((resamples, sums.shape[1] - 1)), where=lengths > 0)


def _percentile_interval(replicates: np.ndarray) -> Interval:
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Interval(float(low), float(high))
