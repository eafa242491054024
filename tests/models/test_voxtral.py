"""Voxtral passes the suite; and what is its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mistral_common", reason="mistral-common is not installed: pip install 'asr-headroom[voxtral]'")

from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.voxtral import tiny_voxtral


def request(model, waveform, language):
    return model.processor.apply_transcription_request(
        [waveform], model_id="tiny", language=language, sampling_rate=16_000, format="WAV"
    )


class TestVoxtral(ConformanceSuite):
    make = staticmethod(tiny_voxtral)

    def test_precision_is_what_was_asked_for(self, folder):
        """But for the encoder's table of positions, which the library keeps in float32."""
        half = self.load_folder(folder, dtype="bfloat16")
        exact = {name for name, p in half.module.named_parameters() if p.dtype == torch.float32}
        assert exact == {"model.audio_tower.embed_positions.weight"}
        assert {p.dtype for p in half.module.parameters()} == {torch.bfloat16, torch.float32}

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(list(ids), skip_special_tokens=True)

    def reference_logits(self, model, utterance, ids):
        prompt = request(model, utterance.samples(16_000), utterance.language)["input_ids"]
        features = model.features(utterance.samples(16_000))  # the library rounds them to a WAV of 16 bits
        with torch.no_grad():
            logits = model.module(
                input_ids=torch.cat([prompt, torch.tensor([ids])], dim=1), input_features=features
            ).logits
        return logits[0, prompt.shape[1] - 1 :]


@pytest.mark.parametrize("samples", [1600, 480_000, 480_001])
@pytest.mark.parametrize("language", ["fr", None])
def test_prompt_and_features_are_the_librarys(samples, language):
    model = tiny_voxtral()
    waveform = (0.1 * np.random.default_rng(0).standard_normal(samples)).clip(-1, 1).astype(np.float32)
    inputs = request(model, waveform, language)
    assert model._prompt_ids(language, samples) == inputs["input_ids"][0].tolist()
    torch.testing.assert_close(model.features(waveform), inputs["input_features"], atol=2e-2, rtol=0)  # 16-bit WAV
