"""Fun-ASR-Nano passes the suite; and what is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr_headroom.models.kaldi_features import kaldi_fbank
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.fun_asr_nano import tiny_fun_asr_nano


class TestFunAsrNano(ConformanceSuite):
    make = staticmethod(tiny_fun_asr_nano)

    def reference_logits(self, model, utterance, ids):
        inputs = model.collate([utterance]).inputs
        prompt = inputs["input_ids"][:, : int(inputs["prompt_lengths"])]
        with torch.no_grad():
            logits = model.module(
                input_ids=torch.cat([prompt, torch.tensor([ids])], dim=1),
                input_features=inputs["input_features"],
                input_features_mask=inputs["input_features_mask"],
            ).logits
        return logits[0, prompt.shape[1] - 1 :]


@pytest.fixture(scope="module")
def model():
    return tiny_fun_asr_nano()


def test_the_language_stands_in_the_prompt_in_chinese(model):
    assert model.prompt_text("ja-JP") == (
        "<|im_start|>user\n语音转写成日文：<|object_ref_start|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert "语音" not in model.prompt_text(None)


@pytest.mark.parametrize("samples", [100, 400, 560, 1200, 1359, 1360, 16_000, 33_333])
def test_frames_are_stacked_by_seven_around_every_sixth(model, samples):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    whole = torch.from_numpy(np.pad(waveform, (0, max(0, 400 - samples))))
    mels = kaldi_fbank(whole, sampling_rate=16_000, num_mel_bins=80, frame_length=25, frame_shift=10, window="hamming")
    features = model.features(waveform)
    assert len(features) == model.audio_tokens(samples) == -(-len(mels) // 6)
    for number, stack in enumerate(features):
        around = [min(max(6 * number + offset, 0), len(mels) - 1) for offset in range(-3, 4)]
        assert torch.equal(stack, mels[around].flatten())
