"""Keywords of a file in somebody's results: recall, precision and the weighted error rate, of one system or of two.

The definitions are in :mod:`asr_headroom.metrics.keywords`. Keywords go through the same normaliser as the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_headroom.analysis.scoring import PairedResults, clusters_of
from asr_headroom.errors import UsageError
from asr_headroom.metrics.keywords import KeywordCounts, Keywords, count_keywords
from asr_headroom.metrics.significance import ClusterBy, Comparison, compare_rates
from asr_headroom.results.readers_text import decode
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer
from asr_headroom.text.units import split_units

__all__ = ["KeywordComparison", "compare_keywords", "read_keywords", "score_keywords", "total_keywords"]


@dataclass(frozen=True, kw_only=True)
class KeywordComparison:
    """Two systems on the keywords of one test.

    Attributes:
        base: counts of the base.
        system: counts of the system.
        missed: keywords missed per keyword said; the difference in recall is the negative of its difference.
        weighted: the weighted error rates.
    """

    base: KeywordCounts
    system: KeywordCounts
    missed: Comparison
    weighted: Comparison


def read_keywords(path: Path, normalizer: Normalizer) -> Keywords:
    """Keywords of a text file, one per line, normalised; blank lines and lines that begin with ``#`` are no keywords.

    Raises:
        ResultsError: the file cannot be read or is empty.
        UsageError: a line holds nothing that the normaliser leaves; with its number.
    """
    phrases = []
    for number, line in enumerate(decode(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        phrase = split_units(normalizer(line), normalizer.unit)
        if not phrase:
            raise UsageError(
                f"{path}:{number}: of the keyword {line.strip()!r} the normalizer {normalizer.id} leaves nothing; "
                "take it out or choose another normalizer"
            )
        phrases.append(phrase)
    if not phrases:
        raise UsageError(f"{path}: holds no keyword; give one per line")
    return Keywords(phrases)


def score_keywords(results: Results, normalizer: Normalizer, keywords: Keywords, weight: float) -> list[KeywordCounts]:
    """[utterances] counts of the keywords of a system's outputs."""
    unit = normalizer.unit
    return [
        count_keywords(
            split_units(normalizer(p.reference), unit), split_units(normalizer(p.hypothesis), unit), keywords, weight
        )
        for p in results.predictions
    ]


def total_keywords(counts: Sequence[KeywordCounts], keywords: Keywords) -> KeywordCounts:
    """The sum over a test set.

    Raises:
        UsageError: no keyword is ever said, so there is no recall.
    """
    total = sum(counts, KeywordCounts())
    if not total.said:
        raise UsageError(
            f"none of the {keywords.num_keywords} keywords occurs in the references; check their spelling, "
            "or the normalizer that both go through"
        )
    return total


def compare_keywords(
    pair: PairedResults, keywords: Keywords, weight: float, cluster: ClusterBy = "auto"
) -> KeywordComparison:
    """Two systems on the keywords, paired and clustered like their error rates.

    Raises:
        UsageError: no keyword is ever said.
    """
    systems = pair.base, pair.system
    base, system = (score_keywords(results, pair.normalizer, keywords, weight) for results in systems)
    clustering = clusters_of(systems, pair.normalizer, cluster)
    return KeywordComparison(
        base=total_keywords(base, keywords),
        system=total_keywords(system, keywords),
        missed=compare_rates(
            [counts.said - counts.recalled for counts in base],
            [counts.said - counts.recalled for counts in system],
            [counts.said for counts in base],
            clustering,
        ),
        weighted=compare_rates(
            [counts.weighted_errors for counts in base],
            [counts.weighted_errors for counts in system],
            [counts.weighted_length for counts in base],
            clustering,
        ),
    )
