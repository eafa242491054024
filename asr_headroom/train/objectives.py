"""What training minimises, as a module, so that DDP, FSDP and mixed precision can wrap it."""

from __future__ import annotations

import torch
from torch import nn

from asr_headroom.models.protocols import Batch, Trainable

__all__ = ["LossModule"]


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
