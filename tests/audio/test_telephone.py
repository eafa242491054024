"""Telephone: band by the spectrum of what comes out, companding by libsndfile's, no delay."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from asr_headroom.audio.telephone import TELEPHONE_RATE, _companding_table, telephone

RATE = 16_000
CODECS = ["none", "mu-law", "a-law", "gsm", "opus"]


def noise(num_samples=RATE * 2, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def band_power(samples, low, high):
    power = np.abs(np.fft.rfft(samples.astype(np.float64) * np.hanning(len(samples)))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    return 10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean())


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_left_outside_the_band(codec):
    heard = telephone(noise(), RATE, codec)
    inside = band_power(heard, 300, 3400)
    assert band_power(heard, 0, 200) < inside - 80
    assert band_power(heard, 3600, 4000) < inside - 80
    assert band_power(heard, 4000, 8000) < inside - 80


@pytest.mark.parametrize("codec", CODECS[:3])
def test_what_is_inside_stays(codec):
    before, after = noise(), telephone(noise(), RATE, codec)
    for low in range(400, 3300, 500):
        assert band_power(after, low, low + 100) == pytest.approx(band_power(before, low, low + 100), abs=0.3)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("num_samples", [RATE, 12_345])
def test_length_stays_and_nothing_is_delayed(codec, num_samples):
    samples = noise(num_samples)
    kept = samples.copy()
    heard = telephone(samples, RATE, codec)
    assert len(heard) == num_samples
    assert heard.dtype == np.float32
    assert np.array_equal(samples, kept)
    size = 1 << 16
    correlation = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(samples, size)))
    assert int(np.argmax(correlation)) == 0


@pytest.mark.parametrize(("law", "subtype"), [("mu-law", "ULAW"), ("a-law", "ALAW")])
def test_companding_is_libsndfiles(law, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.arange(-32768, 32768).astype(np.int16), TELEPHONE_RATE, format="WAV", subtype=subtype)
    buffer.seek(0)
    theirs, _ = soundfile.read(buffer, dtype="float32")
    assert np.array_equal(_companding_table(law), theirs)


@pytest.mark.parametrize(("codec", "lowest"), [("mu-law", 35), ("a-law", 35)])
def test_companding_noise_is_that_of_eight_bits(codec, lowest):
    plain, heard = telephone(noise(), RATE, "none"), telephone(noise(), RATE, codec)
    assert lowest < 10 * np.log10(np.mean(plain**2) / np.mean((heard - plain) ** 2)) < 42


def test_clicks_and_single_samples_survive():
    for num_samples in (1, 2, 37):
        assert len(telephone(np.ones(num_samples, np.float32), RATE, "gsm")) == num_samples
