import numpy as np
import pytest

from asr_headroom.audio.noise_level import SNR_RANGE_DB, estimate_snr
from asr_headroom.errors import ShapeError

RATE = 16_000


def syllables(seconds=6.0, seed=0):
    """Bursts of a tone with pauses between, like words."""
    time = np.arange(int(seconds * RATE)) / RATE
    is_spoken = (time % 0.6) < 0.42
    envelope = np.sin(np.pi * (time % 0.6) / 0.42) ** 2 * is_spoken
    return 0.3 * envelope * np.sin(2 * np.pi * 220 * time)


def with_noise(speech, snr, seed=1):
    noise = np.random.default_rng(seed).standard_normal(len(speech))
    return speech + noise * np.sqrt(np.mean(speech**2) / 10 ** (snr / 10))


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30])
def test_finds_the_noise_that_was_added(snr):
    assert estimate_snr(with_noise(syllables(), snr), RATE) == pytest.approx(snr, abs=1.0)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_level_and_rate_do_not_matter(rate):
    noisy = with_noise(syllables(), 12)
    assert estimate_snr(0.001 * noisy, RATE) == pytest.approx(estimate_snr(noisy, RATE))
    assert estimate_snr(noisy, rate) == pytest.approx(12, abs=1.5)


def test_stays_in_its_range():
    assert estimate_snr(syllables(), RATE) == SNR_RANGE_DB[1], "digital silence between the words"
    assert estimate_snr(np.random.default_rng(0).standard_normal(RATE), RATE) < -5, "nothing but noise"
    assert estimate_snr(np.ones(RATE), RATE) == SNR_RANGE_DB[0]


def test_no_estimate_of_nothing():
    assert estimate_snr(np.zeros(RATE, dtype=np.float32), RATE) is None
    assert estimate_snr(np.ones(100, dtype=np.float32), RATE) is None
    with pytest.raises(ShapeError, match=r"shape \(2, 100\)"):
        estimate_snr(np.ones((2, 100)), RATE)


@pytest.mark.shared
def test_real_speech_gets_worse_with_noise(shared):
    from asr_headroom.audio.waveform import read_waveform
    from asr_headroom.data.readers import read_manifest

    utterances = list(read_manifest(shared / "speech" / "fr_librivox" / "test.jsonl"))[:8]
    for utterance in utterances:
        speech = read_waveform(utterance.audio, RATE, start=utterance.start, end=utterance.end)
        estimates = [estimate_snr(with_noise(speech, snr), RATE) for snr in (20, 10, 0)]
        assert estimate_snr(speech, RATE) > estimates[0] > estimates[1] > estimates[2]
        assert estimates == pytest.approx([20, 10, 0], abs=3)
