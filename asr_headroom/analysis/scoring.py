"""What a run scored, and whether one run is better than another: the bridge from results to numbers.

Everything that shows a number (score, compare, tables, the page) takes it from here, so that all of them
agree. Start with :func:`score_results` and :func:`compare_results`; the wording is in
:mod:`asr_headroom.report.verdict`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_headroom.analysis.caveats import (
    SUSPICIOUS_SHARE,
    caveat_of_repeats,
    caveats_of_pair,
    caveats_of_run,
    decoding_windows,
)
from asr_headroom.analysis.guard import read_guard
from asr_headroom.analysis.outputs import OutputCounts, count_outputs
from asr_headroom.errors import ConfigError, ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.metrics.significance import (
    ClusterBy,
    Clustering,
    Comparison,
    RateEstimate,
    choose_clusters,
    compare_systems,
    estimate_rate,
)
from asr_headroom.results.pairing import has_content_ids, pair_results
from asr_headroom.results.schema import RunInfo
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import (
    Normalizer,
    get_normalizer,
    normalizer_for_language,
    normalizer_ids,
)
from asr_headroom.text.units import Unit

__all__ = [
    "SUSPICIOUS_SHARE",
    "PairedResults",
    "Score",
    "clusters_of",
    "compare_results",
    "decoding_windows",
    "kept_base",
    "other_profile",
    "own_normalizer",
    "score_results",
]


_RESAMPLES = 50_000
"""For the verdict on a pair: the p-value of a difference near zero then varies by 0.005 with the seed, by 0.01 with ten
thousand."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One system on one test set under one normaliser.

    Attributes:
        run: what was run.
        normalizer: that both texts went through.
        words: corpus counts in words.
        characters: corpus counts in characters.
        estimate: the rate in the normaliser's unit, with its interval.
        population: whom the interval speaks of.
        capped_rate: the rate when no utterance counts more errors than its reference is long; far below the
            rate, loops or babble carry the total.
        other: the rate under the language's other profile, by its id; None where there is none.
        outputs: how many outputs are empty, loop, or are in another script or language.
        warnings: what a reader of the number has to know.
    """

    run: RunInfo
    normalizer: Normalizer
    words: ErrorCounts
    characters: ErrorCounts
    estimate: RateEstimate
    population: str
    capped_rate: float
    other: tuple[str, float] | None
    outputs: OutputCounts
    warnings: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        """What an error of the headline rate is counted in."""
        return self.normalizer.unit

    @property
    def counts(self) -> ErrorCounts:
        """Corpus counts in the headline unit."""
        return self.characters if self.unit == "character" else self.words

    @property
    def num_utterances(self) -> int:
        """Utterances scored, empty ones included."""
        return self.estimate.num_utterances

    @property
    def empty(self) -> int:
        """Utterances with a spoken reference and nothing recognised."""
        return self.outputs.empty

    @property
    def looped(self) -> int:
        """Utterances whose output repeats itself."""
        return self.outputs.looped

    @property
    def truncated(self) -> int:
        """Utterances cut by the token limit, as far as a decoder said so."""
        return self.outputs.truncated or 0

    @property
    def wer(self) -> float | None:
        """Word error rate; None where the normaliser leaves no words apart, as in Chinese."""
        return self.words.error_rate if self.unit != "character" else None

    @property
    def cer(self) -> float:
        """Character error rate."""
        return self.characters.error_rate


@dataclass(frozen=True, kw_only=True)
class PairedResults:
    """Two systems on the same utterances, and what follows.

    Attributes:
        base: its predictions, sorted by id.
        system: its predictions, in the same order.
        normalizer: that all texts went through.
        comparison: the numbers; system minus base.
        other_normalizer: the language's other profile; None where there is none.
        other_comparison: the same comparison under it: what of the difference is format, not hearing.
        left_out: utterances that only one of the two had, dropped by an intersection.
        paired_by: ``id``, or ``reference text`` where a file has no ids.
        warnings: what makes the two less comparable than they look.
    """

    base: Results
    system: Results
    normalizer: Normalizer
    comparison: Comparison
    other_normalizer: Normalizer | None = None
    other_comparison: Comparison | None = None
    left_out: int = 0
    paired_by: str = "id"
    warnings: tuple[str, ...] = ()


def kept_base(run: RunInfo) -> bool:
    """Whether training delivered the base itself: no step beat it on dev, or the guard went back to it."""
    guard = read_guard(run)
    # From scratch, step 0 is no base but random weights.
    tuned = run.model.get("method") not in (None, "scratch")
    never_better = tuned and run.model.get("best_step") == 0
    return never_better or (guard is not None and guard.alpha == 0)


def own_normalizer(results: Results) -> Normalizer:
    """The normaliser that a run was scored with when it was made, else the default of its language.

    Raises:
        ResultsError: the run names a normaliser that this version does not have.
    """
    normalizer_id = results.run.normalizer.get("id")
    if normalizer_id is None:
        return normalizer_for_language(results.run.language)
    try:
        return get_normalizer(str(normalizer_id))
    except ConfigError as error:
        raise ResultsError(f"'{results.run.name}' was scored with an {error}; choose one with --normalizer") from error


def score_results(results: Results, *, normalizer: Normalizer | None = None, cluster: ClusterBy = "auto") -> Score:
    """The corpus rates of one run with their interval.

    Args:
        results: of the run.
        normalizer: None takes the run's own.
        cluster: what the interval resamples as a whole.

    Raises:
        ResultsError: the run holds no predictions.
        UsageError: all references are empty, or the clusters cannot be had.
    """
    if not results.predictions:
        where = results.path or f"'{results.run.name}'"
        raise ResultsError(f"{where}: holds no predictions; finish the run with the command that began it")
    normalizer = normalizer or own_normalizer(results)
    results = _by_id(results)
    counts = results.counts(normalizer)
    other = other_profile(normalizer, results.run.language)
    outputs = count_outputs(results, normalizer)
    clustering = clusters_of((results,), normalizer, cluster)
    return Score(
        run=results.run,
        normalizer=normalizer,
        words=ErrorCounts.total(count.words for count in counts),
        characters=ErrorCounts.total(count.characters for count in counts),
        estimate=estimate_rate([count.of(normalizer.unit) for count in counts], clustering),
        population=clustering.population,
        capped_rate=_capped_rate([count.of(normalizer.unit) for count in counts]),
        other=(other.id, results.total(other).error_rate) if other else None,
        outputs=outputs,
        warnings=tuple(caveats_of_run(results, normalizer, outputs)),
    )


def compare_results(
    base: Results,
    system: Results,
    *,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    intersect: bool = False,
) -> PairedResults:
    """Pairs two runs and compares them.

    Args:
        base: the one to be better than.
        system: the one to judge.
        normalizer: None takes the base's own.
        cluster: what is resampled as a whole.
        intersect: compare the shared utterances of sets that differ, and say how many were left out.

    Raises:
        ResultsError: the two were not tested on the same utterances with the same references.
        UsageError: all references are empty, or the clusters cannot be had.
    """
    normalizer = normalizer or own_normalizer(base)
    paired_by = "reference text" if has_content_ids(base) or has_content_ids(system) else "id"
    total = len(base.predictions) + len(system.predictions)
    base, system = map(_by_id, pair_results(base, system, intersect=intersect))
    comparison = _compare(base, system, normalizer, cluster)
    other = other_profile(normalizer, base.run.language)
    other_comparison = _compare(base, system, other, cluster) if other else None
    left_out = max(0, total - 2 * len(base.predictions))
    return PairedResults(
        base=base,
        system=system,
        normalizer=normalizer,
        comparison=comparison,
        other_normalizer=other,
        other_comparison=other_comparison,
        left_out=left_out,
        paired_by=paired_by,
        warnings=(
            *(w for run in (base, system) for w in caveats_of_run(run, normalizer, count_outputs(run, normalizer))),
            *caveats_of_pair(base, system, left_out),
            *filter(None, [caveat_of_repeats(base, system, comparison.cluster_by)]),
            *_verdict_warnings(normalizer, comparison, other, other_comparison),
        ),
    )


def clusters_of(systems: Sequence[Results], normalizer: Normalizer, cluster: ClusterBy) -> Clustering:
    """What to resample when some systems are judged on the same test.

    Args:
        systems: on the same utterances in the same order; a speaker is known when one of them names it.
        normalizer: that makes two readings of one sentence alike.
        cluster: what to resample.

    Raises:
        UsageError: the clusters asked for cannot be had.
    """
    rows = list(zip(*(results.predictions for results in systems), strict=True))
    speakers = [next((p.speaker for p in row if p.speaker is not None), None) for row in rows]
    return choose_clusters(speakers, [normalizer(row[0].reference) for row in rows], cluster)


def other_profile(normalizer: Normalizer, language: str | None) -> Normalizer | None:
    """The profile to show beside a score: the language's corrected one, or the study's beside that."""
    corrected = normalizer_for_language(language)
    if normalizer.id != corrected.id:
        return corrected if language and corrected.unit == normalizer.unit else None
    study = f"study-{normalizer.id}"
    return get_normalizer(study) if study in normalizer_ids() else None


def _by_id(results: Results) -> Results:
    # Runs are written longest utterance first or as batches went; an interval must not depend on that.
    return dataclasses.replace(results, predictions=sorted(results.predictions, key=lambda p: p.id))


def _compare(base: Results, system: Results, normalizer: Normalizer, cluster: ClusterBy) -> Comparison:
    return compare_systems(
        base.counts_in(normalizer),
        system.counts_in(normalizer),
        clusters_of((base, system), normalizer, cluster),
        resamples=_RESAMPLES,
    )


def _capped_rate(counts: Sequence[ErrorCounts]) -> float:
    length = sum(count.reference_length for count in counts)
    return sum(min(count.errors, count.reference_length) for count in counts) / length if length else 0.0


def _verdict_warnings(
    normalizer: Normalizer, comparison: Comparison, other: Normalizer | None, under_other: Comparison | None
) -> Iterator[str]:
    if other and under_other and comparison.verdict != under_other.verdict:
        yield (
            f"the verdict depends on the normalizer: {comparison.verdict} under {normalizer.id}, "
            f"{under_other.verdict} under {other.id}; what differs between them is format, not hearing"
        )
