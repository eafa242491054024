"""A moving average of the weights: what is evaluated, kept and delivered while the weights themselves train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of the weights that move (Polyak & Juditsky, 1992).

    The decay grows with the steps, min(decay, (1 + n) / (10 + n)) as in TensorFlow, so that a short run is not an
    average of its start.

    Args:
        module: whose weights move; they stand where the average begins.
        decay: of the average per step, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._average = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after optimiser step ``step``, counted from 0, into the average."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, weight in self._weights.items():
            self._average[name].lerp_(weight.detach(), 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the module's weights are the average; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """The weights that train on. Call it inside :meth:`in_place`, where the module's are the average."""
        return {name: tensor.detach() for name, tensor in self._average.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes the module's weights for the average, and ``state`` for the weights."""
        for name, weight in self._weights.items():
            self._average[name].copy_(weight)
            weight.copy_(state[name])

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self._average[name] = self._average[name], weight.data
