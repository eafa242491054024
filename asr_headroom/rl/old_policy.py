"""The policy that hypotheses are drawn from when it is not the newest: a copy of the weights that move, and no others.

With low-rank updates that is a thousandth of the model. The copy and the newest change places while hypotheses are
drawn; no second model exists, and the log-probabilities that drawing gives are the old ones of the ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["OldPolicy"]


class OldPolicy:
    """The moving weights of a module as they were at some step.

    Args:
        module: whose weights they are.

    Attributes:
        since: the step, -1 before there is one.
    """

    def __init__(self, module: nn.Module) -> None:
        self._moving = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._kept: dict[str, torch.Tensor] = {}
        self.since = -1

    @torch.no_grad()
    def take_over(self, step: int) -> None:
        """The weights as they are become those of ``step``; nothing where they were taken over then already."""
        if step == self.since:
            return
        self._kept = {name: parameter.detach().clone() for name, parameter in self._moving.items()}
        self.since = step

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the module has the old weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._moving.items():
            # Through the data, so that what is recorded for the backward pass is not taken for changed.
            self._kept[name], parameter.data = parameter.data, self._kept[name]

    def state_dict(self) -> dict[str, Any]:
        """The old weights and their step."""
        return {"since": self.since, "weights": {name: tensor.cpu() for name, tensor in self._kept.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what :meth:`state_dict` gave."""
        self.since = state["since"]
        self._kept = {name: tensor.to(self._moving[name].device) for name, tensor in state["weights"].items()}
