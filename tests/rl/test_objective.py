"""The efficient step against the textbook: every draw encoded and scored alone, by the library's own forward pass."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.reward import Judged
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_qwen3_asr, tiny_wav2vec2_ctc, tiny_whisper
from asr_headroom.train.feed import StepBatches

SPEECH = [tone_utterance(text) for text in ("abc", "ca", "bad", "cabbage")]
TIED = "ca"


class ArbitraryReward:
    """Rewards that depend on the tokens in no meaningful way, so that every group differs but one."""

    def judge(self, utterance, hypotheses):
        judged = []
        for hypothesis in hypotheses:
            errors = zlib.crc32(repr(hypothesis.token_ids).encode()) % 5 if utterance.id != TIED else 3
            judged.append(Judged(-errors / 4, ErrorCounts(4, errors, 0, 0)))
        return judged


class Captured:
    """Takes what a step writes down."""

    def write(self, step, means, groups):
        self.groups, self.means = dict(groups), means


def step_batches(model, cut=(3, 1), number=0):
    parts, start = [], 0
    for size in cut:
        parts.append(SPEECH[start : start + size])
        start += size
    batches = [as_precise(model, model.collate(part)) for part in parts]
    return StepBatches(number, batches, parts, 1)


def as_precise(model, batch):
    """Features in the model's precision; the families take theirs in float32."""
    if next(model.module.parameters()).dtype == torch.float64:
        batch.inputs = {n: t.double() if t.is_floating_point() and n != "waveforms" else t
                        for n, t in batch.inputs.items()}  # fmt: skip
    return batch


def objective(model, config, record=None, reward=None):
    return PolicyObjective(model, Accelerator(), config, reward or ArbitraryReward(), seed=3, record=record)


def gradients(model):
    return {n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None and p.grad.any()}


# ---------------------------------------------------------------------- the textbook


def whisper_logits(model, utterance, ids):
    features = model.processor.feature_extractor(
        utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    prompt = model.prompt_ids(utterance.language)
    inputs = torch.tensor([[*prompt, *ids]])
    return model.module(input_features=features.to(model.module.dtype), decoder_input_ids=inputs).logits[
        0, len(prompt) - 1 :
    ]


def qwen_logits(model, utterance, ids):
    request = model.processor.apply_transcription_request(
        [utterance.samples(16_000)], language=model._language_name(utterance.language), sampling_rate=16_000
    )
    prompt = request.pop("input_ids")
    request.pop("attention_mask")
    request["input_features"] = request["input_features"].to(model.module.dtype)
    tokens = torch.cat([prompt, torch.tensor([ids], dtype=torch.long)], dim=1)
    return model.module(input_ids=tokens, **request).logits[0, prompt.shape[1] - 1 :]


def restricted(logits, config, drawn=None):
    """Log-probabilities under temperature, top-k and top-p, by sorting; what was drawn is always inside."""
    scaled = logits / config.temperature
    order = scaled.argsort(dim=-1, descending=True)
    ranked = scaled.gather(-1, order)
    keep = torch.ones_like(ranked, dtype=torch.bool)
    if config.top_k:
        keep[..., config.top_k :] = False
    probabilities = ranked.masked_fill(~keep, -torch.inf).softmax(-1).double()
    keep &= probabilities.cumsum(-1) - probabilities < config.top_p
    inside = torch.zeros_like(keep).scatter(-1, order, keep)
    if drawn is not None:
        inside = inside.scatter(-1, torch.tensor(drawn)[:, None], True)
    return scaled.masked_fill(~inside, -torch.inf).log_softmax(-1)


def autoregressive(logits_of, end_id):
    def score(model, utterance, hypothesis, config):
        """Log-probability of each token, from an encoding of its own."""
        targets = [*hypothesis.token_ids, *([] if hypothesis.truncated else [end_id(model)])]
        logits = logits_of(model, utterance, list(targets[:-1]))[: len(targets)]
        log_probs = restricted(logits, config, targets) if config else logits.log_softmax(-1)
        return log_probs.gather(1, torch.tensor(targets)[:, None]).squeeze(1)

    return score


def ctc_score(model, utterance, hypothesis, config):
    inputs = model.processor(utterance.samples(16_000), sampling_rate=16_000, return_tensors="pt")
    logits = model.module(inputs.input_values.to(model.module.dtype)).logits[0]
    log_probs = restricted(logits, config) if config else logits.log_softmax(-1)
    targets = torch.tensor([hypothesis.token_ids], dtype=torch.long)
    nats = functional.ctc_loss(
        log_probs.clamp(min=-1e6)[:, None], targets, torch.tensor([len(logits)]), torch.tensor([targets.shape[1]]),
        reduction="none",
    )  # fmt: skip
    return -nats


def in_precision(model, dtype):
    """The model in a precision, throughout: the library's RMS norms would round to float32 inside."""
    model.module.to(getattr(torch, dtype))
    for part in model.module.modules():
        if dtype == "float64" and type(part).__name__.endswith("RMSNorm"):
            part.forward = lambda x, part=part: (
                part.weight * x * (x.square().mean(-1, keepdim=True) + part.variance_epsilon).rsqrt()
            )
    return model


FAMILIES = {
    "whisper": (tiny_whisper, autoregressive(whisper_logits, lambda model: model._end_id), 1),
    "qwen3-asr": (tiny_qwen3_asr, autoregressive(qwen_logits, lambda model: model.end_id), 1),
    "ctc": (tiny_wav2vec2_ctc, ctc_score, 0),
}


def textbook_gradient(model, score, ends, config, groups):
    """Mean over utterances of the papers' losses, each draw in a column of its own."""
    losses = []
    for utterance in SPEECH:
        group = groups[utterance.id]
        draws = [i for i, times in enumerate(group.multiplicity) for _ in range(times)]
        assert len(draws) == config.num_rollouts
        rewards = torch.tensor([group.rewards[i] for i in draws], dtype=torch.float64)
        scores = [score(model, utterance, group.hypotheses[i], config) for i in draws]
        totals = torch.stack([values.sum() for values in scores])
        if config.algorithm == "mwer":
            posterior = totals.exp() / totals.exp().sum()
            loss = (posterior * (-rewards - (-rewards).mean())).sum()
        else:
            deviation = rewards.std(correction=0)
            advantages = (rewards - rewards.mean()) / deviation if deviation > 0 else torch.zeros_like(rewards)
            old = torch.tensor([sum(group.hypotheses[i].token_log_probs) for i in draws], dtype=torch.float64)
            drawn = [group.hypotheses[i] for i in draws]
            lengths = torch.tensor([max(1, len(h.token_ids) + ends * (not h.truncated)) for h in drawn])
            ratio = ((totals - old) / lengths).exp()
            low, high = config.clip
            loss = -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages).mean()
        if config.cross_entropy:
            batch = model.collate([utterance])
            labels = batch.inputs["labels"][0]
            ids = labels[labels != -100].tolist()
            reference = replace(group.hypotheses[0], token_ids=tuple(ids[:-1] if ends else ids), truncated=False)
            loss = loss - config.cross_entropy * score(model, utterance, reference, None).sum() / len(ids)
        losses.append(loss)
    torch.stack(losses).mean().backward()


def relative(actual, expected):
    assert actual.keys() == expected.keys()
    difference = sum((actual[n].double() - expected[n].double()).square().sum() for n in expected) ** 0.5
    return float(difference / sum(g.double().square().sum() for g in expected.values()) ** 0.5)


def settings(algorithm, **changes):
    # Few continuations and few tokens, so that draws coincide.
    common = {"num_rollouts": 8, "temperature": 0.7, "top_k": 3, "top_p": 0.95, "max_new_tokens": 2}
    return RlConfig(**common | {"algorithm": algorithm, "updates_per_rollout": 2} | changes)


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-8), ("float32", 1e-4)])
@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_is_the_textbooks(family, algorithm, dtype, bound):
    """Ragged batches, equal draws collapsed, a tied group passed over, weights moved since the draws."""
    make, score, ends = FAMILIES[family]
    changes = {"clip_low": 0.01, "clip_high": 0.02} if algorithm == "gspo" else {}
    if family == "ctc":
        # Of a frame, of which a text has some forty; what the restricted ones leave out is test_ctc's business.
        changes |= {"temperature": 0.01, "top_k": 0, "top_p": 1.0}
    config = settings(algorithm, **changes)
    model = in_precision(make(), dtype)
    captured = Captured()
    rl = objective(model, config, captured)
    rl.accumulate(step_batches(model))
    moved = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.module.parameters():
            if weight.requires_grad:
                weight += 0.02 * weight.abs().mean() * torch.randn(weight.shape, generator=moved, dtype=torch.float64)
    model.module.zero_grad()
    rl.accumulate(step_batches(model, number=1))  # the same hypotheses, other weights
    ours = gradients(model)
    groups = captured.groups
    assert any(max(group.multiplicity) > 1 for group in groups.values())
    assert groups[TIED].is_tied
    assert sum(not group.is_tied for group in groups.values()) >= 2
    model.module.zero_grad()
    textbook_gradient(model, score, ends, config, groups)
    assert relative(ours, gradients(model)) <= bound
