"""The seam between encoder and decoder: audio is encoded once, and gradients cross the seam once.

Hypotheses are scored in parts, each with a backward pass of its own, so that the memory is that of one part. Were the
encoder behind each of them, it would be run backwards as often. So the graph is cut at what the encoder gave, the parts
collect their gradient there, and one backward pass takes the sum through the encoder.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from asr_headroom.errors import ModelError
from asr_headroom.models.protocols import Encoded

__all__ = ["CutEncoding", "scoring_mode"]


class CutEncoding:
    """Encoded audio without the graph behind it, which :meth:`backward` then goes through once.

    Args:
        encoded: as ``encode`` gave it: a dataclass whose tensors are fields, or in tuples that are fields.

    Attributes:
        encoded: the same, cut off; its tensors collect gradients where the encoder is trained.

    Raises:
        ModelError: it is no dataclass, so nobody can say where its tensors are.
    """

    def __init__(self, encoded: Encoded) -> None:
        if not dataclasses.is_dataclass(encoded):
            raise ModelError(f"{type(encoded).__name__} is no dataclass; reinforcement learning cannot cut its graph")
        self._seams: list[tuple[torch.Tensor, torch.Tensor]] = []
        cut = {spec.name: self._cut(getattr(encoded, spec.name)) for spec in dataclasses.fields(encoded)}
        self.encoded: Encoded = dataclasses.replace(encoded, **cut)

    @property
    def is_trained(self) -> bool:
        """A weight behind the seam moves."""
        return bool(self._seams)

    def backward(self) -> None:
        """Takes what was collected through the encoder; nothing where nothing was."""
        reached = [(whole, leaf.grad) for whole, leaf in self._seams if leaf.grad is not None]
        if reached:
            torch.autograd.backward([whole for whole, _ in reached], [gradient for _, gradient in reached])
        self._seams.clear()

    def _cut(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.requires_grad:
            leaf = value.detach().requires_grad_()
            self._seams.append((value, leaf))
            return leaf
        if isinstance(value, tuple) and any(isinstance(part, torch.Tensor) for part in value):
            return tuple(self._cut(part) for part in value)
        return value


def scoring_mode(module: nn.Module) -> None:
    """Evaluation mode, in which drawing and scoring see one distribution; activation checkpointing stays at work.

    With dropout a ratio of two scores of one hypothesis would be noise. Layers that compute their activations again
    only do so in training mode, so these alone are in it, with their own dropout at zero for good.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, GradientCheckpointingLayer) and part.gradient_checkpointing:
            part.training = True
            for name, value in vars(part).items():
                if "drop" in name and isinstance(value, float):
                    setattr(part, name, 0.0)
