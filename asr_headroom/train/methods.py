"""LoRA, full, scratch: which weights move, and where they start."""

from __future__ import annotations

from typing import TypeVar

import torch

from asr_headroom.errors import ModelError
from asr_headroom.models.lora import attach_lora
from asr_headroom.models.protocols import Trainable
from asr_headroom.models.quantization import is_quantized, prepare_for_updates
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.parts import freeze_parts
from asr_headroom.train.processes import uses_bf16

__all__ = ["apply_method", "trainable_parameters"]

T = TypeVar("T", bound=Trainable)


def apply_method(model: T, config: TrainConfig) -> T:
    """The model as ``config.method`` trains it. For ``scratch``, load it with ``random_init`` first.

    Raises:
        ModelError: weights that are to move are in half precision, where small updates round away, or the model
            already carries an adapter.
        ConfigError: a part to freeze has another name in this model, or nothing would be left to train.
    """
    half = {p.dtype for p in model.module.parameters()} & {torch.float16, torch.bfloat16}
    if half and config.method != "lora":
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in half)
        raise ModelError(
            f"'{model.card.model_id}' is loaded in {names}; most of a small update rounds away there. "
            "Load it with dtype float32 and use mixed_precision bf16"
        )
    if is_quantized(model.module):
        if config.method != "lora":
            raise ModelError(
                f"the weights of '{model.card.model_id}' are packed and cannot move; load it without quantization, or "
                "take method lora"
            )
        prepare_for_updates(model.module, torch.bfloat16 if uses_bf16(config.mixed_precision) else None)
    if hasattr(model.module, "peft_config"):
        raise ModelError(
            f"'{model.card.model_id}' is an adapter; merge it into its base first (merge_lora in "
            "asr_headroom.models.lora, then save_pretrained) and train the merged folder"
        )
    if config.method == "lora":
        model = attach_lora(model, config.lora, seed=config.seed)
    if config.freeze:
        freeze_parts(model.module, config.freeze)
    if config.gradient_checkpointing:
        model.checkpoint_activations()
    return model


def trainable_parameters(model: Trainable) -> int:
    """Number of weights that training moves."""
    return sum(parameter.numel() for parameter in model.module.parameters() if parameter.requires_grad)
