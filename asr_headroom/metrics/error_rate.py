"""Error counts, which add, and the rates derived from them, which do not.

An error rate of a corpus is the sum of its edits over the sum of its reference units; it is never a mean of
rates.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein, Postfix, Prefix

from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit

__all__ = ["ErrorCounts", "UtteranceCounts", "count_errors", "count_pair", "count_texts"]

_COLUMNS = operator.attrgetter("hits", "substitutions", "deletions", "insertions")
_TAG = operator.attrgetter("tag")


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
        columns = list(zip(*map(_COLUMNS, counts), strict=True))
        return ErrorCounts(*map(sum, columns))

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
    return _count(reference, hypothesis, 0)


def count_texts(references: Iterable[str], hypotheses: Iterable[str], unit: Unit) -> list[ErrorCounts]:
    """Counts of many pairs of normalised texts: what :func:`count_errors` says of their units, but faster.

    Args:
        references: as a normaliser leaves them, words parted by single spaces.
        hypotheses: the same, in the same order.
        unit: words, characters, or mixed units, which the mixed normaliser has parted like words.

    >>> count_texts(["un chat noir", "deux"], ["un chien", "deux"], "word")[0]
    ErrorCounts(hits=1, substitutions=1, deletions=1, insertions=0)
    """
    count = _count_characters if unit == "character" else _count_words
    return [count(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True)]


def _count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    if reference == hypothesis:
        return _shared(len(reference))
    return _count(reference, hypothesis, 0)


def _count_words(reference: str, hypothesis: str) -> ErrorCounts:
    if reference == hypothesis:
        return _shared(reference.count(" ") + 1 if reference else 0)
    # Most words of most texts agree at both ends. Rapidfuzz would find that too, but only after each has become an
    # object and been hashed; cutting the text first saves half of the time. Cuts are made at spaces, so that words
    # stay whole.
    hits = 0
    start = reference.rfind(" ", 0, Prefix.similarity(reference, hypothesis)) + 1
    if start:
        hits = reference.count(" ", 0, start)
        reference, hypothesis = reference[start:], hypothesis[start:]
    end = reference.find(" ", len(reference) - Postfix.similarity(reference, hypothesis))
    if end >= 0:
        hits += reference.count(" ", end)
        reference, hypothesis = reference[:end], hypothesis[: end - len(reference)]
    return _count(reference.split(), hypothesis.split(), hits)


def _count(reference: Sequence[str], hypothesis: Sequence[str], hits: int) -> ErrorCounts:
    """Counts of an alignment, added to hits found before."""
    operations = Levenshtein.editops(reference, hypothesis)
    length, missing = len(reference), len(reference) - len(hypothesis)
    # Deletions - insertions is the difference in length, so what is above it are substitutions, or pairs of the two.
    substitutions = len(operations) - abs(missing)
    if substitutions > 1:
        substitutions = list(map(_TAG, operations)).count("replace")
    deletions = (len(operations) - substitutions + missing) // 2
    return _shared(hits + length - substitutions - deletions, substitutions, deletions, deletions - missing)


_shared = functools.lru_cache(maxsize=1 << 14)(ErrorCounts)
"""Counts are values, and small ones come up again and again; looking one up is faster than making it."""


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
    texts = [normalizer(reference)], [normalizer(hypothesis)]
    return UtteranceCounts(count_texts(*texts, "word")[0], count_texts(*texts, "character")[0])
