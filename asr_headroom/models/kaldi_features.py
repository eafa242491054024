"""Kaldi's log mel energies in plain torch, equal to torchaudio's to the last bit; no CPU build of it can be had."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch.nn import functional

from asr_headroom.errors import ModelError

__all__ = ["kaldi_fbank"]

_LOWEST_HERTZ = 20.0
_PREEMPHASIS = 0.97


def kaldi_fbank(
    waveform: torch.Tensor,
    *,
    sampling_rate: int,
    num_mel_bins: int,
    frame_length: float,
    frame_shift: float,
    window: str,
) -> torch.Tensor:
    """Log mel energies without dither: whole frames only, mean removed, pre-emphasised.

    Args:
        waveform: [samples] float32.
        sampling_rate: Hz.
        num_mel_bins: bands, from 20 Hz to half the sampling rate.
        frame_length: ms.
        frame_shift: ms.
        window: hamming, hanning or povey.

    Returns:
        [frames, mels]; no frames if the waveform is shorter than one.

    Raises:
        ModelError: another window.
    """
    length, shift = int(sampling_rate * frame_length * 0.001), int(sampling_rate * frame_shift * 0.001)
    if len(waveform) < length:
        return waveform.new_zeros(0, num_mel_bins)
    frames = waveform.unfold(0, length, shift)
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames - _PREEMPHASIS * torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    points = 1 << (length - 1).bit_length()
    padded = functional.pad(frames * _window(window, length), (0, points - length))
    power = torch.fft.rfft(padded).abs().pow(2.0)
    energies = power @ _bands(points, num_mel_bins, sampling_rate)
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def _window(name: str, length: int) -> torch.Tensor:
    if name == "hamming":
        return torch.hamming_window(length, periodic=False, alpha=0.54, beta=0.46)
    hann = torch.hann_window(length, periodic=False)
    if name == "hanning":
        return hann
    if name == "povey":
        return hann.pow(0.85)
    raise ModelError(f"the feature settings name a window '{name}'; known are hamming, hanning and povey")


@lru_cache(maxsize=8)
def _bands(points: int, bands: int, sampling_rate: int) -> torch.Tensor:
    """[bins, mels] triangles on the scale 1127 ln(1 + f / 700); the topmost bin is in none."""
    low, high = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (_LOWEST_HERTZ, sampling_rate / 2))
    step = (high - low) / (bands + 1)
    number = torch.arange(bands)[:, None]
    left, centre, right = (low + (number + offset) * step for offset in (0.0, 1.0, 2.0))
    mel = 1127.0 * torch.log(1.0 + sampling_rate / points * torch.arange(points // 2) / 700.0)[None]
    triangles = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp(min=0)
    return functional.pad(triangles, (0, 1)).T
