"""The plan of a run: how many steps, how often to evaluate, what the guard may take. Made once, then frozen.

With a budget, the number of steps follows from measured seconds: a probe of the gradient on batches of all lengths
(weights untouched), and the evaluation of the base, which is needed anyway. A resumed run reads the plan and does not
make a new one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr_headroom.errors import TrainingError
from asr_headroom.train.config import TrainConfig

__all__ = ["Plan", "Sizes", "evaluation_sizes", "make_plan"]

_EVALUATION_SHARE = 0.25
"""Share of a budget that evaluations on dev and the guard may take together, at most."""
_GUARD_SHARE = 0.15
"""Share of a budget that the guard may take, at most."""
_BOLDNESS = 1.15
"""Steps are laid out for a machine this much faster than the probe: where it is not, the clock ends the run with the
learning rate nearly at 0, and where it is, the time is used."""
_MAX_EVALUATIONS = 10
_MIN_EVALUATIONS = 3
_MIN_UTTERANCES = 10
_FEWEST_CLIPS = 16
_PLANNED_POINTS = 2
"""Of the guard, under a budget: the end and three quarters; further ones are measured in time that is left over."""
_MADE_SHARE = 0.25
"""Of what the guard may transcribe under a budget, that joined recordings may take, and clips of silence and noise;
beyond it joined recordings are left out, and clips fewer."""
_SAFETY_SECONDS = 1.0
"""Kept back, so that writing the last files does not overdraw the budget."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        total_steps: optimiser steps.
        eval_steps: steps between evaluations; the last step is always evaluated.
        steps_per_epoch: optimiser steps in one pass over the data.
        batch_size: utterances per optimiser step.
        step_seconds: forecast of one step; None when nothing was probed.
        eval_seconds: measured time of one evaluation with its checkpoint.
        guard_seconds: forecast of what the guard takes after the last step.
        spent_seconds: before the plan was made: loading, evaluating the base, probing.
        peak_memory: bytes, foretold from the longest batch: resident on a CPU, allocated on a GPU.
    """

    total_steps: int
    eval_steps: int
    steps_per_epoch: int
    batch_size: int
    step_seconds: float | None = None
    eval_seconds: float | None = None
    guard_seconds: float = 0.0
    spent_seconds: float = 0.0
    peak_memory: int | None = None

    @property
    def seconds(self) -> float | None:
        """Forecast of the whole run; None when nothing was probed."""
        if self.step_seconds is None:
            return None
        evaluations = math.ceil(self.total_steps / self.eval_steps)
        ahead = self.total_steps * self.step_seconds + evaluations * (self.eval_seconds or 0.0) + self.guard_seconds
        return self.spent_seconds + ahead


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of the dev and guard sets a run can afford to transcribe.

    Attributes:
        eval_utterances: of dev, at each evaluation.
        guard_utterances: of dev and of each guard set, at each point of the guard.
        guard_points: points that the guard is sure to have time for, besides the base.
        long_form: whether the guard looks at joined recordings too.
        nonspeech: clips of each set of silence and noise that the guard looks at.
    """

    eval_utterances: int
    guard_utterances: int
    guard_points: int
    long_form: bool = True
    nonspeech: int = 16


def evaluation_sizes(
    config: TrainConfig,
    *,
    guard_sets: int,
    nonspeech: Sequence[int] = (),
    long_form: float = 0.0,
    seconds_per_utterance: float = 0.0,
    budget_seconds: float | None = None,
    guard_budget_seconds: float | None = None,
) -> Sizes:
    """What the config asks for, cut down to the shares of a budget.

    A part of the evaluations' quarter pays for at least three evaluations, the rest for the guard. The guard gives up
    utterances first; where even 10 of each set are too many, points.

    Args:
        config: what is wanted.
        guard_sets: sets the guard compares on, dev included, made recordings not; 0 without a guard.
        nonspeech: clips of each set of silence and noise.
        long_form: joined recordings, as so many utterances of dev as last as long.
        seconds_per_utterance: measured.
        budget_seconds: of the run; None is no limit.
        guard_budget_seconds: what the guard's share is taken of; the same unless the run is one of several.
    """
    wanted = config.guard.utterances
    if budget_seconds is None:
        return Sizes(
            eval_utterances=config.eval_utterances,
            guard_utterances=wanted,
            guard_points=config.guard.points,
            nonspeech=max(_FEWEST_CLIPS, wanted),
        )
    seconds = max(seconds_per_utterance, 1e-9)
    affordable = int((_EVALUATION_SHARE - _GUARD_SHARE) * budget_seconds / (_MIN_EVALUATIONS * seconds))
    guarded, points = min(wanted, _MIN_UTTERANCES), 1
    planned = min(config.guard.points, _PLANNED_POINTS)
    # Utterances that the guard's share pays for; the base is measured as well.
    affordable_guard = _GUARD_SHARE * (guard_budget_seconds or budget_seconds) / seconds
    made_share = _MADE_SHARE * affordable_guard / (planned + 1)
    keeps_long_form = long_form <= made_share
    clips = max(_FEWEST_CLIPS, min(wanted, int(made_share / max(len(nonspeech), 1))))
    made = sum(min(clips, count) for count in nonspeech) + (long_form if keeps_long_form else 0.0)
    for tried in range(planned, 0, -1):
        fitting = int((affordable_guard / (tried + 1) - made) / max(guard_sets, 1))
        if fitting >= guarded:
            guarded, points = min(wanted, fitting), tried
            break
    return Sizes(
        eval_utterances=min(config.eval_utterances, max(affordable, _MIN_UTTERANCES)),
        guard_utterances=guarded,
        guard_points=points,
        long_form=keeps_long_form,
        nonspeech=clips,
    )


def make_plan(
    config: TrainConfig,
    *,
    batch_size: int,
    steps_per_epoch: int,
    seconds_left: float = math.inf,
    budget_seconds: float | None = None,
    step_seconds: float | None = None,
    eval_seconds: float = 0.0,
    guard_seconds: float = 0.0,
    guard_spent: float = 0.0,
    delivers: bool = True,
    spent_seconds: float = 0.0,
    peak_memory: int | None = None,
) -> Plan:
    """Steps and evaluations that the config asks for and the budget allows.

    Args:
        config: epochs or steps wanted, evaluation interval.
        batch_size: utterances per optimiser step.
        steps_per_epoch: optimiser steps in one pass.
        seconds_left: of the budget, after the evaluation of the base.
        budget_seconds: of the whole run; shares are of this, or of what is left where it is not given.
        step_seconds: measured; needed with a budget.
        eval_seconds: measured; one evaluation with its checkpoint.
        guard_seconds: measured on the base; what the guard will take after the last step.
        guard_spent: seconds the guard took for the base.
        delivers: the guard will run in this run; otherwise its share of the time is not spent on evaluations either.
        spent_seconds: in all, so far.
        peak_memory: foretold, bytes.

    Raises:
        TrainingError: the budget does not hold a single step and its evaluation.
    """
    wanted = config.max_steps or max(1, round(config.num_train_epochs * steps_per_epoch))
    steps, evaluations = wanted, min(_MAX_EVALUATIONS, wanted)
    if math.isfinite(seconds_left):
        assert step_seconds is not None
        usable = seconds_left - guard_seconds - _SAFETY_SECONDS
        share = _EVALUATION_SHARE if delivers else _EVALUATION_SHARE - _GUARD_SHARE
        share = share * (budget_seconds or seconds_left) - guard_seconds - guard_spent
        if budget_seconds:
            share -= eval_seconds  # the base was evaluated already
        evaluations = min(_MAX_EVALUATIONS, max(1, int(share / max(eval_seconds, 1e-9))))
        seconds = usable - evaluations * eval_seconds
        per_step = step_seconds
        if config.eval_steps:  # asked for in so many words, whatever share of the budget that takes
            seconds, per_step = usable - eval_seconds, step_seconds + eval_seconds / config.eval_steps
        affordable = int(_BOLDNESS * seconds / per_step) if seconds >= per_step else 0
        if affordable < 1:
            raise TrainingError(
                f"{max(0.0, seconds_left):.0f} s of the budget are left, but one step takes {step_seconds:.1f} s, "
                f"its evaluation {eval_seconds:.1f} s and the guard {guard_seconds:.1f} s; raise the budget, or lower "
                "eval_utterances, guard.utterances or the batch size"
            )
        steps = min(wanted, affordable)
    eval_steps = config.eval_steps or math.ceil(steps / min(evaluations, steps))
    return Plan(
        total_steps=steps,
        eval_steps=eval_steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        step_seconds=step_seconds,
        eval_seconds=eval_seconds or None,
        guard_seconds=guard_seconds,
        spent_seconds=spent_seconds,
        peak_memory=peak_memory,
    )
