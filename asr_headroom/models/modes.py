"""Which mode a module runs in: evaluation for a while, batch norm with its stored statistics always, no autocast.

Heads too: their logits are those of float32 products, as :func:`asr_headroom.models.sampling.head_logits` explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    "evaluating",
    "freeze_batch_norm",
    "full_precision",
    "keep_head_exact",
    "switch_off_layer_drop",
]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards each part is in the mode it was in, frozen ones too."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def full_precision() -> torch.autocast:
    """No mixed precision inside, for features on the CPU: in bfloat16 quiet bins vanish, and NumPy has no such type."""
    return torch.autocast("cpu", enabled=False)


def keep_head_exact(head: nn.Module) -> None:
    """Makes a head inside a library's forward pass compute in its weights' precision, under autocast too.

    For heads that cannot be called on their own (:func:`asr_headroom.models.sampling.head_logits` is for those that
    can). The product that autocast made is thrown away and no gradient flows through it. A second call changes nothing.
    """
    for part in head.modules():
        is_layer = not list(part.children()) and hasattr(part, "weight")
        if is_layer and _in_own_precision not in part._forward_hooks.values():
            part.register_forward_hook(_in_own_precision)


def switch_off_layer_drop(module: nn.Module) -> None:
    """No encoder layer is left out at random while training, whatever the config says (Parakeet's and LASR's say 0.1).

    A layer that is left out has no gradient in that step, which data parallelism refuses; and a score with layers left
    out is not that of what was drawn with all of them.
    """
    part: Any
    for part in module.modules():
        if isinstance(getattr(part, "layerdrop", None), float | int):
            part.layerdrop = 0.0


def freeze_batch_norm(module: nn.Module) -> int:
    """Makes every batch norm use its stored statistics, whatever ``train()`` says; returns how many there are.

    Running statistics that drift while low-rank updates are trained are in no adapter file: the saved adapter on a
    fresh base then is another model (differences of 0.4 in the logits were measured). Small batches of padded speech
    estimate them badly anyway. A second call changes nothing.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    for layer in layers:
        if _use_stored_statistics not in layer._forward_pre_hooks.values():
            layer.register_forward_pre_hook(_use_stored_statistics)
    return len(layers)


def _use_stored_statistics(layer: nn.Module, _: Any) -> None:
    layer.eval()


def _in_own_precision(layer: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    (hidden,) = args
    if not torch.is_autocast_enabled(hidden.device.type):
        return output
    with torch.autocast(hidden.device.type, enabled=False):
        return layer.forward(hidden.to(layer.weight.dtype))  # type: ignore[arg-type]
