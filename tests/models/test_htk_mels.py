"""Mel bands, slopes and Granite Speech 5's features against transformers' NumPy functions and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from asr_headroom.models.granite_speech5_features import GraniteSpeech5Features
from asr_headroom.models.htk_mels import deltas, htk_mel_filters, mel_spectrogram

NOISE = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)


def numpy_mels(samples):
    filters = mel_filter_bank(257, 80, 0.0, 8_000.0, 16_000, norm=None, mel_scale="htk")
    window = window_function(400, "hann")
    return spectrogram(samples, window, 400, 160, fft_length=512, power=2.0, mel_filters=filters, mel_floor=0.0)


def test_filters_equal_the_librarys():
    reference = mel_filter_bank(257, 80, 0.0, 8_000.0, 16_000, norm=None, mel_scale="htk")
    np.testing.assert_allclose(htk_mel_filters(257, 80, 16_000).numpy(), reference, atol=1e-4)


def test_mels_equal_the_librarys_numpy_ones():
    filters = htk_mel_filters(257, 80, 16_000)
    ours = mel_spectrogram(torch.from_numpy(NOISE), filters, n_fft=512, win_length=400, hop_length=160)
    np.testing.assert_allclose(ours.numpy(), numpy_mels(NOISE), rtol=1e-3)


@pytest.mark.parametrize("reach", [1, 2])
def test_slopes_are_those_of_lines_fitted_to_the_neighbours(reach):
    values = np.random.default_rng(1).standard_normal(9)
    padded = np.pad(values, reach, mode="edge")
    steps = np.arange(-reach, reach + 1)
    fitted = [np.polyfit(steps, padded[k : k + 2 * reach + 1], 1)[0] for k in range(9)]
    np.testing.assert_allclose(deltas(torch.from_numpy(values)[None], 2 * reach + 1).numpy()[0], fitted, atol=1e-12)


@pytest.mark.parametrize("samples", [8_000, 7_840, 5_123])
def test_features_are_stacked_floored_log_mels_and_slopes(samples):
    features = GraniteSpeech5Features()
    made = features([NOISE[:samples]])
    count = 2 * features.frames(samples)
    padded = np.pad(NOISE[:samples], (0, max(0, (count - 1) * 160 + 1 - samples)))
    log = np.log10(np.maximum(numpy_mels(padded)[:, :count], 1e-10))
    log = np.maximum(log, log.max() - 8.0) / 4 + 1
    beyond = np.pad(log, ((0, 0), (1, 1)), mode="edge")
    both = np.concatenate([log, (beyond[:, 2:] - beyond[:, :-2]) / 2])
    expected = np.stack([np.concatenate([both[:, 2 * k], both[:, 2 * k + 1]]) for k in range(count // 2)])
    assert made["input_features"].shape == (1, count // 2, 320)
    np.testing.assert_allclose(made["input_features"][0].numpy(), expected, atol=1e-4)


def test_features_do_not_depend_on_company():
    features = GraniteSpeech5Features()
    both = features([NOISE, NOISE[:5_123]])
    alone = features([NOISE[:5_123]])["input_features"][0]
    assert both["attention_mask"].sum(1).tolist() == [25, 16]
    assert torch.equal(both["input_features"][1, :16], alone)
