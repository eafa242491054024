"""Speed: length and pitch as asked, measured by zero crossings."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.audio.speed import change_speed

RATE = 16_000


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.0, 1.05, 1.1, 2.0])
@pytest.mark.parametrize("num_samples", [RATE, 31_337])
def test_length_and_pitch_change_by_the_factor(factor, num_samples):
    tone = np.sin(2 * np.pi * 440 * np.arange(num_samples) / RATE).astype(np.float32)
    changed = change_speed(tone, factor)
    assert changed.dtype == np.float32
    assert abs(len(changed) - num_samples / factor) <= 1
    rises = np.flatnonzero((changed[:-1] < 0) & (changed[1:] >= 0))[10:-10]
    crossings = rises - changed[rises] / (changed[rises + 1] - changed[rises])
    heard = RATE * (len(crossings) - 1) / (crossings[-1] - crossings[0])
    assert heard == pytest.approx(440 * factor, rel=1e-4)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_moments_stay_where_they_belong(factor):
    click = np.zeros(RATE, np.float32)
    click[[2000, 8000, 14_000]] = 1
    heard = np.abs(change_speed(click, factor))
    for place in (2000, 8000, 14_000):
        near = slice(round(place / factor) - 50, round(place / factor) + 50)
        assert abs(near.start + int(np.argmax(heard[near])) - place / factor) <= 1


def test_the_shortest_recording_is_not_lost():
    assert len(change_speed(np.ones(1, np.float32), 1.1)) == 1
