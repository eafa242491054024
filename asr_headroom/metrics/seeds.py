"""Would it happen again with another seed? Differences over several trainings and one test set.

A test set tells how one trained model does; whether the *recipe* helps also depends on the seed. With several seeds
the two kinds of chance are told apart, and the interval speaks of new seeds and new utterances. Two or three seeds say
little about seeds: the interval says so by its width.

Start with :func:`compare_seeds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.clustering import Clustering
from asr_headroom.metrics.distributions import student_quantile
from asr_headroom.metrics.intervals import LEVEL, Interval
from asr_headroom.metrics.resampling import cluster_sums

__all__ = ["SeedComparison", "SeparateVariances", "compare_seeds"]

_MIN_SEEDS = 2
_SMALLEST_P = 1e-12


@dataclass(frozen=True)
class SeparateVariances:
    """An error with several sources, each of a variance known with its own degrees of freedom.

    Attributes:
        parts: variance and degrees of freedom of each.
        least: of a source that the whole is never surer than.
    """

    parts: tuple[tuple[float, int], ...]
    least: tuple[float, int]

    def reach(self, level: float) -> float:
        """Half the width of the interval."""
        whole, least = (
            sum(variance * student_quantile((1 + level) / 2, degrees) ** 2 for variance, degrees in parts)
            for parts in (self.parts, (self.least,))
        )
        return math.sqrt(max(whole, least))

    def p_value(self, distance: float) -> float:
        """1 - the level whose interval reaches just so far, by halving its logarithm."""
        if distance <= 0:
            return 1.0
        low, high = math.log(_SMALLEST_P), 0.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.reach(1 - math.exp(middle)) > distance else (low, middle)
        return math.exp(high)


@dataclass(frozen=True, kw_only=True)
class SeedComparison:
    """The mean difference between two recipes over new seeds and new clusters; in fractions.

    Attributes:
        difference: mean over seeds, system - base.
        interval: of the mean difference over new seeds and new clusters.
        standard_error: of the mean difference, both kinds of chance together.
        by_seed: [seeds] difference of each seed of the system from the mean of the base.
        seed_deviation: standard deviation of the true difference between trainings that differ in the seed alone, the
            test set's noise taken out; 0 where seeds differ no more than that noise.
        seed_variance: of the mean difference, from the choice of seeds (including their noise on this test set).
        sampling_variance: of the mean difference, from the choice of clusters.
        num_seeds: of the system.
        num_base_seeds: of the base; 1 for a base that was not trained here.
        num_clusters: of the test set.
        population: whom the interval speaks of.
        chance: the sources of error that the interval is made of.
    """

    difference: float
    interval: Interval
    standard_error: float
    by_seed: tuple[float, ...]
    seed_deviation: float
    seed_variance: float
    sampling_variance: float
    num_seeds: int
    num_base_seeds: int
    num_clusters: int
    population: str
    chance: SeparateVariances

    @property
    def p_value(self) -> float:
        """Two-sided p of "no difference": 1 - the level whose interval ends at zero."""
        return self.chance.p_value(abs(self.difference))


def compare_seeds(
    base_events: ArrayLike,
    system_events: ArrayLike,
    exposure: ArrayLike,
    clustering: Clustering,
    *,
    level: float = LEVEL,
) -> SeedComparison:
    """Compares two recipes of which one or both were trained with several seeds.

    The difference of a seed on a cluster is taken as mean + seed + cluster + rest, all random. The squared reach of the
    interval is the sum of the variances over seeds and over clusters, each times the square of its own t quantile, so
    that few seeds count as few however many clusters there are. The rest, which both variances contain, is taken off
    the second, but the interval is never narrower than the test set alone makes it.

    Args:
        base_events: [utterances], or [base seeds, utterances]: errors of the base. A base that exists once, as a
            downloaded checkpoint does, has no seed variance: then the interval is about this base.
        system_events: [seeds, utterances] errors of the system, at least two seeds. Seeds of the two are not paired.
        exposure: [utterances] reference units.
        clustering: what is taken as a whole; one clustering of at least two clusters.
        level: nominal coverage.

    Raises:
        ShapeError: the arrays do not belong together.
        UsageError: fewer than two seeds, a single cluster, crossed clusterings, no exposure, or values that are not
            finite.

    Reference:
        Separate t quantiles, at least the nominal coverage: Banerjee (1961), "On confidence interval for two-means
        problem". Satterthwaite's degrees of freedom covered 87 % with two seeds in our simulation. Why seeds matter:
        Bouthillier et al. (2021), arXiv:2103.03098.
    """
    base, system, lengths = _checked(base_events, system_events, exposure, clustering)
    total = lengths.sum()
    # [seeds, clusters] what each cluster contributes to the difference's deviation from its mean, per exposure.
    cluster_lengths = cluster_sums(lengths[:, None], clustering.labels)[:, 0]
    contributions = [cluster_sums(events.T, clustering.labels).T / total for events in (base, system)]
    rates = [part.sum(axis=1) for part in contributions]
    shares = cluster_lengths / total
    difference = float(rates[1].mean() - rates[0].mean())
    over_clusters = contributions[1].mean(axis=0) - contributions[0].mean(axis=0) - difference * shares
    num_clusters = len(cluster_lengths)
    sampling = num_clusters / (num_clusters - 1) * float((over_clusters**2).sum())
    parts = [_seed_parts(part, shares) for part in contributions if len(part) > 1]
    seed = sum(part.variance for part in parts)
    rest = sum(part.rest for part in parts)
    pure = max(0.0, sampling - rest)
    chance = SeparateVariances(
        parts=(*((part.variance, part.seeds - 1) for part in parts), (pure, num_clusters - 1)),
        least=(sampling, num_clusters - 1),
    )
    reach = chance.reach(level)
    own = _seed_parts(contributions[1], shares)
    return SeedComparison(
        difference=difference,
        interval=Interval(difference - reach, difference + reach, level),
        standard_error=math.sqrt(max(seed + pure, sampling)),
        by_seed=tuple((rates[1] - rates[0].mean()).tolist()),
        seed_deviation=math.sqrt(max(0.0, own.seeds * (own.variance - own.rest))),
        seed_variance=seed,
        sampling_variance=sampling,
        num_seeds=len(system),
        num_base_seeds=len(base),
        num_clusters=num_clusters,
        population=f"new seeds and {clustering.population}",
        chance=chance,
    )


@dataclass(frozen=True)
class _SeedParts:
    """Variances of the mean over seeds: between seeds, and of the rest that a seed does on single clusters."""

    variance: float
    rest: float
    seeds: int


def _seed_parts(contributions: np.ndarray, shares: np.ndarray) -> _SeedParts:
    """From [seeds, clusters] contributions to the rate and [clusters] shares of the exposure."""
    seeds, clusters = contributions.shape
    rates = contributions.sum(axis=1)
    # What a seed does everywhere, it does in proportion to the exposure; the rest is its luck on single clusters.
    residuals = contributions - contributions.mean(axis=0) - np.outer(rates - rates.mean(), shares)
    rest = float((residuals**2).sum()) / (seeds * (seeds - 1)) * clusters / (clusters - 1)
    return _SeedParts(float(rates.var(ddof=1)) / seeds, rest, seeds)


def _checked(
    base_events: ArrayLike, system_events: ArrayLike, exposure: ArrayLike, clustering: Clustering
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base, system = (np.atleast_2d(np.asarray(events, dtype=np.float64)) for events in (base_events, system_events))
    lengths = np.asarray(exposure, dtype=np.float64)
    if lengths.ndim != 1 or base.ndim != 2 or base.shape[1:] != lengths.shape or system.shape[1:] != lengths.shape:
        raise ShapeError(
            f"events of shape {base.shape} and {system.shape} for an exposure of shape {lengths.shape}; "
            "give [seeds, utterances] twice and [utterances]"
        )
    if len(system) < _MIN_SEEDS:
        raise UsageError("one seed says nothing about seeds; train with at least 2, or compare the two models")
    if clustering.crossed is not None or clustering.num_clusters < 2:
        raise UsageError(f"seeds need one clustering of at least 2 clusters, not {clustering.num_clusters}; choose one")
    if not all(np.isfinite(values).all() for values in (base, system, lengths)) or lengths.sum() <= 0:
        raise UsageError("events and exposure must be finite, and there must be some exposure")
    return base, system, lengths
