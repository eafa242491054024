"""Whisper passes the suite: both windows, multilingual and English-only."""

from __future__ import annotations

from functools import partial

import torch

from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny import tiny_whisper


class WhisperSuite(ConformanceSuite):
    def reference_logits(self, model, utterance, ids):
        features = model.processor.feature_extractor(
            utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt"
        ).input_features
        prompt = model.prompt_ids(utterance.language)
        with torch.no_grad():
            logits = model.module(input_features=features, decoder_input_ids=torch.tensor([[*prompt, *ids]])).logits
        return logits[0, len(prompt) - 1 :]

    def reference_nats(self, model, utterance):
        features = model.processor.feature_extractor(
            utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt"
        ).input_features
        target = model.processor.tokenizer.encode(" " + utterance.text, add_special_tokens=False)
        prompt = model.prompt_ids(utterance.language)
        # Labels without the start token: the library puts it in front of the decoder's inputs itself.
        labels = [*[-100] * (len(prompt) - 1), *target, model.processor.tokenizer.eos_token_id]
        inputs = torch.tensor([[*prompt, *target]])
        mean = model.module(input_features=features, decoder_input_ids=inputs, labels=torch.tensor([labels])).loss
        return mean * (len(target) + 1)


class TestWhisper(WhisperSuite):
    make = staticmethod(partial(tiny_whisper, scale=0.1))


class TestWhisperEnglishOnly(WhisperSuite):
    make = staticmethod(partial(tiny_whisper, multilingual=False, scale=0.1))
    catalogued = False


class TestWhisperFittedWindow(ConformanceSuite):
    make = staticmethod(partial(tiny_whisper, window="fit", scale=0.1))
    load_options = {"window": "fit"}  # noqa: RUF012
    catalogued = False
