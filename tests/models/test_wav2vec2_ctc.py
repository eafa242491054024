"""wav2vec 2.0, HuBERT and wav2vec2-BERT with CTC heads pass the suite; frames, quirks and fresh heads."""

from __future__ import annotations

import functools

from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.tiny.wav2vec2_ctc import tiny_wav2vec2_ctc


class CtcSuite(ConformanceSuite):
    """Tokens of a target are collapsed already, so that decoding must not group them."""

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(list(ids), group_tokens=False)

    def reference_nats(self, model, utterance):
        model.module.config.ctc_loss_reduction = "sum"
        features = model.processor.feature_extractor(
            utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt"
        )
        labels = model.processor.tokenizer(utterance.text, add_special_tokens=False, return_tensors="pt").input_ids
        return model.module(**features, labels=labels).loss


class TestXlsr(CtcSuite):
    make = staticmethod(tiny_wav2vec2_ctc)


class TestWav2Vec2Base(CtcSuite):
    make = staticmethod(functools.partial(tiny_wav2vec2_ctc, "base"))
    catalogued = False


class TestHubert(CtcSuite):
    make = staticmethod(functools.partial(tiny_wav2vec2_ctc, "hubert"))


class TestData2Vec(CtcSuite):
    make = staticmethod(functools.partial(tiny_wav2vec2_ctc, "data2vec"))
    catalogued = False


class TestWav2Vec2Bert(CtcSuite):
    make = staticmethod(functools.partial(tiny_wav2vec2_ctc, "bert"))
