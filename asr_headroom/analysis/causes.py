"""Format or hearing: what an error rate, or the difference of two, is made of.

A system that writes traditional characters, "30 %" for "trente pour cent", or the same word two hundred times over may
hear as well as another one. Each such cause has a rewrite that removes it from both texts
(:mod:`asr_headroom.analysis.formats`). As rewrites overlap, what a cause explains depends on which others were removed
before; each cause is therefore given its *Shapley value*, the mean over all orders of removal. It needs no order,
treats causes alike and adds up exactly:

    errors = script + case + numerals + punctuation + spacing + loops + empty + wrong_language + acoustic

``acoustic`` is what is left when all formats are equal and loops are cut: something else was heard. An utterance
without output is wholly ``empty``; what is left of an output in another language is ``wrong_language``.

Start with :func:`split_errors` and :func:`split_difference`.

Reference:
    Shapley (1953), "A value for n-person games". Here the players are the rewrites, and the gain is the number of
    errors that disappear.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from math import factorial
from typing import Literal, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from asr_headroom.analysis.formats import Rewrite, match_spacing, rewrites_for
from asr_headroom.analysis.outputs import describe_output
from asr_headroom.analysis.scoring import clusters_of
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.multiplicity import holm_adjusted
from asr_headroom.metrics.significance import ClusterBy, Clustering, Comparison, compare_rates
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.detect import has_content
from asr_headroom.text.normalize import Normalizer, get_normalizer, normalizer_ids
from asr_headroom.text.units import primary_subtag, split_units, unit_of_language

__all__ = [
    "CAUSES",
    "Cause",
    "CauseDifference",
    "CauseShare",
    "DifferenceSplit",
    "ErrorSplit",
    "split_difference",
    "split_errors",
    "start_profile",
]

Group = Literal["format", "output", "hearing"]


class Cause(NamedTuple):
    """One part of an error rate: its id, what kind of thing it is, and words for the page."""

    id: str
    group: Group
    label: str


CAUSES = (
    Cause("script", "format", "script (traditional or simplified, width, ligatures)"),
    Cause("case", "format", "upper and lower case"),
    Cause("numerals", "format", "numbers in digits or words"),
    Cause("punctuation", "format", "punctuation"),
    Cause("spacing", "format", "spaces, hyphens and apostrophes between the same letters"),
    Cause("loops", "output", "repetition loops"),
    Cause("empty", "output", "empty outputs"),
    Cause("wrong_language", "output", "outputs in another language or script"),
    Cause("acoustic", "hearing", "something else was heard"),
)
"""All parts, in the order of the table."""

_INDEX = {cause.id: index for index, cause in enumerate(CAUSES)}
_REMOVABLE = ("script", "case", "numerals", "punctuation", "loops", "spacing")
"""Causes with a rewrite, in the order in which rewrites are applied together; spacing is last because it needs both
texts."""
_RESAMPLES = 5_000


@dataclass(frozen=True, kw_only=True)
class CauseShare:
    """What one cause holds of one system's error rate.

    Attributes:
        cause: which.
        errors: its Shapley value, summed over utterances, in errors; may be a fraction, and negative where removing
            it brings errors to light that it had hidden.
        rate: errors per reference unit: its part of the error rate.
        share: of all errors; 0 where there are none.
        interval: clustered bootstrap interval of ``rate``.
        rate_without: the error rate when this cause alone is removed; None for those that cannot be removed.
    """

    cause: Cause
    errors: float
    rate: float
    share: float
    interval: tuple[float, float]
    rate_without: float | None


@dataclass(frozen=True, kw_only=True)
class ErrorSplit:
    """One system's error rate by cause.

    Attributes:
        name: of the system.
        normalizer: in which errors are counted.
        errors: in all.
        length: reference units; the denominator of every rate here.
        shares: one for each of :data:`CAUSES`, in that order; their rates add up to ``rate``.
        by_utterance: [utterances, causes] errors.
        without: [utterances, causes] errors left when that cause alone is removed; those of the profile where it
            cannot be.
        formats_equal: [utterances] errors left when script, case, numerals, punctuation and spacing are equal.
        lengths: [utterances] reference units.
    """

    name: str
    normalizer: Normalizer
    errors: int
    length: int
    shares: tuple[CauseShare, ...]
    by_utterance: np.ndarray
    without: np.ndarray
    formats_equal: np.ndarray
    lengths: np.ndarray

    @property
    def rate(self) -> float:
        """Errors per reference unit."""
        return self.errors / self.length

    @property
    def rate_formats_equal(self) -> float:
        """The error rate when all formats are equal."""
        return float(self.formats_equal.sum()) / self.length

    @property
    def rate_capped(self) -> float:
        """The same, when no utterance counts more errors than its reference is long: loops lose their weight."""
        return float(np.minimum(self.formats_equal, self.lengths).sum()) / self.length

    def share(self, cause: str) -> CauseShare:
        """The part of one cause, by its id."""
        return self.shares[_INDEX[cause]]

    def group_rate(self, group: str) -> float:
        """The part of the error rate that a group of causes holds."""
        return sum(share.rate for share in self.shares if share.cause.group == group)

    def overlong(self) -> tuple[int, int]:
        """Utterances with more errors than their reference is long, and the errors they hold."""
        errors = self.by_utterance.sum(axis=1).round().astype(int)
        over = errors > self.lengths
        return int(over.sum()), int(errors[over].sum())


@dataclass(frozen=True, kw_only=True)
class CauseDifference:
    """What one cause holds of the difference of two systems.

    Attributes:
        cause: which.
        base: its part of the base's error rate.
        system: its part of the system's error rate.
        comparison: system minus base with its clustered interval and p; its own ``base`` and ``system`` are not to be
            read, as Shapley values of either sign were moved to the side where they are positive.
        share: of the whole difference; None where that is zero.
        holm_p: p adjusted for all causes that occur in either system (Holm, 1979); 1 for those that do not.
    """

    cause: Cause
    base: float
    system: float
    comparison: Comparison
    share: float | None
    holm_p: float = 1.0

    @property
    def difference(self) -> float:
        """System minus base, in errors per reference unit."""
        return self.system - self.base


@dataclass(frozen=True, kw_only=True)
class DifferenceSplit:
    """The difference of two systems by cause; the parts add up to it."""

    base: ErrorSplit
    system: ErrorSplit
    parts: tuple[CauseDifference, ...]
    cluster_by: str
    num_clusters: int

    @property
    def difference(self) -> float:
        """System minus base, in errors per reference unit."""
        return self.system.rate - self.base.rate

    @property
    def ranked(self) -> tuple[CauseDifference, ...]:
        """The parts by size, the largest first; those without any errors on either side are left out."""
        return tuple(
            sorted((part for part in self.parts if part.base or part.system), key=lambda part: -abs(part.difference))
        )

    def group_difference(self, group: str) -> float:
        """The part of the difference that a group of causes holds."""
        return self.system.group_rate(group) - self.base.group_rate(group)


def start_profile(language: str | None) -> Normalizer:
    """The profile in which formats still show: the study's own where there is one, else the raw text.

    >>> start_profile("zh-CN").id, start_profile("de").id, start_profile("ja").id
    ('study-zh', 'raw', 'raw-characters')
    """
    study = f"study-{primary_subtag(language)}" if language else ""
    if study in normalizer_ids():
        return get_normalizer(study)
    return get_normalizer("raw" if unit_of_language(language) == "word" else "raw-characters")


def split_errors(results: Results, normalizer: Normalizer | None = None, *, cluster: ClusterBy = "auto") -> ErrorSplit:
    """One system's error rate by cause.

    Args:
        results: of the system.
        normalizer: in which errors are counted; None takes :func:`start_profile`. A corrected profile hides what it
            corrects.
        cluster: what intervals resample as a whole.

    Raises:
        ResultsError: there are no predictions, or no reference holds a unit.
        UsageError: the clusters cannot be had.
    """
    normalizer = normalizer or start_profile(results.run.language)
    return _split(results, normalizer, clusters_of((results,), normalizer, cluster))


def split_difference(
    base: Results,
    system: Results,
    normalizer: Normalizer | None = None,
    *,
    cluster: ClusterBy = "auto",
    base_split: ErrorSplit | None = None,
) -> DifferenceSplit:
    """The difference of two systems on the same utterances, by cause.

    Args:
        base: the one to be better than.
        system: the one to judge.
        normalizer: in which errors are counted; None takes :func:`start_profile`.
        cluster: what intervals resample as a whole.
        base_split: of an earlier comparison with the same base, normaliser and utterances, to save its time.

    Raises:
        ResultsError: the two were not tested on the same utterances, there are none, or no reference holds a unit.
        UsageError: the clusters cannot be had.
    """
    base, system = pair_results(base, system)
    normalizer = normalizer or start_profile(base.run.language)
    clustering = clusters_of((base, system), normalizer, cluster)
    before = base_split or _split(base, normalizer, clustering)
    after = _split(system, normalizer, clustering)
    if before.name != base.run.name or before.normalizer.id != normalizer.id or not _same_lengths(before, after):
        raise ResultsError(f"the split given is of '{before.name}' under {before.normalizer.id}, not of this base")
    difference = after.rate - before.rate
    return DifferenceSplit(
        base=before,
        system=after,
        parts=_with_holm(tuple(_part(cause, before, after, difference, clustering) for cause in CAUSES)),
        cluster_by=clustering.by,
        num_clusters=clustering.num_clusters,
    )


def _same_lengths(one: ErrorSplit, other: ErrorSplit) -> bool:
    return np.array_equal(one.lengths, other.lengths)


def _split(results: Results, normalizer: Normalizer, clustering: Clustering) -> ErrorSplit:
    if not results.predictions:
        raise ResultsError(f"'{results.run.name}' holds no predictions; give a finished run")
    counting = _Counting(normalizer, results.run.language)
    games = np.array([counting.errors_left(p.reference, p.hypothesis) for p in results.predictions], dtype=np.float64)
    lengths = np.array([len(split_units(normalizer(p.reference), normalizer.unit)) for p in results.predictions])
    if not lengths.sum():
        raise ResultsError(f"'{results.run.name}': no reference holds a {normalizer.unit} under {normalizer.id}")
    values = _shares(results, games)
    alone = np.repeat(games[:, :1], len(CAUSES), axis=1)
    for player, cause in enumerate(_REMOVABLE):
        alone[:, _INDEX[cause]] = games[:, 1 << player]
    formats = sum(1 << player for player, cause in enumerate(_REMOVABLE) if cause != "loops")
    errors, length = int(games[:, 0].sum()), int(lengths.sum())
    return ErrorSplit(
        name=results.run.name,
        normalizer=normalizer,
        errors=errors,
        length=length,
        shares=tuple(
            CauseShare(
                cause=cause,
                errors=float(values[:, index].sum()),
                rate=float(values[:, index].sum()) / length,
                share=float(values[:, index].sum()) / errors if errors else 0.0,
                interval=_interval(values[:, index], lengths, clustering),
                rate_without=float(alone[:, index].sum()) / length if cause.id in _REMOVABLE else None,
            )
            for index, cause in enumerate(CAUSES)
        ),
        by_utterance=values,
        without=alone,
        formats_equal=games[:, formats],
        lengths=lengths,
    )


def _shares(results: Results, games: np.ndarray) -> np.ndarray:
    """[utterances, causes] errors of each cause; rows add up to the errors of the utterance."""
    values = np.zeros((len(games), len(CAUSES)))
    values[:, [_INDEX[cause] for cause in _REMOVABLE]] = games @ _shapley_weights(len(_REMOVABLE)).T
    values[:, _INDEX["acoustic"]] = games[:, -1]
    for row, prediction in enumerate(results.predictions):
        if not has_content(prediction.hypothesis):
            values[row] = 0
            values[row, _INDEX["empty"]] = games[row, 0]
        elif games[row, -1]:
            language = prediction.language or results.run.language
            flags = describe_output(prediction.reference, prediction.hypothesis, language)
            if flags.wrong_language or flags.wrong_script:
                values[row, _INDEX["wrong_language"]] = games[row, -1]
                values[row, _INDEX["acoustic"]] = 0
    # Halves and thirds do not add up exactly in binary; a rest of 1e-16 would show as a cause.
    return values.round(9)


@functools.cache
def _shapley_weights(players: int) -> np.ndarray:
    """[players, 2 ** players] such that weights @ (errors left for each set removed) is each player's value.

    Bit i of a column's number says whether player i is removed.
    """
    weights = np.zeros((players, 1 << players))
    for removed in range(1 << players):
        size = removed.bit_count()
        for player in range(players):
            if removed >> player & 1:
                continue
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            weights[player, removed] += weight
            weights[player, removed | 1 << player] -= weight
    return weights


class _Counting:
    """Errors of one utterance when any set of causes is removed."""

    def __init__(self, normalizer: Normalizer, language: str | None) -> None:
        self._normalize: Callable[[str], str] = functools.lru_cache(maxsize=65536)(normalizer)
        self._unit = normalizer.unit
        rewrites = rewrites_for(language)
        self._rewrites: list[Rewrite] = [rewrites[cause] for cause in _REMOVABLE if cause != "spacing"]
        self._errors = functools.lru_cache(maxsize=65536)(self._count)

    def errors_left(self, reference: str, hypothesis: str) -> list[int]:
        """[2 ** causes] errors; bit i of an index says whether cause i of _REMOVABLE is removed."""
        return self._branch(reference, hypothesis, 0)

    def _branch(self, reference: str, hypothesis: str, first: int) -> list[int]:
        if first == len(self._rewrites):
            return list(self._errors(self._normalize(reference), self._normalize(hypothesis)))
        kept = self._branch(reference, hypothesis, first + 1)
        rewrite = self._rewrites[first]
        rewritten = rewrite(reference), rewrite(hypothesis)
        # Most rewrites change most texts in nothing, which makes 64 sets cost as little as a few.
        removed = kept if rewritten == (reference, hypothesis) else self._branch(*rewritten, first + 1)
        return [errors for pair in zip(kept, removed, strict=True) for errors in pair]

    def _count(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Errors with spacing as it is, and with spacing matched."""
        if reference == hypothesis:
            return 0, 0
        left, right = split_units(reference, self._unit), split_units(hypothesis, self._unit)
        return Levenshtein.distance(left, right), Levenshtein.distance(*match_spacing(left, right, self._unit))


def _part(
    cause: Cause, base: ErrorSplit, system: ErrorSplit, difference: float, clustering: Clustering
) -> CauseDifference:
    index = _INDEX[cause.id]
    before, after = base.shares[index].rate, system.shares[index].rate
    return CauseDifference(
        cause=cause,
        base=before,
        system=after,
        comparison=_compare(base.by_utterance[:, index], system.by_utterance[:, index], base.lengths, clustering),
        share=(after - before) / difference if difference else None,
    )


def _with_holm(parts: tuple[CauseDifference, ...]) -> tuple[CauseDifference, ...]:
    occurring = [part for part in parts if part.base or part.system]
    adjusted = holm_adjusted([part.comparison.p_value for part in occurring])
    by_id = {part.cause.id: p for part, p in zip(occurring, adjusted, strict=True)}
    return tuple(dataclasses.replace(part, holm_p=by_id.get(part.cause.id, 1.0)) for part in parts)


def _compare(base: np.ndarray, system: np.ndarray, lengths: np.ndarray, clustering: Clustering) -> Comparison:
    # Events must not be negative: what is below zero on one side is above zero on the other.
    events = (np.maximum(base, 0) + np.maximum(-system, 0), np.maximum(system, 0) + np.maximum(-base, 0))
    return compare_rates(*events, lengths, clustering, resamples=_RESAMPLES)


def _interval(values: np.ndarray, lengths: np.ndarray, clustering: Clustering) -> tuple[float, float]:
    interval = _compare(np.zeros(len(values)), values, lengths, clustering).interval
    # An interval of few clusters is symmetric, and a part that nowhere takes errors away cannot be below zero.
    return (max(0.0, interval.low) if values.min() >= 0 else interval.low), interval.high
