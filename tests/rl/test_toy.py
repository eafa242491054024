"""A problem with a known optimum: one token to say, each worth something of its own; the best is known."""

from __future__ import annotations

import statistics

import pytest
import torch
from accelerate import Accelerator

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import Hypothesis, SamplingOptions
from asr_headroom.rl.config import RlConfig
from asr_headroom.rl.objective import PolicyObjective
from asr_headroom.rl.reward import Judged
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.train.feed import StepBatches

SPEECH = [tone_utterance(text) for text in ("ab", "ca")]
KINDS = 3


def risk_of(tokens):
    """0 for a third of the vocabulary, 1/2 and 1 for the others."""
    return tokens[0] % KINDS / (KINDS - 1) if tokens else 1.0


class Risk:
    def judge(self, utterance, hypotheses):
        return [Judged(-risk_of(h.token_ids), ErrorCounts(1)) for h in hypotheses]


def expected_risk(model):
    """Exactly, over the whole vocabulary; the optimum is 0."""
    vocabulary = model.module.config.vocab_size
    hypotheses = [Hypothesis(text="", token_ids=(token,), truncated=True) for token in range(vocabulary)]
    model.module.eval()
    risks = []
    with torch.no_grad():
        encoded = model.encode(model.collate(SPEECH))
        for row in range(len(SPEECH)):
            scores = model.log_prob(encoded.select([row] * vocabulary), hypotheses, SamplingOptions())
            probabilities = scores.values[:, 0].double().exp()
            risks.append(sum(p * risk_of([t]) for t, p in enumerate(probabilities.tolist())))
    return statistics.fmean(risks)


def learn(algorithm, seed, steps):
    model = tiny_whisper(window="fit", window_seconds=1, seed=seed)
    config = RlConfig(
        algorithm=algorithm, num_rollouts=16, temperature=1.0, top_p=1.0, max_new_tokens=1, cross_entropy=0.0,
        **({} if algorithm == "mwer" else {"clip_low": 0.2, "clip_high": 0.2}),
    )  # fmt: skip
    rl = PolicyObjective(model, Accelerator(), config, Risk(), seed=seed)
    optimizer = torch.optim.Adam(model.module.parameters(), lr=1e-2)
    batch = model.collate(SPEECH)
    risks = [expected_risk(model)]
    for step in range(steps):
        rl.accumulate(StepBatches(step, [batch], [SPEECH], 1))
        optimizer.step()
        optimizer.zero_grad()
    return [*risks, expected_risk(model)]


@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
def test_the_optimum_is_found(algorithm):
    before, after = learn(algorithm, seed=0, steps=40)
    assert 0.3 < before < 0.7
    assert after < 0.05


@pytest.mark.parametrize("algorithm", ["mwer", "gspo"])
def test_expected_risk_falls_on_average_over_five_seeds(algorithm):
    changes = []
    for seed in range(5):
        before, after = learn(algorithm, seed, steps=12)
        changes.append(after - before)
    mean, error = statistics.fmean(changes), statistics.stdev(changes) / 5**0.5
    assert mean + 2 * error < 0
