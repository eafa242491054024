"""GLM-ASR passes the suite; and what is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.glm_asr import tiny_glm_asr


class TestGlmAsr(ConformanceSuite):
    make = staticmethod(tiny_glm_asr)

    def reference_logits(self, model, utterance, ids):
        request = model.processor.apply_transcription_request([utterance.samples(16_000)])
        prompt = request.pop("input_ids")
        request.pop("attention_mask")
        with torch.no_grad():
            logits = model.module(input_ids=torch.cat([prompt, torch.tensor([ids])], dim=1), **request).logits
        return logits[0, prompt.shape[1] - 1 :]

    def reference_nats(self, model, utterance):
        """The library's loss, with labels laid out by hand behind its own prompt."""
        request = model.processor.apply_transcription_request([utterance.samples(16_000)])
        target = torch.tensor([model.processor.tokenizer(utterance.text + "<|endoftext|>").input_ids])
        prompt = request.pop("input_ids")
        request.pop("attention_mask")
        labels = torch.cat([torch.full_like(prompt, -100), target], dim=1)
        loss = model.module(input_ids=torch.cat([prompt, target], dim=1), labels=labels, **request).loss
        return loss * target.shape[1]


@pytest.mark.parametrize("samples", [1600, 1601, 16_000, 64_000, 64_001, 100_333])
def test_windows_and_embeddings_are_the_librarys(samples):
    model = tiny_glm_asr()
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    request = model.processor.apply_transcription_request([waveform])
    assert model.audio_tokens(samples) == (request["input_ids"] == model.processor.audio_token_id).sum()
    inputs = model.audio_inputs([model.features(waveform)])
    torch.testing.assert_close(inputs["input_features"], request["input_features"])
    with torch.no_grad():
        library = model.core.get_audio_features(request["input_features"], request["input_features_mask"])
        (ours,) = model.audio_embeddings(inputs, [model.audio_tokens(samples)])
    torch.testing.assert_close(ours, library.pooler_output)
