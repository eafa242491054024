"""Kaldi's features against the library's numpy code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from asr_headroom.errors import ModelError
from asr_headroom.models.kaldi_features import kaldi_fbank

SETTINGS = {"sampling_rate": 16_000, "num_mel_bins": 80, "frame_length": 25, "frame_shift": 10}


@pytest.mark.parametrize(("window", "name"), [("povey", "povey"), ("hamming", "hamming"), ("hanning", "hann")])
@pytest.mark.parametrize("samples", [400, 559, 560, 16_000])
def test_equals_the_librarys_numpy_features(window, name, samples):
    waveform = np.random.default_rng(1).standard_normal(samples).astype(np.float32)
    bank = mel_filter_bank(257, 80, 20.0, 8000.0, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    expected = spectrogram(
        waveform.astype(np.float64),
        window_function(400, name, periodic=False),
        400,
        160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=bank,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T
    found = kaldi_fbank(torch.from_numpy(waveform), window=window, **SETTINGS)
    assert found.shape == (1 + (samples - 400) // 160, 80)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_less_than_a_frame_gives_none_and_another_window_is_refused():
    assert kaldi_fbank(torch.zeros(399), window="povey", **SETTINGS).shape == (0, 80)
    with pytest.raises(ModelError, match="blackman"):
        kaldi_fbank(torch.zeros(400), window="blackman", **SETTINGS)
