"""Noise: generated in a colour, or read from recordings, and added at a wanted ratio of speech to noise."""

from __future__ import annotations

import math

import numpy as np

from asr_headroom.audio.filtering import fast_length
from asr_headroom.audio.waveform import AudioSource, read_info, read_waveform

__all__ = ["add_noise", "colored_noise", "drawn_noise", "noise_of", "recorded_noise"]

_LOWEST_HZ = 20.0
_EXPONENTS = (0.0, 1.0, 2.0)
"""White, pink and brown."""


def colored_noise(
    draw: np.random.Generator, num_samples: int, sampling_rate: int, exponent: float, dtype: type = np.float64
) -> np.ndarray:
    """Gaussian noise whose power falls as frequency to the ``-exponent``, from 20 Hz up.

    Args:
        draw: where the numbers come from.
        num_samples: at least 1.
        sampling_rate: Hz.
        exponent: 0 is white, 1 pink, 2 brown.
        dtype: float64 or float32, which is twice as fast.

    Returns:
        [num_samples], of no particular level.
    """
    spectrum = np.fft.rfft(draw.standard_normal(num_samples, dtype=dtype))
    frequencies = np.fft.rfftfreq(num_samples, 1 / sampling_rate)
    gain = np.maximum(frequencies, _LOWEST_HZ) ** (-exponent / 2)
    spectrum *= gain.astype(dtype)
    return np.fft.irfft(np.where(frequencies >= _LOWEST_HZ, spectrum, 0), num_samples)


def drawn_noise(draw: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """[num_samples] float32 of white, pink or brown noise."""
    exponent = float(draw.choice(_EXPONENTS))
    return colored_noise(draw, fast_length(num_samples), sampling_rate, exponent, np.float32)[:num_samples]


def noise_of(draw: np.random.Generator, num_samples: int, recording: np.ndarray) -> np.ndarray:
    """[num_samples] float32 from a drawn place in a recording [samples], repeated where it is shorter."""
    start = int(draw.integers(max(1, len(recording) - num_samples + 1)))
    return np.resize(recording[start : start + num_samples], num_samples)


def recorded_noise(
    draw: np.random.Generator, num_samples: int, sampling_rate: int, recording: AudioSource
) -> np.ndarray:
    """The same from a recording of which no more is read than is taken.

    Raises:
        AudioError: the recording cannot be read.
    """
    total, wanted = read_info(recording).duration, num_samples / sampling_rate
    start = float(draw.uniform(0, max(0.0, total - wanted)))
    # A hundredth of a second more, for what resampling rounds away.
    end = min(total, start + wanted + 0.01)
    noise = read_waveform(recording, sampling_rate, start=start, end=end)
    return np.resize(noise, num_samples)


def add_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Speech plus noise, at a ratio of their mean powers over the whole recording, pauses included.

    Args:
        samples: [samples] float32.
        noise: [samples] float32, of any level.
        snr: dB.

    Returns:
        [samples] float32, a new array. Where either is digital silence there is no ratio, and nothing is added.
    """
    speech_power, noise_power = _power(samples), _power(noise)
    if speech_power == 0 or noise_power == 0:
        return samples
    gain = math.sqrt(speech_power / noise_power) * 10 ** (-snr / 20)
    return samples + np.float32(gain) * noise


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))
