"""A run that pauses and goes on is the run that never paused."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training

SPEECH = [tone_utterance(text, id=text) for text in ("abc", "cab", "bad", "dab")]
SETTINGS = TrainConfig(
    method="full", learning_rate=1e-3, max_steps=10, eval_steps=5, per_device_train_batch_size=2, warmup_ratio=0.3
)


def run(directory, **options):
    """Errors fall by one with each evaluation; options go to Training."""
    dev = EvaluationSet(name="dev", role="target", utterances=SPEECH, normalizer=get_normalizer("basic"))
    history = directory / "history.jsonl"
    seen = len(history.read_text().splitlines()) if history.exists() else 0
    errors = iter(range(9 - seen, -1, -1))

    def measure(model, eval_set):
        wrong = next(errors)
        return [ErrorCounts(hits=10 - wrong, substitutions=wrong) for _ in eval_set.utterances]

    model = tiny_whisper(window="fit")
    return Training(model, SPEECH, dev, SETTINGS, directory, measure=measure, deliver=False, **options).run()


def evaluated(directory):
    """Steps after which dev was measured."""
    return [json.loads(line)["step"] for line in (directory / "history.jsonl").read_text().splitlines()]


def weights(directory):
    return load_file(directory / "checkpoints/step-00000010/model.safetensors")


def test_pauses_change_no_weight(tmp_path):
    whole = run(tmp_path / "whole")
    paused = [run(tmp_path / "paused", stop_at=share) for share in (0.21, 0.5, 1.0)]
    assert [(o.stopped_at, o.reason) for o in paused] == [(3, "paused"), (5, "paused"), (10, "done")]
    assert whole.stopped_at == 10
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "paused").items():
        assert tensor.equal(expected[name]), name


def test_a_pause_is_evaluated_and_asking_again_for_it_takes_no_step(tmp_path):
    first = run(tmp_path, stop_at=0.3)
    assert first.last_dev[0] == 0.8  # the second evaluation
    assert first.last_counts == [(8, 10)] * 4
    again = run(tmp_path, stop_at=0.3)
    assert (again.stopped_at, again.last_dev) == (3, first.last_dev)
    assert evaluated(tmp_path) == [0, 3]


def test_a_share_of_the_steps_is_rounded_up_but_not_by_rounding_errors(tmp_path):
    assert run(tmp_path, stop_at=0.7).stopped_at == 7  # 0.7 * 10 is 7.000000000000001 in some orders
    assert run(tmp_path, stop_at=0.71).stopped_at == 8
    assert evaluated(tmp_path) == [0, 7, 8]  # on the way to a pause nothing else is


def test_the_last_stretch_is_evaluated_as_any_run(tmp_path):
    run(tmp_path, stop_at=0.3)
    run(tmp_path)
    assert evaluated(tmp_path) == [0, 3, 5, 10]


@pytest.mark.parametrize("share", [0.0, 1.2])
def test_a_share_beyond_the_plan_is_the_plan(tmp_path, share):
    assert run(tmp_path, stop_at=share).stopped_at == (10 if share else 0)
