"""The numbers of the micro model and of its pretraining, apart from the code that needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asr_headroom.errors import ConfigError
from asr_headroom.lab.speech import SAMPLING_RATE

__all__ = ["FRAME_SECONDS", "HOP_SAMPLES", "WINDOW_SECONDS", "PretrainConfig", "base_path"]

WINDOW_SECONDS = 4
"""Seconds of a full window."""

HOP_SAMPLES = 320
"""Samples between log-mel frames: 20 ms, twice Whisper's, which halves the work of the encoder."""

FRAME_SECONDS = 2 * HOP_SAMPLES / SAMPLING_RATE
"""Seconds between encoder frames."""


def base_path() -> Path:
    """Folder of the pretrained model that comes with the package."""
    return Path(__file__).parent / "base"


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How the base model of the laboratory is made."""

    steps: int = 12_000
    """Optimiser steps; the schedule stretches with it."""

    batch_size: int = 16
    """Utterances of one step."""

    learning_rate: float = 1.5e-3
    """Peak; reached after 2 % of the steps, held until 30 %, then a cosine down to 2 % of it."""

    weight_decay: float = 0.05
    """AdamW's, on all weights."""

    mandarin_share: float = 0.015
    """Share of Mandarin utterances; small, so that the base is poor in Mandarin."""

    english_share: float = 0.03
    """Share of English utterances; the rest is French."""

    phoneme_weight: float = 0.5
    """Weight of the frame-wise phoneme loss until it is annealed."""

    attention_weight: float = 0.3
    """Weight of the guided cross-attention loss until it is annealed."""

    anneal: tuple[float, float] = (0.5, 0.8)
    """Shares of the steps between which both helper weights fall to 0."""

    full_window_share: float = 0.1
    """Share of batches in full 4 s windows; the others are cut to a random window that holds them."""

    seed: int = 0
    """Of the weights, the speech and the order."""

    dev_every: int = 1000
    """Steps between measurements on the dev split."""

    dev_utterances: int = 150
    """Of French and of Mandarin, in each of those measurements."""

    test_utterances: int = 600
    """Of each language, in the last measurement: sentences and voices that were never trained on."""

    checkpoint_every: int = 500
    """Steps between checkpoints."""

    processes: int = 1
    """Synthesising ahead of the training; the result does not depend on it."""

    def __post_init__(self) -> None:
        problems = []
        for name in (
            "steps",
            "batch_size",
            "dev_every",
            "dev_utterances",
            "test_utterances",
            "checkpoint_every",
            "processes",
        ):
            if getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            problems.append(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.mandarin_share + self.english_share < 1:
            problems.append("mandarin_share and english_share must leave a share for French")
        if len(self.anneal) != 2 or not 0 <= self.anneal[0] < self.anneal[1] <= 1:
            problems.append(f"anneal is {self.anneal}; it must be two rising shares")
        if problems:
            raise ConfigError("\n".join(f"pretrain: {problem}" for problem in problems))
