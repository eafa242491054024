"""Low-rank updates (LoRA) for every family, by PEFT: attach, count, merge.

Hu et al. (2021), arXiv:2106.09685. The update is kept in float32 whatever the base's precision, and is never merged
in half precision.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from asr_headroom.errors import ConfigError, ModelError
from asr_headroom.models.protocols import Trainable

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoraConfig", "attach_lora", "merge_lora", "without_updates"]

T = TypeVar("T", bound=Trainable)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adaptation (Hu et al., 2021, arXiv:2106.09685)."""

    rank: int = 32
    """Rank of each update; trainable parameters grow linearly with it."""

    alpha: float = 64.0
    """The update is scaled by alpha / rank."""

    dropout: float = 0.05
    """Dropout on the update's input while training."""

    target_modules: tuple[str, ...] | None = None
    """Names of the projections to update; none given takes the family's own."""

    def __post_init__(self) -> None:
        problems = []
        if self.rank < 1:
            problems.append(f"lora.rank is {self.rank}; it must be at least 1")
        if not 0 < self.alpha < math.inf:
            problems.append(f"lora.alpha is {self.alpha}; it must be above 0 and finite")
        if not 0 <= self.dropout < 1:
            problems.append(f"lora.dropout is {self.dropout}; it must be in [0, 1)")
        if problems:
            raise ConfigError("\n".join(problems))


def attach_lora(model: T, config: LoraConfig, *, seed: int = 0) -> T:
    """The model with fresh low-rank updates on its projections; they and ``modules_to_save`` alone are trainable.

    Args:
        model: any trainable family; its module is changed in place by PEFT.
        config: rank, scale, dropout, targets.
        seed: of the initial updates.

    Raises:
        ModelError: no projection has one of the names.
    """
    import peft
    import torch

    targets = config.target_modules or model.card.lora_targets
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(model.card.modules_to_save) or None,
        bias="none",
    )

    def wrap(module: nn.Module) -> nn.Module:
        torch.manual_seed(seed)
        try:
            with warnings.catch_warnings():
                # PEFT reads the module's checkpointing by the name that transformers 5 gives up; nothing a user can do.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                return peft.get_peft_model(module, settings)
        except ValueError as error:
            raise ModelError(f"LoRA cannot be attached to '{model.card.model_id}': {error}") from error

    return model.with_module(wrap)  # type: ignore[return-value]


def merge_lora(model: T) -> T:
    """The model with its updates added to the weights, in the precision of the weights.

    Raises:
        ModelError: nothing is attached, or the weights are in half precision, where most of an update is lost.
    """
    import torch

    def merge(module: nn.Module) -> nn.Module:
        if not hasattr(module, "merge_and_unload"):
            raise ModelError(f"'{model.card.model_id}' has no low-rank update to merge")
        if any(parameter.dtype in (torch.float16, torch.bfloat16) for parameter in module.parameters()):
            raise ModelError("merging in half precision loses most of an update; load the base with dtype float32")
        return module.merge_and_unload()  # type: ignore[operator]

    return model.with_module(merge)  # type: ignore[return-value]


@contextmanager
def without_updates(module: nn.Module) -> Iterator[None]:
    """Inside, a PEFT model computes what its base does; which weights move stays as it is.

    PEFT's own switch lets all updates move again when it is switched back, frozen ones too.
    """
    moving = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        with module.disable_adapter():  # type: ignore[operator]
            yield
    finally:
        kept = set(map(id, moving))
        for parameter in module.parameters():
            parameter.requires_grad_(id(parameter) in kept)
