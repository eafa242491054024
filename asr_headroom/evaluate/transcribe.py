"""A manifest and a recogniser in, predictions out; resumable, in the same batches however often restarted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from asr_headroom.budget import format_minutes
from asr_headroom.data.batching import plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.models.decoding import DecodingOptions, Hypothesis
from asr_headroom.models.protocols import Recognizer
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import ResultsWriter
from asr_headroom.text.normalize import Normalizer, normalizer_for_language

__all__ = ["error_counts_validator", "refuse_long_utterances", "transcribe_manifest"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


def transcribe_manifest(
    model: Recognizer,
    utterances: Sequence[Utterance],
    options: DecodingOptions,
    *,
    normalizer: Normalizer,
    batch_size: int,
    writer: ResultsWriter | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Prediction]:
    """Predictions of all utterances that the writer does not hold yet, longest first.

    The batches are planned over the whole manifest and only whole batches are skipped, so a resumed run
    decodes every utterance in the company it would have had.

    Args:
        model: the recogniser.
        utterances: what to transcribe.
        options: how to search.
        normalizer: for the counts stored with each prediction.
        batch_size: utterances decoded together, at most.
        writer: stores each batch as soon as it is decoded; None keeps predictions in memory only.
        clock: for the progress lines.

    Returns:
        the new predictions, in the order in which they were decoded.

    Raises:
        DataError: an utterance is longer than the model hears at once.
    """
    refuse_long_utterances(model, utterances)
    batches = plan_batches(
        [u.measured_duration() for u in utterances], [model.batch_key(u) for u in utterances], batch_size
    )
    finished = writer.finished_ids if writer else set()
    pending = [rows for rows in batches if utterances[rows[0]].id not in finished]
    done = len(utterances) - sum(map(len, pending))
    if done:
        logger.info("%d of %d utterances are transcribed already", done, len(utterances))
    predictions: list[Prediction] = []
    start = last_line = clock()
    for rows in pending:
        batch = [utterances[row] for row in rows]
        hypotheses = model.transcribe(batch, options)
        new = [_prediction(u, h, normalizer) for u, h in zip(batch, hypotheses, strict=True)]
        if writer:
            writer.append(new)
        predictions += new
        now = clock()
        if now - last_line > _SECONDS_BETWEEN_LINES:
            last_line = now
            _log_progress(done + len(predictions), len(utterances), len(predictions), now - start)
    return predictions


def refuse_long_utterances(model: Recognizer, utterances: Sequence[Utterance]) -> None:
    """Raises when some utterance is longer than the model hears at once; nothing is ever cut in silence.

    Raises:
        DataError: naming the first of them, and how many there are.
    """
    limit = model.card.max_duration
    if limit is None:
        return
    # Half a millisecond: durations in manifests are often rounded.
    long = [u for u in utterances if u.measured_duration() > limit + 5e-4]
    if long:
        raise DataError(
            f"{len(long)} of {len(utterances)} utterances are longer than the {limit:g} s that "
            f"'{model.card.model_id}' hears at once, the first is '{long[0].id}' "
            f"({long[0].measured_duration():.2f} s, {long[0].origin}); cut them, or leave them out, counted, "
            "with --max-duration"
        )


def error_counts_validator(
    sets: Mapping[str, Sequence[Utterance]],
    options: DecodingOptions,
    *,
    batch_size: int,
    normalizers: Mapping[str, Normalizer] | None = None,
) -> Callable[[Recognizer], dict[str, list[ErrorCounts]]]:
    """What ``train`` and ``rl`` are handed to measure a model on named dev sets.

    Args:
        sets: utterances by name; the first is the one that selects.
        options: the same as in the final evaluation.
        batch_size: utterances decoded together.
        normalizers: by set; the language's default otherwise.
    """
    chosen = {
        name: (normalizers or {}).get(name) or normalizer_for_language(options.language or utterances[0].language)
        for name, utterances in sets.items()
    }

    def validate(model: Recognizer) -> dict[str, list[ErrorCounts]]:
        counts = {}
        for name, utterances in sets.items():
            normalizer = chosen[name]
            predictions = transcribe_manifest(model, utterances, options, normalizer=normalizer, batch_size=batch_size)
            by_id = {prediction.id: prediction.counts.of(normalizer.unit) for prediction in predictions}
            counts[name] = [by_id[utterance.id] for utterance in utterances]
        return counts

    return validate


def _prediction(utterance: Utterance, hypothesis: Hypothesis, normalizer: Normalizer) -> Prediction:
    return Prediction(
        id=utterance.id,
        reference=utterance.text,
        hypothesis=hypothesis.text,
        counts=count_pair(utterance.text, hypothesis.text, normalizer),
        duration=utterance.measured_duration(),
        speaker=utterance.speaker,
        language=utterance.language,
        truncated=hypothesis.truncated,
        looped=hypothesis.looped,
        audio=str(utterance.audio) if isinstance(utterance.audio, Path) else None,
        extras=dict(utterance.extras) | _segment(utterance),
    )


def _segment(utterance: Utterance) -> dict[str, float]:
    """Where in its recording an utterance lies, so that a report can play it; empty for a whole recording."""
    ends = {"end": utterance.end} if utterance.end is not None else {}
    return {"start": utterance.start} | ends if utterance.start or ends else {}


def _log_progress(done: int, total: int, new: int, seconds: float) -> None:
    left = (total - done) * seconds / max(1, new)
    logger.info(
        "%d/%d utterances  %.1f utterances/s  %s left",
        done,
        total,
        new / max(seconds, 1e-9),
        format_minutes(left),
    )
