"""The oracle of N-best lists: how low the error rate would be if someone always picked the best of each list.

What it is above zero no reranking can mend; what it is below the rate is the most that reranking, or training on the
lists, can bring.
"""

from __future__ import annotations

from asr_headroom.metrics.error_rate import ErrorCounts, count_texts
from asr_headroom.results.store import Results
from asr_headroom.text.normalize import Normalizer

__all__ = ["list_size", "oracle_counts"]


def list_size(results: Results) -> int:
    """Hypotheses in the longest list; 0 where there are no lists."""
    return max((len(prediction.nbest) for prediction in results.predictions), default=0)


def oracle_counts(results: Results, normalizer: Normalizer) -> ErrorCounts | None:
    """Counts of the candidate with the fewest errors of each utterance, in the normaliser's unit.

    The hypothesis itself is a candidate too, so the oracle is never above the rate. None where no utterance has a list.
    """
    if not list_size(results):
        return None
    candidates = [(p.reference, text) for p in results.predictions for text in dict.fromkeys((p.hypothesis, *p.nbest))]
    counted = count_texts(
        [normalizer(reference) for reference, _ in candidates],
        [normalizer(text) for _, text in candidates],
        normalizer.unit,
    )
    best, position = [], 0
    for prediction in results.predictions:
        number = len(dict.fromkeys((prediction.hypothesis, *prediction.nbest)))
        # The first of equals: the hypothesis where nothing on the list is better.
        best.append(min(counted[position : position + number], key=lambda counts: counts.errors))
        position += number
    return ErrorCounts.total(best)
