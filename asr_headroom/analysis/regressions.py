"""Which utterances got worse and which got better between two runs, with their aligned differences.

A total hides what was traded for what: the same error rate can be the same errors or other ones. Start with
:func:`find_changes` for the utterances, :func:`regressions_by_category` for what kind of error was traded for which.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from asr_headroom.analysis.categories import categorize, is_cased
from asr_headroom.analysis.causes import DifferenceSplit
from asr_headroom.errors import ShapeError
from asr_headroom.metrics.alignment import Block, align
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import split_units

__all__ = [
    "CauseChange",
    "CauseOf",
    "Change",
    "Changes",
    "RegressionsByCause",
    "find_changes",
    "regressions_by_category",
    "regressions_by_cause",
    "regressions_of_split",
]

CauseOf = Callable[[Prediction], Mapping[str, float]]
"""The errors of an utterance by cause; they add up to its errors, and need not be whole numbers."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One utterance in which the two systems do not make equally many errors.

    Attributes:
        base: what the base heard.
        system: what the system heard.
        base_errors: substitutions + deletions + insertions of the base, in the normaliser's unit.
        system_errors: those of the system.
        base_blocks: the base's alignment with the reference, of normalised units.
        system_blocks: the system's.
    """

    base: Prediction
    system: Prediction
    base_errors: int
    system_errors: int
    base_blocks: tuple[Block, ...]
    system_blocks: tuple[Block, ...]

    @property
    def id(self) -> str:
        """Of the utterance."""
        return self.base.id

    @property
    def change(self) -> int:
        """Errors that the system makes more than the base; negative is better."""
        return self.system_errors - self.base_errors


@dataclass(frozen=True, kw_only=True)
class Changes:
    """All utterances of a test, sorted into three.

    Attributes:
        worse: with more errors than before, the largest growth first.
        better: with fewer errors, the largest drop first.
        num_equal: utterances with as many errors as before.
        num_same_text: those among them whose normalised text is the same too.
    """

    worse: tuple[Change, ...]
    better: tuple[Change, ...]
    num_equal: int
    num_same_text: int


def find_changes(base: Results, system: Results, normalizer: Normalizer) -> Changes:
    """Compares two runs utterance by utterance; ties keep the order of the test set.

    Raises:
        ResultsError: the two were not tested on the same utterances.
    """
    base, system = pair_results(base, system)
    changed: list[Change] = []
    num_same_text = 0
    counted = [[counts.of(normalizer.unit).errors for counts in run.counts(normalizer)] for run in (base, system)]
    for before, after, *errors in zip(base.predictions, system.predictions, *counted, strict=True):
        if errors[0] != errors[1]:
            changed.append(_change(before, after, errors, normalizer))
        elif normalizer(before.hypothesis) == normalizer(after.hypothesis):
            num_same_text += 1
    return Changes(
        worse=tuple(sorted((c for c in changed if c.change > 0), key=lambda c: -c.change)),
        better=tuple(sorted((c for c in changed if c.change < 0), key=lambda c: c.change)),
        num_equal=len(base.predictions) - len(changed),
        num_same_text=num_same_text,
    )


@dataclass(frozen=True, kw_only=True)
class CauseChange:
    """What the system made of one cause of errors; ``base_errors + gained - lost`` are ``system_errors``.

    Attributes:
        base_errors: that the base owes to this cause, in all utterances; in the normaliser's unit.
        system_errors: that the system owes to it.
        gained: summed over the utterances in which the system owes more to it than the base.
        lost: summed over those in which it owes less.
        num_worse: utterances with more.
        num_better: utterances with less.
        num_sentences_worse: distinct sentences among those with more: one sentence read five times is one story.
        worse: ids of the utterances with more, the largest growth first.
    """

    cause: str
    base_errors: float
    system_errors: float
    gained: float
    lost: float
    num_worse: int
    num_better: int
    num_sentences_worse: int
    worse: tuple[str, ...]

    @property
    def change(self) -> float:
        """Errors of this cause that the system makes more than the base; negative is better."""
        return self.system_errors - self.base_errors


@dataclass(frozen=True, kw_only=True)
class RegressionsByCause:
    """The difference of two systems by cause.

    Attributes:
        causes: what gained most first.
        num_utterances: compared.
        reference_length: of the test, in the normaliser's unit.
    """

    causes: tuple[CauseChange, ...]
    num_utterances: int
    reference_length: int

    def points(self, errors: float) -> float:
        """Errors as a part of the error rate; a fraction, 0 where there is no reference."""
        return errors / self.reference_length if self.reference_length else 0.0

    @property
    def gained(self) -> float:
        """Errors that appeared, over all causes."""
        return math.fsum(cause.gained for cause in self.causes)

    def share_of_gained(self, cause: CauseChange) -> float:
        """Of everything that got worse, the part that this cause holds; 0 where nothing did."""
        return cause.gained / self.gained if self.gained else 0.0


def regressions_by_cause(
    base: Results, system: Results, normalizer: Normalizer, cause_of: CauseOf
) -> RegressionsByCause:
    """What got worse and what better between two runs, by the cause of the errors.

    A cause is followed utterance by utterance, so what one utterance gains does not hide behind what another loses.

    Args:
        base: the one to be better than.
        system: the one to judge.
        normalizer: under which the causes are counted.
        cause_of: names the causes of one prediction's errors.

    Raises:
        ResultsError: the two were not tested on the same utterances.
        ValueError: the causes of a prediction do not add up to its errors.
    """
    base, system = pair_results(base, system)
    before = [_causes(p, normalizer, cause_of) for p in base.predictions]
    after = [_causes(p, normalizer, cause_of) for p in system.predictions]
    return _by_cause(before, after, base, normalizer)


def regressions_by_category(base: Results, system: Results, normalizer: Normalizer) -> RegressionsByCause:
    """The same by the categories of :mod:`asr_headroom.analysis.categories`.

    Raises:
        ResultsError: the two were not tested on the same utterances.
    """
    cased = is_cased(base)

    def categories(prediction: Prediction) -> Mapping[str, float]:
        language = prediction.language or base.run.language
        errors: dict[str, float] = defaultdict(float)
        for piece in categorize(prediction.reference, prediction.hypothesis, normalizer, language, cased=cased):
            errors[piece.category] += piece.errors
        return errors

    return regressions_by_cause(base, system, normalizer, categories)


def regressions_of_split(base: Results, split: DifferenceSplit) -> RegressionsByCause:
    """The same from the format and hearing causes of :func:`asr_headroom.analysis.causes.split_difference`.

    Args:
        base: the run whose utterances the split was made over, in that order.
        split: of the base and the system.

    Raises:
        ShapeError: the split was made over another number of utterances.
    """
    if len(split.base.by_utterance) != len(base.predictions):
        raise ShapeError(
            f"a split over {len(split.base.by_utterance)} utterances for a run of {len(base.predictions)}; give the "
            "run that was split, on the utterances that both systems have"
        )
    names = [share.cause.id for share in split.base.shares]
    before, after = (
        [{name: float(errors) for name, errors in zip(names, row, strict=True) if errors} for row in side.by_utterance]
        for side in (split.base, split.system)
    )
    return _by_cause(before, after, base, split.base.normalizer)


def _by_cause(
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    base: Results,
    normalizer: Normalizer,
) -> RegressionsByCause:
    """From the causes of each utterance, in the order of the base's predictions."""
    names = dict.fromkeys(cause for causes in (*before, *after) for cause in causes)
    sentences = [normalizer(p.reference) for p in base.predictions]
    ids = [p.id for p in base.predictions]
    changes = [
        _cause_change(name, [c.get(name, 0) for c in before], [c.get(name, 0) for c in after], ids, sentences)
        for name in names
    ]
    return RegressionsByCause(
        causes=tuple(sorted(changes, key=lambda change: (-change.gained, change.lost, change.cause))),
        num_utterances=len(ids),
        reference_length=base.total(normalizer).reference_length,
    )


def _causes(prediction: Prediction, normalizer: Normalizer, cause_of: CauseOf) -> Mapping[str, float]:
    causes = cause_of(prediction)
    errors = count_pair(prediction.reference, prediction.hypothesis, normalizer).of(normalizer.unit).errors
    if not math.isclose(math.fsum(causes.values()), errors, abs_tol=1e-6):
        raise ValueError(f"the causes of '{prediction.id}' ({dict(causes)}) do not add up to its {errors} errors")
    return causes


def _cause_change(
    cause: str, before: Sequence[float], after: Sequence[float], ids: Sequence[str], sentences: Sequence[str]
) -> CauseChange:
    # Shares are sums of fractions; what is smaller than their rounding is no change.
    grown = {i: b - a for i, (a, b) in enumerate(zip(before, after, strict=True)) if abs(b - a) > 1e-9}
    worse = sorted((i for i in grown if grown[i] > 0), key=lambda i: -grown[i])
    return CauseChange(
        cause=cause,
        base_errors=math.fsum(before),
        system_errors=math.fsum(after),
        gained=math.fsum(grown[i] for i in worse),
        lost=math.fsum(-growth for growth in grown.values() if growth < 0),
        num_worse=len(worse),
        num_better=len(grown) - len(worse),
        num_sentences_worse=len({sentences[i] for i in worse}),
        worse=tuple(ids[i] for i in worse),
    )


def _change(before: Prediction, after: Prediction, errors: Sequence[int], normalizer: Normalizer) -> Change:
    unit = normalizer.unit
    reference = split_units(normalizer(before.reference), unit)
    blocks = [tuple(align(reference, split_units(normalizer(p.hypothesis), unit))) for p in (before, after)]
    return Change(
        base=before,
        system=after,
        base_errors=errors[0],
        system_errors=errors[1],
        base_blocks=blocks[0],
        system_blocks=blocks[1],
    )
