"""Tests of "no difference" that make few assumptions or are customary: sign flips, McNemar, MAPSSWE.

They give a p-value and no interval; :func:`asr_headroom.metrics.significance.compare_systems` gives both. Use
:func:`sign_flip_test` where its clusters are few or the errors heavy-tailed, :func:`mcnemar_test` when whole sentences
count, :func:`mapsswe` to compare with papers that used sclite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.alignment import Block
from asr_headroom.metrics.clustering import Clustering
from asr_headroom.metrics.distributions import binomial_cdf, normal_cdf
from asr_headroom.metrics.resampling import cluster_sums

__all__ = ["Mapsswe", "McNemar", "Segment", "SignFlip", "error_segments", "mapsswe", "mcnemar_test", "sign_flip_test"]

_EXACT_CLUSTERS = 16
"""Up to 2^16 sign patterns are enumerated when differences are not whole numbers."""
_EXACT_STEPS = 200_000_000
"""Whole-number differences get an exact distribution when that takes no more additions: some 0.3 s."""
_DRAWS_AT_ONCE = 2_000_000
_GOOD_UNITS = 2
"""Agreed units in a row that end a segment, as in sclite."""


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """The sign-flip permutation test.

    Attributes:
        difference: sum of the differences, system - base.
        p_value: two-sided.
        num_clusters: clusters in all.
        num_differing: clusters with a difference other than zero; only they matter.
        method: ``exact``, or ``Monte Carlo`` where neither counting nor enumeration was possible.
    """

    difference: float
    p_value: float
    num_clusters: int
    num_differing: int
    method: Literal["exact", "Monte Carlo"]


def sign_flip_test(
    differences: ArrayLike, clustering: Clustering, *, resamples: int = 10_000, seed: int = 0
) -> SignFlip:
    """Is the sum of paired differences further from zero than if the two systems had been swapped at random?

    Under "no difference" each cluster's two results are exchangeable, so its difference is as likely positive as
    negative. Exact without any other assumption, for any tail and any number of clusters: of whole numbers, as errors
    are, the distribution over all 2^clusters patterns is counted; of up to 16 other numbers it is enumerated; else
    patterns are drawn, the observed one counted among them.

    Args:
        differences: [utterances] errors of the system minus errors of the base, against the same references.
        clustering: what is swapped as a whole; not two crossed ones.
        resamples: patterns to draw where they are drawn.
        seed: of the draws.

    Raises:
        ShapeError: there is not one difference per utterance.
        UsageError: a difference is not finite, or two clusterings cross.

    Reference:
        Fisher (1935); for system comparison Noreen (1989), "Computer-intensive methods for testing hypotheses";
        counting after Pagano & Tritchler (1983). Drawn: (1 + extreme) / (1 + drawn), Phipson & Smyth (2010).
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise ShapeError(f"differences of shape {values.shape}; give one number per utterance, and at least one")
    if not np.isfinite(values).all():
        raise UsageError("the differences must be finite; one of them is not")
    if clustering.crossed is not None:
        raise UsageError(f"signs cannot be flipped by {clustering.by} at once; choose one of the two")
    sums = cluster_sums(values[:, None], clustering.labels)[:, 0]
    sizes = np.abs(sums[sums != 0])
    total = abs(float(sums.sum()))
    method: Literal["exact", "Monte Carlo"] = "exact"
    if not sizes.size:
        p_value = 1.0
    elif (sizes == np.round(sizes)).all() and len(sizes) * sizes.sum() <= _EXACT_STEPS:
        p_value = _counted(sizes.astype(np.int64), round(total))
    elif len(sizes) <= _EXACT_CLUSTERS:
        p_value = float(np.mean(_at_least(_all_flips(sizes), total)))
    else:
        method = "Monte Carlo"
        p_value = (1 + sum(_drawn_extremes(sizes, total, resamples, seed))) / (1 + resamples)
    return SignFlip(
        difference=float(sums.sum()),
        p_value=min(1.0, p_value),
        num_clusters=len(sums),
        num_differing=len(sizes),
        method=method,
    )


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """McNemar's test on sentences that one system gets wholly right and the other does not.

    Attributes:
        only_base: sentences that only the base has right.
        only_system: sentences that only the system has right.
        p_value: exact, two-sided.
        mid_p_value: the same, counting the observed table by half: less conservative, its level kept nearly always.
    """

    only_base: int
    only_system: int
    p_value: float
    mid_p_value: float


def mcnemar_test(base_wrong: ArrayLike, system_wrong: ArrayLike) -> McNemar:
    """Do the two systems get equally many sentences wholly right?

    Given how many sentences only one of the two has right, either is as likely; the exact binomial test of that.
    Sentences have to be independent: with several readings of one sentence it is too sure of itself.

    Args:
        base_wrong: [utterances] whether the base makes any error, or its number of errors.
        system_wrong: [utterances] the same of the system.

    Raises:
        ShapeError: the two are no vectors of one length.

    Reference:
        McNemar (1947); exact and mid-p as in Fagerland, Lydersen & Laake (2013).

    >>> round(mcnemar_test([1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1]).p_value, 6)
    0.21875
    """
    base, system = np.asarray(base_wrong) != 0, np.asarray(system_wrong) != 0
    if base.shape != system.shape or base.ndim != 1:
        raise ShapeError(f"sentences of shape {base.shape} and {system.shape}; give one value of each per utterance")
    only_base, only_system = int((~base & system).sum()), int((base & ~system).sum())
    fewer, both = min(only_base, only_system), only_base + only_system
    tail = binomial_cdf(fewer, both)
    inner = binomial_cdf(fewer - 1, both)
    # At a tie, both tails hold the observed table, which must be counted once.
    tie = only_base == only_system
    return McNemar(
        only_base=only_base,
        only_system=only_system,
        p_value=min(1.0, 2 * tail),
        mid_p_value=0.5 + inner + 0.5 * (1 - tail - inner) if tie else tail + inner,
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one sentence in which at least one system errs, bounded by agreement.

    Attributes:
        base_errors: substitutions + deletions + insertions of the base.
        system_errors: the same of the system.
    """

    base_errors: int
    system_errors: int


@dataclass(frozen=True, kw_only=True)
class Mapsswe:
    """The matched-pairs sentence-segment word error test.

    Attributes:
        num_segments: segments with an error.
        mean: difference of errors per segment, system - base.
        z: mean over its standard error; 0 when nothing differs.
        p_value: two-sided, by the normal distribution.
    """

    num_segments: int
    mean: float
    z: float
    p_value: float


def mapsswe(base: Iterable[Sequence[Block]], system: Iterable[Sequence[Block]]) -> Mapsswe:
    """The test of NIST's evaluations: a z test on the differences of errors over segments.

    Segments end where both systems have two units in a row right, which is taken to make them independent. Normal
    approximation: at least some 50 segments. It knows nothing of repeated sentences or of speakers, so where those
    repeat it is more sure of itself than it should be; it is here for comparison with the literature.

    Args:
        base: the base's alignment of each utterance (:func:`asr_headroom.metrics.alignment.align`).
        system: the system's, against the same references in the same order.

    Raises:
        ShapeError: the two have different numbers of utterances.
        UsageError: the references of an utterance differ.

    Reference:
        Gillick & Cox (1989), "Some statistical issues in the comparison of speech recognition algorithms"; segments
        as in sclite's sc_stats with its default of two correct boundary words.
    """
    base, system = list(base), list(system)
    if len(base) != len(system):
        raise ShapeError(f"{len(base)} base alignments but {len(system)} system alignments; compare the same ones")
    segments = []
    for index, pair in enumerate(zip(base, system, strict=True)):
        try:
            segments += error_segments(*pair)
        except UsageError as error:
            raise UsageError(f"utterance {index}: {error}") from error
    differences = np.array([s.system_errors - s.base_errors for s in segments], dtype=np.float64)
    number = len(differences)
    mean = float(differences.mean()) if number else 0.0
    spread = float(differences.std(ddof=1)) if number > 1 else 0.0
    # Equal differences other than zero leave no variance to test against; one segment neither.
    z = mean / (spread / math.sqrt(number)) if spread > 0 else 0.0
    return Mapsswe(num_segments=number, mean=mean, z=z, p_value=2 * normal_cdf(-abs(z)))


def error_segments(base: Sequence[Block], system: Sequence[Block], *, good_units: int = _GOOD_UNITS) -> list[Segment]:
    """The segments of one utterance: errors with fewer than ``good_units`` agreed units between them.

    Args:
        base: alignment of the base.
        system: alignment of the system, against the same reference.
        good_units: reference units in a row that both have right, with no insertion among them, to end a segment.

    Raises:
        UsageError: the two references differ.
    """
    segments: list[Segment] = []
    open_errors, good = [0, 0], 0
    for errors in _errors_by_place(base, system):
        if not any(errors):
            good += 1
            continue
        if good >= good_units and any(open_errors):
            segments.append(Segment(*open_errors))
            open_errors = [0, 0]
        good = 0
        open_errors = [have + more for have, more in zip(open_errors, errors, strict=True)]
    if any(open_errors):
        segments.append(Segment(*open_errors))
    return segments


def _errors_by_place(base: Sequence[Block], system: Sequence[Block]) -> Iterator[tuple[int, int]]:
    """Errors of both at each gap between reference units that has insertions, and at each reference unit."""
    (units, unit_errors, gaps), (other, other_errors, other_gaps) = _by_place(base), _by_place(system)
    if units != other:
        raise UsageError("the two alignments have different references; score both with the same normalizer")
    for place, inserted in enumerate(zip(gaps, other_gaps, strict=True)):
        if any(inserted):
            yield inserted
        if place < len(units):
            yield unit_errors[place], other_errors[place]


def _by_place(blocks: Sequence[Block]) -> tuple[list[str | None], list[int], list[int]]:
    """Reference units, the error at each, and insertions before each and at the end."""
    units: list[str | None] = []
    errors: list[int] = []
    gaps = [0]
    for block in blocks:
        if block.operation == "insert":
            gaps[-1] += 1
        else:
            units.append(block.reference)
            errors.append(int(block.operation != "equal"))
            gaps.append(0)
    return units, errors, gaps


def _counted(sizes: np.ndarray, total: int) -> float:
    """P(|sum of randomly signed whole numbers| >= total), by convolution."""
    reach = int(sizes.sum())
    # Flipping a size takes twice its value away, so the sum is reach - 2 * (what is flipped).
    flipped = np.zeros(reach + 1)
    flipped[0] = 1.0
    filled = 0
    for size in np.sort(sizes):
        filled += size
        flipped[size : filled + 1] = (flipped[size : filled + 1] + flipped[: filled + 1 - size]) / 2
        flipped[:size] /= 2
    sums = reach - 2 * np.arange(reach + 1)
    return float(flipped[np.abs(sums) >= total].sum())


def _all_flips(sizes: np.ndarray) -> np.ndarray:
    """[2^sizes] the sums under all sign patterns."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _drawn_extremes(sizes: np.ndarray, total: float, resamples: int, seed: int) -> Iterator[int]:
    """How many drawn patterns are at least as far from zero, by blocks of patterns."""
    generator = np.random.default_rng(seed)
    # Of differences of one size only how many are positive matters.
    kinds, numbers = np.unique(sizes, return_counts=True)
    step = max(1, _DRAWS_AT_ONCE // len(kinds))
    for start in range(0, resamples, step):
        positive = generator.binomial(numbers, 0.5, size=(min(step, resamples - start), len(kinds)))
        yield int(np.count_nonzero(_at_least((2 * positive - numbers) @ kinds, total)))


def _at_least(sums: np.ndarray, total: float) -> np.ndarray:
    # Sums of the same numbers in another order differ in the last digits.
    return np.abs(sums) >= total * (1 - 1e-12)
