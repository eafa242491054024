"""Rooms: reverberation time by Schroeder's integration of what an impulse becomes."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from asr_headroom.audio.rooms import measured_response, reverberate, simulated_response
from asr_headroom.errors import AudioError

RATE = 16_000


def schroeder_rt60(response):
    """Seconds for 60 dB, from the fall between -5 and -35 dB of the energy still to come, direct sound left out."""
    reverberation = response[round(0.0025 * RATE) :].astype(np.float64)
    energy = 10 * np.log10(np.cumsum(reverberation[::-1] ** 2)[::-1] / np.sum(reverberation**2) + 1e-12)
    inside = np.flatnonzero((energy <= -5) & (energy >= -35))
    slope, _ = np.polyfit(inside / RATE, energy[inside], 1)
    return -60 / slope


@pytest.mark.parametrize("rt60", [0.2, 0.3, 0.5, 0.8, 1.2])
def test_reverberation_lasts_as_long_as_asked(rt60):
    impulse = np.zeros(round(2 * rt60 * RATE), np.float32)
    impulse[0] = 1
    for seed in range(25):
        heard = reverberate(impulse, simulated_response(np.random.default_rng(seed), rt60, RATE))
        assert schroeder_rt60(heard) == pytest.approx(rt60, rel=0.1)


def test_direct_sound_comes_first_and_rooms_differ():
    ratios = []
    for seed in range(30):
        response = simulated_response(np.random.default_rng(seed), 0.5, RATE)
        assert response[0] == 1
        assert response.dtype == np.float32
        assert np.abs(response[1:]).max() < 2
        ratios.append(10 * np.log10(1 / np.sum(response[1:].astype(np.float64) ** 2)))
    assert min(ratios) < -5 < 5 < max(ratios)  # far and near speakers


def test_the_late_part_goes_on_where_the_images_end():
    """Mean power of the images just before the seam and of the noise just after, decay taken out, in many rooms."""
    before, after = [], []
    for seed in range(300):
        response = simulated_response(np.random.default_rng(seed), 1.0, RATE).astype(np.float64)
        response *= 10 ** (3 * np.arange(len(response)) / RATE)
        before.append(np.mean(response[640:800] ** 2))
        after.append(np.mean(response[800:960] ** 2))
    assert np.mean(before) / np.mean(after) == pytest.approx(1, abs=0.15)


def test_level_and_length_stay_and_nothing_is_changed_in_place():
    draw = np.random.default_rng(0)
    samples = (0.1 * draw.standard_normal(RATE)).astype(np.float32)
    kept = samples.copy()
    wet = reverberate(samples, simulated_response(draw, 0.6, RATE))
    assert len(wet) == len(samples)
    assert np.std(wet) == pytest.approx(np.std(samples), rel=1e-3)
    assert np.array_equal(samples, kept)
    assert not np.allclose(wet, samples, atol=0.01)
    assert not reverberate(np.zeros(10, np.float32), np.ones(3, np.float32)).any()


def test_a_measured_response_begins_with_its_direct_sound(tmp_path):
    response = np.zeros(RATE, np.float32)
    response[[4000, 4800]] = -0.5, 0.2
    soundfile.write(tmp_path / "hall.wav", response, RATE, subtype="FLOAT")
    read = measured_response(tmp_path / "hall.wav", RATE)
    assert np.flatnonzero(np.abs(read) > 0.01).tolist() == [16, 816]
    assert read[[16, 816]] == pytest.approx([-1, 0.4])


def test_a_silent_response_is_refused_as_it_would_silence_the_speech(tmp_path):
    soundfile.write(tmp_path / "nothing.wav", np.zeros(800, np.float32), RATE)
    with pytest.raises(AudioError, match=r"nothing\.wav: holds nothing but silence"):
        measured_response(tmp_path / "nothing.wav", RATE)


def test_a_response_longer_than_the_speech_is_the_convolution_cut_to_its_length():
    draw = np.random.default_rng(1)
    samples, response = draw.standard_normal(800).astype(np.float32), draw.standard_normal(5000).astype(np.float32)
    wet, truth = reverberate(samples, response), np.convolve(samples, response)[:800]
    assert wet == pytest.approx(truth * np.std(samples) / np.std(truth), rel=0.05, abs=0.05)
