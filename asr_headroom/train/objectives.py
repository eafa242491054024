"""What one optimiser step minimises: the seam between the loop and supervised, regularised or reinforcement learning.

The loop takes steps; an :class:`Objective` turns the utterances of one step into a gradient. :class:`TokenLoss` is the
supervised one; reinforcement learning puts another in its place, on the same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn

from asr_headroom.models.protocols import Batch, Trainable
from asr_headroom.train.feed import StepBatches

__all__ = ["LossModule", "MakeObjective", "Objective", "StepTotals", "TokenLoss"]


@dataclass(frozen=True, kw_only=True)
class StepTotals:
    """What one step saw, over all processes.

    Attributes:
        loss: sum; for token losses in nats.
        count: what it is summed over (target tokens, utterances); the gradient is that of ``loss / count``.
        audio_seconds: seconds of speech.
        watched: further sums with their counts, by name; the log shows the means.
    """

    loss: float
    count: float
    audio_seconds: float
    watched: Mapping[str, tuple[float, float]] = field(default_factory=dict)


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
        accelerator: the processes; wraps the module.
    """

    def __init__(self, model: Trainable, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.prepared: nn.Module = accelerator.prepare_model(LossModule(model))

    def accumulate(self, batches: StepBatches) -> StepTotals:
        """See :class:`Objective`."""
        accelerator, device = self._accelerator, self._accelerator.device
        rows = batches.batches
        counted = torch.tensor(
            [float(sum(b.num_targets for b in rows)), sum(b.audio_seconds for b in rows)], dtype=torch.float64
        )
        counted = accelerator.reduce(counted.to(device) * batches.weight, reduction="sum").tolist()
        nats = torch.zeros((), dtype=torch.float64, device=device)
        for index, batch in enumerate(rows):
            last = index == len(rows) - 1
            with nullcontext() if last else accelerator.no_sync(self.prepared):
                with accelerator.autocast():
                    loss = self.prepared(batch.to(device)) * batches.weight
                # Data parallelism averages gradients over processes; the sum over all tokens is wanted.
                accelerator.backward(loss * (accelerator.num_processes / counted[0]))
            nats += loss.detach().double()
        nats = accelerator.reduce(nats, reduction="sum")
        return StepTotals(loss=float(nats), count=counted[0], audio_seconds=counted[1])

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the gradient follows from weights and step."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""
