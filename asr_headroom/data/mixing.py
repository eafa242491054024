"""Several sources in one training: which share of it each has, and in which order their utterances come.

With weights or replay every batch holds its share of each source, to within one utterance, with three or more sources
to within two, and nothing is drawn with replacement: each source is gone through pass by pass, over the ends of epochs,
so that its utterances are seen equally often to within one. An epoch takes as many utterances of the training sources
as there are; replay comes on top. So without weights each training utterance is seen exactly once per epoch, and with
them a small source several times and a large one in part.

Like :class:`asr_headroom.data.batching.TrainingOrder`, a pure function of its arguments and of the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_headroom.data.batching import POOL_BATCHES
from asr_headroom.errors import ConfigError

__all__ = ["MixedOrder", "Mixture"]


@dataclass(frozen=True)
class Mixture:
    """How many utterances of each source an epoch takes.

    Attributes:
        sizes: [sources] utterances, in the order in which the sources follow one another in the training data.
        quotas: [sources] utterances of each in one epoch.
    """

    sizes: tuple[int, ...]
    quotas: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Sequence[int], *, weights: Sequence[float] = (), replay: int = 0, share: float = 0.0) -> Mixture:
        """The quotas that weights and a share of replay lead to.

        Args:
            sizes: [sources] utterances of the training sources; the replay set is not among them.
            weights: [sources] relative, above 0; empty takes every utterance once.
            replay: utterances of the replay set; 0 is none.
            share: of all utterances that replay shall have, in [0, 1).

        Raises:
            ConfigError: weights do not fit the sources, or the share is out of range.

        >>> Mixture.of([1000, 3000], weights=[0.5, 0.5], replay=500, share=0.2)
        Mixture(sizes=(1000, 3000, 500), quotas=(2000, 2000, 1000))
        """
        if weights and len(weights) != len(sizes):
            raise ConfigError(f"there are {len(sizes)} training sources and {len(weights)} weights; give one for each")
        if not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(f"the weights are {list(weights)}; each must be above 0 and finite")
        if not 0 <= share < 1:
            raise ConfigError(f"the share of replay is {share}; it must be in [0, 1)")
        total = sum(sizes)
        quotas = _apportioned(total, weights) if weights else list(sizes)
        if not replay or not share:
            return cls(tuple(sizes), tuple(quotas))
        return cls((*sizes, replay), (*quotas, max(1, round(total * share / (1 - share)))))

    @property
    def repetitions(self) -> list[float]:
        """[sources] how often an utterance of each is seen in one epoch, on average."""
        return [quota / size for quota, size in zip(self.quotas, self.sizes, strict=True)]


class MixedOrder:
    """The batches of every epoch of a mixture.

    Args:
        durations: [utterances] seconds, source after source.
        mixture: sizes and quotas.
        batch_size: utterances per optimiser step; the last batch of an epoch may be smaller.
        seed: of the shuffling.
    """

    def __init__(self, durations: Sequence[float], mixture: Mixture, batch_size: int, seed: int) -> None:
        self._durations = np.asarray(durations, dtype=np.float64)
        self._mixture, self._batch_size, self._seed = mixture, batch_size, seed
        self._first = np.concatenate([[0], np.cumsum(mixture.sizes)[:-1]]).astype(int)
        # Slot j of a source's q stands at (j + 1/2) / q of the epoch: all sources are spread evenly over it.
        places = [(np.arange(quota) + 0.5) / quota for quota in mixture.quotas]
        sources = np.repeat(np.arange(len(places)), mixture.quotas)
        self._slots = sources[np.argsort(np.concatenate(places), kind="stable")]
        self._epoch: tuple[int, list[tuple[list[int], list[int]]]] = (-1, [])

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return -(-len(self._slots) // self._batch_size)

    def batch_seconds(self, epoch: int = 0) -> list[float]:
        """Seconds of audio in each batch of an epoch, in order."""
        first = epoch * self.batches_per_epoch
        return [float(self._durations[self.batch(first + i)].sum()) for i in range(self.batches_per_epoch)]

    def batch(self, step: int) -> list[int]:
        """Indices of the utterances of optimiser step ``step``, counted from 0 over all epochs."""
        return self._planned(step)[0]

    def passes(self, step: int) -> list[int]:
        """Which pass over its source each utterance of the step's batch belongs to, counted from 0."""
        return self._planned(step)[1]

    def _planned(self, step: int) -> tuple[list[int], list[int]]:
        epoch, position = divmod(step, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][position]

    def _shuffled(self, epoch: int) -> list[tuple[list[int], list[int]]]:
        indices, seen = np.empty(len(self._slots), dtype=int), np.empty(len(self._slots), dtype=int)
        pool_size = self._batch_size * POOL_BATCHES
        for source, quota in enumerate(self._mixture.quotas):
            slots = np.flatnonzero(self._slots == source)
            taken, passes = self._sequence(source, epoch * quota, (epoch + 1) * quota)
            # By length within each pool, as the other sources are, so that what stands together is of like rank; but
            # never across passes, or a batch would hold one utterance several times.
            by_length = np.lexsort((self._durations[taken], passes, slots // pool_size))
            indices[slots], seen[slots] = taken[by_length], passes[by_length]
        cuts = range(0, len(indices), self._batch_size)
        batches = [(indices[i : i + self._batch_size], seen[i : i + self._batch_size]) for i in cuts]
        shuffled = np.random.default_rng([self._seed, epoch]).permutation(len(batches))
        return [(batches[i][0].tolist(), batches[i][1].tolist()) for i in shuffled]

    def _sequence(self, source: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``start`` … ``stop`` - 1 of a source's endless passes: indices, and the number of each one's pass."""
        size = self._mixture.sizes[source]
        passes = range(start // size, -(-stop // size))
        shuffled = [np.random.default_rng([self._seed, source, number]).permutation(size) for number in passes]
        numbers = np.arange(start, stop) // size
        within = slice(start - passes.start * size, stop - passes.start * size)
        return np.concatenate(shuffled)[within] + self._first[source], numbers


def _apportioned(total: int, weights: Sequence[float]) -> list[int]:
    """``total`` in whole parts as near to the weights as can be, none empty."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [math.floor(part) for part in exact]
    by_rest = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_rest[: total - sum(parts)]:
        parts[i] += 1
    return [max(1, part) for part in parts]
