"""Error counts, which add, and the rates derived from them, which do not.

An error rate of a corpus is the sum of its edits over the sum of its reference units; it is never a mean of
rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit, split_units

__all__ = ["ErrorCounts", "UtteranceCounts", "count_errors", "count_pair"]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Hits, substitutions, deletions and insertions, in units of the alignment they come from."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @staticmethod
    def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
        """The sum of many counts; zero for none."""
        return sum(counts, ErrorCounts())

    @property
    def errors(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Reference units: hits + substitutions + deletions."""
        return self.hits + self.substitutions + self.deletions

    @property
    def error_rate(self) -> float:
        """Errors per reference unit: WER in words, CER in characters. May exceed 1.

        Of an empty reference: 0 when nothing was inserted, infinite otherwise.
        """
        return _ratio(self.errors, self.reference_length)

    @property
    def match_error_rate(self) -> float:
        """MER = (S + D + I) / (H + S + D + I), in [0, 1] (Morris, Maier & Green, 2004)."""
        return _ratio(self.errors, self.reference_length + self.insertions)


def _ratio(errors: int, length: int) -> float:
    if length == 0:
        return 0.0 if errors == 0 else math.inf
    return errors / length


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Counts of a minimal alignment (see :func:`asr_headroom.metrics.alignment.align`).

    >>> count_errors("un chat noir".split(), "un chien".split())
    ErrorCounts(hits=1, substitutions=1, deletions=1, insertions=0)
    """
    substitutions = deletions = insertions = 0
    for tag, *_ in Levenshtein.editops(reference, hypothesis):
        if tag == "replace":
            substitutions += 1
        elif tag == "delete":
            deletions += 1
        else:
            insertions += 1
    return ErrorCounts(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


class UtteranceCounts(NamedTuple):
    """The two countings of one utterance; which one is the headline is the normaliser's ``unit``."""

    words: ErrorCounts
    characters: ErrorCounts

    def of(self, unit: Unit) -> ErrorCounts:
        """The counts in the given unit."""
        return self.characters if unit == "character" else self.words


def count_pair(reference: str, hypothesis: str, normalizer: Normalizer) -> UtteranceCounts:
    """Counts of one raw reference and hypothesis, in words and in characters, after normalising both.

    Characters include the spaces that the normaliser leaves (French does, Chinese has none), as in the study.
    """
    reference, hypothesis = normalizer(reference), normalizer(hypothesis)
    return UtteranceCounts(
        *(count_errors(split_units(reference, unit), split_units(hypothesis, unit)) for unit in ("word", "character"))
    )
