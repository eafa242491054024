"""Qwen3-ASR passes the suite, forced and free; and what is its own."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

from asr_headroom.errors import DataError, ModelError
from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.models.qwen3_asr import load
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny.qwen3_asr import tiny_qwen3_asr


class Qwen3AsrSuite(ConformanceSuite):
    def reference_logits(self, model, utterance, ids):
        request = model.processor.apply_transcription_request(
            [utterance.samples(16_000)], language=self.told(utterance), sampling_rate=16_000
        )
        prompt = request.pop("input_ids")
        request.pop("attention_mask")
        with torch.no_grad():
            logits = model.module(input_ids=torch.cat([prompt, torch.tensor([ids])], dim=1), **request).logits
        return logits[0, prompt.shape[1] - 1 :]

    def reference_nats(self, model, utterance):
        """The library's loss, with labels laid out by hand behind its own prompt."""
        request = model.processor.apply_transcription_request(
            [utterance.samples(16_000)], language=self.told(utterance), sampling_rate=16_000
        )
        target = torch.tensor([model.processor.tokenizer(self.written(utterance) + "<|im_end|>").input_ids])
        prompt = request.pop("input_ids")
        request.pop("attention_mask")
        labels = torch.cat([torch.full_like(prompt, -100), target], dim=1)
        loss = model.module(input_ids=torch.cat([prompt, target], dim=1), labels=labels, **request).loss
        return loss * target.shape[1]

    def written(self, utterance):
        return utterance.text

    def told(self, utterance):
        return utterance.language


class TestQwen3Asr(Qwen3AsrSuite):
    make = staticmethod(tiny_qwen3_asr)


class TestQwen3AsrFree(Qwen3AsrSuite):
    """The model names the language itself."""

    make = staticmethod(partial(tiny_qwen3_asr, prompt_language="free"))
    load_options = {"prompt_language": "free"}  # noqa: RUF012
    catalogued = False
    max_new_tokens = 40

    def told(self, utterance):
        return None

    def written(self, utterance):
        return f"language English<asr_text>{utterance.text}"

    def decode_target(self, model, ids):
        written = super().decode_target(model, ids)
        assert written.startswith("language English<asr_text>")
        return model.parse(written)


@pytest.fixture(scope="module")
def model():
    return tiny_qwen3_asr()


@pytest.fixture(scope="module")
def free():
    return tiny_qwen3_asr(prompt_language="free")


def supervised(model, utterance):
    labels = model.collate([utterance]).inputs["labels"][0]
    return model.processor.tokenizer.decode(labels[labels != -100])


def test_the_prompt_is_the_chat_templates_word_for_word(model, free):
    turn = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|><|audio_end|><|im_end|>\n"
    assert model.prompt_text("fr-FR") == turn + "<|im_start|>assistant\nlanguage French<asr_text>"
    assert model.prompt_text(None) == free.prompt_text("fr") == turn + "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("language", "forced", "spoken"),
    [
        ("zh-CN", "你好<|im_end|>", "language Chinese<asr_text>你好<|im_end|>"),
        (None, "language None<asr_text>你好<|im_end|>", "language None<asr_text>你好<|im_end|>"),
    ],
)
def test_what_is_supervised(model, free, language, forced, spoken):
    utterance = dataclasses.replace(tone_utterance("abc"), text=" 你好 ", language=language)
    assert supervised(model, utterance) == forced
    assert supervised(free, utterance) == spoken


def test_transcripts_are_what_follows_the_mark(model):
    assert model.parse("language English<asr_text>one two") == "one two"
    assert model.parse("one two") == "one two"
    assert model.parse("language None<asr_text>") == ""


@pytest.mark.parametrize("samples", [1600, 8000, 8001, 15_999, 16_000, 16_160, 16_161, 31_000, 160_000, 163_333])
def test_audio_tokens_are_those_of_the_processor(model, samples):
    waveform = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    request = model.processor.apply_transcription_request([waveform], sampling_rate=16_000)
    assert model.audio_tokens(samples) == (request["input_ids"] == model.processor.audio_token_id).sum()
    ours = model.audio_inputs([model.features(waveform)])
    torch.testing.assert_close(ours["input_features"], request["input_features"])
    assert torch.equal(ours["input_features_mask"], request["input_features_mask"].long())


def test_a_special_token_in_a_transcript_is_refused(model):
    with pytest.raises(DataError, match="mark of the model"):
        model.collate([dataclasses.replace(tone_utterance("abc"), text="one <|im_end|> two")])


@pytest.mark.parametrize(("width", "right"), [(1024, "Qwen3-ASR-0.6B-hf"), (2048, "Qwen3-ASR-1.7B-hf")])
def test_the_original_layout_is_refused_and_the_right_id_named(tmp_path, width, right):
    thinker = {"text_config": {"hidden_size": width}}
    config = {
        "model_type": "qwen3_asr",
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "thinker_config": thinker,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"use Qwen/{right}$"):
        load(str(tmp_path))


def test_groups_of_one_utterance_and_of_several_are_scored_alike(model):
    """One prompt for all hypotheses against a prompt for each, ragged, one of them empty."""
    batch = model.collate([tone_utterance("abc"), tone_utterance("cabbage")])
    texts = [(0, "cab"), (1, "a"), (0, ""), (0, "abcabc"), (1, "cabbage")]
    hypotheses = [Hypothesis(text="", token_ids=tuple(text.encode())) for _, text in texts]
    with torch.no_grad():
        encoded = model.encode(batch)
        together = model.log_prob(encoded.select([row for row, _ in texts]), hypotheses, SamplingOptions())
        for index, ((row, _), hypothesis) in enumerate(zip(texts, hypotheses, strict=True)):
            alone = model.log_prob(encoded.select([row]), [hypothesis], SamplingOptions()).values[0]
            torch.testing.assert_close(together.values[index, : len(alone)], alone)
            assert not together.mask[index, len(alone) :].any()
