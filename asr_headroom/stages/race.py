"""A race of settings: all train a little, the worse stop, the better go on; the last train to the end.

Successive halving (Jamieson & Talwalkar, 2016, arXiv:1502.07943) decides what it may cost: at each rung a share of the
settings goes on, by rank on dev: before the end by the mean of the ranks in error rate and in loss, as a few hundred
decoded utterances are noisy and the loss says sooner who learns; by errors alone where settings learn other targets
(another model, another written form), whose losses cannot be compared. A
:class:`asr_headroom.metrics.sequential.Race` over the same dev utterances says what of it is known: a setting that is
behind beyond noise is dropped whatever its rank, and who was dropped by rank alone is said.

A rung is a share of a setting's own steps, under the learning rates of its whole training: no setting is trained
twice, but those that do not learn early are dropped, also if they would have caught up. Settings whose figures are
equal to the last digit stay together.

Start with :func:`run_race`; nothing here trains, loads or writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from asr_headroom.errors import ConfigError
from asr_headroom.metrics.sequential import Race

__all__ = [
    "Decision",
    "Leg",
    "Rules",
    "RunLeg",
    "Rung",
    "Standing",
    "judge_rung",
    "race_cost",
    "run_race",
]

LEVEL = 0.95
"""Chance that no setting at any rung is held to be behind one that is truly no better there."""

Decision = Literal["goes on", "behind", "rank", "diverged", "budget", "finished"]
"""``behind``: beyond noise; ``rank``: below the share that goes on; ``budget``: no time was left for it."""


@dataclass(frozen=True, kw_only=True)
class Leg:
    """How one setting stands on dev when it reaches a rung.

    Attributes:
        step: optimiser steps taken.
        total_steps: of its plan.
        error_rate: on dev, at the rung; at the best step once the training is over.
        loss: on dev there, nats per target unit.
        loss_over: what these units are, in words; losses over others are not compared with it.
        errors: [utterances] there.
        lengths: [utterances] reference units.
        is_over: it takes no further step.
        failure: why its loss is no longer a number; empty while it is.
        entry_seconds: forecast: loading it and evaluating the base; 0 where nothing was probed.
        work_seconds: forecast: all steps and evaluations of its plan; 0 where nothing was probed.
    """

    step: int = 0
    total_steps: int = 0
    error_rate: float = math.inf
    loss: float = math.inf
    loss_over: str = ""
    errors: Sequence[int] = ()
    lengths: Sequence[int] = ()
    is_over: bool = False
    failure: str = ""
    entry_seconds: float = 0.0
    work_seconds: float = 0.0

    @property
    def rank_key(self) -> tuple[float, float]:
        """At the end, smaller is better."""
        return self.error_rate, self.loss


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One setting at one rung; differences from the leader in fractions of reference units.

    Attributes:
        setting: its name.
        step: steps taken.
        error_rate: None where it diverged or was not tried.
        loss: likewise.
        behind: name of the setting that it is behind of beyond noise; None where that is not known.
        difference: its error rate minus the leader's.
        ci_low: of the difference, at all times and over all pairs and rungs together; None where it cannot be told.
        ci_high: likewise.
        decision: what follows.
        why: of a divergence.
    """

    setting: str
    step: int = 0
    error_rate: float | None = None
    loss: float | None = None
    behind: str | None = None
    difference: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    decision: Decision
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What was found and decided at a share of the steps; the best first."""

    share: float
    standings: tuple[Standing, ...]

    @property
    def going_on(self) -> list[str]:
        """Names of those that go on, or finished, the best first."""
        return [s.setting for s in self.standings if s.decision in ("goes on", "finished")]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When the race looks, and how many go on.

    Attributes:
        rungs: rising shares of the steps, the last 1: the end.
        keep: share of the settings of a rung that goes on, at most; at least one does.
        level: see :data:`LEVEL`.
    """

    rungs: tuple[float, ...] = (0.25, 1.0)
    keep: float = 1 / 6
    level: float = LEVEL

    def __post_init__(self) -> None:
        problems = []
        if list(self.rungs) != sorted({*self.rungs}) or not all(0 < rung <= 1 for rung in self.rungs):
            problems.append(f"rungs is {list(self.rungs)}; give rising shares of the steps between 0 and 1")
        if not 0 < self.keep < 1:
            problems.append(f"keep is {self.keep}; it must be a share between 0 and 1, such as 0.5")
        if problems:
            raise ConfigError("\n".join(problems))


class RunLeg(Protocol):
    """Takes one setting up to a share of its steps, from where it stands."""

    def __call__(self, setting: str, share: float) -> Leg:
        """How it stands there."""
        ...


@dataclass(kw_only=True)
class _Purse:
    """The legs run so far, and what the rest of the race would take by their forecasts."""

    seconds_left: Callable[[], float]
    legs: dict[str, Leg] = field(default_factory=dict)

    def take(self, setting: str, share: float, run: RunLeg) -> Leg:
        """The next leg of a setting; where its training is over, the last one."""
        last = self.legs.get(setting)
        if last is None or not last.is_over:
            self.legs[setting] = run(setting, share)
        return self.legs[setting]

    def holds(self, setting: str, start: float, stop: float) -> bool:
        """There is time for the next leg of a setting and after it for the rest of any one, to be delivered."""
        if (last := self.legs.get(setting)) is not None and last.is_over:
            return True
        known = [leg for leg in self.legs.values() if not leg.failure]
        if not known:
            return True
        own = self.legs.get(setting)
        entry = max(leg.entry_seconds for leg in known) if own is None else own.entry_seconds
        work = max(leg.work_seconds for leg in known) if own is None else own.work_seconds
        finish = max((1 - stop) * leg.work_seconds + leg.entry_seconds * (stop < 1) for leg in known)
        return entry + (stop - start) * work + finish <= self.seconds_left()


def race_cost(settings: int, rules: Rules) -> float:
    """Most that a race may cost, in whole trainings.

    >>> race_cost(16, Rules()), race_cost(16, Rules(rungs=(1.0,)))
    (6.25, 16.0)
    """
    cost, running, before = 0.0, settings, 0.0
    for share in rules.rungs:
        cost += running * (share - before)
        running, before = _number_kept(running, rules.keep), share
    return round(cost, 9)


def run_race(
    settings: Sequence[str],
    run: RunLeg,
    rules: Rules,
    *,
    clusters: Callable[[int], np.ndarray],
    seconds_left: Callable[[], float] = lambda: math.inf,
    decided: Sequence[Rung] = (),
) -> Iterator[Rung]:
    """Races the settings; yields each rung when it is decided, the last one with the finished.

    Args:
        settings: names, in the order in which they begin.
        run: trains; a leg that was run before may be answered from memory.
        rules: when to look and how many to keep.
        clusters: integer labels of the first so many dev utterances: what the comparison counts as one row.
        seconds_left: for training.
        decided: rungs of an earlier session, which stand.
    """
    purse = _Purse(seconds_left=seconds_left)
    running, before = list(settings), 0.0
    for number, share in enumerate(rules.rungs):
        if not running:  # all have diverged
            return
        if number < len(decided):
            rung = decided[number]
            for name in rung.going_on:
                purse.take(name, share, run)
        else:
            legs = dict(_legs(running, run, before, share, purse))
            rung = judge_rung(share, legs, rules, clusters, left_out=[n for n in running if n not in legs])
            yield rung
        running, before = rung.going_on, share


def _legs(running: Sequence[str], run: RunLeg, start: float, share: float, purse: _Purse) -> Iterator[tuple[str, Leg]]:
    """The legs of one rung that the budget holds; the leader's is always run."""
    for position, name in enumerate(running):
        if position == 0 or purse.holds(name, start, share):
            yield name, purse.take(name, share, run)


def judge_rung(
    share: float,
    legs: Mapping[str, Leg],
    rules: Rules,
    clusters: Callable[[int], np.ndarray],
    *,
    left_out: Sequence[str] = (),
) -> Rung:
    """Who goes on from a rung, with the evidence.

    Args:
        share: of the steps.
        legs: of the settings that reached it.
        rules: of the race.
        clusters: see :func:`run_race`.
        left_out: settings that the budget did not hold.
    """
    alive = {name: leg for name, leg in legs.items() if not leg.failure}
    keys = {name: leg.rank_key for name, leg in alive.items()} if share == rules.rungs[-1] else _early_keys(alive)
    order = sorted(alive, key=keys.__getitem__)
    evidence = _Evidence(alive, clusters, 1 - (1 - rules.level) / len(rules.rungs))
    kept = order[: _number_kept(len(legs), rules.keep)]
    standings = []
    for name in order:
        leg = alive[name]
        behind = evidence.behind(name)
        decision: Decision = "goes on"
        if share == rules.rungs[-1]:
            decision = "finished"
        elif behind is not None:
            decision = "behind"
        elif keys[name] > keys[kept[-1]]:
            decision = "rank"
        low, high = evidence.interval(name, order[0])
        standings.append(
            Standing(
                setting=name,
                step=leg.step,
                error_rate=leg.error_rate,
                loss=leg.loss,
                behind=behind,
                difference=leg.error_rate - alive[order[0]].error_rate,
                ci_low=low,
                ci_high=high,
                decision=decision,
            )
        )
    standings += [
        Standing(setting=name, step=leg.step, decision="diverged", why=leg.failure)
        for name, leg in legs.items()
        if leg.failure
    ]
    standings += [Standing(setting=name, decision="budget") for name in left_out]
    return Rung(share=share, standings=tuple(standings))


def _early_keys(legs: Mapping[str, Leg]) -> dict[str, tuple[float, ...]]:
    """Smaller is better: the sum of the ranks in error rate and in loss, equal figures sharing the lowest of theirs.

    The ranks in error rate alone where losses are over different targets.
    """
    ranks = dict.fromkeys(legs, 0)
    measured = [{name: leg.error_rate for name, leg in legs.items()}]
    if len({leg.loss_over for leg in legs.values()}) == 1:
        measured.append({name: leg.loss for name, leg in legs.items()})
    for figures in measured:
        for name, figure in figures.items():
            ranks[name] += sum(other < figure for other in figures.values())
    return {name: (ranks[name], *leg.rank_key) for name, leg in legs.items()}


def _number_kept(running: int, keep: float) -> int:
    return max(1, math.ceil(keep * running - 1e-9))


class _Evidence:
    """The paired comparison of all settings at a rung, a row for each cluster; in fractions of reference units."""

    def __init__(self, legs: Mapping[str, Leg], clusters: Callable[[int], np.ndarray], level: float) -> None:
        self._race: Race | None = None
        self._behind: dict[str, str | None] = {}
        if len(legs) < 2:
            return
        lengths = next(iter(legs.values())).lengths
        labels = clusters(len(lengths))
        rows = int(labels.max()) + 1
        self._race = Race(list(legs), level=level, planned_rows=rows)
        self._race.update({name: np.bincount(labels, leg.errors, rows) for name, leg in legs.items()})
        self._behind = {standing.name: standing.dropped_by for standing in self._race.standings()}
        self._rows_per_unit = rows / sum(lengths)

    def behind(self, name: str) -> str | None:
        """Who is better than this one beyond noise."""
        return self._behind.get(name)

    def interval(self, name: str, leader: str) -> tuple[float | None, float | None]:
        """Of the difference from the leader; None where there is nothing to compare, or too little."""
        if self._race is None or name == leader:
            return None, None
        interval = self._race.difference(name, leader)
        if not math.isfinite(interval.low):
            return None, None
        return self._rows_per_unit * interval.low, self._rows_per_unit * interval.high
