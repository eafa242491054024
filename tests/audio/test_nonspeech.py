"""Silence and noise: deterministic, at the level, length and colour they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr_headroom.audio.nonspeech import LEVELS_DBFS, nonspeech_clips
from asr_headroom.errors import UsageError

RATE = 16_000


def dbfs(samples):
    return 20 * math.log10(math.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def slope(samples):
    """Exponent of the power's fall with frequency, from octave bands."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    edges = [62.5 * 2**octave for octave in range(8)]
    bands = [power[(frequencies >= low) & (frequencies < 2 * low)].mean() for low in edges[:-1]]
    return -np.polyfit(np.arange(len(bands)), np.log2(bands), 1)[0]


def test_the_same_seed_gives_the_same_clips_and_fewer_are_the_first():
    first, again, other = (nonspeech_clips(RATE, count=6, seed=seed) for seed in (0, 0, 1))
    assert [clip.name for clip in first] == [clip.name for clip in other]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.samples, b.samples) for a, b in zip(first, other, strict=True))
    few = nonspeech_clips(RATE, count=2)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(few, first[:2], strict=True))


def test_levels_and_lengths_are_what_they_should_be():
    clips = nonspeech_clips(RATE, count=25)
    levels = {}
    for name, samples in clips:
        assert samples.dtype == np.float32
        assert np.abs(samples).max() <= 1
        assert 2 * RATE <= len(samples) <= 8 * RATE
        levels.setdefault(name.split("-")[0], []).append(dbfs(samples))
    assert {name: len(found) for name, found in levels.items()} == dict.fromkeys(
        ("silence", "white", "pink", "brown", "hum"), 5
    )
    # Triangular dither rounded to 16-bit steps is -1, 0 or 1 step with P = 1/8, 3/4, 1/8.
    assert levels.pop("silence") == pytest.approx([20 * math.log10(0.5 / 32768)] * 5, abs=0.2)
    for found in levels.values():
        assert sorted(found) == pytest.approx(list(LEVELS_DBFS), abs=0.05)
    assert len({len(clip.samples) for clip in clips}) > 20


def test_colours_fall_as_they_should():
    clips = {name.split("-")[0]: samples for name, samples in nonspeech_clips(RATE, count=10)}
    assert slope(clips["white"]) == pytest.approx(0, abs=0.15)
    assert slope(clips["pink"]) == pytest.approx(1, abs=0.15)
    assert slope(clips["brown"]) == pytest.approx(2, abs=0.15)


def test_hum_is_mains_and_harmonics():
    for name, samples in nonspeech_clips(RATE, count=15):
        if not name.startswith("hum"):
            continue
        power = np.abs(np.fft.rfft(samples[: 2 * RATE])) ** 2  # half-hertz bins: mains fall on one
        loudest = np.argmax(power) / 2
        assert loudest in (50, 60)
        harmonics = power[(np.arange(1, 13) * loudest * 2).astype(int)].sum()
        assert harmonics / power.sum() > 0.99


@pytest.mark.parametrize("longest", [0.5, 3.0])
def test_clips_fit_a_short_model(longest):
    seconds = [len(samples) / 8000 for _, samples in nonspeech_clips(8000, max_duration=longest)]
    assert min(2.0, longest / 2) - 0.001 <= min(seconds) < max(seconds) <= longest


@pytest.mark.parametrize("wrong", [{"count": 0}, {"max_duration": 0.0}, {"max_duration": math.nan}])
def test_nothing_cannot_be_made(wrong):
    with pytest.raises(UsageError, match="give numbers above 0"):
        nonspeech_clips(RATE, **wrong)
