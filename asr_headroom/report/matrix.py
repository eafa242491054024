"""Many systems on one test, every pair of them compared: who is better than whom, and who cannot be told apart.

With many pairs some differences look real by chance, so a pair counts as told apart only when its p-value survives
Holm's correction over all pairs. Start with :func:`build_matrix`; the wording is in
:mod:`asr_headroom.report.matrix_text`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_headroom.analysis.scoring import Score, clusters_of, other_profile, own_normalizer, score_results
from asr_headroom.errors import UsageError
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import (
    MIN_CLUSTERS_TO_JUDGE,
    ClusterBy,
    Comparison,
    compare_systems,
)
from asr_headroom.report.pairing import unique_names
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer

__all__ = ["LEVEL", "Matrix", "MatrixPair", "build_matrix", "maximal_ties"]

LEVEL = 0.05
"""Adjusted p below which two systems are told apart."""


@dataclass(frozen=True, kw_only=True)
class MatrixPair:
    """Two of the systems.

    Attributes:
        better: position of the one with the lower rate.
        worse: position of the other.
        comparison: ``better`` as base, ``worse`` as system: the difference is at least 0.
        holm_p: p adjusted for the number of pairs; None with too few clusters for any verdict.
    """

    better: int
    worse: int
    comparison: Comparison
    holm_p: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the difference survives the correction."""
        return self.holm_p is not None and self.holm_p < LEVEL


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All systems of one test, the lowest error rate first.

    Attributes:
        names: of the systems.
        scores: of the systems.
        pairs: all of them, in the order (0, 1), (0, 2) … (1, 2) …
        ties: maximal groups of systems no two of which can be told apart; a system may stand in several, and
            stands in one alone when it differs from all others.
        normalizer: that every text went through.
        other_normalizer: the language's other profile; None where there is none.
        changed_by_format: pairs that are told apart, in some direction, under one of the two profiles only.
        left_out: utterances of the largest set that not all systems have, dropped by an intersection.
        warnings: what a reader of the numbers has to know.
    """

    names: tuple[str, ...]
    scores: tuple[Score, ...]
    pairs: tuple[MatrixPair, ...]
    ties: tuple[tuple[int, ...], ...]
    normalizer: Normalizer
    other_normalizer: Normalizer | None = None
    changed_by_format: tuple[tuple[int, int], ...] = ()
    left_out: int = 0
    warnings: tuple[str, ...] = ()

    def pair(self, one: int, other: int) -> MatrixPair:
        """The pair of two positions, in either order."""
        low, high = sorted((one, other))
        return next(pair for pair in self.pairs if (pair.better, pair.worse) == (low, high))

    def tied_with(self, system: int) -> tuple[int, ...]:
        """Positions of the systems that cannot be told from one."""
        return tuple(
            other for other in range(len(self.names)) if other != system and not self.pair(system, other).told_apart
        )


def build_matrix(
    results: Sequence[Results],
    *,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    intersect: bool = False,
) -> Matrix:
    """Compares every two of some systems on the same test.

    Args:
        results: of at least two systems.
        normalizer: None takes the first system's own.
        cluster: what intervals resample as a whole.
        intersect: compare the utterances that all systems have, instead of refusing sets that differ.

    Raises:
        UsageError: fewer than two systems, or the clusters cannot be had.
        ResultsError: the systems were not tested on the same utterances with the same references.
    """
    if len(results) < 2:
        raise UsageError(f"{len(results)} system to compare; give at least two")
    normalizer = normalizer or own_normalizer(results[0])
    named = [_renamed(one, name) for one, name in zip(results, unique_names(results), strict=True)]
    aligned, left_out = _on_shared_utterances(named, intersect)
    scored = [(score_results(one, normalizer=normalizer, cluster=cluster), one) for one in aligned]
    # Sorting is stable, so that systems with equal rates keep the order given.
    scored.sort(key=lambda pair: pair[0].estimate.rate)
    scores, ordered = [score for score, _ in scored], [one for _, one in scored]
    pairs = _compare_all(ordered, normalizer, cluster)
    other = other_profile(normalizer, ordered[0].run.language)
    told_apart = {(pair.better, pair.worse) for pair in pairs if pair.told_apart}
    return Matrix(
        names=tuple(score.run.name for score in scores),
        scores=tuple(scores),
        pairs=pairs,
        ties=maximal_ties(len(scores), told_apart),
        normalizer=normalizer,
        other_normalizer=other,
        changed_by_format=_changed_by_format(pairs, _compare_all(ordered, other, cluster)) if other else (),
        left_out=left_out,
        warnings=tuple(_warnings(scores, left_out)),
    )


def maximal_ties(number: int, told_apart: set[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Maximal groups in which no two are told apart: the maximal cliques of "cannot be told apart".

    A group of one means that this system differs from all others. Groups overlap, as "cannot be told apart" is not
    transitive. Reference: Bron & Kerbosch (1973), with a pivot.

    >>> maximal_ties(4, {(0, 2), (0, 3), (1, 3)})
    ((0, 1), (1, 2), (2, 3))
    """
    tied = [{j for j in range(number) if j != i and (min(i, j), max(i, j)) not in told_apart} for i in range(number)]

    def grow(group: set[int], candidates: set[int], excluded: set[int]) -> Iterator[tuple[int, ...]]:
        if not candidates and not excluded:
            yield tuple(sorted(group))
            return
        pivot = max(candidates | excluded, key=lambda i: len(tied[i] & candidates))
        for i in sorted(candidates - tied[pivot]):
            yield from grow(group | {i}, candidates & tied[i], excluded & tied[i])
            candidates = candidates - {i}
            excluded = excluded | {i}

    return tuple(sorted(grow(set(), set(range(number)), set())))


def _renamed(results: Results, name: str) -> Results:
    return dataclasses.replace(results, run=dataclasses.replace(results.run, name=name))


def _on_shared_utterances(results: Sequence[Results], intersect: bool) -> tuple[list[Results], int]:
    """All systems on the same utterances, sorted by id, and how many utterances were left out."""
    # An interval must not depend on the order in which a run happened to be written.
    first = dataclasses.replace(results[0], predictions=sorted(results[0].predictions, key=lambda p: p.id))
    for other in results[1:]:
        first, _ = pair_results(first, other, intersect=intersect)
    aligned = [first, *(pair_results(first, other, intersect=intersect)[1] for other in results[1:])]
    return aligned, max(len(one.predictions) for one in results) - len(first.predictions)


def _compare_all(systems: Sequence[Results], normalizer: Normalizer, cluster: ClusterBy) -> tuple[MatrixPair, ...]:
    """Every pair in the order of the systems, which need not be that of their rates."""
    clustering = clusters_of(systems, normalizer, cluster)
    counts = [one.counts_in(normalizer) for one in systems]
    places = list(itertools.combinations(range(len(systems)), 2))
    compared = [compare_systems(counts[low], counts[high], clustering) for low, high in places]
    judged = clustering.num_clusters >= MIN_CLUSTERS_TO_JUDGE
    adjusted = holm_adjusted([comparison.p_value for comparison in compared]) if judged else [None] * len(compared)
    return tuple(
        MatrixPair(better=low, worse=high, comparison=comparison, holm_p=holm_p)
        for (low, high), comparison, holm_p in zip(places, compared, adjusted, strict=True)
    )


def _changed_by_format(pairs: Sequence[MatrixPair], other: Sequence[MatrixPair]) -> tuple[tuple[int, int], ...]:
    """Pairs whose verdict is another one under the other profile."""
    return tuple(
        (one.better, one.worse) for one, two in zip(pairs, other, strict=True) if _direction(one) != _direction(two)
    )


def _direction(pair: MatrixPair) -> int:
    return (pair.comparison.difference > 0) - (pair.comparison.difference < 0) if pair.told_apart else 0


def _warnings(scores: Sequence[Score], left_out: int) -> Iterator[str]:
    if left_out:
        yield f"{left_out} utterances that not all systems have are left out"
    yield from dict.fromkeys(warning for score in scores for warning in score.warnings)
    hashes = dict.fromkeys(score.run.decoding_hash for score in scores if score.run.decoding_hash)
    if len(hashes) > 1:
        yield (
            f"the systems were decoded in {len(hashes)} different ways (decoding hashes {', '.join(hashes)}); "
            "differences may come from that"
        )
