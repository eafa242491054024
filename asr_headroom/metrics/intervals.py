"""How sure a rate or a difference is: sampling distributions that give intervals and p-values.

Each distribution answers two questions: its :meth:`interval` at a level, and its :meth:`tails`, the one-sided
p-values that the truth lies on one side of a value. An interval excludes a value exactly when the two-sided p of
that value is below 1 - level (up to the grain of the resamples).

Start with :func:`distribution_of_rate`, which takes what the number of clusters supports:

====================  =========================================================================================
clusters              distribution
====================  =========================================================================================
1,000 and more        percentile bootstrap, its tails widened for the number of clusters (Hesterberg, 2015)
2 to 999              the same, and no narrower on any side than the jackknife t interval
6 to 14               moreover no narrower than the interval that inverts the exact sign-flip test
two crossed           the widest of each alone and of the two-way variance
====================  =========================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from asr_headroom.metrics.clustering import MIN_CLUSTERS, MIN_CLUSTERS_TO_JUDGE, Clustering
from asr_headroom.metrics.distributions import normal_cdf, normal_quantile, student_cdf, student_quantile
from asr_headroom.metrics.resampling import (
    cluster_sums,
    jackknife_rates,
    resampled_rates,
    residual_variance,
    subset_rates,
)

__all__ = [
    "LEVEL",
    "BiasCorrected",
    "Interval",
    "IntervalMethod",
    "Percentile",
    "RateDistribution",
    "SamplingDistribution",
    "SignFlips",
    "Student",
    "Tails",
    "Widest",
    "distribution_of_rate",
]

LEVEL = 0.95
"""Nominal coverage of intervals unless another is asked for."""

IntervalMethod = Literal["percentile", "bca"]

_ENOUGH_FOR_PERCENTILE = 1_000
"""From here the percentile interval stands alone; below, heavy tails of real error counts need the t interval beside it
(measured in benchmarks/significance.py)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval; ``level`` is its nominal coverage."""

    low: float
    high: float
    level: float = LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class Tails(NamedTuple):
    """One-sided p-values against a value: small ``greater`` says that the truth is greater than the value."""

    greater: float
    less: float

    @property
    def two_sided(self) -> float:
        """Twice the smaller tail."""
        return min(1.0, 2 * min(self))


class SamplingDistribution(Protocol):
    """What is known of the error of an estimate."""

    @property
    def method(self) -> str:
        """Its name, as words for the page."""

    def interval(self, level: float = LEVEL) -> Interval:
        """The equal-tailed interval."""

    def tails(self, value: float = 0.0) -> Tails:
        """The one-sided p-values against a value."""


@dataclass(frozen=True)
class Percentile:
    """The percentile bootstrap, with tails as wide as the number of clusters asks.

    The bootstrap's spread is too small by sqrt((n - 1) / n), and a normal tail is lighter than Student's; both are
    put right by reading the replicates at other percentiles, so that the interval keeps its shape (Hesterberg, 2015,
    "What teachers should know about the bootstrap", §5.3). Beyond some hundred clusters nothing changes.

    Attributes:
        replicates: [resamples] resampled estimates.
        num_clusters: n, at least 2.
    """

    replicates: np.ndarray
    num_clusters: int
    method = "percentile"

    def interval(self, level: float = LEVEL) -> Interval:
        """See :class:`SamplingDistribution`."""
        tail = normal_cdf(-_widened(level, self.num_clusters))
        low, high = np.quantile(self.replicates, [tail, 1 - tail])
        return Interval(float(low), float(high), level)

    def tails(self, value: float = 0.0) -> Tails:
        """See :class:`SamplingDistribution`; never 0, as each tail counts itself (Davison & Hinkley, 1997, §4.2)."""
        below, above = np.count_nonzero(self.replicates <= value), np.count_nonzero(self.replicates >= value)
        shares = ((1 + count) / (len(self.replicates) + 1) for count in (below, above))
        return Tails(*(_narrowed(normal_quantile(share), self.num_clusters) for share in shares))


@dataclass(frozen=True)
class BiasCorrected:
    """The bias-corrected and accelerated bootstrap, BCa (Efron, 1987), with the same widened tails.

    Second-order correct where the estimate is a smooth function of many clusters. On heavy-tailed error counts the
    acceleration is itself badly known, and it covered less than the percentile interval in our simulations.

    Attributes:
        replicates: [resamples] resampled estimates.
        estimate: of the whole.
        left_out: [clusters] estimates without each cluster in turn.
    """

    replicates: np.ndarray
    estimate: float
    left_out: np.ndarray
    method = "BCa"

    @property
    def bias(self) -> float:
        """z0: the normal quantile of the share of replicates below the estimate; ties count half."""
        return normal_quantile(self._share_below(self.estimate))

    @property
    def acceleration(self) -> float:
        """A sixth of the skewness of the leave-one-out estimates; 0 where they do not vary."""
        deviations = self.left_out.mean() - self.left_out
        spread = float((deviations**2).sum())
        return float((deviations**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0

    def interval(self, level: float = LEVEL) -> Interval:
        """See :class:`SamplingDistribution`."""
        z = _widened(level, len(self.left_out))
        low, high = np.quantile(self.replicates, [self._share(-z), self._share(z)])
        return Interval(float(low), float(high), level)

    def tails(self, value: float = 0.0) -> Tails:
        """See :class:`SamplingDistribution`: the level whose interval ends at the value."""
        shifted = normal_quantile(self._share_below(value)) - self.bias
        z = _accelerated(shifted, -self.acceleration) - self.bias
        greater, less = (_narrowed(sign * z, len(self.left_out)) for sign in (1, -1))
        return Tails(greater, less)

    def _share(self, z: float) -> float:
        return normal_cdf(self.bias + _accelerated(self.bias + z, self.acceleration))

    def _share_below(self, value: float) -> float:
        below = np.count_nonzero(self.replicates < value) + 0.5 * np.count_nonzero(self.replicates == value)
        return float(np.clip(below, 0.5, len(self.replicates) - 0.5)) / len(self.replicates)


@dataclass(frozen=True)
class Student:
    """Student's t around an estimate with a standard error.

    Attributes:
        estimate: of the whole.
        standard_error: of the estimate.
        degrees_of_freedom: at least 1; clusters - 1 for a jackknife.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    method = "t"

    def interval(self, level: float = LEVEL) -> Interval:
        """See :class:`SamplingDistribution`."""
        reach = student_quantile((1 + level) / 2, self.degrees_of_freedom) * self.standard_error
        return Interval(self.estimate - reach, self.estimate + reach, level)

    def tails(self, value: float = 0.0) -> Tails:
        """See :class:`SamplingDistribution`."""
        distance = self.estimate - value
        if distance == 0:
            return Tails(0.5, 0.5)
        t = distance / self.standard_error if self.standard_error > 0 else math.copysign(math.inf, distance)
        return Tails(student_cdf(-t, self.degrees_of_freedom), student_cdf(t, self.degrees_of_freedom))


@dataclass(frozen=True)
class SignFlips:
    """The interval of all rates that the exact sign-flip test over clusters does not reject.

    If events - rate * exposure of a cluster is as likely to be positive as negative, the truth lies between any two
    neighbouring rates of subsets of clusters with equal probability (Hartigan, 1969, "Using subsample values as typical
    values"). Exact for any number of clusters under that symmetry, and conservative as p-values come in steps of
    2^-clusters; with fewer than six clusters there is no 95 % interval.

    Attributes:
        lowest: [2^clusters - 1] sorted rates of subsets; those without exposure count as lowest.
        highest: the same, counting them as highest.
    """

    lowest: np.ndarray
    highest: np.ndarray
    method = "sign flips"

    def interval(self, level: float = LEVEL) -> Interval:
        """See :class:`SamplingDistribution`; infinite where the clusters are too few for the level."""
        # Rounding must not turn 0.025 * 2^n, where it is whole, into the whole number below.
        rank = math.floor((1 - level) / 2 * (len(self.lowest) + 1) + 1e-9)
        if rank == 0:
            return Interval(-math.inf, math.inf, level)
        return Interval(float(self.lowest[rank - 1]), float(self.highest[-rank]), level)

    def tails(self, value: float = 0.0) -> Tails:
        """See :class:`SamplingDistribution`."""
        subsets = len(self.lowest) + 1
        below = int(np.searchsorted(self.lowest, value, side="right"))
        above = len(self.highest) - int(np.searchsorted(self.highest, value, side="left"))
        return Tails((1 + below) / subsets, (1 + above) / subsets)


@dataclass(frozen=True)
class Widest:
    """Several distributions at once: the hull of their intervals and the largest of their p-values."""

    parts: Sequence[SamplingDistribution]

    @property
    def method(self) -> str:
        """See :class:`SamplingDistribution`."""
        *most, last = dict.fromkeys(part.method for part in self.parts)
        return f"widest of {', '.join(most)} and {last}" if most else last

    def interval(self, level: float = LEVEL) -> Interval:
        """See :class:`SamplingDistribution`."""
        intervals = [part.interval(level) for part in self.parts]
        return Interval(min(i.low for i in intervals), max(i.high for i in intervals), level)

    def tails(self, value: float = 0.0) -> Tails:
        """See :class:`SamplingDistribution`."""
        tails = [part.tails(value) for part in self.parts]
        return Tails(max(t.greater for t in tails), max(t.less for t in tails))


@dataclass(frozen=True)
class RateDistribution:
    """A rate, or a difference of rates, and how sure it is.

    Attributes:
        estimate: sum of events over sum of exposure.
        standard_error: by the jackknife over clusters; of two crossed clusterings by their two-way variance.
        degrees_of_freedom: clusters - 1, of the clustering with fewer.
        largest_share: of the variance, how much the single most influential cluster holds; near 1 it alone decides,
            and no interval can say how often such a cluster comes.
        distribution: gives intervals and p-values.
    """

    estimate: float
    standard_error: float
    degrees_of_freedom: int
    largest_share: float
    distribution: SamplingDistribution


def distribution_of_rate(
    events: np.ndarray,
    exposure: np.ndarray,
    clustering: Clustering,
    *,
    method: IntervalMethod = "percentile",
    resamples: int,
    seed: int,
) -> RateDistribution:
    """A sum of events over a sum of exposure with the sampling distribution that its clusters support.

    Args:
        events: [utterances] may be negative, as differences are.
        exposure: [utterances] at least 0, positive in sum.
        clustering: what is drawn as a whole.
        method: ``bca`` takes :class:`BiasCorrected` instead of :class:`Percentile`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ShapeError: there are not as many cluster labels as utterances.

    Reference:
        Two crossed clusterings: variance of Cameron, Gelbach & Miller (2011), "Robust inference with multiway
        clustering", but never below that of either alone, with the degrees of freedom of the one with fewer.
    """
    columns = np.column_stack([events, exposure])
    sums = [cluster_sums(columns, way.labels) for way in clustering.ways]
    ways = [_one_way(*way.T, method=method, resamples=resamples, seed=seed) for way in sums]
    widest = max(ways, key=lambda way: way.standard_error)
    if len(ways) == 1:
        return widest
    labels = np.unique(np.column_stack([way.labels for way in clustering.ways]), axis=0, return_inverse=True)[1]
    variances = [residual_variance(*way.T) for way in sums]
    cells = residual_variance(*cluster_sums(columns, labels.ravel()).T)
    standard_error = math.sqrt(max(sum(variances) - cells, *variances))
    degrees = min(way.degrees_of_freedom for way in ways)
    student = Student(widest.estimate, standard_error, max(1, degrees))
    return RateDistribution(
        estimate=widest.estimate,
        standard_error=max(standard_error, widest.standard_error),
        degrees_of_freedom=degrees,
        largest_share=max(way.largest_share for way in ways),
        distribution=Widest([*(way.distribution for way in ways), student]),
    )


def _one_way(
    events: np.ndarray, exposure: np.ndarray, *, method: IntervalMethod, resamples: int, seed: int
) -> RateDistribution:
    number = len(events)
    estimate = float(events.sum() / exposure.sum())
    left_out = jackknife_rates(events, exposure)
    squares = (left_out - left_out.mean()) ** 2
    spread = float(squares.sum())
    standard_error = math.sqrt((number - 1) / number * spread)
    replicates = resampled_rates(events, exposure, resamples, seed)
    distribution: SamplingDistribution = Percentile(replicates, number)
    if method == "bca":
        distribution = BiasCorrected(replicates, estimate, left_out)
    elif 1 < number < _ENOUGH_FOR_PERCENTILE:
        parts: list[SamplingDistribution] = [distribution, Student(estimate, standard_error, number - 1)]
        if MIN_CLUSTERS_TO_JUDGE <= number < MIN_CLUSTERS:
            parts.append(SignFlips(*subset_rates(events, exposure)))
        distribution = Widest(parts)
    return RateDistribution(
        estimate=estimate,
        standard_error=standard_error,
        degrees_of_freedom=number - 1,
        largest_share=float(squares.max() / spread) if spread > 0 else 0.0,
        distribution=distribution,
    )


def _accelerated(z: float, acceleration: float) -> float:
    # Beyond the pole the correction would change sides; its limit is the outermost replicate.
    slowed = 1 - acceleration * z
    return z / slowed if slowed > 0 else math.copysign(math.inf, z)


def _widened(level: float, num_clusters: int) -> float:
    """The normal quantile at which replicates are read for an interval of this level."""
    if num_clusters < 2:
        return normal_quantile((1 + level) / 2)
    return math.sqrt(num_clusters / (num_clusters - 1)) * student_quantile((1 + level) / 2, num_clusters - 1)


def _narrowed(z: float, num_clusters: int) -> float:
    """The tail probability that belongs to a normal quantile of the replicates: inverse of :func:`_widened`."""
    if num_clusters < 2:
        return normal_cdf(z)
    return student_cdf(z * math.sqrt((num_clusters - 1) / num_clusters), num_clusters - 1)
