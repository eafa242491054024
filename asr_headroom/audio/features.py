"""Log-mel features in torch, computed when needed and on the device where they are used; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from asr_headroom.audio.spans import Spans

__all__ = ["hide_spans", "log_mel", "span_tensors"]


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


def span_tensors(spans: Sequence[Spans]) -> dict[str, torch.Tensor]:
    """Spans as a batch carries them to its device.

    Returns:
        ``time_spans`` [rows, spans, 2] seconds and ``mel_spans`` [rows, spans, 2] shares of the mel axis, float32,
        (start, end), filled up with spans of width 0.
    """
    return {"time_spans": _stacked([row.times for row in spans]), "mel_spans": _stacked([row.mels for row in spans])}


def hide_spans(
    features: torch.Tensor, inputs: Mapping[str, torch.Tensor], *, frames_per_second: float, frames_first: bool = False
) -> torch.Tensor:
    """Features with 0 in the spans that a batch says; the features themselves where it says none.

    Zero is near the middle of what log-mels are scaled to, and their mean where a family normalises them.

    Args:
        features: [rows, mels, frames], or [rows, frames, mels] with ``frames_first``; left as they are.
        inputs: of the batch, with or without ``time_spans`` and ``mel_spans`` (see :func:`span_tensors`).
        frames_per_second: of the features.
        frames_first: the order of the last two dimensions.

    Returns:
        as ``features``.
    """
    if "time_spans" not in inputs:
        return features
    mels, frames = features.shape[:-3:-1] if frames_first else features.shape[-2:]
    times = torch.arange(frames, device=features.device) / frames_per_second
    shares = torch.arange(mels, device=features.device) / mels
    in_time, in_mels = _within(times, inputs["time_spans"]), _within(shares, inputs["mel_spans"])
    hidden = in_time[:, None, :] | in_mels[:, :, None]
    return features.masked_fill(hidden.transpose(1, 2) if frames_first else hidden, 0.0)


def _within(points: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
    """[rows, points] bool: in any of the row's spans [rows, spans, 2]."""
    starts, ends = spans[..., 0, None], spans[..., 1, None]
    return ((points >= starts) & (points < ends)).any(dim=1)


def _stacked(rows: Sequence[Sequence[tuple[float, float]]]) -> torch.Tensor:
    stacked = torch.zeros(len(rows), max(map(len, rows), default=0), 2)
    for row, spans in enumerate(rows):
        if spans:
            stacked[row, : len(spans)] = torch.tensor(spans)
    return stacked
