"""How the errors are spread over the utterances: many a little, or a few a lot.

A corpus rate is errors over reference units, and the same rate can be a fifth of the sentences perfect or none. The
rates of single utterances are for this table only: their mean is not the corpus rate, and nothing here computes it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.errors import ResultsError
from asr_headroom.metrics.error_rate import ErrorCounts

__all__ = ["BELOW", "Distribution", "distribution"]

BELOW = (0.05, 0.10, 0.25)
"""Error rates below which utterances are counted, as in the published study."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The error rates of single utterances. The counts are cumulative: a perfect utterance is also below 5 %.

    Attributes:
        num_utterances: with a reference, so with a rate.
        num_without_reference: with an empty reference; they have no rate and stand in no other field.
        perfect: utterances without an error.
        below: utterances whose rate is smaller than each of :data:`BELOW`.
        median: of the rates; half of the utterances are at or below it.
        worst: the largest rate; above 1 where more was inserted than said.
        worst_index: position of the (first) worst utterance in the counts that were given.
        utterances_with_half: the fewest utterances that hold half of all errors; few of many means loops, or a
            handful of broken recordings.
        errors_of_worst: errors of the utterance with the most errors.
        errors: of all utterances here.
    """

    num_utterances: int
    num_without_reference: int
    perfect: int
    below: tuple[int, ...]
    median: float
    worst: float
    worst_index: int
    utterances_with_half: int
    errors_of_worst: int
    errors: int


def distribution(counts: Sequence[ErrorCounts]) -> Distribution:
    """The spread of per-utterance error rates.

    Args:
        counts: [utterances] in the unit wanted.

    Raises:
        ResultsError: no utterance has a reference.

    >>> spread = distribution([ErrorCounts(hits=9, substitutions=1), ErrorCounts(hits=10), ErrorCounts(hits=3)])
    >>> spread.perfect, spread.below, spread.median, spread.worst, spread.worst_index
    (2, (2, 2, 3), 0.0, 0.1, 0)
    """
    rates = {index: count.error_rate for index, count in enumerate(counts) if count.reference_length}
    if not rates:
        raise ResultsError(
            f"none of the {len(counts)} utterances has a reference after normalising, so none has an error rate; "
            "check the references and the normalizer"
        )
    errors = sorted((counts[index].errors for index in rates), reverse=True)
    worst_index = max(rates, key=rates.__getitem__)
    return Distribution(
        num_utterances=len(rates),
        num_without_reference=len(counts) - len(rates),
        perfect=sum(rate == 0 for rate in rates.values()),
        below=tuple(sum(rate < limit for rate in rates.values()) for limit in BELOW),
        median=statistics.median(rates.values()),
        worst=rates[worst_index],
        worst_index=worst_index,
        utterances_with_half=_fewest_with_half(errors),
        errors_of_worst=errors[0],
        errors=sum(errors),
    )


def _fewest_with_half(errors: Sequence[int]) -> int:
    """How many of the largest make up at least half of the sum; ``errors`` are sorted, largest first."""
    total, held = sum(errors), 0
    for number, count in enumerate(errors):
        if 2 * held >= total:
            return number
        held += count
    return len(errors)
