"""Moonshine, Canary and Cohere Transcribe pass the suite; prompts and searches against the library's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from asr_headroom.data.manifest import Utterance
from asr_headroom.errors import DataError, ModelError
from asr_headroom.models.decoding import DecodingOptions, LoopGuard
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_canary, tiny_cohere_asr, tiny_moonshine

BUILDERS = {"moonshine": tiny_moonshine, "canary": tiny_canary, "cohere-asr": tiny_cohere_asr}
FREE = DecodingOptions(loop_guard=LoopGuard(max_period=0), max_new_tokens=8)


def library_inputs(model, utterance):
    """What the library's own processor makes of one recording, prompt included."""
    samples, processor = utterance.samples(16_000), model.processor
    if model.card.family == "moonshine":
        values = processor(audio=samples, sampling_rate=16_000, return_tensors="pt").input_values
        start = torch.tensor([[model.module.config.decoder_start_token_id]])
        return {"input_values": values, "decoder_input_ids": start}
    if model.card.family == "canary":
        request = processor.apply_transcription_request([samples], source_language=utterance.language)
    else:
        request = processor(audio=[samples], language=utterance.language, sampling_rate=16_000, return_tensors="pt")
    return {name: request[name] for name in ("input_features", "attention_mask", "decoder_input_ids")}


class Seq2SeqSuite(ConformanceSuite):
    def reference_logits(self, model, utterance, ids):
        inputs = library_inputs(model, utterance)
        prompt = inputs.pop("decoder_input_ids")
        with torch.no_grad():
            logits = model.module(**inputs, decoder_input_ids=torch.cat([prompt, torch.tensor([[*ids]])], dim=1)).logits
        return logits[0, prompt.shape[1] - 1 :]

    def reference_nats(self, model, utterance):
        ids = [*model.processor.tokenizer(utterance.text, add_special_tokens=False).input_ids]
        target = [*ids, model.processor.tokenizer.eos_token_id]
        logits = self.reference_logits(model, utterance, ids)
        return torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum")


class TestMoonshine(Seq2SeqSuite):
    make = staticmethod(tiny_moonshine)


class TestCanary(Seq2SeqSuite):
    make = staticmethod(tiny_canary)
    learning_rate = 1e-2


class TestCohereAsr(Seq2SeqSuite):
    make = staticmethod(tiny_cohere_asr)


@pytest.fixture(params=BUILDERS)
def model(request):
    return BUILDERS[request.param]()


@pytest.mark.parametrize("language", ["en", "de"])
def test_prompts_are_the_librarys(model, language):
    utterance = tone_utterance("abc", language=language)
    prompt = library_inputs(model, utterance)["decoder_input_ids"][0].tolist()
    assert model.prompt_ids(language) == prompt
    batch = model.collate([utterance])
    assert batch.inputs["decoder_input_ids"][0, : len(prompt)].tolist() == prompt
    assert batch.inputs["labels"][0, : len(prompt) - 1].tolist() == [-100] * (len(prompt) - 1)


def test_greedy_search_is_the_librarys(model):
    for utterance in [tone_utterance("abc"), tone_utterance("cabbage")]:
        inputs = library_inputs(model, utterance)
        width = inputs["decoder_input_ids"].shape[1]
        with torch.no_grad():
            generated = model.module.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()
        end = model.module.config.eos_token_id
        theirs = generated[width:]
        theirs = theirs[: theirs.index(end)] if end in theirs else theirs
        (ours,) = model.transcribe([utterance], FREE)
        assert list(ours.token_ids) == theirs
        assert ours.truncated == (end not in generated[width:])


def test_each_row_has_its_own_language():
    for model in (tiny_canary(), tiny_cohere_asr()):
        speech = [tone_utterance("abc", language=language, id=language) for language in ("en", "de", "fr")]
        batch = model.collate(speech)
        told = [model.prompt_ids(language) for language in ("en", "de", "fr")]
        assert len({tuple(prompt) for prompt in told}) == 3
        assert batch.inputs["prompts"].tolist() == told
        with torch.no_grad():
            together = model.loss(batch).nats.item()
            alone = sum(model.loss(model.collate([utterance])).nats.item() for utterance in speech)
        assert together == pytest.approx(alone, abs=1e-4)


def test_a_language_of_the_vocabulary_that_the_model_does_not_know_is_refused():
    """Chinese has a token in the tiny vocabulary, as in Canary's own, but is none of Canary's languages."""
    assert "zh" in tiny_cohere_asr().card.languages
    with pytest.raises(ModelError, match=r"no language 'zh-CN'.*de, en, fr"):
        tiny_canary().prompt_ids("zh-CN")
    assert tiny_canary().prompt_ids("de-AT") == tiny_canary().prompt_ids("de")


def test_moonshine_hears_no_neighbour_and_no_padding():
    """The library's encoder gives another output beside a longer recording; here it is bit for bit the same."""
    model = tiny_moonshine()
    short, long = tone_utterance("ab"), tone_utterance("cabbage")
    with torch.no_grad():
        together = model.encode(model.collate([short, long]))
        alone = model.encode(model.collate([short]))
        padded = model.collate([short, long]).inputs["input_values"][:1]
        leaking = model.module.get_encoder()(padded, attention_mask=(padded != 0).long()).last_hidden_state
    frames = alone.states.shape[1]
    assert together.mask.sum(dim=1).tolist()[0] == frames
    torch.testing.assert_close(together.states[0, :frames], alone.states[0], atol=1e-6, rtol=0)
    assert (leaking[0, :frames] - alone.states[0]).abs().max() > 1e-3


def test_a_loop_is_stopped(model):
    letter = model.processor.tokenizer.convert_tokens_to_ids("a")
    with torch.no_grad():
        head = model.module.proj_out
        bias = torch.zeros(head.weight.shape[0])
        bias[letter] = 50.0
        model.module.proj_out = torch.nn.Linear(*reversed(head.weight.shape))
        model.module.proj_out.weight.copy_(head.weight)
        model.module.proj_out.bias.copy_(bias)
    (looped,) = model.transcribe([tone_utterance("abc")], DecodingOptions(max_new_tokens=40))
    assert (looped.token_ids, looped.looped, looped.truncated) == ((letter,), True, False)
    (free,) = model.transcribe([tone_utterance("abc")], FREE)
    assert (len(free.token_ids), free.truncated) == (8, True)


def test_targets_that_do_not_fit_are_refused(model):
    assert model.check_target(tone_utterance("abc")) is None
    assert "vocabulary" in model.check_target(tone_utterance("q9"))
    long = Utterance(**{**dataclasses.asdict(tone_utterance("abc")), "text": "a" * 70})
    assert "decoder tokens" in model.check_target(long)
    with pytest.raises(DataError, match="decoder tokens"):
        model.collate([long])


def test_the_decoder_has_no_more_positions_than_it_has(model):
    (hypothesis,) = model.transcribe(
        [tone_utterance("abc")], DecodingOptions(max_new_tokens=500, loop_guard=LoopGuard(max_period=0))
    )
    assert len(hypothesis.token_ids) <= 64 - len(model.prompt_ids("en"))


def test_very_short_recordings_are_heard(model):
    short = tone_utterance("a", letter_seconds=0.01)
    assert len(model.transcribe([short, tone_utterance("abc")], FREE)) == 2
    assert model.loss(model.collate([short])).nats.isfinite()


def test_cohere_features_repeat():
    """Its dither is noise, but the same noise for the same length."""
    model = tiny_cohere_asr()
    batches = [model.collate([tone_utterance("abc")]).inputs["input_features"] for _ in range(2)]
    assert torch.equal(*batches)
    assert model.processor.feature_extractor.dither > 0
    assert np.isfinite(batches[0].numpy()).all()


def test_a_tokenizer_of_another_model_is_refused():
    model = tiny_canary()
    model.processor.tokenizer.eos_token = "<pad>"
    with pytest.raises(ModelError, match="tokenizer"):
        model.with_module(lambda module: module)
