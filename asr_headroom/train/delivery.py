"""From a run's checkpoints to the model that is handed over: the guard chooses, the choice is written whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from asr_headroom.budget import Budget, Ledger
from asr_headroom.models.protocols import Trainable
from asr_headroom.train.checkpoint import FACTS_FILE, CheckpointFolder
from asr_headroom.train.guard import EvaluationSet, GuardOutcome, GuardRecord, Measure, describe_base, run_guard
from asr_headroom.train.plan import Sizes
from asr_headroom.train.record import RunRecord
from asr_headroom.train.weight_line import WeightLine

__all__ = ["Delivery"]

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Delivery:
    """What one run needs to deliver.

    Attributes:
        model: moved along the line, and left where the guard puts it.
        sets: what the guard compares on, the target first; empty delivers the best step unguarded.
        measure: counts on which all processes agree.
        checkpoints: the base is step 0 of them.
        record: of the run.
        ledger: of the run.
        budget: of the run.
        facts: of model and data, for ``headroom.json``.
        directory: of the run; gets ``guard.json``.
        target: folder of the delivered model.
        points: of the guard, at most.
        margin: see :func:`asr_headroom.train.guard.choose_point`.
        accelerator: the processes.
        agreed: the main process's value on all of them.
        clock: seconds.
    """

    model: Trainable
    sets: Sequence[EvaluationSet]
    measure: Measure
    checkpoints: CheckpointFolder
    record: RunRecord
    ledger: Ledger
    budget: Budget
    facts: Mapping[str, Any]
    directory: Path
    target: Path
    points: int
    margin: float
    accelerator: Accelerator
    agreed: Callable[[Any], Any]
    clock: Callable[[], float]

    @property
    def base_seconds(self) -> float:
        """What measuring the base took, over all sessions; a point of the line takes about as long."""
        return self.record.values.get("guard_base_seconds", 0.0)

    def is_done(self) -> bool:
        """The run is complete, and what lies there is what it delivered."""
        path = self.target / FACTS_FILE
        if self.record.values.get("status") != "complete" or not path.is_file():
            return False
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return all(stored.get(name) == value for name, value in self.record.values["facts"].items())

    def measure_base(self, sizes: Sizes) -> None:
        """Measures the base, as which the model stands: needed anyway, and it says what the points will cost."""
        if not self.sets:
            return
        known = self._guard_record()
        for eval_set in self._sized(sizes):
            if known.holds(0.0, [eval_set]):
                continue
            start = self.clock()
            with self.ledger.stage("guard"):
                known.measure(self.model, 0.0, eval_set, self.measure)
            self._save(status="running", guard_base_seconds=self.base_seconds + self.clock() - start)

    def deliver(self, sizes: Sizes, *, extra_minutes: Mapping[str, float]) -> None:
        """Lets the guard choose, and writes what it chose with ``headroom.json`` beside it.

        Args:
            sizes: of the sets.
            extra_minutes: to be told in the ledger of the delivered model.

        Raises:
            TrainingError: a checkpoint is damaged, or the disk refuses.
            Stopped: a signal asked for it; what was measured is kept.
        """
        best_step = self.record.values["best"]["step"]
        self.model.module.to(self.accelerator.device)
        outcome: GuardOutcome | None = None
        if self.sets:
            try:
                with self.ledger.stage("guard"):
                    outcome = self._choose(best_step, sizes)
            finally:
                self._save()  # stopped in the guard, its minutes are spent all the same
        alpha = outcome.alpha if outcome else 1.0 if best_step else 0.0
        with self.ledger.stage("save"):
            if self.accelerator.is_main_process:
                facts = {
                    **self.facts,
                    "trainable_parameters": self.record.values["trainable_parameters"],
                    "best_step": best_step,
                    "averaged_steps": list(self._averaged),
                    "guard": dict(outcome.facts) if outcome else None,
                    "minutes": self.ledger.minutes | dict(extra_minutes),
                }
                if alpha in (0.0, 1.0):
                    (self._tuned if alpha else self.checkpoints).export(best_step if alpha else 0, self.target, facts)
                else:
                    self.checkpoints.export_model(self.model, self.target, facts)
            self.accelerator.wait_for_everyone()
        self._save(status="complete", alpha=alpha, delivered_because=outcome.reason if outcome else "")

    def _choose(self, best_step: int, sizes: Sizes) -> GuardOutcome:
        sets, known = self._sized(sizes), self._guard_record(best_step)
        if best_step == 0:
            return describe_base("no training step beat the base on dev", sets, known)
        line = WeightLine.between_folders(self.model, self.checkpoints.path(0), self._tuned.path(best_step))
        outcome = run_guard(
            self.model,
            line,
            sets,
            self.points,
            self.measure,
            known,
            point_seconds=self.base_seconds,
            margin=self.margin,
            fits=lambda seconds: self.agreed(self.budget.remaining > seconds),
            clock=self.clock,
        )
        what = f"point {outcome.alpha:g} of the way from the base" if outcome.alpha else "the base"
        if self.accelerator.is_main_process:
            logger.info("guard: %s is delivered: %s", what, outcome.reason)
        return outcome

    @property
    def _averaged(self) -> Sequence[int]:
        """Steps whose mean is the best; none where a single step is."""
        return self.record.values.get("best", {}).get("averaged", ())

    @property
    def _tuned(self) -> CheckpointFolder:
        """Holds the best."""
        return self.checkpoints.averaged if self._averaged else self.checkpoints

    def _guard_record(self, best_step: int | None = None) -> GuardRecord:
        averaged = ", ".join(map(str, self._averaged))
        known = GuardRecord(
            self.directory / "guard.json",
            base=self.facts,
            tuned=f"mean of steps {averaged}" if averaged else f"step {best_step}",
            writes=self.accelerator.is_main_process,
        )
        self.accelerator.wait_for_everyone()  # all have read before one writes
        return known

    def _sized(self, sizes: Sizes) -> list[EvaluationSet]:
        sets = [eval_set for eval_set in self.sets if sizes.long_form or eval_set.role != "long-form"]
        return [s.first(sizes.nonspeech if s.role == "nonspeech" else sizes.guard_utterances) for s in sets]

    def _save(self, **changes: Any) -> None:
        self.record.save(**changes, minutes=self.ledger.minutes)
