"""Were the words that matter heard? Keyword recall and precision, and an error rate that weighs keywords more.

Definitions, on the one minimal alignment of reference and hypothesis (:mod:`asr_headroom.metrics.alignment`):

* an *occurrence* is a stretch of units that equals a keyword; of overlapping ones the longest counts, from the left;
* an occurrence in the reference is *recalled*, one in the hypothesis is *right*, when all its units are hits and
  nothing is inserted or deleted between them;
* the *weighted error rate* is the sum of the weights of the errors over the sum of the weights of the reference
  units. A reference unit inside an occurrence weighs ``weight``, any other 1. An insertion weighs ``weight`` when the
  inserted unit is part of an occurrence in the hypothesis, else 1. With weight 1 it is the plain error rate.

Counts add. A reward that weighs keywords takes :func:`count_keywords` too, so that training and report agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr_headroom.errors import UsageError
from asr_headroom.metrics.alignment import align

__all__ = ["DEFAULT_KEYWORD_WEIGHT", "KeywordCounts", "Keywords", "count_keywords"]

DEFAULT_KEYWORD_WEIGHT = 5.0
"""What an error on a keyword counts, in errors on other words."""


class Keywords:
    """Keywords as sequences of units, ready to be found.

    Args:
        keywords: each a sequence of normalised units; doubled ones count once.

    Raises:
        UsageError: there is none, or one of them is empty.
    """

    def __init__(self, keywords: Iterable[Sequence[str]]) -> None:
        self._by_first: dict[str, list[tuple[str, ...]]] = {}
        phrases = list(dict.fromkeys(tuple(keyword) for keyword in keywords))
        if not phrases or () in phrases:
            raise UsageError("a keyword is empty after normalising, or there is none; give one per line")
        for phrase in sorted(phrases, key=len, reverse=True):
            self._by_first.setdefault(phrase[0], []).append(phrase)
        self.phrases = phrases
        self.num_keywords = len(phrases)

    def find(self, units: Sequence[str]) -> list[tuple[int, int]]:
        """Occurrences as start and end, from the left, the longest at each place.

        >>> Keywords([["new", "york"], ["york"]]).find("york is not new york".split())
        [(0, 1), (3, 5)]
        """
        found = []
        position = 0
        while position < len(units):
            for phrase in self._by_first.get(units[position], ()):
                end = position + len(phrase)
                if tuple(units[position:end]) == phrase:
                    found.append((position, end))
                    position = end - 1
                    break
            position += 1
        return found


@dataclass(frozen=True, slots=True)
class KeywordCounts:
    """What became of the keywords; counts add.

    Attributes:
        said: occurrences in the reference.
        recalled: those of them that were heard, whole.
        heard: occurrences in the hypothesis.
        right: those of them that were said.
        weighted_errors: errors, those on keywords times the weight.
        weighted_length: reference units, those of keywords times the weight.
    """

    said: int = 0
    recalled: int = 0
    heard: int = 0
    right: int = 0
    weighted_errors: float = 0.0
    weighted_length: float = 0.0

    def __add__(self, other: KeywordCounts) -> KeywordCounts:
        return KeywordCounts(
            self.said + other.said,
            self.recalled + other.recalled,
            self.heard + other.heard,
            self.right + other.right,
            self.weighted_errors + other.weighted_errors,
            self.weighted_length + other.weighted_length,
        )

    @property
    def recall(self) -> float | None:
        """Share of the said keywords that were heard; None where none was said."""
        return self.recalled / self.said if self.said else None

    @property
    def precision(self) -> float | None:
        """Share of the heard keywords that were said; None where none was heard."""
        return self.right / self.heard if self.heard else None

    @property
    def weighted_error_rate(self) -> float:
        """Weighted errors per weighted reference unit; infinite where only an empty reference was filled."""
        if self.weighted_length == 0:
            return math.inf if self.weighted_errors else 0.0
        return self.weighted_errors / self.weighted_length


def count_keywords(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    keywords: Keywords,
    weight: float = DEFAULT_KEYWORD_WEIGHT,
) -> KeywordCounts:
    """Counts of one utterance, by the definitions above.

    Args:
        reference: normalised units.
        hypothesis: normalised units.
        keywords: to look for in both.
        weight: of an error on a keyword, at least 0; 1 makes it an error like any other.

    >>> new_york = Keywords([["new", "york"]])
    >>> count_keywords("he saw new york".split(), "he saw new work".split(), new_york, weight=5)
    KeywordCounts(said=1, recalled=0, heard=0, right=0, weighted_errors=5.0, weighted_length=12.0)

    Raises:
        UsageError: the weight is negative or not finite.
    """
    if not math.isfinite(weight) or weight < 0:
        raise UsageError(f"the weight of a keyword is {weight}; it must be at least 0")
    said, heard = keywords.find(reference), keywords.find(hypothesis)
    inside_reference = _inside(said, len(reference))
    inside_hypothesis = _inside(heard, len(hypothesis))
    hit_of_reference: dict[int, int] = {}
    i = j = 0
    weighted_errors = 0.0
    for block in align(reference, hypothesis):
        if block.operation == "equal":
            hit_of_reference[i] = j
        elif block.operation == "insert":
            weighted_errors += weight if inside_hypothesis[j] else 1.0
        else:
            weighted_errors += weight if inside_reference[i] else 1.0
        i += block.reference is not None
        j += block.hypothesis is not None
    hit_of_hypothesis = {j: i for i, j in hit_of_reference.items()}
    num_inside = sum(inside_reference)
    return KeywordCounts(
        said=len(said),
        recalled=sum(_is_whole(span, hit_of_reference) for span in said),
        heard=len(heard),
        right=sum(_is_whole(span, hit_of_hypothesis) for span in heard),
        weighted_errors=weighted_errors,
        weighted_length=float(weight * num_inside + len(reference) - num_inside),
    )


def _inside(spans: Sequence[tuple[int, int]], length: int) -> list[bool]:
    inside = [False] * length
    for start, end in spans:
        inside[start:end] = [True] * (end - start)
    return inside


def _is_whole(span: tuple[int, int], partner: dict[int, int]) -> bool:
    """Whether all units of a span are hits whose partners follow each other."""
    start, end = span
    first = partner.get(start)
    return first is not None and all(partner.get(i) == first + i - start for i in range(start, end))
