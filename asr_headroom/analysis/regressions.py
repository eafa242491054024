"""Which utterances got worse and which got better between two runs, with their aligned differences.

A total hides what was traded for what: the same error rate can be the same errors or other ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from asr_headroom.metrics.alignment import Block, align
from asr_headroom.metrics.error_rate import count_pair
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import split_units

__all__ = ["Change", "Changes", "find_changes"]


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
    for before, after in zip(base.predictions, system.predictions, strict=True):
        change = _change(before, after, normalizer)
        if change is not None:
            changed.append(change)
        elif normalizer(before.hypothesis) == normalizer(after.hypothesis):
            num_same_text += 1
    return Changes(
        worse=tuple(sorted((c for c in changed if c.change > 0), key=lambda c: -c.change)),
        better=tuple(sorted((c for c in changed if c.change < 0), key=lambda c: c.change)),
        num_equal=len(base.predictions) - len(changed),
        num_same_text=num_same_text,
    )


def _change(before: Prediction, after: Prediction, normalizer: Normalizer) -> Change | None:
    unit = normalizer.unit
    errors = [count_pair(p.reference, p.hypothesis, normalizer).of(unit).errors for p in (before, after)]
    if errors[0] == errors[1]:
        return None
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
