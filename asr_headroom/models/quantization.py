"""Weights in 8 or 4 bits, by bitsandbytes: what ``from_pretrained`` needs for them, and how they are counted.

Matrices of linear layers are packed while they are read, so that the full model is never in memory; embeddings, norms,
convolutions and output heads keep the precision asked for, and products are computed in it. 4 bits are NF4 with its
scales quantised too (Dettmers et al., 2023, arXiv:2305.14314). Packed weights do not move in training: low-rank updates
on top of them do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from asr_headroom.errors import MissingDependencyError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Quantization",
    "count_parameters",
    "is_quantized",
    "place",
    "precision",
    "prepare_for_updates",
    "quantized_options",
]

Quantization = Literal["none", "8bit", "4bit"]

_INSTALL = "pip install 'asr-headroom[quant]'"


def quantized_options(
    quantization: Quantization, *, dtype: str, device: str, random_init: bool = False
) -> dict[str, Any]:
    """What ``from_pretrained`` takes beside ``dtype`` to pack the weights as they are read; empty for ``none``.

    Args:
        quantization: bits of the weights.
        dtype: that products are computed in, and of the weights that stay as they are.
        device: where the weights are put at once: packed ones are not moved any more.
        random_init: the weights are to be drawn, not read.

    Raises:
        MissingDependencyError: bitsandbytes is not installed.
        ModelError: it does not run on this device, or there is nothing to read.
    """
    if quantization == "none":
        return {}
    if random_init:
        raise ModelError(f"quantization {quantization} packs weights that are read; it cannot go with random weights")
    if quantization not in ("8bit", "4bit"):
        raise ModelError(f"quantization is '{quantization}'; choose none, 8bit or 4bit")
    import torch
    from transformers import BitsAndBytesConfig

    _try(quantization, device)
    if quantization == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
    return {"quantization_config": config, "device_map": {"": device}}


def place(module: nn.Module, device: str) -> nn.Module:
    """The module on the device; one with packed weights is there already, and does not let itself be moved."""
    if not is_quantized(module):
        return module.to(device)
    layer: Any
    for layer in module.modules():
        # The layout that bitsandbytes 0.50 has for CPUs with AVX-512 takes whole blocks of 64 inputs and 32 outputs.
        if getattr(layer, "support_avx512bf16_for_cpu", False) and (layer.in_features % 64 or layer.out_features % 32):
            layer.support_avx512bf16_for_cpu = False
    return module


def is_quantized(module: nn.Module) -> bool:
    """Whether some of its weights are packed."""
    return any(_is_packed(parameter) for parameter in module.parameters())


def precision(module: Any) -> str:
    """Of the weights, for results: ``bfloat16``, or ``bfloat16/4bit`` where matrices are packed."""
    kinds = {"Params4bit": "/4bit", "Int8Params": "/8bit"}
    packed = {kinds[kind] for kind in {type(parameter).__name__ for parameter in module.parameters()} & set(kinds)}
    return str(module.dtype).removeprefix("torch.") + "".join(sorted(packed))


def count_parameters(module: nn.Module, *, without: tuple[str, ...] = ("lora_",)) -> int:
    """Weights, shared ones counted once, packed ones as many as they stand for.

    Args:
        module: the model, or a PEFT model around it.
        without: parts of names that are not counted: low-rank updates are no weights of the model.
    """
    return sum(
        _size(parameter) for name, parameter in module.named_parameters() if not any(part in name for part in without)
    )


def prepare_for_updates(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Makes packed matrices fit to train low-rank updates on.

    Args:
        module: with matrices of 4 bits.
        dtype: that they are unpacked to for each product. By itself bitsandbytes takes the precision of what comes in,
            which under autocast is that of the norms: float32. None leaves it at that.
    """
    layer: Any
    for layer in module.modules():
        if not hasattr(layer, "compute_type_is_set"):
            continue
        # On some CPUs an evaluation would pack them once more, for products that know no backward pass.
        layer.support_avx512bf16_for_cpu = False
        if dtype is not None:
            layer.compute_dtype, layer.compute_type_is_set = dtype, True


def _size(parameter: Any) -> int:
    # Two weights of 4 bits share a byte, and the parameter's own shape is that of the bytes.
    state = getattr(parameter, "quant_state", None)
    return math.prod(state.shape) if state is not None else parameter.numel()


def _is_packed(parameter: Any) -> bool:
    # By name: bitsandbytes need not be installed to ask.
    return type(parameter).__name__ in ("Params4bit", "Int8Params")


def _try(quantization: Quantization, device: str) -> None:
    """One small product on the device: what a version of bitsandbytes runs on, no table here would know."""
    import torch

    try:
        import bitsandbytes
    except ModuleNotFoundError as error:
        raise MissingDependencyError("bitsandbytes", "quant") from error
    except Exception as error:  # a shared library that does not fit raises whatever it likes
        raise ModelError(f"bitsandbytes cannot be imported ({error}); install it again: {_INSTALL}") from error
    try:
        layer: Any
        if quantization == "8bit":
            layer = bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)
        else:
            layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
        with torch.no_grad():
            layer.to(device)(torch.zeros(1, 64, device=device))
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"quantization {quantization} does not run on '{device}' with bitsandbytes "
            f"{getattr(bitsandbytes, '__version__', '')}: {reason}; leave it out, or take a CUDA device and: {_INSTALL}"
        ) from error
