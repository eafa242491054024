"""AdamW and its learning rate: a pure function of the step, so that a resumed run has nothing to remember."""

from __future__ import annotations

import math

import torch
from torch import nn

from asr_headroom.train.config import TrainConfig

__all__ = ["learning_rate_at", "make_optimizer"]


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101) over the weights that move, in their own precision.

    Weight decay acts on matrices alone, not on biases and norms.
    """
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in moving if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in moving if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.peak_learning_rate, fused=True)


def learning_rate_at(step: int, total_steps: int, config: TrainConfig) -> float:
    """Learning rate of optimiser step ``step``, counted from 0.

    It rises linearly over the first ``warmup_ratio`` of the steps, then falls to 0 at ``total_steps``.
    """
    warmup = round(config.warmup_ratio * total_steps)
    peak = config.peak_learning_rate
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if config.lr_scheduler_type == "linear":
        return peak * max(0.0, 1.0 - progress)
    if config.lr_scheduler_type == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return peak
