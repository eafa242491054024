"""Evaluations of a run: the dev set and the guard sets, each process transcribing its share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator

from asr_headroom.data.batching import plan_batches
from asr_headroom.data.manifest import Utterance
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory
from asr_headroom.models.protocols import Recognizer, Trainable
from asr_headroom.train.guard import EvaluationSet, Measure
from asr_headroom.train.processes import Processes

__all__ = ["Evaluation"]


class Evaluation:
    """Measures a model as it stands; all processes end with the same numbers.

    Args:
        model: for the dev loss.
        measure: transcribes a set and counts its errors.
        dev_targets: dev utterances in the written form that is learnt.
        accelerator: the processes.
        max_rows: utterances in one forward pass of the dev loss.
        check: raises where the run shall stop instead.
    """

    def __init__(
        self,
        model: Trainable,
        measure: Measure,
        dev_targets: Sequence[Utterance],
        accelerator: Accelerator,
        *,
        max_rows: int,
        check: Callable[[], None],
    ) -> None:
        self._model, self._measure, self._dev_targets = model, measure, dev_targets
        self._accelerator, self._processes = accelerator, Processes(accelerator)
        self._max_rows, self._check = max_rows, check

    def measured(self, model: Recognizer, eval_set: EvaluationSet) -> Sequence[ErrorCounts]:
        """Counts of each utterance, in the order of the set."""
        self._check()
        share = replace(eval_set, utterances=self._processes.share(eval_set.utterances))
        own = self._measure(model, share) if share.utterances else []
        return self._processes.joined(own)

    def dev_row(self, step: int, dev: EvaluationSet) -> tuple[dict[str, Any], dict[str, Any]]:
        """One evaluation: a line of the history, and the same with the errors and length of each utterance."""
        counts = self.measured(self._model, dev)
        total = ErrorCounts.total(counts)
        loss = self.dev_loss(len(dev.utterances))
        row = {"step": step, "dev_loss": loss, "dev_error_rate": total.error_rate, "dev": dataclasses.asdict(total)}
        row = self._processes.agreed(row)
        told = {name: row[name] for name in ("step", "dev_error_rate", "dev_loss")}
        return row, told | {"dev_counts": [(count.errors, count.reference_length) for count in counts]}

    @torch.no_grad()
    def dev_loss(self, count: int) -> float:
        """Mean nats per target unit on the first ``count`` dev utterances."""
        self._model.module.eval()
        utterances = self._processes.share(self._dev_targets[:count])
        keys = [self._model.batch_key(utterance) for utterance in utterances]
        durations = [utterance.measured_duration() for utterance in utterances]
        nats = targets = 0.0
        for rows in plan_batches(durations, keys, self._max_rows):
            own = self._summed([utterances[row] for row in rows])
            nats, targets = nats + own[0], targets + own[1]
        nats, targets = self._processes.summed([nats, targets])
        return nats / max(1.0, targets)

    def _summed(self, utterances: Sequence[Utterance]) -> tuple[float, float]:
        """Nats and target units; halves go one after the other where memory does not hold the whole."""
        try:
            batch = self._model.collate(utterances).to(self._accelerator.device)
            with self._accelerator.autocast():
                return float(self._model.loss(batch).nats), batch.num_targets
        except Exception as error:
            if not is_out_of_memory(error) or len(utterances) == 1:
                raise
        release_memory()
        middle = len(utterances) // 2
        halves = self._summed(utterances[:middle]), self._summed(utterances[middle:])
        return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]
