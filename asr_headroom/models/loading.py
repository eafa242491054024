"""The steps every family of transformers' own classes loads by: base or adapter, strict weights, precision, device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_adapter, load_pretrained, read_adapter_base

__all__ = ["count_parameters", "load_module"]


def load_module(
    model_class: Any,
    model_id: str,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
) -> tuple[nn.Module, str]:
    """A model of one of transformers' classes, and where its processor is to be read from.

    Args:
        model_class: the class; its ``config_class`` says which type of config it reads.
        model_id: hub id, folder, or folder of a PEFT adapter.
        dtype: of the weights, whatever the checkpoint was saved in.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep the architecture, draw new weights.
        seed: of the new weights.

    Raises:
        ModelError: not found, of another type, or weights are missing, unexpected or damaged.
    """
    base_id = read_adapter_base(model_id)
    source = base_id or model_id
    config = load_pretrained(model_class.config_class.get_config_dict, source)[0]
    expected = model_class.config_class.model_type
    if config.get("model_type") != expected:
        raise ModelError(f"'{source}' is of type {config.get('model_type')!r}, not {expected!r}; load it as its own")
    precision = getattr(torch, dtype)
    if random_init:
        torch.manual_seed(seed)
        module = model_class(load_pretrained(model_class.config_class.from_pretrained, source)).to(precision)
    else:
        module = load_pretrained(model_class.from_pretrained, source, weights=True, dtype=precision)
    if Path(source).is_dir():
        # An adapter stores this name as its base; a relative path would break from another working directory.
        module.name_or_path = str(Path(source).resolve())
    if base_id:
        module = load_adapter(module, model_id)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return module.to(device), source


def count_parameters(module: nn.Module) -> int:
    """Weights of the model itself: shared ones once, low-rank updates and PEFT's trained copies not at all."""
    return sum(
        p.numel() for name, p in module.named_parameters() if "lora_" not in name and "modules_to_save" not in name
    )
