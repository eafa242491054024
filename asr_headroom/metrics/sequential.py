"""May one look again and again? Intervals that hold at all times, for racing checkpoints.

An ordinary interval covers once; watched while utterances come in, it excludes the truth sooner or later. A confidence
sequence covers at all times together, so that a race may drop a system the moment it is behind, and go on with the
others for the minutes saved.

Start with :class:`Race`; :class:`MeanSequence` is one confidence sequence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from asr_headroom.errors import ShapeError, UsageError
from asr_headroom.metrics.intervals import Interval

__all__ = ["BoundedSequence", "MeanSequence", "Race", "Standing", "sequence_radius"]

_LEVEL = 0.95
_MIN_ROWS = 30
"""Before so many rows a variance of error counts is not known well enough to drop anybody."""
_PLANNED_ROWS = 200


def sequence_radius(rows: int, deviation: float, *, level: float = _LEVEL, planned_rows: int = _PLANNED_ROWS) -> float:
    """Half the width, after ``rows`` rows, of the asymptotic confidence sequence for a mean.

    Args:
        rows: seen so far, at least 1.
        deviation: their standard deviation.
        level: chance that the sequence covers the mean at all times together.
        planned_rows: where it is to be narrowest; it holds anywhere.

    Reference:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), "Time-uniform central limit theory and asymptotic
        confidence sequences", arXiv:2103.06476, eq. 2 and §B.2. Robbins' (1970) normal mixture with the variance
        estimated.
    """
    alpha = 1 - level
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / planned_rows
    scaled = rows * rho_squared
    return deviation * math.sqrt(2 * (scaled + 1) / (rows * scaled) * math.log(math.sqrt(scaled + 1) / alpha))


class MeanSequence:
    """A confidence sequence for the mean of a stream of paired differences.

    Assumes independent rows with a finite variance; asymptotic, so that it is silent before 30 rows. Where readings
    of a sentence repeat, feed one row per sentence.
    """

    def __init__(self, *, level: float = _LEVEL, planned_rows: int = _PLANNED_ROWS, min_rows: int = _MIN_ROWS) -> None:
        self.level, self.planned_rows, self.min_rows = level, planned_rows, min_rows
        self.rows, self._sum, self._squares = 0, 0.0, 0.0

    def update(self, values: ArrayLike) -> None:
        """Takes further rows.

        Raises:
            UsageError: a value is not finite.
        """
        rows = _finite(values)
        self.rows += rows.size
        self._sum += float(rows.sum())
        self._squares += float((rows**2).sum())

    @property
    def interval(self) -> Interval:
        """Covers the mean at all times together with probability ``level``; infinite before ``min_rows``."""
        if self.rows < max(2, self.min_rows):
            return Interval(-math.inf, math.inf, self.level)
        mean = self._sum / self.rows
        deviation = math.sqrt(max(0.0, self._squares / self.rows - mean**2) * self.rows / (self.rows - 1))
        radius = sequence_radius(self.rows, deviation, level=self.level, planned_rows=self.planned_rows)
        return Interval(mean - radius, mean + radius, self.level)


class BoundedSequence:
    """A confidence sequence for the mean of values with known bounds, valid for every number of rows.

    The predictable plug-in empirical Bernstein sequence: no asymptotics, no assumption on the shape, but bounds that no
    value may exceed, and wider for it. Differences of capped errors per utterance have such bounds.

    Reference:
        Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting", arXiv:2010.09686,
        theorem 2. Ours: no value before the first is 1/2, variance 1/4, as there.
    """

    _LARGEST_BET = 0.5

    def __init__(self, low: float, high: float, *, level: float = _LEVEL) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UsageError(f"bounds {low} and {high}; give two finite numbers, the lower first")
        self.low, self.high, self.level = low, high, level
        self.rows = 0
        self._bets = self._weighted = self._penalty = 0.0
        self._mean, self._variance_sum, self._sum = 0.5, 0.25, 0.0
        self._lower, self._upper = 0.0, 1.0

    def update(self, values: ArrayLike) -> None:
        """Takes further rows, one by one: each is bet on with what the rows before it showed.

        Raises:
            UsageError: a value is not finite, or out of bounds.
        """
        rows = (_finite(values) - self.low) / (self.high - self.low)
        if rows.size and (rows.min() < 0 or rows.max() > 1):
            raise UsageError(f"a value is not within the bounds {self.low} … {self.high} that were promised")
        for value in rows.ravel().tolist():
            self._take(value)

    @property
    def interval(self) -> Interval:
        """Covers the mean at all times together with probability ``level``; it never widens."""
        width = self.high - self.low
        return Interval(self.low + width * self._lower, self.low + width * self._upper, self.level)

    def _take(self, value: float) -> None:
        self.rows += 1
        log_odds = math.log(2 / (1 - self.level))
        variance = self._variance_sum / self.rows
        bet = math.sqrt(2 * log_odds / (variance * self.rows * math.log(self.rows + 1)))
        bet = min(bet, self._LARGEST_BET)
        self._bets += bet
        self._weighted += bet * value
        self._penalty += (value - self._mean) ** 2 * (-math.log1p(-bet) - bet)
        centre, radius = self._weighted / self._bets, (log_odds + self._penalty) / self._bets
        self._lower, self._upper = max(self._lower, centre - radius), min(self._upper, centre + radius)
        self._sum += value
        self._mean = (0.5 + self._sum) / (self.rows + 1)
        self._variance_sum += (value - self._mean) ** 2


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One system in a race.

    Attributes:
        name: of the system.
        errors_per_row: mean over the rows it has seen.
        rows: that it has seen.
        dropped_by: the system that it is certainly behind; None while it runs.
    """

    name: str
    errors_per_row: float
    rows: int
    dropped_by: str | None


class Race:
    """Systems scored batch by batch on the same utterances; the hopeless are dropped early.

    Each pair of systems has a :class:`MeanSequence` of its differences, at a level divided by the number of pairs, so
    that with probability ``level`` no system is ever dropped in favour of one that is truly no better, however often
    and whenever one looks. A system that leads merely by chance is not thereby the best: it is only not dropped.

    Assumes rows in random order and independent (one per sentence or speaker where those repeat); see
    :class:`MeanSequence` for what is asymptotic.

    >>> race = Race(["a", "b"])
    >>> race.update({"a": [0, 1] * 50, "b": [2, 1] * 50})
    >>> race.running, race.standings()[1].dropped_by
    (['a'], 'a')
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        level: float = _LEVEL,
        planned_rows: int = _PLANNED_ROWS,
        min_rows: int = _MIN_ROWS,
    ) -> None:
        if len(set(names)) != len(names) or len(names) < 2:
            raise UsageError(f"a race needs two or more systems with names of their own, not {', '.join(names)}")
        if not 0 < level < 1:
            raise UsageError(f"the level of a race is {level}; give a share between 0 and 1, such as 0.95")
        self._totals = dict.fromkeys(names, 0.0)
        self._rows = dict.fromkeys(names, 0)
        self._dropped_by: dict[str, str] = {}
        pairs = list(itertools.combinations(names, 2))
        own_level = 1 - (1 - level) / len(pairs)
        self._pairs = {
            pair: MeanSequence(level=own_level, planned_rows=planned_rows, min_rows=min_rows) for pair in pairs
        }

    @property
    def running(self) -> list[str]:
        """Names of the systems not dropped, in their order."""
        return [name for name in self._totals if name not in self._dropped_by]

    def difference(self, system: str, other: str) -> Interval:
        """Errors per row of a system minus those of another, at all times; level divided by the number of pairs.

        Raises:
            UsageError: no such pair races.
        """
        if (pair := self._pairs.get((system, other))) is not None:
            return pair.interval
        if (pair := self._pairs.get((other, system))) is not None:
            interval = pair.interval
            return Interval(-interval.high, -interval.low, interval.level)
        raise UsageError(f"'{system}' and '{other}' do not race; there are: {', '.join(self._totals)}")

    def update(self, errors: Mapping[str, ArrayLike]) -> None:
        """Takes the errors of the next batch, of all running systems, and drops whoever is certainly behind.

        Args:
            errors: [rows] of each running system, on the same utterances in the same order.

        Raises:
            UsageError: a running system is missing, or a value is not finite.
            ShapeError: the systems have different numbers of rows.
        """
        running = self.running
        if missing := [name for name in running if name not in errors]:
            raise UsageError(f"the batch lacks {', '.join(missing)}; score every running system on every batch")
        batch = {name: _finite(errors[name]) for name in running}
        shapes = {name: values.shape for name, values in batch.items()}
        if len(set(shapes.values())) != 1 or len(shapes[running[0]]) != 1:
            raise ShapeError(f"batches of shapes {shapes}; give one number per utterance, the same utterances to all")
        for name, values in batch.items():
            self._totals[name] += float(values.sum())
            self._rows[name] += values.size
        for first, second in itertools.combinations(running, 2):
            self._pairs[first, second].update(batch[first] - batch[second])
        self._drop(running)

    def standings(self) -> list[Standing]:
        """All systems: the running first, fewest errors per row first."""
        standings = [
            Standing(
                name=name,
                errors_per_row=self._totals[name] / self._rows[name] if self._rows[name] else math.nan,
                rows=self._rows[name],
                dropped_by=self._dropped_by.get(name),
            )
            for name in self._totals
        ]
        return sorted(standings, key=lambda s: (s.dropped_by is not None, -s.rows, s.errors_per_row))

    def _drop(self, running: Sequence[str]) -> None:
        for name in running:
            ahead = [other for other in running if other != name and self.difference(name, other).low > 0]
            if ahead:
                self._dropped_by[name] = min(ahead, key=lambda other: self._totals[other])


def _finite(values: ArrayLike) -> np.ndarray:
    rows = np.asarray(values, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise UsageError("errors must be finite; one of them is not")
    return rows
