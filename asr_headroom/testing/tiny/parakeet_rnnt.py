"""A tiny Parakeet RNN-T."""

from __future__ import annotations

from asr_headroom.models.parakeet_transducer import ParakeetTransducer
from asr_headroom.testing.tiny.parakeet_tdt import tiny_transducer

__all__ = ["tiny_parakeet_rnnt"]


def tiny_parakeet_rnnt(*, width: int = 32, seed: int = 0) -> ParakeetTransducer:
    """A Parakeet RNN-T of the real class with random weights and a letter tokenizer.

    Args:
        width: of encoder and prediction network.
        seed: of the weights.
    """
    return tiny_transducer("rnnt", width=width, seed=seed)
