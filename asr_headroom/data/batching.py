"""Which utterances go together: batches of like length, the same on every machine.

Padding costs time, and for many models it changes outputs. So batches hold utterances of nearly equal duration, and
only those whose ``key`` (see ``Recognizer.batch_key``) is equal: no output then depends on its neighbours. Everything
here works on indices; no audio is opened.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

__all__ = ["POOL_BATCHES", "RepeatedOrder", "StepOrder", "TrainingOrder", "plan_batches", "split_batch"]

POOL_BATCHES = 50
"""Batches whose utterances are sorted by length together: large enough to pad little, small against an epoch."""


def plan_batches(durations: Sequence[float], keys: Sequence[Hashable], batch_size: int) -> list[list[int]]:
    """Every index once, in batches of like duration and equal key, the longest batch first.

    The longest comes first so that a batch too large for the memory fails in the first second, not in the last.

    Args:
        durations: [utterances] seconds.
        keys: [utterances] what the rows of one batch must share.
        batch_size: rows of a batch, at most.

    >>> plan_batches([1.0, 3.0, 2.0, 2.5], ["a", "b", "b", "b"], 2)
    [[1, 3], [2], [0]]
    """
    groups: dict[Hashable, list[int]] = {}
    for index in sorted(range(len(durations)), key=lambda i: (-durations[i], i)):
        groups.setdefault(keys[index], []).append(index)
    batches = [rows[i : i + batch_size] for rows in groups.values() for i in range(0, len(rows), batch_size)]
    return sorted(batches, key=lambda batch: (-durations[batch[0]], batch[0]))


def split_batch(
    batch: Sequence[int], durations: Sequence[float], keys: Sequence[Hashable], max_rows: int
) -> list[list[int]]:
    """One training batch as micro-batches of at most ``max_rows`` rows of equal key."""
    local = plan_batches([durations[i] for i in batch], [keys[i] for i in batch], max_rows)
    return [[batch[i] for i in rows] for rows in local]


class StepOrder(Protocol):
    """Which utterances each optimiser step takes; a pure function of the step."""

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        ...

    def batch_seconds(self, epoch: int = 0) -> list[float]:
        """Seconds of audio in each batch of an epoch, in order."""
        ...

    def batch(self, step: int) -> list[int]:
        """Indices of the utterances of optimiser step ``step``, counted from 0 over all epochs."""
        ...

    def passes(self, step: int) -> list[int]:
        """Which pass over its data each utterance of the step's batch belongs to, counted from 0."""
        ...


class RepeatedOrder:
    """Another order whose every batch is taken several times in a row.

    Args:
        order: the other one.
        times: steps on each batch.
    """

    def __init__(self, order: StepOrder, times: int) -> None:
        self._order, self._times = order, times

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in one epoch, repetitions counted."""
        return self._times * self._order.batches_per_epoch

    def batch_seconds(self, epoch: int = 0) -> list[float]:
        """Seconds of audio in each batch of an epoch, in order."""
        return [seconds for seconds in self._order.batch_seconds(epoch) for _ in range(self._times)]

    def batch(self, step: int) -> list[int]:
        """See :class:`StepOrder`."""
        return self._order.batch(step // self._times)

    def passes(self, step: int) -> list[int]:
        """See :class:`StepOrder`."""
        return self._order.passes(step // self._times)


class TrainingOrder:
    """The batches of every epoch, a pure function of durations, batch size, seed and epoch.

    Each utterance occurs once per epoch. Utterances are shuffled, pools of :data:`POOL_BATCHES` batches are sorted by
    duration and cut, and the batches are shuffled again.

    Args:
        durations: [utterances] seconds.
        batch_size: utterances per optimiser step; the last batch of an epoch may be smaller.
        seed: of the shuffling.
    """

    def __init__(self, durations: Sequence[float], batch_size: int, seed: int) -> None:
        self._durations = np.asarray(durations, dtype=np.float64)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in one pass over the data."""
        return -(-len(self._durations) // self._batch_size)

    def batch_seconds(self, epoch: int = 0) -> list[float]:
        """Seconds of audio in each batch of an epoch, in order."""
        first = epoch * self.batches_per_epoch
        return [float(self._durations[self.batch(first + i)].sum()) for i in range(self.batches_per_epoch)]

    def batch(self, step: int) -> list[int]:
        """Indices of the utterances of optimiser step ``step``, counted from 0 over all epochs."""
        epoch, position = divmod(step, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][position]

    def passes(self, step: int) -> list[int]:
        """The epoch, for each utterance of the step's batch: every utterance comes once in each."""
        return [step // self.batches_per_epoch] * len(self.batch(step))

    def _shuffled(self, epoch: int) -> list[list[int]]:
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(len(self._durations))
        pool_size = self._batch_size * POOL_BATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            pool = pool[np.argsort(self._durations[pool], kind="stable")]
            batches += [pool[i : i + self._batch_size].tolist() for i in range(0, len(pool), self._batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]
