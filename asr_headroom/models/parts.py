"""Model and processor of a checkpoint: read strictly, with an adapter on top where the folder holds one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import GenerationConfig, PretrainedConfig

from asr_headroom.errors import ModelError
from asr_headroom.models.checkpoints import load_adapter, load_pretrained, read_adapter_base
from asr_headroom.models.quantization import Quantization, place, quantized_options

__all__ = ["load_parts", "loader"]

F = TypeVar("F")


def loader(family: Callable[..., F], classes: Mapping[str, Any], processor_class: Any) -> Callable[..., F]:
    """The ``load`` of a family that has no options of its own.

    Args:
        family: made of module, processor and ``model_id``.
        classes: see :func:`load_parts`.
        processor_class: reads the processor.
    """

    def load(
        model_id: str,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        random_init: bool = False,
        seed: int = 0,
        quantization: Quantization = "none",
    ) -> F:
        module, processor = load_parts(
            model_id,
            classes,
            processor_class,
            dtype=dtype,
            device=device,
            random_init=random_init,
            seed=seed,
            quantization=quantization,
        )
        return family(module, processor, model_id=model_id)

    return load


def load_parts(
    model_id: str,
    classes: Mapping[str, Any],
    processor_class: Any,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    random_init: bool = False,
    seed: int = 0,
    quantization: Quantization = "none",
    check: Callable[[str, Mapping[str, Any]], None] | None = None,
    load_weights: Callable[..., nn.Module] | None = None,
) -> tuple[nn.Module, Any]:
    """Model and processor from a hub id, a local folder, or a folder with a PEFT adapter.

    Args:
        model_id: hub id or path.
        classes: the model class of each ``model_type`` of the family.
        processor_class: reads the processor.
        dtype: of the weights.
        device: where to put them; ``auto`` is the GPU where there is one.
        random_init: keep architecture and processor, draw new weights.
        seed: of the new weights.
        quantization: of the weights; see :mod:`asr_headroom.models.quantization`.
        check: refuses a source by its config, before anything large is read.
        load_weights: reads a class's weights from a source, where there is more to it than ``from_pretrained``, given
            its further options by name.

    Raises:
        ModelError: not found, another family, or weights are missing, unexpected or damaged.
    """
    base_id = read_adapter_base(model_id)
    source = base_id or model_id
    settings, _ = load_pretrained(PretrainedConfig.get_config_dict, source)
    if settings.get("model_type") not in classes:
        raise ModelError(
            f"'{source}' is of type {settings.get('model_type')!r}, not {' or '.join(map(repr, classes))}; "
            "leave the family out and it is read from the checkpoint"
        )
    if check is not None:
        check(source, settings)
    module_class = classes[settings["model_type"]]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    packing = quantized_options(quantization, dtype=dtype, device=device, random_init=random_init)
    processor = load_pretrained(processor_class.from_pretrained, source)
    weights_dtype = getattr(torch, dtype)
    if random_init:
        config = load_pretrained(module_class.config_class.from_pretrained, source)
        torch.manual_seed(seed)
        module = module_class(config).to(weights_dtype)
        module.generation_config = _generation_config(source, module.generation_config)
    elif load_weights is not None:
        module = load_weights(module_class, source, weights_dtype, **packing)
    else:
        module = load_pretrained(
            module_class.from_pretrained,
            source,
            weights=True,
            dtype=weights_dtype,
            attn_implementation="sdpa",
            **packing,
        )
    if Path(source).is_dir():
        # An adapter stores this name as its base; a relative path would break from another working directory.
        module.name_or_path = str(Path(source).resolve())
    if base_id:
        module = load_adapter(module, model_id)
    return place(module, device), processor


def _generation_config(source: str, drawn: GenerationConfig) -> GenerationConfig:
    """The checkpoint's own, which may name more tokens that end a text than the model's config does."""
    try:
        return GenerationConfig.from_pretrained(source)
    except OSError:
        return drawn  # there is none
