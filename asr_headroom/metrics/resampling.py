"""Sums over clusters, and what becomes of a rate when whole clusters are drawn anew, left out or subsetted.

Pure arithmetic on arrays; what it means is said in :mod:`asr_headroom.metrics.intervals`.
"""

from __future__ import annotations

import numpy as np

from asr_headroom.errors import ShapeError

__all__ = ["cluster_sums", "jackknife_rates", "resampled_rates", "residual_variance", "subset_rates"]

_BLOCK = 100_000
"""Numbers gathered at once while resampling: they stay in the processor's cache."""
_COST_OF_KIND = 11
"""Drawing how often one kind of cluster occurs costs as much as drawing this many clusters (measured)."""


def cluster_sums(columns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[clusters, columns] the sums over each cluster's utterances of [utterances, columns].

    Raises:
        ShapeError: there are not as many labels as utterances.
    """
    if len(columns) != len(labels):
        raise ShapeError(f"{len(columns)} utterances but {len(labels)} cluster labels; give one per utterance")
    return np.column_stack([np.bincount(labels, weights=column) for column in columns.T])


def resampled_rates(events: np.ndarray, exposure: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """[resamples] sums of events over sums of exposure, of as many clusters drawn with replacement.

    Where many clusters are alike, as single utterances are, it draws how often each kind occurs (multinomial) instead
    of drawing clusters: the same distribution in less time.

    Args:
        events: [clusters] may be negative, as differences are.
        exposure: [clusters] at least 0.
        resamples: repetitions.
        seed: negating the events with the same seed negates the rates.
    """
    generator = np.random.default_rng(seed)
    # Kinds are sorted by value, so that without one orientation A - B and B - A would be drawn differently.
    first = events[np.flatnonzero(events)[:1]]
    sign = -1.0 if first.size and first[0] < 0 else 1.0
    sums = np.column_stack([sign * events, exposure])
    kinds, numbers = np.unique(sums, axis=0, return_counts=True)
    totals = np.empty((resamples, 2))
    if len(kinds) * _COST_OF_KIND < len(sums):
        step = max(1, _BLOCK // len(kinds))
        for start in range(0, resamples, step):
            stop = min(start + step, resamples)
            drawn = generator.multinomial(len(sums), numbers / len(sums), size=stop - start)
            totals[start:stop] = drawn @ kinds
    else:
        step = max(1, _BLOCK // len(sums))
        columns = np.ascontiguousarray(sums.T)
        for start in range(0, resamples, step):
            stop = min(start + step, resamples)
            drawn = generator.integers(0, len(sums), size=(stop - start, len(sums)))
            for column, values in enumerate(columns):
                totals[start:stop, column] = values.take(drawn).sum(axis=1)
    return sign * _rates(totals[:, 0], totals[:, 1])


def jackknife_rates(events: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """[clusters] the rate without each cluster in turn."""
    return _rates(events.sum() - events, exposure.sum() - exposure)


def residual_variance(events: np.ndarray, exposure: np.ndarray) -> float:
    """Variance of the rate by linearisation: the sum of squared residuals events - rate * exposure, over clusters.

    With the factor clusters / (clusters - 1); 0 for a single cluster.
    """
    number = len(events)
    if number < 2:
        return 0.0
    total = exposure.sum()
    residuals = events - events.sum() / total * exposure
    return float(number / (number - 1) * (residuals**2).sum() / total**2)


def subset_rates(events: np.ndarray, exposure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2^clusters - 1] the rates of all non-empty subsets of clusters, sorted; twice.

    A subset without exposure has no rate: with events it is infinite, without any it is the lowest in the first array
    and the highest in the second, so that neither end of an interval can profit from it.
    """
    totals = np.zeros((1, 2))
    for cluster in np.column_stack([events, exposure]):
        totals = np.concatenate([totals, totals + cluster])
    numerator, denominator = totals[1:].T
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = numerator / denominator
    return np.sort(np.nan_to_num(rates, nan=-np.inf, posinf=np.inf, neginf=-np.inf)), np.sort(
        np.nan_to_num(rates, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    )


def _rates(events: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    # A resample of only empty references has no rate; it can occur on tiny sets and counts as no error.
    return np.divide(events, exposure, out=np.zeros(len(events)), where=exposure > 0)
