"""Named trainings in one folder and one budget, on the same dev utterances, of which one is delivered.

Several learning rates (:mod:`asr_headroom.stages.rates`) and an ablation (:mod:`asr_headroom.stages.ablate`) are both
this; how they choose is their own.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asr_headroom.errors import TrainingError

if TYPE_CHECKING:
    from asr_headroom.train.loop import TrainingOutcome
    from asr_headroom.train.plan import Sizes

__all__ = ["ABLATION_FILE", "TRIALS_SHARE", "RunOne", "Trials"]

TRIALS_SHARE = 0.85
"""Of a budget, for trying; the rest is for the guard."""
_SLACK_SHARE = 0.02
"""Of a budget: equal parts of it are not missed by a breath."""

ABLATION_FILE = "ablation.json"
"""Record of an ablation, in its folder."""


class RunOne(Protocol):
    """Runs or resumes the training of that name; options go to :class:`asr_headroom.train.loop.Training`."""

    def __call__(self, name: str, **options: Any) -> TrainingOutcome:
        """Its outcome."""
        ...


class Trials:
    """Trainings that are tried beside each other.

    Args:
        names: of the trainings; each is a folder.
        run: one of them.
        root: holds ``model``, what is delivered.
        folder: below the root, where the trainings lie.
        budget_seconds: of everything; None is no limit.
        own_budget_seconds: of each training.
    """

    def __init__(
        self,
        names: Sequence[str],
        run: RunOne,
        root: Path,
        folder: str,
        *,
        budget_seconds: float | None,
        own_budget_seconds: float | None,
    ) -> None:
        self.names, self.root = tuple(names), root
        self._run, self._folder = run, root / folder
        self._budget_seconds, self.own_budget_seconds = budget_seconds, own_budget_seconds

    def train(self, name: str, *, stop_at: float = 1.0) -> TrainingOutcome:
        """Runs or resumes one up to a share of its steps, and does not deliver.

        Raises:
            DivergedError: its loss is no longer a number.
            TrainingError: it cannot go on for another reason.
            Stopped: a signal asked for it.
        """
        return self._run(
            name,
            directory=self._folder / name,
            model_directory=self.root / "model",
            budget_seconds=self.own_budget_seconds,
            guard_budget_seconds=self._budget_seconds,
            # The same dev utterances for all, or they could not be compared.
            sizes=self._sizes(),
            stop_at=stop_at,
            deliver=False,
        )

    def deliver(self, name: str, *, others: str) -> TrainingOutcome:
        """Goes on with one of them through the guard; the others' minutes stand in its ledger, booked to ``others``."""
        elsewhere = sum(self.minutes(other) for other in self.names if other != name)
        return self._run(
            name,
            directory=self._folder / name,
            model_directory=self.root / "model",
            budget_seconds=None if self._budget_seconds is None else self._budget_seconds - 60 * elsewhere,
            guard_budget_seconds=self._budget_seconds,
            minutes_elsewhere={others: round(elsewhere, 4)},
        )

    def discard(self, name: str) -> None:
        """Deletes the weights of one that is dropped; its record stays."""
        from accelerate import PartialState

        if PartialState().is_main_process:
            shutil.rmtree(self._folder / name / "checkpoints", ignore_errors=True)

    def minutes(self, name: str) -> float:
        """Spent on one of them, over all sessions, killed ones too; 0 before it begins."""
        return sum(self._stored(name).get("minutes", {}).values())

    @property
    def seconds_left(self) -> float:
        """For trying, of the budget; infinite without one. All processes see the same."""
        if self._budget_seconds is None:
            return math.inf
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        left = (TRIALS_SHARE + _SLACK_SHARE) * self._budget_seconds - 60 * sum(map(self.minutes, self.names))
        return broadcast_object_list([left])[0] if PartialState().num_processes > 1 else left

    def _sizes(self) -> Sizes | None:
        """Of the evaluations of whichever began first."""
        from asr_headroom.train.plan import Sizes

        stored = (self._stored(name).get("sizes") for name in self.names)
        return next((Sizes(**sizes) for sizes in stored if sizes), None)

    def _stored(self, name: str) -> dict[str, Any]:
        path = self._folder / name / "train.json"
        if not path.is_file():
            return {}
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TrainingError(f"{path}: cannot be read ({error}); delete {path.parent}, it is run again") from error
