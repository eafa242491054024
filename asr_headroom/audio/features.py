"""Log-mel features in torch, computed when needed and on the device where they are used; nothing is stored."""

from __future__ import annotations

import torch

__all__ = ["log_mel"]


def log_mel(waveforms: torch.Tensor, mel_filters: torch.Tensor, *, n_fft: int, hop_length: int) -> torch.Tensor:
    """Whisper's log-mel spectrogram, equal to ``WhisperFeatureExtractor`` within float32 rounding.

    Args:
        waveforms: [batch, samples] float32; shorter rows padded with zeros. ``samples`` a multiple of ``hop_length``.
        mel_filters: [n_fft // 2 + 1, mels] float32, as the feature extractor holds them.
        n_fft: samples of one Hann window.
        hop_length: samples between frames.

    Returns:
        [batch, mels, samples // hop_length] float32; each row clipped to 80 dB below its own maximum and scaled to
        about [-1, 1].

    Reference:
        Radford et al. (2022), arXiv:2212.04356, §2.2, and the released code's ``log_mel_spectrogram``.
    """
    # Mixed precision would take the spectrum in half precision, where quiet bins vanish.
    with torch.autocast(waveforms.device.type, enabled=False):
        window = torch.hann_window(n_fft, device=waveforms.device)
        spectrum = torch.stft(waveforms.float(), n_fft, hop_length, window=window, return_complex=True)
        power = (spectrum[..., :-1].abs() ** 2).contiguous()
        mel = mel_filters.to(waveforms.device).T @ power
        log_power = mel.clamp(min=1e-10).log10()
        loudest = log_power.amax(dim=(-2, -1), keepdim=True)
        return (torch.maximum(log_power, loudest - 8.0) + 4.0) / 4.0
