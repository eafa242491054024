"""Parakeet TDT and RNN-T pass the suite; searches and draws against the library's and against probabilities."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from asr_headroom.errors import ModelError
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, LoopGuard, SamplingOptions
from asr_headroom.testing.conformance import ConformanceSuite
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_parakeet_rnnt, tiny_parakeet_tdt

KINDS = {"tdt": tiny_parakeet_tdt, "rnnt": tiny_parakeet_rnnt}
FREE = DecodingOptions(loop_guard=LoopGuard(max_period=0))
TEXTS = ("abc", "cab")


class TransducerSuite(ConformanceSuite):
    learning_rate = 1e-2

    def decode_target(self, model, ids):
        return model.processor.tokenizer.decode(ids, skip_special_tokens=True, group_tokens=False).strip()


class TestParakeetRnnt(TransducerSuite):
    make = staticmethod(tiny_parakeet_rnnt)

    def reference_nats(self, model, utterance):
        """The library's logits, and a plain loop over the lattice (its own loss needs torchaudio)."""
        inputs = model.processor(utterance.samples(16_000), text=utterance.text, sampling_rate=16_000)
        labels = inputs.pop("labels")[0].tolist()
        output = model.module(**inputs)
        frames = model.module.encoder._get_subsampling_output_length(inputs["attention_mask"].sum(-1)).item()
        scores, blank = output.logits[0].log_softmax(-1), model.module.config.blank_token_id
        reached = {(0, 0): torch.zeros(())}
        for t, u in itertools.product(range(frames), range(len(labels) + 1)):
            ways = [reached[t - 1, u] + scores[t - 1, u, blank]] if t else []
            ways += [reached[t, u - 1] + scores[t, u - 1, labels[u - 1]]] if u else []
            if ways:
                reached[t, u] = torch.stack(ways).logsumexp(0)
        return -(reached[frames - 1, len(labels)] + scores[frames - 1, len(labels), blank])


class TestParakeetTdt(TransducerSuite):
    make = staticmethod(tiny_parakeet_tdt)

    def reference_nats(self, model, utterance):
        inputs = model.processor(utterance.samples(16_000), text=utterance.text, sampling_rate=16_000)
        return model.module(**inputs).loss * inputs["labels"].shape[1]

    def test_draws_are_as_frequent_as_their_probability(self, samplable):
        """Up to one factor per utterance, because paths that lead nowhere have a probability too: compared in pairs."""
        options = SamplingOptions(num_samples=1500, temperature=0.5, top_k=5, max_new_tokens=1, seed=1)
        with torch.no_grad():
            encoded = samplable.encode(samplable.collate(self.speech("a")))
            drawn = Counter((h.token_ids, h.truncated) for h in samplable.sample(encoded, options)[0])
            counts = [count for _, count in drawn.most_common()]
            hypotheses = [
                Hypothesis(text="", token_ids=ids, truncated=truncated) for (ids, truncated), _ in drawn.most_common()
            ]
            scores = samplable.log_prob(encoded.select([0] * len(hypotheses)), hypotheses, options)
        probabilities = scores.values[:, 0].exp()
        assert probabilities.sum() < 1.001
        expected = 1500 * probabilities / probabilities.sum()
        assert len(counts) >= 5
        for count, value in zip(counts, expected.tolist(), strict=True):
            assert abs(count - value) <= 4 * value**0.5 + 1


def trained(kind, steps=120):
    model = KINDS[kind]()
    speech = [tone_utterance(text) for text in TEXTS]
    batch = model.collate(speech)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        model.module.train()
        (model.loss(batch).nats / batch.num_targets).backward()
        torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.module.eval()
    return model, speech


@pytest.fixture(scope="module", params=KINDS)
def learned(request):
    """A tiny model that knows two texts, and their recordings."""
    return trained(request.param)


def test_greedy_search_is_the_librarys(learned):
    model, speech = learned
    batch = model.collate(speech)
    with torch.no_grad():
        generated = model.module.generate(
            input_features=batch.inputs["input_features"],
            attention_mask=batch.inputs["attention_mask"],
            max_new_tokens=50,
        ).sequences
    special = {model.module.config.blank_token_id, model.module.config.pad_token_id}
    theirs = [tuple(token for token in row if token not in special) for row in generated.tolist()]
    assert [hypothesis.token_ids for hypothesis in model.transcribe(speech, FREE)] == theirs
    assert len(set(theirs)) == 2


def test_words_are_timed(learned):
    model, speech = learned
    hypotheses = model.transcribe(speech, FREE)
    assert [[segment.text for segment in h.segments] for h in hypotheses] == [["abc"], ["cab"]]
    for hypothesis, utterance in zip(hypotheses, speech, strict=True):
        (segment,) = hypothesis.segments
        assert 0 <= segment.start < segment.end <= utterance.duration + 0.32


def test_drawn_tdt_paths_stay_in_the_lattice():
    """Untrained, nearly every path leads nowhere; those that are led in the end have a probability all the same."""
    model = tiny_parakeet_tdt()
    with torch.no_grad():
        encoded = model.encode(model.collate([tone_utterance("cabbage"), tone_utterance("a")]))
    rows = model.sample(encoded, SamplingOptions(num_samples=6, max_new_tokens=40))
    values = [hypothesis.token_log_probs[0] for row in rows for hypothesis in row]
    assert all(-1000 < value < 0 for value in values)
    assert any(not hypothesis.truncated for row in rows for hypothesis in row)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_never_says_blank_ends(kind):
    """``max_symbols`` leaves the frame, the loop guard stops the repetition, and the token limit cuts."""
    model = KINDS[kind]()
    token = model.processor.tokenizer.convert_tokens_to_ids("a")
    with torch.no_grad():
        model.module.joint.head.weight.zero_()
        model.module.joint.head.bias.zero_()
        model.module.joint.head.bias[token] = 9.0
    speech = [tone_utterance("abc")]
    frames = model.encode(model.collate(speech)).lengths.item()
    (free,) = model.transcribe(speech, FREE)
    assert free.token_ids == (token,) * (10 * frames)
    assert not free.truncated
    (cut,) = model.transcribe(speech, DecodingOptions(max_new_tokens=7, loop_guard=LoopGuard(max_period=0)))
    assert (len(cut.token_ids), cut.truncated) == (7, True)
    (looped,) = model.transcribe(speech)
    assert (looped.token_ids, looped.looped, looped.truncated) == ((token,), True, False)
    assert [segment.text for segment in looped.segments] == ["a"]


def test_letters_that_the_vocabulary_lacks_are_refused_as_targets():
    model = tiny_parakeet_tdt()
    assert model.check_target(tone_utterance("abc")) is None
    assert "vocabulary" in model.check_target(tone_utterance("你好", id="zh"))


def test_very_short_and_empty_are_possible():
    model = tiny_parakeet_rnnt()
    short = tone_utterance("a", letter_seconds=0.01)
    silent = tone_utterance("", id="silent")
    assert len(model.transcribe([short], FREE)) == 1
    batch = model.collate([silent, short])
    assert batch.num_targets == len(model.target_ids("a"))
    assert model.loss(batch).nats.isfinite()
    assert model.loss(model.collate([silent])).num_targets == 0


def test_durations_without_zero_or_one_are_refused():
    with pytest.raises(ModelError, match="lack 0 or 1"):
        tiny_parakeet_tdt(durations=(1, 2, 4))


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_joint_logits_are_not_rounded_to_half_precision_under_autocast(make):
    model = make()
    seen: list[torch.dtype] = []
    model.module.joint.head.register_forward_hook(lambda layer, args, output: seen.append(output.dtype))
    batch = model.collate([tone_utterance("abc")])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.loss(batch)
        in_loss, drawn = len(seen), model.sample(model.encode(batch), SamplingOptions(num_samples=1, max_new_tokens=3))
    assert drawn
    assert 0 < in_loss < len(seen)
    assert set(seen) == {torch.float32}
