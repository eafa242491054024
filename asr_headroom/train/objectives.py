"""What one optimiser step minimises: the seam between the loop and supervised, regularised or reinforcement learning.

The loop takes steps; an :class:`Objective` turns the utterances of one step into a gradient. :class:`TokenLoss` is the
supervised one; reinforcement learning puts another in its place, on the same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from asr_headroom.models.out_of_memory import is_out_of_memory
from asr_headroom.models.protocols import Batch, Trainable
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.feed import StepBatches
from asr_headroom.train.processes import Processes, uses_bf16
from asr_headroom.train.regularization import RegularizedLoss
from asr_headroom.train.sharding import cut

__all__ = ["LossModule", "MakeObjective", "Objective", "StepTotals", "TokenLoss", "supervised"]


@dataclass(frozen=True, kw_only=True)
class StepTotals:
    """What one step saw, over all processes.

    Attributes:
        loss: sum; for token losses in nats.
        count: what it is summed over (target tokens, utterances); the gradient is that of ``loss / count``.
        audio_seconds: seconds of speech.
        watched: further sums with their counts, by name; the log shows the means.
        stop: why the training is to end with this step; empty where it is not.
        unit: of the loss; empty where it has none.
    """

    loss: float
    count: float
    audio_seconds: float
    watched: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    stop: str = ""
    unit: str = "nats"


class Objective(Protocol):
    """Turns the utterances of one optimiser step into a gradient.

    A pure function of weights, step and ``state_dict``: what is not in the state must not change the gradient, or a
    resumed run would differ from one never stopped.

    Attributes:
        prepared: the module as the processes share it; its weights are the model's.
    """

    prepared: nn.Module

    def accumulate(self, batches: StepBatches) -> StepTotals:
        """Adds the gradient of the mean over the whole step, however it is cut, to the weights' ``grad``."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides weights, optimiser and step; tensors and plain values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        ...


MakeObjective = Callable[[Trainable, Accelerator], Objective]


class LossModule(nn.Module):
    """Batch in, total loss in nats out: the forward pass that a data-parallel wrapper sees.

    The weights are those of ``model.module``; nothing is copied.
    """

    def __init__(self, model: Trainable) -> None:
        super().__init__()
        self.module = model.module
        self._model = model

    def forward(self, batch: Batch) -> torch.Tensor:
        """[] float32, summed over the batch's target units."""
        return self._model.loss(batch).nats


class TokenLoss:
    """Supervised training: the mean of the targets' negative log-probabilities over all tokens of the step.

    Args:
        model: gives the loss.
        accelerator: the processes.
        loss: the forward pass, where it is another than :class:`LossModule`: [1 + watched], what is minimised first.
        watched: names of what ``loss`` gives after that.
        is_cut: the weights of ``loss`` are shards, whose gradients come summed.
    """

    def __init__(
        self,
        model: Trainable,
        accelerator: Accelerator,
        *,
        loss: nn.Module | None = None,
        watched: Sequence[str] = (),
        is_cut: bool = False,
    ) -> None:
        self._accelerator, self._processes, self._watched = accelerator, Processes(accelerator), watched
        self._is_cut = is_cut
        # Not wrapped for data parallelism, whose backward pass waits for processes that may have run out of memory.
        self.prepared: nn.Module = accelerator.prepare_model(loss or LossModule(model), evaluation_mode=True)

    def accumulate(self, batches: StepBatches) -> StepTotals:
        """See :class:`Objective`.

        Raises:
            OutOfMemoryError: on all processes, where it was on one; some gradients are added already.
        """
        rows, weight = batches.batches, batches.weight
        own = [float(sum(b.num_targets for b in rows)), sum(b.audio_seconds for b in rows)]
        count, audio_seconds = self._processes.summed([weight * value for value in own])
        if self._is_cut:
            # Layers come together in step: a process with fewer micro-batches keeps the others company.
            idle = int(max(self._processes.gathered(len(rows)))) - len(rows)
            rows, weights = [*rows, *rows[-1:] * idle], [weight] * len(rows) + [0] * idle
            return self._totals(self._backward(rows, weights, count), count, audio_seconds)
        parts, shortage = None, ""
        try:
            parts = self._backward(rows, [weight] * len(rows), count)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            shortage = str(error)
        if self._processes.any(parts is None):
            raise torch.OutOfMemoryError(shortage or "another process ran out of memory")
        assert parts is not None
        self._processes.sum_gradients(self.prepared.parameters())
        return self._totals(parts, count, audio_seconds)

    def _totals(self, parts: Sequence[float], count: float, audio_seconds: float) -> StepTotals:
        loss, *watched = self._processes.summed(parts)
        return StepTotals(
            loss=loss,
            count=count,
            audio_seconds=audio_seconds,
            watched={name: (value, count) for name, value in zip(self._watched, watched, strict=True)},
        )

    def _backward(self, rows: Sequence[Batch], weights: Sequence[int], count: float) -> list[float]:
        """Adds this process's gradients; returns the sums of what the forward pass gives."""
        total = torch.zeros(1 + len(self._watched), dtype=torch.float64, device=self._accelerator.device)
        for batch, weight in zip(rows, weights, strict=True):
            with self._accelerator.autocast():
                parts = self.prepared(batch.to(self._accelerator.device)).reshape(-1) * weight
            # CTC and transducers have no token where nothing is said, and learn that all the same.
            self._accelerator.backward(parts[0] / max(1.0, count))
            total += parts.detach().double()
        return total.tolist()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the gradient follows from weights and step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""


def supervised(config: TrainConfig) -> MakeObjective:
    """The supervised objective of a config: the plain token loss, or a regularised one."""
    is_regularized = bool(config.label_smoothing or config.kl)

    def objective(model: Trainable, accelerator: Accelerator) -> Objective:
        loss: nn.Module = RegularizedLoss(model, config) if is_regularized else LossModule(model)
        if config.fsdp:
            loss = cut(loss, accelerator.device, bf16=uses_bf16(config.mixed_precision))
        watched = RegularizedLoss.names if is_regularized else ()
        return TokenLoss(model, accelerator, loss=loss, watched=watched, is_cut=config.fsdp)

    return objective
