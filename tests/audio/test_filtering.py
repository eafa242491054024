"""Convolution and filters against sums in the time domain and lengths against a search."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.audio.filtering import convolve, fast_length, filter_band


def is_smooth(number):
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


def test_fast_lengths_are_the_next_smooth_numbers():
    smooth = [n for n in range(1, 5200) if is_smooth(n)]
    for wanted in range(1, 5000):
        assert fast_length(wanted) == next(n for n in smooth if n >= wanted)


@pytest.mark.parametrize("taps", [1, 7, 60, 400])
def test_convolution_is_the_sum_it_says(taps):
    draw = np.random.default_rng(taps)
    samples = draw.standard_normal(250).astype(np.float32)
    response = draw.standard_normal(taps).astype(np.float32)
    kept = samples.copy(), response.copy()
    expected = np.convolve(samples.astype(np.float64), response.astype(np.float64))[:250]
    result = convolve(samples, response)
    assert result.dtype == np.float32
    assert np.allclose(result, expected, atol=1e-4)
    assert np.array_equal(samples, kept[0])
    assert np.array_equal(response, kept[1])


@pytest.mark.parametrize(
    ("hertz", "gain"), [(100, 0.0), (250, 0.5), (1000, 1.0), (3400, 1.0), (3500, 0.5), (3700, 0.0)]
)
def test_a_tone_passes_a_band_by_its_frequency(hertz, gain):
    time = np.arange(16_000) / 8000
    tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
    heard = filter_band(tone, 8000, 300, 3400, low_edge=100, high_edge=200)
    middle = slice(4000, 12_000)
    # By the tone itself, not by level alone: a delay would show.
    assert np.dot(heard[middle], tone[middle]) / np.dot(tone[middle], tone[middle]) == pytest.approx(gain, abs=0.01)
    assert np.abs(heard[middle] - gain * tone[middle]).max() < 0.02
