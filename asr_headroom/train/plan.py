"""The plan of a run: how many steps, how often to evaluate. Made once from a short probe, then frozen in the run file.

With a budget, the number of steps follows from measured seconds: a probe of the gradient on long, middling and short
batches (weights untouched), and the evaluation of the base, which is needed anyway. A resumed run reads the plan and
does not make a new one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asr_headroom.errors import TrainingError
from asr_headroom.train.config import TrainConfig

__all__ = ["Plan", "make_plan"]

_EVALUATION_SHARE = 0.25
"""Share of a budget that evaluations may take, at most."""
_MAX_EVALUATIONS = 10
_SAFETY = 0.97
"""The forecast is trusted up to this share of the time left; the rest absorbs its error."""


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
    """

    total_steps: int
    eval_steps: int
    steps_per_epoch: int
    batch_size: int
    step_seconds: float | None = None
    eval_seconds: float | None = None


def make_plan(
    config: TrainConfig,
    *,
    batch_size: int,
    steps_per_epoch: int,
    seconds_left: float = math.inf,
    step_seconds: float | None = None,
    eval_seconds: float = 0.0,
) -> Plan:
    """Steps and evaluations that the config asks for and the budget allows.

    Args:
        config: epochs or steps wanted, evaluation interval.
        batch_size: utterances per optimiser step.
        steps_per_epoch: optimiser steps in one pass.
        seconds_left: of the budget, after the evaluation of the base.
        step_seconds: measured; needed with a budget.
        eval_seconds: measured; one evaluation with its checkpoint.

    Raises:
        TrainingError: the budget does not hold a single step and its evaluation.
    """
    wanted = config.max_steps or max(1, round(config.num_train_epochs * steps_per_epoch))
    steps, evaluations = wanted, min(_MAX_EVALUATIONS, wanted)
    if math.isfinite(seconds_left):
        assert step_seconds is not None
        usable = seconds_left * _SAFETY
        evaluations = min(_MAX_EVALUATIONS, max(1, int(_EVALUATION_SHARE * usable / max(eval_seconds, 1e-9))))
        affordable = int((usable - evaluations * eval_seconds) / step_seconds)
        if affordable < 1:
            raise TrainingError(
                f"{max(0.0, seconds_left):.0f} s of the budget are left, but one step takes {step_seconds:.1f} s "
                f"and its evaluation {eval_seconds:.1f} s; raise the budget, or lower eval_utterances or the batch size"
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
    )
