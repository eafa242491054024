"""Convolution and filters in the frequency domain, for audio that is changed on purpose.

Not for resampling, which soxr does in :mod:`asr_headroom.audio.waveform`.
"""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["convolve", "fast_length", "filter_band"]


@functools.lru_cache(maxsize=1 << 12)
def fast_length(num_samples: int) -> int:
    """The smallest product of twos, threes and fives that is at least ``num_samples``: a length FFTs are fast at.

    >>> fast_length(481_001)
    486000
    """
    best = 1 << max(0, num_samples - 1).bit_length()
    five = 1
    while five < best:
        odd = five
        while odd < best:
            wanted = -(-num_samples // odd)
            best = min(best, odd << max(0, wanted - 1).bit_length())
            odd *= 3
        five *= 5
    return best


def convolve(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Samples through a filter, cut to their own length.

    Args:
        samples: [samples] float32.
        response: [taps] float32.

    Returns:
        [samples] float32: ``sum over k of response[k] * samples[n - k]``.
    """
    # Blocks about four times the response: their spectra stay in the cache, which takes a third of the time of one
    # transform over ten seconds.
    size = min(1 << (4 * len(response)).bit_length(), fast_length(len(samples) + len(response) - 1))
    fresh = size - len(response) + 1
    spectrum = np.fft.rfft(response, size)
    result = np.zeros(len(samples) + size, dtype=np.float32)
    for start in range(0, len(samples), fresh):
        block = np.fft.rfft(samples[start : start + fresh], size)
        result[start : start + size] += np.fft.irfft(block * spectrum, size)
    return result[: len(samples)]


def filter_band(
    samples: np.ndarray, sampling_rate: int, low: float, high: float, *, low_edge: float, high_edge: float
) -> np.ndarray:
    """What lies between two frequencies, without delay: gain 1 inside, 0 beyond the edges, half a cosine between.

    Args:
        samples: [samples] float32.
        sampling_rate: Hz.
        low: Hz, start of the band.
        high: Hz, its end.
        low_edge: Hz below ``low`` over which the gain rises.
        high_edge: Hz above ``high`` over which it falls.

    Returns:
        [samples] float32.
    """
    # Twice the longest ringing of the flanks keeps the end of the recording out of its beginning.
    padding = round(2 * sampling_rate / min(low_edge, high_edge))
    size = fast_length(len(samples) + padding)
    frequencies = np.fft.rfftfreq(size, 1 / sampling_rate)
    inside = np.minimum((frequencies - low) / low_edge + 1, (high - frequencies) / high_edge + 1)
    gain = 0.5 - 0.5 * np.cos(np.pi * np.clip(inside, 0, 1))
    spectrum = np.fft.rfft(samples, size) * gain.astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32, copy=False)
