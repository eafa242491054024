"""The pipeline: a function of seed, utterance and pass alone; each part within tolerance; never in place."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_headroom.audio.augment import Augmentation, AugmentConfig, NoiseConfig, RoomConfig, TelephoneConfig
from asr_headroom.audio.spans import SpecConfig
from asr_headroom.audio.waveform import read_waveform
from asr_headroom.config import from_mapping, to_mapping
from asr_headroom.errors import ConfigError

RATE = 16_000
ALL = AugmentConfig(
    speed=(0.9, 1.0, 1.1),
    volume=(-6, 6),
    noise=NoiseConfig(probability=0.5),
    rooms=RoomConfig(probability=0.5),
    telephone=TelephoneConfig(probability=0.5),
    spec=SpecConfig(probability=0.5),
)


def speech(seed=0, num_samples=RATE):
    return (0.05 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def altered(config=ALL, *, seed=0, name="u1", pass_number=0, samples=None, **recordings):
    alteration = Augmentation(config, seed=seed, **recordings).alteration(name, pass_number)
    return alteration(speech() if samples is None else samples, RATE)


def test_the_same_utterance_in_the_same_pass_is_altered_alike():
    assert np.array_equal(altered(), altered())
    others = [altered(seed=1), altered(name="u2"), altered(pass_number=1)]
    assert not any(other.shape == altered().shape and np.array_equal(other, altered()) for other in others)


def test_neither_order_nor_threads_change_anything():
    augmentation = Augmentation(ALL, seed=5)
    names = [f"u{i}" for i in range(24)]

    def one(name):
        return augmentation.alteration(name, 2)(speech(), RATE)

    alone = {name: one(name) for name in names}
    with ThreadPoolExecutor(4) as pool:
        together = dict(zip(names[::-1], pool.map(one, names[::-1]), strict=True))
    assert all(np.array_equal(alone[name], together[name]) for name in names)


def test_one_part_leaves_the_draws_of_the_others_as_they_were():
    noise = AugmentConfig(noise=NoiseConfig(probability=1.0))
    louder = AugmentConfig(noise=NoiseConfig(probability=1.0), volume=(6.0,))
    assert np.allclose(altered(louder), altered(noise) * np.float32(10 ** (6 / 20)))


def test_samples_are_never_changed_in_place_and_stay_within_one():
    samples = speech() * 15
    kept = samples.copy()
    for number in range(20):
        changed = altered(pass_number=number, samples=samples)
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= 1
    assert np.array_equal(samples, kept)


def test_nothing_asked_for_is_nothing_done():
    assert not AugmentConfig().is_on
    assert ALL.is_on
    samples = speech()
    assert altered(AugmentConfig(), samples=samples) is samples


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probabilities_are_shares_of_the_utterances(probability):
    augmentation = Augmentation(AugmentConfig(noise=NoiseConfig(probability=probability)), seed=0)
    samples = speech(num_samples=400)
    changed = sum(augmentation.alteration(f"u{i}", 0)(samples, RATE) is not samples for i in range(500))
    assert changed == pytest.approx(500 * probability, abs=40)


def test_ratios_are_drawn_over_the_range():
    augmentation = Augmentation(AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(5, 15))), seed=0)
    samples = speech()
    found = []
    for index in range(60):
        noise = augmentation.alteration(f"u{index}", 0)(samples, RATE) - samples
        found.append(10 * np.log10(np.mean(samples.astype(float) ** 2) / np.mean(noise.astype(float) ** 2)))
    assert 4.9 < min(found) < 6.5
    assert 13.5 < max(found) < 15.1


def test_speeds_are_drawn_evenly_and_lengths_follow():
    augmentation = Augmentation(AugmentConfig(speed=(0.9, 1.0, 1.1)), seed=0)
    alterations = [augmentation.alteration(f"u{i}", 0) for i in range(300)]
    assert all(sum(a.speed == speed for a in alterations) > 70 for speed in (0.9, 1.0, 1.1))
    for alteration in alterations[:10]:
        assert abs(len(alteration(speech(), RATE)) - RATE / alteration.speed) <= 1
    assert len(alterations[0].at_own_speed()(speech(), RATE)) == RATE


def test_gain_is_that_asked_for():
    heard = altered(AugmentConfig(volume=(-12.0,)))
    assert 20 * np.log10(np.std(heard) / np.std(speech())) == pytest.approx(-12, abs=0.01)


def test_recordings_of_noise_and_rooms_are_used(tmp_path):
    tone = (0.1 * np.sin(np.arange(4 * RATE) * 2 * np.pi * 1000 / RATE)).astype(np.float32)
    soundfile.write(tmp_path / "tone.wav", tone, RATE, subtype="FLOAT")
    noise = AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(0.0,)))
    added = altered(noise, noises=[tmp_path / "tone.wav"]) - speech()
    spectrum = np.abs(np.fft.rfft(added))
    assert np.argmax(spectrum) == 1000
    echo = np.zeros(900, np.float32)
    echo[[0, 800]] = 1, 0.5
    soundfile.write(tmp_path / "echo.wav", echo, RATE, subtype="FLOAT")
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    heard = altered(AugmentConfig(rooms=RoomConfig(probability=1.0)), samples=click, responses=[tmp_path / "echo.wav"])
    assert heard[4800] / heard[4000] == pytest.approx(0.5, abs=1e-3)
    assert np.abs(np.delete(heard, [4000, 4800])).max() < 1e-5


def test_noise_too_long_to_be_kept_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("asr_headroom.audio.augment._KEPT_NOISE_SECONDS", 1.0)
    recording = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", recording, RATE, subtype="FLOAT")
    noise = AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(0.0,)))
    added = altered(noise, noises=[tmp_path / "long.wav"]) - speech()
    match = np.correlate(recording, added[:2000], "valid")
    start = int(np.argmax(match))
    assert np.corrcoef(recording[start : start + RATE], added)[0, 1] > 0.9999


def test_models_without_log_mels_have_the_spans_hidden_in_the_waveform():
    config = AugmentConfig(spec=SpecConfig(probability=1.0, mel_masks=0, time_masks=1))
    alteration = Augmentation(config, seed=0).alteration("u", 0)
    assert np.array_equal(alteration(speech(), RATE), speech())
    hidden = replace(alteration, hides_samples=True)(speech(), RATE)
    ((start, end),) = alteration.spans(1.0).times
    assert not hidden[round(start * RATE) : round(end * RATE)].any()


def test_the_config_reads_from_nested_values_and_back():
    values = {"speed": [0.9, 1.1], "noise": {"probability": 0.5, "snr": [0, 10]}, "telephone": {"codecs": ["gsm"]}}
    config = from_mapping(AugmentConfig, values)
    assert config.noise.snr == (0, 10)
    assert config.telephone.codecs == ("gsm",)
    assert from_mapping(AugmentConfig, to_mapping(config)) == config
    with pytest.raises(ConfigError, match="'nois'; did you mean 'noise'"):
        from_mapping(AugmentConfig, {"nois": {}})
    with pytest.raises(ConfigError, match="choose from: none, mu-law"):
        from_mapping(AugmentConfig, {"telephone": {"codecs": ["mulaw"]}})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AugmentConfig(speed=(0.1,)), r"augment\.speed"),
        (lambda: AugmentConfig(volume=(3, -3)), r"augment\.volume"),
        (lambda: NoiseConfig(probability=2), r"augment\.noise\.probability"),
        (lambda: NoiseConfig(snr=()), r"augment\.noise\.snr"),
        (lambda: RoomConfig(rt60=(0, 1)), r"augment\.rooms\.rt60"),
        (lambda: TelephoneConfig(codecs=()), r"augment\.telephone\.codecs"),
        (lambda: RoomConfig(rt60=(200.0, 800.0)), r"give seconds above 0 and up to 10"),
    ],
)
def test_what_cannot_be_done_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.shared
def test_real_speech_keeps_its_ratio_its_length_and_its_words_place():
    folder = Path(os.environ.get("ASR_HEADROOM_SHARED", "../shared")) / "speech/fr_librivox"
    if not folder.is_dir():
        pytest.skip(f"no real recordings in {folder}")
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()][:6]
    augmentation = Augmentation(AugmentConfig(noise=NoiseConfig(probability=1.0, snr=(12.0,))), seed=0)
    everything = Augmentation(replace(ALL, speed=(0.9,)), seed=0)
    for row in rows:
        samples = read_waveform(folder / row["audio"], RATE)
        noise = augmentation.alteration(row["id"], 0)(samples, RATE).astype(np.float64) - samples
        assert 10 * np.log10(np.mean(samples.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(12, abs=0.1)
        heard = everything.alteration(row["id"], 0)(samples, RATE)
        assert abs(len(heard) - len(samples) / 0.9) <= 1
        # Loudness rises and falls where it did, stretched, whatever room, noise and line do to it.
        loud, before = (
            np.log(
                np.add.reduceat(part.astype(np.float64) ** 2, np.linspace(0, len(part), 60, endpoint=False).astype(int))
            )
            for part in (heard, samples)
        )
        assert np.corrcoef(loud, before)[0, 1] > 0.6
