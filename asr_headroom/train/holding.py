"""What of a model's weights, gradients and optimiser states a process holds, as far as a forecast of memory asks.

Not torch's business: a forecast is made before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from asr_headroom.train.config import TrainConfig

__all__ = ["EVERYTHING", "Holding"]

_STATE_BYTES = {"adamw": 8.0, "adamw-8bit": 2.03, "paged-adamw-8bit": 2.03}
"""Of AdamW's two states for each weight that moves; packed ones have a scale for each block of 256."""


@dataclass(frozen=True, kw_only=True)
class Holding:
    """How much of the weights that move is kept, and where.

    Attributes:
        frozen: parts whose weights rest, as ``freeze`` names them.
        frozen_weights: how many weights of the model these are; updates on them are not counted.
        state_bytes: of the optimiser, for each weight that moves.
        shards: processes over which weights, gradients and states are cut.
    """

    frozen: tuple[str, ...] = ()
    frozen_weights: int = 0
    state_bytes: float = _STATE_BYTES["adamw"]
    shards: int = 1

    @classmethod
    def of(cls, config: TrainConfig, *, frozen_weights: int = 0, processes: int = 1) -> Holding:
        """What a config asks for; ``fsdp`` is nothing without at least two processes."""
        return cls(
            frozen=config.freeze,
            frozen_weights=frozen_weights,
            state_bytes=_STATE_BYTES[config.optim],
            shards=max(2, processes) if config.fsdp else 1,
        )

    def rests(self, name: str) -> bool:
        """Whether a matrix lies in a frozen part."""
        if not self.frozen:
            return False
        from asr_headroom.train.parts import is_frozen

        return is_frozen(name, self.frozen)


EVERYTHING = Holding()
"""All of it, in float32."""
