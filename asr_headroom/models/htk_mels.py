"""Features that transformers computes with torchaudio, in plain torch, because no CPU build of torchaudio can be had.

Where torchaudio is installed it is not used either: one way of computing features, everywhere.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

__all__ = ["deltas", "htk_mel_filters", "mel_spectrogram"]


def htk_mel_filters(num_frequencies: int, num_mels: int, sampling_rate: int) -> torch.Tensor:
    """Triangles on HTK's mel scale from 0 Hz to half the sampling rate, not normalised.

    Args:
        num_frequencies: bins of the spectrum.
        num_mels: triangles.
        sampling_rate: Hz.

    Returns:
        [frequencies, mels] float32.
    """
    top = 2595.0 * math.log10(1.0 + sampling_rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, top, num_mels + 2) / 2595.0) - 1.0)
    slopes = edges[None, :] - torch.linspace(0.0, sampling_rate // 2, num_frequencies)[:, None]
    widths = edges[1:] - edges[:-1]
    return torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]).clamp(min=0)


def mel_spectrogram(
    waveforms: torch.Tensor, filters: torch.Tensor, *, n_fft: int, win_length: int, hop_length: int
) -> torch.Tensor:
    """Power in each mel band, Hann window, frames centred by reflection, as ``MelSpectrogram`` of torchaudio.

    Args:
        waveforms: [..., samples] float32.
        filters: [frequencies, mels].
        n_fft: samples of the transform.
        win_length: of the window.
        hop_length: between frames.

    Returns:
        [..., mels, frames], one frame per hop and one more.
    """
    flat = waveforms.reshape(-1, waveforms.shape[-1])
    window = torch.hann_window(win_length, device=flat.device)
    spectrum = torch.stft(
        flat, n_fft, hop_length, win_length, window, center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.abs().square().transpose(-1, -2) @ filters.to(flat.device)
    return power.transpose(-1, -2).reshape(*waveforms.shape[:-1], filters.shape[1], -1)


def deltas(features: torch.Tensor, win_length: int = 5) -> torch.Tensor:
    """Slope of each feature over neighbouring frames by least squares; the first and last frame are repeated beyond.

    Args:
        features: [..., frames] float.
        win_length: frames that the slope is taken over, odd.
    """
    reach = (win_length - 1) // 2
    scale = reach * (reach + 1) * (2 * reach + 1) / 3
    flat = features.reshape(-1, 1, features.shape[-1])
    kernel = torch.arange(-reach, reach + 1, dtype=features.dtype, device=features.device)[None, None]
    padded = functional.pad(flat, (reach, reach), mode="replicate")
    return (functional.conv1d(padded, kernel) / scale).reshape(features.shape)
