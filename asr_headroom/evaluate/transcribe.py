"""A manifest and a recogniser in, predictions out; resumable, in the same batches however often restarted.

Between two batches is the safe point: there minutes are booked, a signal is obeyed, and a budget that does not hold the
next batch ends the session.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from asr_headroom.budget import Budget, format_minutes
from asr_headroom.data.batching import plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import BudgetError, DataError
from asr_headroom.evaluate.decode import BatchDecoder, Decoded
from asr_headroom.evaluate.speed import MemoryMeter, SpeedMeter, device_of
from asr_headroom.metrics.error_rate import ErrorCounts, count_pair
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.protocols import Recognizer
from asr_headroom.results.schema import Prediction
from asr_headroom.results.store import ResultsWriter
from asr_headroom.stopping import StopRequests
from asr_headroom.text.normalize import Normalizer

__all__ = ["count_utterances", "prediction_of", "refuse_long_utterances", "transcribe_manifest"]

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_BOOKINGS = 1.0
"""Of the minutes in the ledger: a kill loses at most this and the batch at work."""


def transcribe_manifest(
    model: Recognizer,
    utterances: Sequence[Utterance],
    options: DecodingOptions,
    *,
    normalizer: Normalizer,
    batch_size: int,
    nbest: int = 0,
    writer: ResultsWriter | None = None,
    budget: Budget | None = None,
    stops: StopRequests | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Prediction]:
    """Predictions of all utterances that the writer does not hold yet, longest first.

    The batches are planned over the whole manifest and only whole batches are skipped, so a resumed run
    decodes every utterance in the company it would have had. Where memory does not hold a batch it is decoded in parts
    (see :mod:`asr_headroom.evaluate.decode`).

    Args:
        model: the recogniser.
        utterances: what to transcribe.
        options: how to search.
        normalizer: for the counts stored with each prediction.
        batch_size: utterances decoded together, at most.
        nbest: texts to list with each prediction; 0 for none. The model must be able to.
        writer: stores each batch as soon as it is decoded, the minutes it took under ``transcribe``, and what was
            measured: speed, memory, the size of batches that fits; None keeps predictions in memory only.
        budget: no batch is begun that is not expected to end inside it.
        stops: no batch is begun once stopping was requested.
        clock: for the minutes and the progress lines.

    Returns:
        the new predictions, in the order in which they were decoded.

    Raises:
        DataError: an utterance is longer than the model hears at once.
        ModelError: a single utterance does not fit in memory.
        BudgetError: the next batch does not fit; the batches before it are kept.
        Stopped: stopping was requested; the batches before are kept.
    """
    meter = _Meter(writer, clock)
    refuse_long_utterances(model, utterances)
    durations = [u.measured_duration() for u in utterances]
    batches = plan_batches(durations, [model.batch_key(u) for u in utterances], batch_size)
    finished = writer.finished_ids if writer else set()
    pending = [rows for rows in batches if utterances[rows[0]].id not in finished]
    before = len(utterances) - sum(map(len, pending))
    if before:
        logger.info("%d of %d utterances are transcribed already", before, len(utterances))
    if writer and pending:
        _log_plan([durations[row] for rows in pending for row in rows], len(pending), budget)
    pace = _Pace(meter.seconds_before / before if before else 0.0)
    measured = _Measured(model, batch_size, writer, clock)
    decoder = BatchDecoder(
        model, options, rows=measured.rows, nbest=nbest, speed=measured.speed, on_smaller=measured.fits
    )
    predictions: list[Prediction] = []
    start = last_line = clock()
    try:
        for number, rows in enumerate(pending):
            done = before + len(predictions)
            if stops is not None and stops.requested:
                raise stops.stopped(f"stopped after {done} of {len(utterances)} utterances; the same command goes on")
            if budget is not None:
                _refuse_over_budget(budget, pace.expect(len(rows)), len(rows), done, len(utterances))
            if writer and number == _Pace.WARM_UP + 1:
                _log_forecast(pace, [durations[row] for later in pending[number:] for row in later], budget)
            begin = clock()
            batch = [utterances[row] for row in rows]
            new = [prediction_of(u, d, normalizer) for u, d in zip(batch, decoder.decode(batch), strict=True)]
            if writer:
                writer.append(new)
            predictions += new
            if meter.book(at_least=_SECONDS_BETWEEN_BOOKINGS):
                measured.write()
            now = clock()
            pace.add(len(rows), sum(durations[row] for row in rows), now - begin)
            if now - last_line > _SECONDS_BETWEEN_LINES:
                last_line = now
                _log_progress(before + len(predictions), len(utterances), len(predictions), now - start)
        if (
            writer
            and pending
            and not measured.speed.has_measured
            and (budget is None or budget.remaining > now - begin)
        ):
            # The only batch there is was the one that warmed up: once more, for the clock alone.
            decoder.decode(batch)
    finally:
        meter.book()
        if pending:
            measured.write()
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


def count_utterances(
    model: Recognizer,
    utterances: Sequence[Utterance],
    options: DecodingOptions,
    *,
    normalizer: Normalizer,
    batch_size: int,
) -> list[ErrorCounts]:
    """Transcribes and counts: what ``train`` and ``rl`` are handed to measure a model on dev and guard sets.

    Args:
        model: the recogniser.
        utterances: of one set.
        options: the same as in the final evaluation.
        normalizer: of the counts, which are in its unit.
        batch_size: utterances decoded together, at most.

    Returns:
        one per utterance, in order.
    """
    predictions = transcribe_manifest(model, utterances, options, normalizer=normalizer, batch_size=batch_size)
    by_id = {prediction.id: prediction.counts.of(normalizer.unit) for prediction in predictions}
    return [by_id[utterance.id] for utterance in utterances]


def prediction_of(utterance: Utterance, decoded: Decoded, normalizer: Normalizer) -> Prediction:
    """What is stored of one utterance, errors counted."""
    hypothesis = decoded.hypothesis
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
        nbest=decoded.nbest,
        extras=dict(utterance.extras) | _segment(utterance),
    )


class _Meter:
    """Books seconds of transcription in a run's ledger while they pass, so that a kill loses few of them."""

    def __init__(self, writer: ResultsWriter | None, clock: Callable[[], float]) -> None:
        self._writer, self._clock, self._since = writer, clock, clock()
        self.seconds_before = 60 * writer.run.minutes.get("transcribe", 0.0) if writer else 0.0

    def book(self, *, at_least: float = 0.0) -> bool:
        """Books what has passed since the last booking, if it is that many seconds; whether it was."""
        passed = self._clock() - self._since
        if not self._writer or passed < at_least:
            return False
        self._writer.add_minutes("transcribe", passed / 60)
        self._since += passed
        return True


class _Measured:
    """What is seen while transcribing, kept in the run's record over its sessions.

    Attributes:
        rows: utterances decoded together: those asked for, or as many as an earlier session found to fit.
        speed: times the batches.
    """

    def __init__(
        self, model: Recognizer, batch_size: int, writer: ResultsWriter | None, clock: Callable[[], float]
    ) -> None:
        stored = writer.run.measured if writer else {}
        device = device_of(model)
        self._writer, self._asked = writer, batch_size
        self.rows = min(batch_size, stored.get("batch", {}).get("fits", batch_size))
        self.speed = SpeedMeter(self.rows, stored=stored.get("speed"), device=device, clock=clock)
        self._memory = MemoryMeter(device) if writer else None

    def fits(self, rows: int) -> None:
        """Notes a smaller batch before it is used, so that a run killed in it goes on with it."""
        if self._writer:
            self._writer.measure(batch={"asked": self._asked, "fits": rows})

    def write(self) -> None:
        """Brings the record up to date."""
        if self._writer and self._memory:
            memory = self._memory.record(self._writer.run.measured.get("memory"))
            self._writer.measure(speed=self.speed.record(), memory=memory)


class _Pace:
    """How long batches took, and what that says of those to come.

    Args:
        seconds_per_utterance: of an earlier session; counts until a batch was measured.
    """

    WARM_UP = 1
    """Batches that do not count once there are others: the first one also allocates and compiles."""

    def __init__(self, seconds_per_utterance: float = 0.0) -> None:
        self._guess = seconds_per_utterance
        self._measured: list[tuple[int, float, float]] = []  # utterances, seconds of audio, seconds

    def add(self, utterances: int, audio: float, seconds: float) -> None:
        """One batch that was transcribed."""
        self._measured.append((utterances, audio, seconds))

    def expect(self, utterances: int) -> float:
        """Seconds that the next batch takes if it is as slow, per utterance, as the slowest so far.

        Batches come longest first, so few later ones are slower; the shorter ones of a model that pads all to
        one window are not faster either, which seconds per second of audio would promise.
        """
        slowest = max((seconds / count for count, _, seconds in self._counting()), default=self._guess)
        return slowest * utterances

    def forecast(self, durations: Sequence[float]) -> tuple[float, float]:
        """Seconds for utterances of these durations, at the pace per second of audio and at that per utterance."""
        counting = self._counting()
        total = sum(seconds for _, _, seconds in counting)
        by_audio = total * sum(durations) / max(sum(audio for _, audio, _ in counting), 1e-9)
        by_number = total * len(durations) / sum(count for count, _, _ in counting)
        return min(by_audio, by_number), max(by_audio, by_number)

    def _counting(self) -> list[tuple[int, float, float]]:
        return self._measured[self.WARM_UP :] or self._measured


def _refuse_over_budget(budget: Budget, expected: float, rows: int, done: int, total: int) -> None:
    left = budget.remaining
    if left > 0 and left >= expected:
        return
    what = f"the next {rows} take about {format_minutes(expected)} and {format_minutes(left)} are left"
    raise BudgetError(
        f"the budget of {format_minutes(budget.seconds or 0.0)} is used up with {done} of {total} utterances "
        f"transcribed ({what if left > 0 else 'nothing is left'})"
    )


def _log_plan(durations: Sequence[float], batches: int, budget: Budget | None) -> None:
    left = f"; {_left(budget)}" if budget is not None and budget.seconds is not None else ""
    logger.info(
        "%d utterances to transcribe, %s of audio, in %d batches%s",
        len(durations),
        format_minutes(sum(durations)),
        batches,
        left,
    )


def _left(budget: Budget) -> str:
    return f"{format_minutes(max(0.0, budget.remaining))} of the budget are left"


def _log_forecast(pace: _Pace, durations: Sequence[float], budget: Budget | None) -> None:
    # Short utterances take less than their share of the long ones' time, so that it does not fit cannot be said yet.
    low, high = pace.forecast(durations)
    left = ""
    if budget is not None and budget.seconds is not None:
        left = f"; {_left(budget)}: {'they fit' if high <= budget.remaining else 'they may not fit'}"
    logger.info(
        "the other %d utterances, %s of audio, take %s to %s at the pace of these long ones%s",
        len(durations),
        format_minutes(sum(durations)),
        format_minutes(low),
        format_minutes(high),
        left,
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
