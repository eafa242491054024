"""Everything ``analyze`` knows about one run, or about two on the same utterances: why, what kind, where.

It only gathers; each part has its own module. The wording is in :mod:`asr_headroom.report.analysis_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.analysis.categories import Categories, count_categories
from asr_headroom.analysis.causes import DifferenceSplit, ErrorSplit, split_difference, split_errors, start_profile
from asr_headroom.analysis.confusions import Confusion, count_confusions, count_new_confusions
from asr_headroom.analysis.distribution import Distribution, distribution
from asr_headroom.analysis.regressions import RegressionsByCause, regressions_of_split
from asr_headroom.analysis.slices import Slices, slice_results
from asr_headroom.metrics.significance import ClusterBy
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer

__all__ = ["Explanation", "SystemExplanation", "explain_results"]


@dataclass(frozen=True, kw_only=True)
class SystemExplanation:
    """One system: its errors by cause and by category, and how they are spread."""

    split: ErrorSplit
    categories: Categories
    distribution: Distribution


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One run, or a pair of runs on the same utterances.

    Attributes:
        base: of the base, or of the only run.
        system: None for one run.
        difference: by cause; None for one run.
        confusions: of the only run, or those the system makes in more sentences than the base; each with the number of
            sentences in which the base makes it (None for one run).
        regressions: what got worse and what better, by cause; None for one run.
        slices: of the test.
        num_utterances: analysed.
        left_out: utterances that only one of the two had, dropped by an intersection.
        notes: what a reader of the numbers has to know.
    """

    base: SystemExplanation
    system: SystemExplanation | None
    difference: DifferenceSplit | None
    confusions: tuple[tuple[Confusion, int | None], ...]
    regressions: RegressionsByCause | None
    slices: Slices
    num_utterances: int
    left_out: int
    notes: tuple[str, ...]

    @property
    def normalizer(self) -> Normalizer:
        """In which errors are counted."""
        return self.base.split.normalizer


def explain_results(
    base: Results,
    system: Results | None = None,
    *,
    normalizer: Normalizer | None = None,
    cluster: ClusterBy = "auto",
    intersect: bool = False,
    columns: Sequence[str] | None = None,
    top: int = 10,
) -> Explanation:
    """Looks into one run, or into what changed between two.

    Args:
        base: the run, or the one to be better than.
        system: the one to judge.
        normalizer: in which errors are counted; None takes the profile in which formats still show.
        cluster: what intervals resample as a whole.
        intersect: analyse the shared utterances of two sets that differ.
        columns: to slice by; None takes all that tell something.
        top: confusions kept.

    Raises:
        ResultsError: there is nothing to analyse, or the two were not tested on the same utterances.
        UsageError: a column or the clusters cannot be had.
    """
    normalizer = normalizer or start_profile(base.run.language)
    notes = [note for run in (base, system) if run is not None for note in run.run.data.get("notes", ())]
    left_out = 0
    if system is not None:
        total = len({p.id for p in base.predictions} | {p.id for p in system.predictions})
        base, system = pair_results(base, system, intersect=intersect)
        left_out = total - len(base.predictions)
    difference = split_difference(base, system, normalizer, cluster=cluster) if system is not None else None
    of_base = _explain(
        base, normalizer, difference.base if difference else split_errors(base, normalizer, cluster=cluster)
    )
    return Explanation(
        base=of_base,
        system=_explain(system, normalizer, difference.system) if system is not None and difference else None,
        difference=difference,
        confusions=_confusions(base, system, normalizer, top),
        regressions=regressions_of_split(base, difference) if difference else None,
        slices=slice_results(base, system, normalizer=normalizer, columns=columns, cluster=cluster),
        num_utterances=len(base.predictions),
        left_out=left_out,
        notes=tuple(dict.fromkeys(notes)),
    )


def _explain(results: Results, normalizer: Normalizer, split: ErrorSplit) -> SystemExplanation:
    return SystemExplanation(
        split=split,
        categories=count_categories(results, normalizer),
        distribution=distribution([counts.of(normalizer.unit) for counts in results.counts(normalizer)]),
    )


def _confusions(
    base: Results, system: Results | None, normalizer: Normalizer, top: int
) -> tuple[tuple[Confusion, int | None], ...]:
    if system is None:
        return tuple((confusion, None) for confusion in count_confusions(base, normalizer, top=top))
    return tuple(count_new_confusions(base, system, normalizer, top=top))
