"""Reads audio ahead of the training: the micro-batches of each optimiser step, collated in background threads.

Augmentation happens here and nowhere else, so that evaluations and the dev loss hear recordings as they are. Utterances
are altered before they are put together, because speed changes what may share a batch.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from asr_headroom.audio.augment import Augmentation
from asr_headroom.audio.features import span_tensors
from asr_headroom.audio.spans import Spans
from asr_headroom.data.batching import StepOrder, split_batch
from asr_headroom.data.manifest import Utterance
from asr_headroom.models.protocols import Batch, Trainable

__all__ = ["Feed", "StepBatches"]

_STEPS_AHEAD = 3


@dataclass
class StepBatches:
    """The micro-batches of one optimiser step on this process.

    Attributes:
        number: of the step, counted from 0.
        batches: on the CPU.
        utterances: those of each micro-batch, in the order of its rows.
        weight: 0 when this process only keeps the others company in an epoch's last, small batch; else 1.
    """

    number: int
    batches: list[Batch]
    utterances: list[list[Utterance]]
    weight: int


class Feed:
    """Yields what each optimiser step trains on; a pure function of data, order and step.

    Args:
        model: collates; its ``batch_key`` keeps rows together that may share a batch.
        utterances: training data.
        order: which utterances each step takes.
        max_rows: rows of a micro-batch, at most; may be lowered on the way, for the steps that are not read yet.
        workers: threads.
        rank: of this process.
        world_size: processes that share each step's utterances.
        augmentation: what the audio goes through; None leaves it as recorded.
    """

    def __init__(
        self,
        model: Trainable,
        utterances: Sequence[Utterance],
        order: StepOrder,
        *,
        max_rows: int,
        workers: int,
        rank: int = 0,
        world_size: int = 1,
        augmentation: Augmentation | None = None,
    ) -> None:
        self._model = model
        self._utterances = utterances
        self._order = order
        self.max_rows = max_rows
        self._workers = workers
        self._rank = rank
        self._world_size = world_size
        self._augmentation = augmentation
        # Other packages' families may know nothing of spans; of theirs the waveform is hidden.
        self._hides_spans = augmentation is not None and model.card.abilities.spectrogram_spans

    def steps(self, start: int, stop: int) -> Iterator[StepBatches]:
        """Steps ``start`` … ``stop`` - 1, read ahead.

        Raises:
            AudioError: a recording cannot be decoded; training on less than what was asked for is not an option.
        """
        yield from self.read(range(start, stop))

    def read(self, numbers: Iterable[int]) -> Iterator[StepBatches]:
        """The given steps in the given order, read ahead."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="collate")
        pending: deque[tuple[_Groups, list[Future[Batch]]]] = deque()
        upcoming = iter(numbers)
        try:
            while True:
                for number in itertools.islice(upcoming, _STEPS_AHEAD - len(pending)):
                    groups = self._micro_batches(number)
                    pending.append((groups, [pool.submit(self.collate, rows) for rows in groups.utterances]))
                if not pending:
                    return
                groups, futures = pending.popleft()
                yield groups.with_batches([future.result() for future in futures])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def step(self, number: int) -> StepBatches:
        """One step, read now."""
        groups = self._micro_batches(number)
        return groups.with_batches([self.collate(rows) for rows in groups.utterances])

    def slowest(self, number: int) -> StepBatches:
        """One step, read now, at the slowest speed that is ever drawn: as much memory as its batch can ask for."""
        speeds = self._augmentation.config.speed if self._augmentation else ()
        groups = self._micro_batches(number, speed=min(speeds, default=None))
        return groups.with_batches([self.collate(rows) for rows in groups.utterances])

    def collate(self, rows: Sequence[Utterance]) -> Batch:
        """A batch of altered utterances, with the spans of its log-mels that the loss shall hide."""
        batch = self._model.collate(rows)
        if self._hides_spans:
            spans = [
                row.alteration.spans(row.measured_duration()) if row.alteration is not None else Spans() for row in rows
            ]
            if any(row.times or row.mels for row in spans):
                batch.inputs |= span_tensors(spans)
        return batch

    def _micro_batches(self, step: int, *, speed: float | None = None) -> _Groups:
        batch = list(zip(self._order.batch(step), self._order.passes(step), strict=True))
        own = batch[self._rank :: self._world_size]
        rows = [self._altered(self._utterances[index], number, speed) for index, number in own or batch[:1]]
        durations = [utterance.measured_duration() for utterance in rows]
        keys = [self._model.batch_key(utterance) for utterance in rows]
        groups = split_batch(range(len(rows)), durations, keys, self.max_rows)
        return _Groups(step, [[rows[i] for i in group] for group in groups], 1 if own else 0)

    def _altered(self, utterance: Utterance, pass_number: int, speed: float | None) -> Utterance:
        """The utterance as training hears it in this pass, with the duration that it then has.

        A speed stands in for the one drawn.
        """
        if self._augmentation is None:
            return utterance
        alteration = self._augmentation.alteration(utterance.id, pass_number)
        alteration = replace(alteration, hides_samples=not self._hides_spans, speed=speed or alteration.speed)
        duration = utterance.measured_duration()
        if alteration.speed != 1:
            changed = replace(utterance, alteration=alteration, duration=duration / alteration.speed)
            # Slowed down it may be too long for the model, sped up too short for its transcript.
            if self._model.check_target(changed) is None:
                return changed
            alteration = alteration.at_own_speed()
        return replace(utterance, alteration=alteration, duration=duration)


@dataclass(frozen=True)
class _Groups:
    """A step's utterances on this process, before their audio is read."""

    number: int
    utterances: list[list[Utterance]]
    weight: int

    def with_batches(self, batches: list[Batch]) -> StepBatches:
        return StepBatches(self.number, batches, self.utterances, self.weight)
