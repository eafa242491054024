"""Whisper's encoder over any window, for every family that uses it: how long the window is, and running over it.

``WhisperEncoder.forward`` refuses anything but the 30 s that it was built for. With ``fit`` a window is the whole
seconds that hold the recording: the position table is sliced and no weight is touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

__all__ = ["Window", "encode_features", "pad_to_window", "window_samples"]

Window = Literal["full", "fit"]

_FIT_STEP_SECONDS = 1.0
"""Fitted windows are whole seconds: fine enough to waste little, coarse enough that batches fill up."""


def window_samples(samples: int, window: Window, extractor: Any) -> int:
    """Samples of the window that holds a recording; it depends on the recording alone, never on its company.

    Args:
        samples: of the recording, at most the full window.
        window: ``full`` is the one that the encoder was built for.
        extractor: a ``WhisperFeatureExtractor``.
    """
    if window == "full":
        return extractor.n_samples
    step = round(_FIT_STEP_SECONDS * extractor.sampling_rate)
    seconds = max(1, math.ceil(samples / step))
    # Two hops make one encoder position, so the window must hold a whole number of them.
    position = 2 * extractor.hop_length
    return min(math.ceil(seconds * step / position) * position, extractor.n_samples)


def pad_to_window(waveforms: Sequence[np.ndarray], window: Window, extractor: Any) -> torch.Tensor:
    """[batch, samples] float32, zeros behind each recording up to the longest of their windows."""
    longest = max(window_samples(len(waveform), window, extractor) for waveform in waveforms)
    padded = torch.zeros(len(waveforms), longest)
    for row, waveform in enumerate(waveforms):
        padded[row, : len(waveform)] = torch.from_numpy(waveform)
    return padded


def encode_features(encoder: Any, features: torch.Tensor, **options: Any) -> torch.Tensor:
    """Output of a ``WhisperEncoder`` for any number of frames up to the window that it was built for.

    Args:
        encoder: the module.
        features: [batch, mels, frames] log-mels.
        options: passed to every layer.

    Returns:
        [batch, positions, hidden], one position per two frames.
    """
    hidden = functional.gelu(encoder.conv1(features.to(encoder.conv1.weight.dtype)))
    hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    hidden = functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    for layer in encoder.layers:
        if encoder.training and encoder.layerdrop > 0 and torch.rand([]) < encoder.layerdrop:
            continue
        hidden = layer(hidden, None, **options)
    return encoder.layer_norm(hidden)
