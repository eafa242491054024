"""SpecAugment: spans of time and of the mel axis that training hides, drawn anew at each sight of an utterance.

Spans are drawn in seconds of the recording itself, never of its padding, so that a family needs to know no more than
its frame rate. Families whose log-mels can be reached hide them there (``asr_headroom.audio.features.hide_spans``);
for all others :func:`hide_in_waveform` hides the same spans of the waveform.

Reference:
    Park et al. (2019), "SpecAugment", arXiv:1904.08779. We warp no time, which they find to matter least, and bound the
    width of a time mask by seconds and by a share of the recording as they do. The defaults are their mild policy, SM.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from asr_headroom.audio.filtering import fast_length
from asr_headroom.errors import ConfigError

__all__ = ["Spans", "SpecConfig", "draw_spans", "hide_in_waveform"]

_SLOPE_SECONDS = 0.005
"""Over which the waveform fades at the ends of a hidden span: a cut would click at all frequencies."""


@dataclass(frozen=True, kw_only=True)
class SpecConfig:
    """SpecAugment (Park et al., 2019, arXiv:1904.08779): spans of time and frequency are hidden."""

    probability: float = 0.0
    """Share of the utterances, drawn anew each epoch; 0 is off."""

    time_masks: int = 2
    """Hidden spans of time."""

    max_time: float = 0.7
    """Seconds; the widths are drawn evenly from 0 to this."""

    max_time_share: float = 0.2
    """Of the recording, that one span may take at most."""

    mel_masks: int = 2
    """Hidden spans of frequency."""

    max_mel_share: float = 0.19
    """Of the mel axis, that one span may take at most."""

    def __post_init__(self) -> None:
        problems = [
            f"augment.spec.{name} is {getattr(self, name)}; it must be in [0, 1]"
            for name in ("probability", "max_time_share", "max_mel_share")
            if not 0 <= getattr(self, name) <= 1
        ]
        problems += [
            f"augment.spec.{name} is {getattr(self, name)}; it must be at least 0"
            for name in ("time_masks", "max_time", "mel_masks")
            if not 0 <= getattr(self, name) < math.inf
        ]
        if problems:
            raise ConfigError("\n".join(problems))


@dataclass(frozen=True)
class Spans:
    """What is hidden of one utterance.

    Attributes:
        times: (start, end) in seconds.
        mels: (start, end) as shares of the mel axis, low frequencies first.
    """

    times: tuple[tuple[float, float], ...] = ()
    mels: tuple[tuple[float, float], ...] = ()


def draw_spans(draw: np.random.Generator, config: SpecConfig, duration: float) -> Spans:
    """Spans of a recording of ``duration`` seconds; none where the draw says that it stays whole."""
    if draw.random() >= config.probability:
        return Spans()
    widest = min(config.max_time, config.max_time_share * duration)
    times = tuple(_span(draw, widest, duration) for _ in range(config.time_masks))
    return Spans(times, tuple(_span(draw, config.max_mel_share, 1.0) for _ in range(config.mel_masks)))


def hide_in_waveform(samples: np.ndarray, sampling_rate: int, spans: Spans) -> np.ndarray:
    """The recording without the spans: silence in time, and bands removed from all of it.

    Args:
        samples: [samples] float32.
        sampling_rate: Hz.
        spans: to hide.

    Returns:
        [samples] float32, a new array; the same where there is nothing to hide.
    """
    if not (spans.times or spans.mels):
        return samples
    hidden = samples.copy()
    if spans.mels:
        size = fast_length(len(samples))
        shares = _mel(np.fft.rfftfreq(size, 1 / sampling_rate)) / _mel(np.array(sampling_rate / 2))
        spectrum = np.fft.rfft(samples, size)
        for start, end in spans.mels:
            spectrum[(shares >= start) & (shares < end)] = 0
        hidden = np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32, copy=False)
    slope = max(1, round(_SLOPE_SECONDS * sampling_rate))
    for start, end in spans.times:
        first, last = round(start * sampling_rate), min(len(samples), round(end * sampling_rate))
        before, after = max(0, first - slope), min(len(samples), last + slope)
        hidden[first:last] = 0
        hidden[before:first] *= np.arange(first - before, 0, -1, dtype=np.float32) / (slope + 1)
        hidden[last:after] *= np.arange(1, after - last + 1, dtype=np.float32) / (slope + 1)
    return hidden


def _span(draw: np.random.Generator, widest: float, whole: float) -> tuple[float, float]:
    width = float(draw.uniform(0, widest))
    start = float(draw.uniform(0, whole - width))
    return start, start + width


def _mel(hertz: np.ndarray) -> np.ndarray:
    return np.log1p(hertz / 700)
