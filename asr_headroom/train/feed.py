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
        batches: on the CPU.
        weight: 0 when this process only keeps the others company in an epoch's last, small batch; else 1.
    """

    batches: list[Batch]
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

    def steps(self, start: int, stop: int) -> Iterator[tuple[int, StepBatches]]:
        """Steps ``start`` … ``stop`` - 1, read ahead.

        Raises:
            AudioError: a recording cannot be decoded; training on less than what was asked for is not an option.
        """
        numbers = range(start, stop)
        yield from zip(numbers, self.read(numbers), strict=True)

    def read(self, numbers: Iterable[int]) -> Iterator[StepBatches]:
        """The given steps in the given order, read ahead."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="collate")
        pending: deque[tuple[int, list[Future[Batch]]]] = deque()
        upcoming = iter(numbers)
        try:
            while True:
                for number in itertools.islice(upcoming, _STEPS_AHEAD - len(pending)):
                    weight, groups = self._micro_batches(number)
                    pending.append((weight, [pool.submit(self._collate, rows) for rows in groups]))
                if not pending:
                    return
                weight, futures = pending.popleft()
                yield StepBatches([future.result() for future in futures], weight)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def step(self, number: int) -> StepBatches:
        """One step, read now."""
        weight, groups = self._micro_batches(number)
        return StepBatches([self._collate(rows) for rows in groups], weight)

    def _micro_batches(self, step: int) -> tuple[int, list[list[int]]]:
        batch = self._order.batch(step)
        own = batch[self._rank :: self._world_size]
        rows = own or batch[:1]
        utterances = [self._utterances[index] for index in rows]
        durations = [utterance.measured_duration() for utterance in utterances]
        keys = [self._model.batch_key(utterance) for utterance in utterances]
        local = split_batch(range(len(rows)), durations, keys, self._max_rows)
        return (1 if own else 0), [[rows[i] for i in group] for group in local]

    def _collate(self, rows: Sequence[int]) -> Batch:
        return self._model.collate([self._utterances[index] for index in rows])
