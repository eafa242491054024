"""Reads audio ahead of the training: the micro-batches of each optimiser step, collated in background threads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from asr_headroom.data.batching import TrainingOrder, split_batch
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
        max_rows: rows of a micro-batch, at most.
        workers: threads.
        rank: of this process.
        world_size: processes that share each step's utterances.
    """

    def __init__(
        self,
        model: Trainable,
        utterances: Sequence[Utterance],
        order: TrainingOrder,
        *,
        max_rows: int,
        workers: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._model = model
        self._utterances = utterances
        self._order = order
        self._max_rows = max_rows
        self._workers = workers
        self._rank = rank
        self._world_size = world_size

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
                    pending.append((groups, [pool.submit(self._model.collate, rows) for rows in groups.utterances]))
                if not pending:
                    return
                groups, futures = pending.popleft()
                yield groups.with_batches([future.result() for future in futures])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def step(self, number: int) -> StepBatches:
        """One step, read now."""
        groups = self._micro_batches(number)
        return groups.with_batches([self._model.collate(rows) for rows in groups.utterances])

    def _micro_batches(self, step: int) -> _Groups:
        batch = self._order.batch(step)
        own = batch[self._rank :: self._world_size]
        rows = [self._utterances[index] for index in own or batch[:1]]
        durations = [utterance.measured_duration() for utterance in rows]
        keys = [self._model.batch_key(utterance) for utterance in rows]
        groups = split_batch(range(len(rows)), durations, keys, self._max_rows)
        return _Groups(step, [[rows[i] for i in group] for group in groups], 1 if own else 0)


@dataclass(frozen=True)
class _Groups:
    """A step's utterances on this process, before their audio is read."""

    number: int
    utterances: list[list[Utterance]]
    weight: int

    def with_batches(self, batches: list[Batch]) -> StepBatches:
        return StepBatches(self.number, batches, self.utterances, self.weight)
