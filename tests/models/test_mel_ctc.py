"""Parakeet CTC, LASR and Granite Speech 5 pass the suite."""

from __future__ import annotations

import functools

from asr_headroom.models.granite_speech5_features import GraniteSpeech5Features
from asr_headroom.models.registry import load_model
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.mel_ctc import tiny_mel_ctc


class TestParakeet(ConformanceSuite):
    make = staticmethod(tiny_mel_ctc)

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(list(ids), group_tokens=False)

    def reference_nats(self, model, utterance):
        if model.card.family == "granite-speech5":
            return None  # its features need torchaudio
        model.module.config.ctc_loss_reduction = "sum"
        features = model.processor.feature_extractor(
            [utterance.samples(16_000)], sampling_rate=16_000, return_attention_mask=True, return_tensors="pt"
        )
        features["input_features"] = features["input_features"].float()
        labels = model.processor.tokenizer(utterance.text, add_special_tokens=False, return_tensors="pt").input_ids
        return model.module(**features, labels=labels).loss


class TestLasr(TestParakeet):
    make = staticmethod(functools.partial(tiny_mel_ctc, "lasr"))


class TestGraniteSpeech5(TestParakeet):
    make = staticmethod(functools.partial(tiny_mel_ctc, "granite"))


def test_granites_feature_settings_are_read_back(tmp_path):
    model = tiny_mel_ctc("granite")
    model.processor.feature_extractor = GraniteSpeech5Features(logmel_floor_db=5.0)
    model.save_pretrained(tmp_path)
    assert load_model(str(tmp_path)).processor.feature_extractor.settings["logmel_floor_db"] == 5.0
