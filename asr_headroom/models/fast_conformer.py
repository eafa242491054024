"""What families with a FastConformer encoder share: log-mels of ragged recordings, and how long a frame lasts.

The features are normalised over each recording's own frames and the encoder masks padding everywhere, so outputs do
not depend on what a recording is batched with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from asr_headroom.models.modes import full_precision

__all__ = ["frame_seconds", "log_mels"]

_MIN_SECONDS = 0.1
"""Shorter recordings are padded with silence to it: a variance needs frames, and subsampling leaves an eighth."""


def log_mels(extractor: Any, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """``input_features`` [rows, frames, mels] float32 and ``attention_mask`` [rows, frames] bool, on the CPU.

    Args:
        extractor: a ``ParakeetFeatureExtractor`` or ``CohereAsrFeatureExtractor``.
        waveforms: [samples] float32 each, at the extractor's sampling rate.
    """
    least = round(_MIN_SECONDS * extractor.sampling_rate)
    padded = [np.pad(waveform, (0, max(0, least - len(waveform)))) for waveform in waveforms]
    with full_precision():
        features = extractor(padded, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return {"input_features": features["input_features"], "attention_mask": features["attention_mask"]}


def frame_seconds(extractor: Any, encoder_config: Any) -> float:
    """Seconds of one encoder frame."""
    return extractor.hop_length * encoder_config.subsampling_factor / extractor.sampling_rate
