"""The mean of the last checkpoints: what it holds, when it is taken, that it is what is delivered."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.errors import ConfigError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import GuardConfig, TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.methods import apply_method

SPEECH = [tone_utterance(text, id=text) for text in ("abc", "cab", "bad", "dab")]
NORMALIZER = get_normalizer("basic")


class Stopped(Exception):
    """Stands in for a kill."""


def run(directory, errors, *, method="full", guard=False, killed=False):
    """Three steps, each evaluated, then the mean of the last two; ``errors`` of ten at each of the evaluations."""
    config = TrainConfig(
        method=method, learning_rate=1e-2, max_steps=3, eval_steps=1, per_device_train_batch_size=2,
        average_checkpoints=2, guard=GuardConfig(enabled=guard, points=1),
    )  # fmt: skip
    seen = iter(errors)

    def measure(model, eval_set):
        wrong = next(seen, None)
        if wrong is None and killed:
            raise Stopped
        wrong = wrong or 0
        return [ErrorCounts(hits=10 - wrong, substitutions=wrong) for _ in eval_set.utterances]

    dev = EvaluationSet(name="dev", role="target", utterances=SPEECH, normalizer=NORMALIZER)
    model = apply_method(tiny_whisper(window="fit"), config)
    return Training(model, SPEECH, dev, config, directory, measure=measure, guard_sets=[dev]).run()


def weights(folder):
    return load_file(next(folder.glob("*model.safetensors")))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_mean_is_delivered_where_it_is_best(tmp_path, method):
    outcome = run(tmp_path, [9, 8, 7, 6, 1], method=method)
    assert (outcome.best_step, outcome.best_dev[0]) == (3, 0.1)
    second, third = (weights(tmp_path / f"checkpoints/step-0000000{step}") for step in (2, 3))
    for name, tensor in weights(tmp_path / "model").items():
        torch.testing.assert_close(tensor, (second[name] + third[name]) / 2, atol=1e-7, rtol=1e-6)
        assert not tensor.equal(third[name]) or second[name].equal(third[name])
    assert json.loads((tmp_path / "model/headroom.json").read_text())["averaged_steps"] == [2, 3]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 4


def test_a_single_step_is_delivered_where_the_mean_is_worse(tmp_path):
    outcome = run(tmp_path, [9, 8, 2, 6, 5])
    assert (outcome.best_step, outcome.best_dev[0]) == (2, 0.2)
    expected = weights(tmp_path / "checkpoints/step-00000002")
    assert all(tensor.equal(expected[name]) for name, tensor in weights(tmp_path / "model").items())
    assert not (tmp_path / "averaged").exists()


def test_the_guard_goes_to_the_mean(tmp_path):
    """Dev is measured at the base for the guard after the base's own evaluation."""
    run(tmp_path, [9, 9, 8, 7, 6, 1, 1], guard=True)
    assert '"mean of steps 2, 3 x 1"' in (tmp_path / "guard.json").read_text()


def test_killed_while_the_mean_is_evaluated(tmp_path):
    run(tmp_path / "whole", [9, 8, 7, 6, 1])
    with pytest.raises(Stopped):
        run(tmp_path / "cut", [9, 8, 7, 6], killed=True)
    run(tmp_path / "cut", [1])
    whole, cut = weights(tmp_path / "whole/model"), weights(tmp_path / "cut/model")
    assert all(tensor.equal(cut[name]) for name, tensor in whole.items())


def test_a_mean_of_one_is_refused():
    with pytest.raises(ConfigError, match="average_checkpoints is 1"):
        TrainConfig(average_checkpoints=1)
