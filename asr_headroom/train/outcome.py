"""What a training run ended with, as its record tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from asr_headroom.train.plan import Plan, Sizes

__all__ = ["TrainingOutcome"]


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What a run ended with.

    Attributes:
        model_directory: what is delivered; None when delivery was not asked for.
        best_step: 0 when no step beat the starting point on dev.
        best_dev: error rate and loss on dev at that step.
        best_counts: errors and reference units of each dev utterance at that step.
        last_dev: error rate and loss on dev at the last evaluation.
        last_counts: of each dev utterance there.
        alpha: delivered point between base (0) and best step (1).
        delivered_because: the guard's reason.
        plan: what was planned.
        stopped_at: last step taken.
        reason: why it stopped: ``done``, ``budget``, ``early stop``, ``damage`` on a guard set, ``paused`` where
            ``stop_at`` asked for it, or what the objective said.
        sizes: of the evaluations.
        minutes: spent, by stage.
    """

    model_directory: Path | None
    best_step: int
    best_dev: tuple[float, float]
    best_counts: Sequence[tuple[int, int]]
    last_dev: tuple[float, float]
    last_counts: Sequence[tuple[int, int]]
    alpha: float
    delivered_because: str
    plan: Plan
    stopped_at: int
    reason: str
    sizes: Sizes
    minutes: Mapping[str, float]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], model_directory: Path) -> Self:
        """The outcome that ``train.json`` holds.

        Args:
            record: its values.
            model_directory: where the run delivers to, once it is complete.
        """
        best, last = record["best"], record.get("last", record["best"])
        return cls(
            model_directory=model_directory if record["status"] == "complete" else None,
            best_step=best["step"],
            best_dev=(best["dev_error_rate"], best["dev_loss"]),
            best_counts=[(errors, length) for errors, length in best["dev_counts"]],
            last_dev=(last["dev_error_rate"], last["dev_loss"]),
            last_counts=[(errors, length) for errors, length in last["dev_counts"]],
            alpha=record.get("alpha", 1.0),
            delivered_because=record.get("delivered_because", ""),
            plan=Plan(**record["plan"]),
            stopped_at=record["stopped_at"],
            reason=record["reason"],
            sizes=Sizes(**record["sizes"]),
            minutes=record["minutes"],
        )
