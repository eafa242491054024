"""Noise: the ratio asked for, measured on what was added; recordings repeated and cut, never in place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile

from asr_headroom.audio.noise import add_noise, colored_noise, drawn_noise, noise_of, recorded_noise

RATE = 16_000


def level(samples):
    return 10 * math.log10(math.fsum(float(x) ** 2 for x in samples) / len(samples))


def speech(num_samples=RATE):
    draw = np.random.default_rng(0)
    loudness = np.repeat(draw.uniform(0, 0.3, -(-num_samples // 1000)), 1000)[:num_samples]
    return (loudness * draw.standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 7.3, 20.0, 40.0])
def test_the_ratio_is_within_a_tenth_of_a_decibel(snr):
    clean = speech()
    kept = clean.copy()
    noisy = add_noise(clean, drawn_noise(np.random.default_rng(1), len(clean), RATE), snr)
    assert noisy.dtype == np.float32
    assert level(clean) - level(noisy.astype(np.float64) - clean) == pytest.approx(snr, abs=0.1)
    assert np.array_equal(clean, kept)


def test_silence_has_no_ratio():
    silence = np.zeros(100, np.float32)
    assert np.array_equal(add_noise(silence, np.ones(100, np.float32), 10), silence)
    assert np.array_equal(add_noise(speech(100), silence, 10), speech(100))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_colours_fall_as_they_should_in_single_precision(exponent):
    noise = colored_noise(np.random.default_rng(2), 1 << 17, RATE, exponent, np.float32)
    power = np.abs(np.fft.rfft(noise.astype(np.float64))) ** 2
    frequencies = np.fft.rfftfreq(len(noise), 1 / RATE)
    bands = [power[(frequencies >= f) & (frequencies < 2 * f)].mean() for f in (125, 250, 500, 1000, 2000, 4000)]
    assert np.polyfit(np.arange(6), np.log2(bands), 1)[0] == pytest.approx(-exponent, abs=0.1)


def test_recorded_noise_is_a_piece_of_the_recording(tmp_path):
    long = np.random.default_rng(3).uniform(-0.5, 0.5, 5 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", long, RATE, subtype="FLOAT")
    starts = set()
    for seed in range(5):
        piece = recorded_noise(np.random.default_rng(seed), RATE, RATE, tmp_path / "long.wav")
        start = int(np.flatnonzero(long == piece[0])[0])
        assert np.array_equal(piece, long[start : start + RATE])
        starts.add(start)
    assert len(starts) == 5


def test_a_short_recording_is_repeated(tmp_path):
    short = np.random.default_rng(4).uniform(-0.5, 0.5, 700).astype(np.float32)
    soundfile.write(tmp_path / "short.wav", short, RATE, subtype="FLOAT")
    piece = recorded_noise(np.random.default_rng(0), 2000, RATE, tmp_path / "short.wav")
    assert np.array_equal(piece, np.tile(short, 3)[:2000])


def test_a_kept_recording_gives_pieces_from_all_over():
    recording = np.arange(1000, dtype=np.float32)
    pieces = [noise_of(np.random.default_rng(seed), 300, recording) for seed in range(200)]
    assert all(np.array_equal(np.diff(piece), np.ones(299)) for piece in pieces)
    starts = [int(piece[0]) for piece in pieces]
    assert min(starts) < 30
    assert 670 < max(starts) <= 700
    assert np.array_equal(noise_of(np.random.default_rng(0), 5, recording[:2]), [0, 1, 0, 1, 0])
