"""AdamW and its learning rates: pure functions of the step, so that a resumed run has nothing to remember of them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import nn

from asr_headroom.errors import MissingDependencyError, ModelError, TrainingError
from asr_headroom.models.out_of_memory import is_out_of_memory, release_memory
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.parts import layer_depths

__all__ = ["learning_rate_at", "make_optimizer", "move_weights", "set_learning_rate"]

_SCALE = "rate_scale"
"""Of a group: its learning rate is that of the step times this."""


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101) over the weights that move, in their own precision.

    Weight decay acts on matrices alone, not on biases and norms. With ``layer_decay`` the rate falls by that factor
    with each layer further from the output (Howard & Ruder, 2018, arXiv:1801.06146).

    Raises:
        MissingDependencyError: 8-bit states are asked for and bitsandbytes is not installed.
        ModelError: bitsandbytes does not run on the weights' device.
    """
    groups = _groups(module, config)
    if config.optim == "adamw":
        return torch.optim.AdamW(groups, lr=config.peak_learning_rate, fused=True)
    return _eight_bit(groups, config)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives each group ``rate`` times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[_SCALE]


def move_weights(optimizer: torch.optim.Optimizer) -> None:
    """Takes the optimiser's step.

    The first allocates the states; where memory is short then, what lies unused is given back, and the weights that
    have not moved are tried once more.

    Raises:
        TrainingError: memory does not hold the states beside weights and gradients, however small the batches.
    """
    is_first = not optimizer.state
    try:
        optimizer.step()
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
    if not is_first:
        raise TrainingError(_too_large(reason))
    for weight, state in list(optimizer.state.items()):
        if state.get("step", 0) > 0:
            weight.grad = None  # it has moved; without a gradient it stays
        else:
            del optimizer.state[weight]  # half made
    release_memory()
    try:
        optimizer.step()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(_too_large(reason)) from error


def _too_large(reason: str) -> str:
    return (
        f"memory does not hold the optimiser's states beside weights and gradients ({reason}), whatever the batch; "
        "take optim adamw-8bit, freeze parts, fsdp over several processes, method lora or a smaller model"
    )


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


def _groups(module: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Weights that move, by weight decay and scale of the rate, in the model's order."""
    depths, layers = layer_depths(module) if config.layer_decay < 1 else ({}, 0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            scale = config.layer_decay ** (layers - depths[name]) if depths else 1.0
            groups.setdefault((decay, scale), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, _SCALE: scale} for (decay, scale), parameters in groups.items()
    ]


def _eight_bit(groups: list[dict[str, Any]], config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with states in 8 bits, block by block (Dettmers et al., 2022, arXiv:2110.02861)."""
    try:
        import bitsandbytes
    except ModuleNotFoundError as error:
        raise MissingDependencyError("bitsandbytes", "quant") from error
    make = bitsandbytes.optim.PagedAdamW8bit if config.optim == "paged-adamw-8bit" else bitsandbytes.optim.AdamW8bit
    device = groups[0]["params"][0].device
    probe = nn.Parameter(torch.zeros(4096, device=device))  # smaller tensors keep states of 32 bits
    probe.grad = torch.zeros_like(probe)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Paged optimizers are not supported")
            make([probe], lr=0.0).step()
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"optim {config.optim} does not run on '{device}' with bitsandbytes {bitsandbytes.__version__}: {reason}; "
            "take --optim adamw, or a CUDA device"
        ) from error
    return make(groups, lr=config.peak_learning_rate)
