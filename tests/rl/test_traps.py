"""What is wrong in published trainers (rollouts, ratios, rewards), and that it cannot happen here."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import DecodingOptions, Hypothesis, SamplingOptions
from asr_headroom.models.lora import LoraConfig, attach_lora
from asr_headroom.models.sampling import log_probs_of
from asr_headroom.rl.config import RewardConfig, RlConfig
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.old_policy import OldPolicy
from asr_headroom.rl.record import RolloutRecord
from asr_headroom.rl.reward import Judged, Reward
from asr_headroom.rl.rollout import collapse_equal, roll_out, scoring_options
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_qwen3_asr, tiny_whisper
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.feed import StepBatches

SPEECH = [tone_utterance(text) for text in ("abc", "ca", "bad", "cabbage")]
GSPO = RlConfig(algorithm="gspo", temperature=0.7, top_k=50, top_p=0.95, max_new_tokens=6, num_rollouts=4)


def step(model, number=0, speech=SPEECH):
    return StepBatches(number, [model.collate(speech)], [speech], 1)


class Arbitrary:
    """Rewards that differ in every group but those of ``tied`` utterances."""

    def __init__(self, tied=()):
        self._tied = tied

    def judge(self, utterance, hypotheses):
        errors = [0 if utterance.id in self._tied else zlib.crc32(repr(h.token_ids).encode()) % 9 for h in hypotheses]
        return [Judged(-error / 9, ErrorCounts(9 - error, error)) for error in errors]


def objective(model, config=GSPO, *, precision="no", record=None, reward=None):
    AcceleratorState._reset_state()
    reward = reward or Arbitrary()
    return PolicyObjective(model, Accelerator(mixed_precision=precision), config, reward, seed=1, record=record)


def drift(totals):
    total, count = totals.watched["drift"]
    return total / count


def encoded_of(model):
    with torch.no_grad():
        return model.encode(model.collate(SPEECH))


def groups_of(model, config, seed=1):
    return roll_out(model, encoded_of(model), [Hypothesis(text="")] * len(SPEECH), config, seed)


def scores_of(model, groups, options):
    rows = [row for row, group in enumerate(groups) for _ in group.hypotheses]
    with torch.no_grad():
        return model.log_prob(encoded_of(model).select(rows), [h for g in groups for h in g.hypotheses], options)


# ---------------------------------------------------------------------- 21: drawn one way, scored another


@pytest.mark.parametrize("make", [tiny_whisper, tiny_qwen3_asr])
def test_21_what_is_drawn_is_scored_under_the_same_distribution(make):
    """Scored at temperature 1 without top-k and top-p, the ratio of an unchanged model is far from 1."""
    model = make()
    groups = groups_of(model, GSPO)
    stored = torch.tensor([sum(h.token_log_probs) for g in groups for h in g.hypotheses])
    ours = scores_of(model, groups, scoring_options(GSPO)).values.sum(-1)
    trapped = scores_of(model, groups, SamplingOptions()).values.sum(-1)
    assert (ours - stored).abs().max() < 1e-4
    assert (trapped - stored).abs().min() > 0.1
    assert drift(objective(model).accumulate(step(model))) < 1e-5


def test_21_ids_are_those_that_were_drawn():
    """Bytes that make no character decode to a mark, and tokenising the text again gives other tokens."""
    model = tiny_whisper()
    hypotheses = [h for g in groups_of(model, replace(GSPO, top_k=0, top_p=1.0)) for h in g.hypotheses]
    again = [tuple(model.processor.tokenizer.encode(h.text, add_special_tokens=False)) for h in hypotheses]
    assert any(ids != h.token_ids for ids, h in zip(again, hypotheses, strict=True))
    scored = scores_of(model, [collapse_equal([h]) for h in hypotheses[:4]], scoring_options(GSPO))
    assert scored.mask.sum(-1).tolist() == [len(h.token_ids) + (not h.truncated) for h in hypotheses[:4]]


def test_21_a_truncated_draw_gets_no_end_token():
    model = tiny_whisper()
    hypotheses = [h for g in groups_of(model, replace(GSPO, max_new_tokens=2)) for h in g.hypotheses]
    cut = [h for h in hypotheses if h.truncated]
    assert cut
    assert all(len(h.token_log_probs) == len(h.token_ids) == 2 for h in cut)
    ended = replace(cut[0], truncated=False)
    assert len(collapse_equal([cut[0], ended]).hypotheses) == 2  # the same tokens, but not the same event


# ---------------------------------------------------------------------- 22: half precision


def test_22_log_softmax_in_half_precision_would_fill_the_clip_range():
    """Rounding of bf16 in a mean log-probability is as large as GSPO's clip range; float32's is not."""
    torch.manual_seed(0)
    logits, ids = 4 * torch.randn(64, 30, 500), torch.randint(500, (64, 30))
    exact = logits.bfloat16().double().log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1).mean(-1)
    trapped = logits.bfloat16().log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1).double().mean(-1)
    ours = log_probs_of(logits.bfloat16(), ids, SamplingOptions())
    assert ours.dtype == torch.float32
    assert (trapped - exact).square().mean().sqrt() > 3e-4
    assert (ours.double().mean(-1) - exact).abs().max() < 1e-5


def rounding(model):
    """A model whose draws store log-probabilities that were rounded on another way: 1e-3 off, as bf16 is."""
    sample = model.sample

    def sample_rounded(encoded, options):
        off = torch.Generator().manual_seed(0)

        def noise(hypothesis):
            return torch.randn(len(hypothesis.token_log_probs), generator=off)

        return [
            [
                replace(h, token_log_probs=tuple((torch.tensor(h.token_log_probs) + 1e-3 * noise(h)).tolist()))
                for h in row
            ]
            for row in sample(encoded, options)
        ]

    model.sample = sample_rounded
    return model


def test_22_in_bf16_the_first_scores_are_the_old_ones():
    """Drawing goes through a cache and rounds otherwise than scoring, by the size of the clip range."""
    drawn = objective(rounding(tiny_qwen3_asr()), replace(GSPO, old_log_probs="drawn"), precision="bf16")
    auto = objective(rounding(tiny_qwen3_asr()), GSPO, precision="bf16")
    first, second = drawn.accumulate(step(drawn._model)), auto.accumulate(step(auto._model))
    assert drift(first) > 1e-4
    assert first.watched["clipped"][0] > 0
    assert drift(second) == 0.0
    assert second.watched["clipped"][0] == 0


# ---------------------------------------------------------------------- 23 and 24: work done twice


class Counted:
    """A model whose encodings and scorings are counted."""

    def __init__(self, model):
        self.encoded = self.scored = self.rows = 0
        encode, log_prob = model.encode, model.log_prob

        def counted_encode(batch):
            self.encoded += 1
            return encode(batch)

        def counted_log_prob(encoded, hypotheses, options):
            self.scored += 1
            self.rows += len(hypotheses)
            return log_prob(encoded, hypotheses, options)

        model.encode, model.log_prob = counted_encode, counted_log_prob


@pytest.mark.parametrize("make", [tiny_whisper, tiny_qwen3_asr])
def test_23_24_one_encoding_and_one_scoring(make):
    """2N + 1 encodings and two scorings of every hypothesis are what published trainers do."""
    model = make()
    counted = Counted(model)
    objective(model, replace(GSPO, cross_entropy=0.0)).accumulate(step(model))
    assert (counted.encoded, counted.scored) == (1, 1)
    assert counted.rows <= 4 * len(SPEECH)


def test_23_an_old_policy_is_a_copy_of_what_moves_and_no_model():
    model = attach_lora(tiny_whisper(), LoraConfig(rank=2))
    old = OldPolicy(model.module)
    old.take_over(0)
    kept = sum(tensor.numel() for tensor in old.state_dict()["weights"].values())
    assert kept == sum(p.numel() for p in model.module.parameters() if p.requires_grad)
    assert kept < 0.1 * sum(p.numel() for p in model.module.parameters())


def test_24_parts_bound_what_the_backward_pass_keeps():
    """Row by row after one forward pass over all rows would keep the graph of all of them."""

    def saved_bytes(score_batch_size):
        model = tiny_whisper()
        config = replace(GSPO, num_rollouts=16, score_batch_size=score_batch_size, cross_entropy=0.0)
        log_prob, largest = model.log_prob, [0]

        def watched(encoded, hypotheses, options):
            sizes = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
                found = log_prob(encoded, hypotheses, options)
            largest[0] = max(largest[0], sum(sizes))
            return found

        model.log_prob = watched
        objective(model, config).accumulate(step(model))
        return largest[0]

    assert saved_bytes(8) < 0.4 * saved_bytes(64)


# ---------------------------------------------------------------------- 25: what is skipped


def test_25_skipped_groups_count_in_the_mean_and_are_not_scored():
    """Divided by the groups that are left, the others would weigh up to 1.75 times as much."""

    def gradient(tied, speech):
        model = tiny_whisper()
        model.module.double()
        rl = objective(model, replace(GSPO, cross_entropy=0.0), reward=Arbitrary(tied))
        counted = Counted(model)
        totals = rl.accumulate(step(model, speech=speech))
        return model.module.model.decoder.layers[0].fc1.weight.grad.clone(), totals, counted

    whole, totals, counted = gradient(("abc", "ca", "bad"), SPEECH)
    assert totals.count == 4
    assert totals.watched["tied"] == (3.0, 4.0)
    assert 2 <= counted.rows <= 4
    assert whole.any()
    none, totals, counted = gradient(("abc", "ca", "bad", "cabbage"), SPEECH)
    assert (totals.count, counted.rows) == (4, 0)
    assert not none.any()


# ---------------------------------------------------------------------- 26: ratios


def test_26_after_an_update_the_ratio_is_not_one():
    """A ratio that is identically 1 is REINFORCE under another name."""
    model = tiny_whisper()
    rl = objective(model, replace(GSPO, updates_per_rollout=2))
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=1e-3)
    first = rl.accumulate(step(model))
    optimizer.step()
    second = rl.accumulate(step(model, number=1))
    assert drift(first) < 1e-5 < 1e-3 < drift(second)
    assert second.watched["clipped"][0] > first.watched["clipped"][0] == 0


# ---------------------------------------------------------------------- 27: rewards and records


def test_27_rewards_are_what_the_evaluation_counts():
    """One normaliser: the greedy hypothesis has the errors that the report gives it."""
    model = tiny_whisper()
    speech = [replace(utterance, text=f"L’{utterance.text} d’où", language="fr") for utterance in SPEECH]
    options = DecodingOptions(max_new_tokens=6)
    normalizer = normalizer_for_language("fr")
    counts = count_utterances(model, speech, options, normalizer=normalizer, batch_size=4)
    reward = Reward(RewardConfig(), normalizer_for_language)
    for utterance, hypothesis, count in zip(speech, model.transcribe(speech, options), counts, strict=True):
        assert reward.judge(utterance, [hypothesis])[0].counts == count


def test_27_hypotheses_are_kept_with_their_rewards(tmp_path):
    model = tiny_whisper()
    reward = Reward(RewardConfig(), normalizer_for_language)
    rl = objective(model, record=RolloutRecord(tmp_path / "run/rollouts.jsonl"), reward=reward)
    for number in (7, 0, 1, 1):  # a probe, then steps, one of them again after a kill
        rl.accumulate(step(model, number=number))
    rows = [json.loads(line) for line in (tmp_path / "run/rollouts.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1]
    for row in rows:
        assert [entry["id"] for entry in row["utterances"]] == [utterance.id for utterance in SPEECH]
        for utterance, entry in zip(SPEECH, row["utterances"], strict=True):
            assert sum(h["times"] for h in entry["hypotheses"]) == GSPO.num_rollouts
            texts = [Hypothesis(text=h["text"]) for h in entry["hypotheses"]]
            judged = reward.judge(utterance, texts)
            assert [h["reward"] for h in entry["hypotheses"]] == [j.reward for j in judged]


def test_27_draws_follow_from_the_seed():
    model = tiny_whisper()
    assert groups_of(model, GSPO, seed=5) == groups_of(model, GSPO, seed=5)
    assert groups_of(model, GSPO, seed=5) != groups_of(model, GSPO, seed=6)
