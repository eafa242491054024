"""Whether the times of a hypothesis can be used, and how many of a set cannot: what fine-tuning may break unseen.

Nothing here says that times are right, for which somebody would have to have marked them.
"""

from __future__ import annotations

from collections.abc import Sequence

from asr_headroom.data.batching import plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.evaluate.decode import BatchDecoder
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import DecodingOptions, Hypothesis
from asr_headroom.models.protocols import Recognizer

__all__ = ["count_unusable_times", "has_usable_times"]

_TOLERANCE_SECONDS = 0.2
"""By which the last segment may end after the recording: frames of the coarsest encoders, and their padding."""


def has_usable_times(hypothesis: Hypothesis, duration: float) -> bool:
    """Text has segments; each says something, ends no earlier than it starts, follows the one before, and lies inside.

    Args:
        hypothesis: of one utterance; one without text needs no times.
        duration: of the utterance, in seconds.
    """
    segments = hypothesis.segments
    if not segments:
        return not hypothesis.text.strip()
    starts = [segment.start for segment in segments]
    return (
        starts == sorted(starts)
        and starts[0] >= 0
        and all(segment.start <= segment.end for segment in segments)
        and all(segment.text.strip() for segment in segments)
        and max(segment.end for segment in segments) <= duration + _TOLERANCE_SECONDS
    )


def count_unusable_times(
    model: Recognizer, utterances: Sequence[Utterance], options: DecodingOptions, *, batch_size: int
) -> list[ErrorCounts]:
    """One count per utterance, in order: a hit where its times are usable, else a substitution."""
    durations = [utterance.measured_duration() for utterance in utterances]
    keys = [model.batch_key(utterance) for utterance in utterances]
    decoder = BatchDecoder(model, options, rows=batch_size)
    counts = [ErrorCounts()] * len(utterances)
    for rows in plan_batches(durations, keys, batch_size):
        for row, decoded in zip(rows, decoder.decode([utterances[row] for row in rows]), strict=True):
            usable = has_usable_times(decoded.hypothesis, durations[row])
            counts[row] = ErrorCounts(hits=int(usable), substitutions=int(not usable))
    return counts
