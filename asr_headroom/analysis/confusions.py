"""What is taken for what: the most frequent confusions of a run, by how many different sentences show them.

Ten people who read one sentence with one hard name do not make that name's confusion ten times as important, so pairs
are ranked by distinct sentences first and occurrences second. Pairs are those of the categorised alignment
(:mod:`asr_headroom.analysis.categories`): alike units are paired, and a stretch that one rule explains is one pair.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from asr_headroom.analysis.categories import categorize, is_cased
from asr_headroom.analysis.categories_rules import joined
from asr_headroom.results.store import Results, pair_results
from asr_headroom.text.normalize import Normalizer

__all__ = ["Confusion", "count_confusions", "count_new_confusions"]

_WHOLE_OUTPUT = ("empty", "language_switch", "loop", "hallucination_long", "truncation")
"""Categories in which no unit is taken for another one."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """One stretch of the reference and what was put in its place.

    Attributes:
        reference: empty for an insertion.
        hypothesis: empty for a deletion.
        category: of :data:`asr_headroom.analysis.categories.CATEGORIES`.
        sentences: distinct references in which it occurs.
        occurrences: in all.
    """

    reference: str
    hypothesis: str
    category: str
    sentences: int
    occurrences: int


def count_confusions(results: Results, normalizer: Normalizer, *, top: int | None = None) -> list[Confusion]:
    """The confusions of a run, the most widespread first.

    Args:
        results: of the run.
        normalizer: in which errors are counted.
        top: keep as many; None keeps all.
    """
    occurrences: Counter[tuple[str, str, str]] = Counter()
    sentences: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    cased = is_cased(results)
    for prediction in results.predictions:
        sentence = normalizer(prediction.reference)
        language = prediction.language or results.run.language
        for piece in categorize(prediction.reference, prediction.hypothesis, normalizer, language, cased=cased):
            if piece.category in _WHOLE_OUTPUT:
                continue
            left, right = joined(piece.reference, normalizer.unit), joined(piece.hypothesis, normalizer.unit)
            key = (left, right, piece.category)
            occurrences[key] += 1
            sentences[key].add(sentence)
    ranked = sorted(occurrences, key=lambda key: (-len(sentences[key]), -occurrences[key], key))
    return [
        Confusion(
            reference=left,
            hypothesis=right,
            category=category,
            sentences=len(sentences[left, right, category]),
            occurrences=occurrences[left, right, category],
        )
        for left, right, category in ranked[:top]
    ]


def count_new_confusions(
    base: Results, system: Results, normalizer: Normalizer, *, top: int | None = None
) -> list[tuple[Confusion, int]]:
    """The system's confusions that the base makes in fewer sentences, each with the base's number of sentences.

    The largest growth comes first.

    Raises:
        ResultsError: the two were not tested on the same utterances.
    """
    base, system = pair_results(base, system)
    before = {(c.reference, c.hypothesis): c.sentences for c in count_confusions(base, normalizer)}
    grown = [(c, before.get((c.reference, c.hypothesis), 0)) for c in count_confusions(system, normalizer)]
    grown = [(confusion, earlier) for confusion, earlier in grown if confusion.sentences > earlier]
    return sorted(grown, key=lambda pair: pair[1] - pair[0].sentences)[:top]
