"""What kind of errors a system makes, on a true edit-distance alignment: kinds with counts that add up.

Each stretch of wrong units between two right ones is a *block*. A block that a rule explains as a whole (``boada
boada`` for ``boda boda``, a compound cut in two) keeps together; any other is taken apart into pairs of units that look
or sound alike, and each gets its own category; neighbours of one category count as one block. The errors of all
categories add up to the error count of the profile, whichever way a block was cut.

Start with :func:`categorize` for one utterance and :func:`count_categories` for a run. The rules are in
:mod:`asr_headroom.analysis.categories_rules`.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from asr_headroom.analysis.categories_rules import Stretch, explain, joined, language_of, unlikeness
from asr_headroom.analysis.outputs import describe_output, loop_spans
from asr_headroom.errors import ResultsError
from asr_headroom.metrics.alignment import align
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import Results
from asr_headroom.text.detect import has_content, script_counts
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import Unit, split_units

__all__ = [
    "CATEGORIES",
    "Categories",
    "Category",
    "CategoryCount",
    "Piece",
    "categorize",
    "count_categories",
    "is_cased",
]


class Category(NamedTuple):
    """One kind of error and what it means, in words for the page."""

    id: str
    label: str


CATEGORIES = (
    Category("case", "only upper and lower case differ"),
    Category("punctuation", "only punctuation differs"),
    Category("script_variant", "traditional for simplified characters, or the reverse"),
    Category("number_format", "the same number written otherwise"),
    Category("compound", "the same letters in other words: split, merged, hyphen"),
    Category("elision", "an elided little word gained, lost or written out"),
    Category("accent_homophone", "only accents differ and both sound the same (a/à, ou/où)"),
    Category("accent_only", "only accents differ"),
    Category("agreement_or_plural", "another form of the word: number, gender, person"),
    Category("homophone", "sounds the same, other spelling"),
    Category("homophone_other_tone", "the same syllable in another tone"),
    Category("name_like", "a word that the reference writes with a capital"),
    Category("number_value", "another number"),
    Category("latin_insertion", "Latin letters where the reference has none"),
    Category("language_switch", "another language or script"),
    Category("empty", "nothing was put out"),
    Category("loop", "a repetition"),
    Category("truncation", "the end is missing"),
    Category("hallucination_long", "a long stretch that nobody said"),
    Category("word_substitution", "another word"),
    Category("character_substitution", "another character"),
    Category("deletion", "left out"),
    Category("insertion", "added"),
)
"""All categories, format first."""

_LONG = {"word": 5, "mixed": 5, "character": 8}
"""Surplus units from which an insertion is a long hallucination."""
_CUT = {"word": 3, "mixed": 3, "character": 5}
"""Units missing at the end from which a deletion is a truncation."""
_UNEXPLAINED = ("word_substitution", "character_substitution", "deletion", "insertion")
_CAPITAL_NOUNS = ("de", "lb")
"""Languages that write every noun with a capital, so that it tells no name."""
_MAX_CELLS = 4096
"""Pairs of units up to which a block is paired by likeness; larger ones are babble, where nothing is alike."""


class Piece(NamedTuple):
    """One explained part of an utterance's errors; ``errors`` is at least 1."""

    category: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    errors: int


@dataclass(frozen=True, kw_only=True)
class CategoryCount:
    """How often one category occurs.

    Attributes:
        category: its id.
        errors: edit operations, in the profile's unit.
        share: of all errors.
        blocks: stretches in a row.
        utterances: with at least one.
        sentences: distinct references with at least one; a sentence that ten people read counts once.
        examples: its most frequent (reference, hypothesis) texts, each with the number of distinct sentences.
    """

    category: str
    errors: int
    share: float
    blocks: int
    utterances: int
    sentences: int
    examples: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Categories:
    """The errors of one run by category.

    Attributes:
        counts: of the categories that occur, the one with the most errors first.
        errors: of all utterances.
        length: reference units.
        cased: whether the references are written with capitals; where they are not, names cannot be told.
    """

    counts: tuple[CategoryCount, ...]
    errors: int
    length: int
    cased: bool

    def of(self, category: str) -> CategoryCount | None:
        """The count of one category by its id; None where it does not occur."""
        return next((count for count in self.counts if count.category == category), None)


# Categories and confusions of a run ask about the same utterances.
@functools.lru_cache(maxsize=1 << 16)
def categorize(
    reference: str, hypothesis: str, normalizer: Normalizer, language: str | None, *, cased: bool = False
) -> tuple[Piece, ...]:
    """The errors of one utterance, explained piece by piece, left to right.

    Args:
        reference: raw.
        hypothesis: raw.
        normalizer: in which errors are counted; the errors of all pieces add up to its count.
        language: BCP-47; None applies only the rules for all languages.
        cased: whether capitals in the reference tell names.
    """
    unit = normalizer.unit
    left, right = (tuple(split_units(normalizer(text), unit)) for text in (reference, hypothesis))
    blocks = list(_blocks(left, right))
    if not blocks:
        return ()
    whole = _whole_output(reference, hypothesis, language)
    if whole:
        return tuple(Piece(whole, *block.sides, block.errors) for block in blocks)
    context = Stretch(
        (),
        (),
        unit,
        language_of(language),
        _scripts(reference, language),
        _names(reference) if cased else frozenset(),
    )
    looped = _looped_units(right, unit)
    pieces: list[Piece] = []
    for block in blocks:
        pieces += _explain_block(block, context, looped, len(left))
    return tuple(pieces)


def count_categories(
    results: Results, normalizer: Normalizer, *, predictions: Sequence[Prediction] | None = None, examples: int = 3
) -> Categories:
    """The errors of a run by category.

    Args:
        results: of the run.
        normalizer: in which errors are counted.
        predictions: count only these, for example the worst hundred; None takes all.
        examples: kept for each category.

    Raises:
        ResultsError: there are no predictions.
    """
    predictions = results.predictions if predictions is None else predictions
    if not predictions:
        raise ResultsError(f"'{results.run.name}' holds no predictions; give a finished run")
    cased = is_cased(results)
    tally: dict[str, _Tally] = {}
    length = 0
    for index, prediction in enumerate(predictions):
        language = prediction.language or results.run.language
        pieces = categorize(prediction.reference, prediction.hypothesis, normalizer, language, cased=cased)
        sentence = normalizer(prediction.reference)
        length += len(split_units(sentence, normalizer.unit))
        for category, group in groupby(pieces, key=lambda piece: piece.category):
            tally.setdefault(category, _Tally()).add(list(group), index, sentence, normalizer.unit)
    errors = sum(one.errors for one in tally.values())
    order = {category.id: rank for rank, category in enumerate(CATEGORIES)}
    return Categories(
        counts=tuple(
            tally[category].count(category, errors, examples)
            for category in sorted(tally, key=lambda c: (-tally[c].errors, order[c]))
        ),
        errors=errors,
        length=length,
        cased=cased,
    )


def is_cased(results: Results) -> bool:
    """Whether references are written with capitals inside sentences, so that they tell names.

    Not in German, which writes all nouns so.
    """
    if language_of(results.run.language) in _CAPITAL_NOUNS:
        return False
    with_names = sum(bool(_names(p.reference)) for p in results.predictions)
    return with_names > 0.05 * len(results.predictions)


class _Tally:
    """Counts of one category while utterances go by."""

    def __init__(self) -> None:
        self.errors = self.blocks = 0
        self.utterances: set[int] = set()
        self.sentences: set[str] = set()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self._seen: set[tuple[str, str, str]] = set()

    def add(self, pieces: Sequence[Piece], utterance: int, sentence: str, unit: Unit) -> None:
        self.blocks += 1
        self.errors += sum(piece.errors for piece in pieces)
        self.utterances.add(utterance)
        self.sentences.add(sentence)
        for piece in pieces:
            left, right = joined(piece.reference, unit), joined(piece.hypothesis, unit)
            if (sentence, left, right) not in self._seen:
                self._seen.add((sentence, left, right))
                self.pairs[left, right] += 1

    def count(self, category: str, errors: int, examples: int) -> CategoryCount:
        ranked = sorted(self.pairs.items(), key=lambda item: (-item[1], item[0]))
        return CategoryCount(
            category=category,
            errors=self.errors,
            share=self.errors / errors,
            blocks=self.blocks,
            utterances=len(self.utterances),
            sentences=len(self.sentences),
            examples=tuple((*pair, count) for pair, count in ranked[:examples]),
        )


class _Block(NamedTuple):
    """A maximal run of operations that are not equal; ``start`` counts the hypothesis' units before it."""

    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]
    start: int
    ends_early: bool

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.reference, self.hypothesis

    @property
    def errors(self) -> int:
        # In a minimal alignment a run of m and n units costs as many edits as the longer side has units.
        return max(len(self.reference), len(self.hypothesis))


def _blocks(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[_Block]:
    position = 0
    operations = align(reference, hypothesis)
    done = 0
    for is_equal, group in groupby(operations, key=lambda block: block.operation == "equal"):
        run = list(group)
        done += len(run)
        right = tuple(block.hypothesis for block in run if block.hypothesis is not None)
        if not is_equal:
            left = tuple(block.reference for block in run if block.reference is not None)
            # Where nothing before was right, the end is not what is missing.
            yield _Block(left, right, position, len(run) < done == len(operations))
        position += len(right)


def _whole_output(reference: str, hypothesis: str, language: str | None) -> str | None:
    """A category for an utterance whose output failed as a whole."""
    if not has_content(hypothesis):
        return "empty"
    flags = describe_output(reference, hypothesis, language)
    return "language_switch" if flags.wrong_language or flags.wrong_script else None


def _scripts(reference: str, language: str | None) -> frozenset[str]:
    """Scripts that the reference uses; Japanese is written in three, which one sentence need not all use."""
    scripts = frozenset(script_counts(reference))
    is_japanese = language_of(language) == "ja" or not scripts.isdisjoint(("HIRAGANA", "KATAKANA"))
    return scripts | {"HIRAGANA", "KATAKANA", "CJK"} if is_japanese else scripts


def _names(reference: str) -> frozenset[str]:
    """Folded words with a capital that do not begin a sentence; none of a text in capitals throughout."""
    names: set[str] = set()
    if reference.isupper():
        return frozenset()
    inside = False
    for word in reference.split():
        core = word.strip("«»\"'“”‘’()[]{}.,;:!?…—–- ")
        # The English pronoun is no name.
        if inside and core[:1].isupper() and re.split("['’]", core)[0] != "I":
            names.add(core.casefold())
        inside = not word.endswith((".", "!", "?", "…", ":"))
    return frozenset(names)


def _looped_units(units: Sequence[str], unit: Unit) -> frozenset[int]:
    """Positions of the units that only repeat."""
    spans = loop_spans(joined(units, unit))
    if not spans:
        return frozenset()
    looped = set()
    offset = 0
    for index, one in enumerate(units):
        if any(start <= offset + len(one) / 2 < end for start, end in spans):
            looped.add(index)
        offset += len(one) + (unit != "character")
    return frozenset(looped)


def _explain_block(block: _Block, context: Stretch, looped: frozenset[int], length: int) -> Iterable[Piece]:
    surplus = max(0, len(block.hypothesis) - len(block.reference))
    positions = [i for i in range(len(block.hypothesis)) if block.start + i in looped]
    if surplus and positions:
        # Of a loop that also replaces words, only what is too much is loop; the rest is weighed like any other block.
        repeated = frozenset(positions[-surplus:])
        kept = tuple(one for i, one in enumerate(block.hypothesis) if i not in repeated)
        loop = Piece("loop", (), tuple(block.hypothesis[i] for i in sorted(repeated)), len(repeated))
        rest = _explain_sides(block.reference, kept, block.ends_early, context, length)
        return [*rest, loop]
    return _explain_sides(*block.sides, block.ends_early, context, length)


def _explain_sides(
    left: tuple[str, ...], right: tuple[str, ...], ends_early: bool, context: Stretch, length: int
) -> list[Piece]:
    if not left and not right:
        return []
    pairs = _explain_pairs(left, right, context)
    if len(left) == len(right) and all(piece.category not in _UNEXPLAINED for piece in pairs):
        # "différences culturelles" for "différence culturelle" is two agreements, though it also sounds the same.
        return pairs
    category = explain(_stretch(left, right, context))
    if category is None and len(right) - len(left) >= _LONG[context.unit]:
        category = "hallucination_long"
    missing = len(left) - len(right)
    if category is None and ends_early and missing >= max(_CUT[context.unit], length // 5):
        category = "truncation"
    return pairs if category is None else [Piece(category, left, right, max(len(left), len(right)))]


def _explain_pairs(left: tuple[str, ...], right: tuple[str, ...], context: Stretch) -> list[Piece]:
    pieces = []
    for one, other in _pairs(left, right, context.language):
        sides = (one,) if one is not None else (), (other,) if other is not None else ()
        pieces.append(Piece(_explain_pair(_stretch(*sides, context)), *sides, 1))
    return pieces


def _stretch(left: tuple[str, ...], right: tuple[str, ...], context: Stretch) -> Stretch:
    return Stretch(left, right, context.unit, context.language, context.scripts, context.names)


def _explain_pair(stretch: Stretch) -> str:
    if category := explain(stretch):
        return category
    if stretch.one_to_one:
        return "character_substitution" if stretch.unit == "character" else "word_substitution"
    return "deletion" if stretch.reference else "insertion"


def _pairs(left: Sequence[str], right: Sequence[str], language: str) -> list[tuple[str | None, str | None]]:
    """Pairs of a block in order, min(m, n) of them whole, chosen so that what is paired is alike.

    Any choice costs the same number of errors; only this one lets "de la zonison" for "d'asunción" be judged at all.
    """
    if len(left) > len(right):
        return [(b, a) for a, b in _pairs(right, left, language)]
    m, n = len(left), len(right)
    if m == n or not m or m * n > _MAX_CELLS:
        return [*zip(left, right, strict=False), *((None, one) for one in right[m:])]
    # best[i][j]: least unlikeness of left[:i] paired within right[:j], each of left paired.
    best = [[0.0] * (n + 1)] + [[float("inf")] * (n + 1) for _ in range(m)]
    for i in range(1, m + 1):
        for j in range(i, n - m + i + 1):
            paired = best[i - 1][j - 1] + unlikeness(left[i - 1], right[j - 1], language)
            best[i][j] = min(best[i][j - 1], paired)
    pairs: list[tuple[str | None, str | None]] = []
    i, j = m, n
    while j:
        if i and best[i][j] != best[i][j - 1]:
            pairs.append((left[i - 1], right[j - 1]))
            i -= 1
        else:
            pairs.append((None, right[j - 1]))
        j -= 1
    return pairs[::-1]
