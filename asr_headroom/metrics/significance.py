"""Is B better than A on this test set, and for whom would that hold? Paired, clustered inference.

Whole *clusters* (speakers, sentences) are resampled, and :class:`Clustering` says which population the interval
then covers. Everything works on per-utterance counts; nothing is re-scored.

Start with :func:`compare_systems`; :func:`estimate_rate` is the same for one system, :func:`compare_rates` for other
events than errors, such as words per minute of silence. How intervals are made is in
:mod:`asr_headroom.metrics.intervals`, which test is for what in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.clustering import (
    CLUSTER_CHOICES,
    MIN_CLUSTERS,
    MIN_CLUSTERS_TO_JUDGE,
    ClusterBy,
    Clustering,
    choose_clusters,
)
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.intervals import LEVEL, Interval, IntervalMethod, RateDistribution, distribution_of_rate
from asr_headroom.metrics.power import detectable_effect, further_units_needed

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
    "difference_of_rates",
    "estimate_rate",
    "paired_events",
]

_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class RateEstimate:
    """The corpus error rate of one system with its clustered interval.

    Attributes:
        method: how the interval was made.
        largest_share: of the variance, how much the most influential cluster holds.
    """

    rate: float
    interval: Interval
    num_utterances: int
    num_clusters: int
    cluster_by: str
    method: str = "percentile"
    largest_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison of two systems on the same utterances; in fractions.

    Attributes:
        base: corpus error rate of the base.
        system: corpus error rate of the system.
        difference: system - base; negative is better.
        interval: clustered interval of the difference.
        p_value: two-sided p of "no difference"; below 1 - level exactly when the interval excludes zero.
        standard_error: of the difference, by the jackknife over clusters.
        minimal_detectable_effect: the smallest true difference that this test set shows with 80 % power
            at the 5 % level.
        utterances_needed: further utterances of the same kind with which the observed difference would be
            expected to be detected (80 % power); 0 when it is already, None when the observed difference is
            zero.
        method: how the interval was made: the percentile bootstrap, or for few clusters what they support.
        largest_share: of the variance, how much the most influential cluster holds; a loop that carries the total
            shows here.
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
    method: str = "percentile"
    largest_share: float = 0.0

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


def estimate_rate(
    counts: Sequence[ErrorCounts], clustering: Clustering, *, resamples: int = _RESAMPLES, seed: int = 0
) -> RateEstimate:
    """A corpus error rate with its interval over resampled clusters.

    Raises:
        ShapeError: counts and cluster labels differ in number, or there are none.
        UsageError: no reference unit at all, so there is no rate.
    """
    errors, lengths = _errors_and_lengths(counts).T
    found = distribution_of_rate(errors, lengths, clustering, resamples=resamples, seed=seed)
    interval = found.distribution.interval()
    return RateEstimate(
        rate=found.estimate,
        # The symmetric ones of few clusters reach below what an error rate can be.
        interval=replace(interval, low=max(0.0, interval.low)),
        num_utterances=len(counts),
        num_clusters=clustering.num_clusters,
        cluster_by=clustering.by,
        method=found.distribution.method,
        largest_share=found.largest_share,
    )


def compare_systems(
    base: Sequence[ErrorCounts],
    system: Sequence[ErrorCounts],
    clustering: Clustering,
    *,
    method: IntervalMethod = "percentile",
    level: float = LEVEL,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Paired comparison of two systems on the same utterances by a clustered bootstrap.

    Args:
        base: [utterances] counts of the base.
        system: [utterances] counts of the system, in the same order.
        clustering: what is resampled as a whole.
        method: percentile interval, or BCa.
        level: nominal coverage of the interval.
        resamples: bootstrap repetitions.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ShapeError: the sequences differ in length, or are empty.
        UsageError: an utterance has another number of reference units in the two, so they are not the same
            test.

    Reference:
        Bisani & Ney (2004), "Bootstrap estimates for confidence intervals in ASR performance evaluation";
        clusters after Liu & Peng (2020), arXiv:1912.09508.
    """
    events = paired_events(base, system)
    return compare_rates(*events, clustering, method=method, level=level, resamples=resamples, seed=seed)


def compare_rates(
    base_events: ArrayLike,
    system_events: ArrayLike,
    exposure: ArrayLike,
    clustering: Clustering,
    *,
    method: IntervalMethod = "percentile",
    level: float = LEVEL,
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
        method: percentile interval, or BCa.
        level: nominal coverage of the interval.
        resamples: bootstrap repetitions.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        rates and differences in events per unit of exposure.

    Raises:
        ShapeError: the arrays differ in length, are not vectors, or are empty.
        UsageError: a value is negative or not finite, there is no exposure at all, or ``level`` is no share.

    >>> silence = choose_clusters([None] * 8, [str(i) for i in range(8)])
    >>> compared = compare_rates([0] * 8, [2, 3] * 4, [0.1] * 8, silence)
    >>> round(compared.base, 9), round(compared.system, 9), compared.verdict
    (0.0, 25.0, 'worse')
    """
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval is {level}; give a share between 0 and 1, such as 0.95")
    columns = _event_columns(base_events, system_events, exposure)
    found = _difference(columns, clustering, method, resamples, seed)
    totals = columns.sum(axis=0)
    base_rate, system_rate = float(totals[0] / totals[2]), float(totals[1] / totals[2])
    spread = found.standard_error, found.degrees_of_freedom
    return Comparison(
        base=base_rate,
        system=system_rate,
        difference=system_rate - base_rate,
        interval=found.distribution.interval(level),
        p_value=found.distribution.tails().two_sided,
        standard_error=found.standard_error,
        minimal_detectable_effect=detectable_effect(*spread),
        utterances_needed=further_units_needed(found.estimate, *spread, len(columns)),
        num_utterances=len(columns),
        num_clusters=clustering.num_clusters,
        cluster_by=clustering.by,
        population=clustering.population,
        method=found.distribution.method,
        largest_share=found.largest_share,
    )


def difference_of_rates(
    base_events: ArrayLike,
    system_events: ArrayLike,
    exposure: ArrayLike,
    clustering: Clustering,
    *,
    method: IntervalMethod = "percentile",
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> RateDistribution:
    """The difference system - base with its whole sampling distribution, for other questions than "is it zero".

    Arguments and errors are those of :func:`compare_rates`.
    """
    return _difference(_event_columns(base_events, system_events, exposure), clustering, method, resamples, seed)


def paired_events(
    base: Sequence[ErrorCounts], system: Sequence[ErrorCounts]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[utterances] errors of the base, errors of the system, and reference units, which must agree.

    Raises:
        ShapeError: the sequences differ in length, or are empty.
        UsageError: an utterance has another number of reference units in the two, or there are none at all.
    """
    if len(base) != len(system):
        raise ShapeError(f"{len(base)} base utterances but {len(system)} system utterances; compare the same ones")
    (base_errors, lengths), (system_errors, other) = _errors_and_lengths(base).T, _errors_and_lengths(system).T
    if (unequal := np.flatnonzero(lengths != other)).size:
        index = int(unequal[0])
        raise UsageError(
            f"utterance {index} has {lengths[index]:.0f} reference units in the base and "
            f"{other[index]:.0f} in the system; both must be scored against the same transcript "
            "with the same normalizer"
        )
    return base_errors, system_errors, lengths


def _difference(
    columns: np.ndarray, clustering: Clustering, method: IntervalMethod, resamples: int, seed: int
) -> RateDistribution:
    base, system, exposure = columns.T
    return distribution_of_rate(system - base, exposure, clustering, method=method, resamples=resamples, seed=seed)


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
