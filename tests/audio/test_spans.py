"""SpecAugment: spans inside the recording, as wide and as many as asked, hidden and nothing else, never in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr_headroom.audio.features import hide_spans, span_tensors
from asr_headroom.audio.spans import Spans, SpecConfig, draw_spans, hide_in_waveform
from asr_headroom.errors import ConfigError

RATE = 16_000


@pytest.mark.parametrize("duration", [0.1, 2.0, 30.0])
def test_spans_lie_in_the_recording_and_keep_their_widths(duration):
    config = SpecConfig(probability=1.0, time_masks=3, max_time=1.0, max_time_share=0.2, mel_masks=2)
    widths, mel_widths = [], []
    for seed in range(300):
        spans = draw_spans(np.random.default_rng(seed), config, duration)
        assert len(spans.times) == 3
        assert len(spans.mels) == 2
        assert all(0 <= start <= end <= duration for start, end in spans.times)
        assert all(0 <= start <= end <= 1 for start, end in spans.mels)
        widths += [end - start for start, end in spans.times]
        mel_widths += [end - start for start, end in spans.mels]
    widest = min(1.0, 0.2 * duration)
    assert max(widths) <= widest
    assert np.mean(widths) == pytest.approx(widest / 2, rel=0.1)  # drawn evenly from 0
    assert np.mean(mel_widths) == pytest.approx(0.19 / 2, rel=0.1)


def test_the_probability_is_that_of_the_utterances():
    config = SpecConfig(probability=0.25)
    hit = sum(draw_spans(np.random.default_rng(seed), config, 5.0) != Spans() for seed in range(2000))
    assert hit == pytest.approx(500, abs=80)


@pytest.mark.parametrize("frames_first", [False, True])
def test_exactly_the_spans_are_zero(frames_first):
    features = torch.rand(3, 10, 50) + 1
    rows = [Spans(((0.1, 0.2),), ((0.0, 0.25),)), Spans(), Spans(((0.0, 0.05), (0.4, 0.5)))]
    expected = features.clone()
    expected[0, :, 10:20] = 0
    expected[0, :3, :] = 0  # mels 0, 0.1, 0.2 of the axis
    expected[2, :, :5] = 0
    expected[2, :, 40:] = 0
    given = features.transpose(1, 2).contiguous() if frames_first else features
    kept = given.clone()
    hidden = hide_spans(given, span_tensors(rows), frames_per_second=100.0, frames_first=frames_first)
    assert torch.equal(hidden.transpose(1, 2) if frames_first else hidden, expected)
    assert torch.equal(given, kept)


def test_a_batch_without_spans_stays_as_it_is():
    features = torch.rand(2, 4, 6)
    assert hide_spans(features, {}, frames_per_second=100.0) is features
    assert torch.equal(hide_spans(features, span_tensors([Spans(), Spans()]), frames_per_second=100.0), features)


def test_in_the_waveform_time_is_silent_and_the_band_is_gone():
    samples = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    kept = samples.copy()
    hidden = hide_in_waveform(samples, RATE, Spans(times=((0.25, 0.5),)))
    assert not hidden[4000:8000].any()
    assert np.array_equal(hidden[:3900], samples[:3900])
    assert np.array_equal(hidden[8100:], samples[8100:])
    band = hide_in_waveform(samples, RATE, Spans(mels=((0.5, 0.6),)))
    top = 1127 * np.log(1 + 8000 / 700)  # the mel scale in its other form
    low, high = (700 * (np.exp(share * top / 1127) - 1) for share in (0.5, 0.6))
    power = np.abs(np.fft.rfft(band.astype(np.float64))) ** 2
    before = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequencies = np.fft.rfftfreq(RATE, 1 / RATE)
    inside = (frequencies > low + 2) & (frequencies < high - 2)
    assert power[inside].max() < 1e-6 * before[inside].mean()
    outside = (frequencies < low - 2) | (frequencies > high + 2)
    assert np.allclose(power[outside], before[outside], rtol=1e-2)
    assert np.array_equal(samples, kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": 1.5}, "probability"),
        ({"time_masks": -1}, "time_masks"),
        ({"max_mel_share": 2}, "max_mel_share"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=f"augment.spec.{message}"):
        SpecConfig(**changes)


def test_a_single_sample_is_hidden_without_a_division_by_nothing():
    hidden = hide_in_waveform(np.ones(1, np.float32), RATE, Spans(mels=((0.0, 0.5),)))
    assert hidden.tolist() == [0.0]
