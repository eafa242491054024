"""Memory that runs out at any micro-batch of any step: the run goes on in smaller ones to the same weights."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.errors import TrainingError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import get_normalizer
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.optimizer import move_weights

SPEECH = [tone_utterance(text, id=text) for text in ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade")]


class Stopped(Exception):
    """Stands in for a kill."""


def training(directory, *, fails=lambda calls, rows: None, measure=None, **changes):
    """A run of three steps; ``fails(calls, rows)`` may raise in the forward pass of training with gradients."""
    config = TrainConfig(**{"method": "full", "learning_rate": 1e-3, "max_steps": 3, "eval_steps": 3,
                            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2} | changes)  # fmt: skip
    model = tiny_whisper(window="fit")
    loss, calls = model.loss, []

    def watched(batch):
        if torch.is_grad_enabled():
            calls.append(batch.num_utterances)
            fails(len(calls), batch.num_utterances)
        return loss(batch)

    model.loss = watched
    dev = EvaluationSet(name="dev", role="target", utterances=SPEECH[:2], normalizer=get_normalizer("basic"))
    measure = measure or (lambda *_: [ErrorCounts(hits=1, substitutions=1)])
    run = Training(model, SPEECH, dev, config, directory, measure=measure, deliver=False)
    return run, calls


def weights(directory, step=3):
    return load_file(directory / f"checkpoints/step-{step:08d}/model.safetensors")


def assert_close(one, other):
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=2e-6, rtol=1e-4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    run, calls = training(directory)
    run.run()
    return weights(directory), len(calls)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("call", range(1, 11))
def test_memory_that_runs_out_once_changes_no_gradient(tmp_path, whole, call):
    expected, passes = whole
    assert passes >= 10  # two of the probe's steps and three of the run, two micro-batches each

    def fails(calls, rows):
        if calls == call:
            raise ERRORS[call % len(ERRORS)]

    run, calls = training(tmp_path, fails=fails)
    run.run()
    assert max(calls[call:]) == 2
    assert json.loads((tmp_path / "train.json").read_text())["micro_batch"] == 2
    assert_close(expected, weights(tmp_path))


def short_of_states(monkeypatch, failures):
    """The optimiser's states are not allocated the first so many times, after some weights have theirs and moved."""
    step, calls = torch.optim.AdamW.step, []

    def failing(self, closure=None):
        calls.append(1)
        if len(calls) > failures:
            return step(self, closure)
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        kept = {p: p.grad for p in moving[len(moving) // 2 :]}
        for p in kept:
            p.grad = None
        step(self, closure)
        for p, grad in kept.items():
            p.grad = grad
        self.state[next(iter(kept))]["step"] = torch.tensor(0.0)  # half made
        raise torch.OutOfMemoryError("no room for states")

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    return calls


def test_states_that_memory_held_only_at_the_second_try_change_nothing(tmp_path, whole, monkeypatch):
    """The first try is the probe's; the run's own first step is the one after it."""
    taken = short_of_states(monkeypatch, 1)
    run, _ = training(tmp_path)
    run.run()
    assert len(taken) > 4
    assert_close(whole[0], weights(tmp_path))


def test_weights_that_moved_before_memory_ran_out_do_not_move_twice(whole, monkeypatch):
    torch.manual_seed(0)
    gradients = [torch.randn(3) for _ in range(4)]

    def moved(failures):
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        short_of_states(monkeypatch, failures)
        move_weights(torch.optim.AdamW([{"params": weights[:2]}, {"params": weights[2:]}], lr=0.1))
        monkeypatch.undo()
        return torch.stack([weight.detach() for weight in weights])

    assert moved(1).equal(moved(0))


def test_states_that_memory_never_holds_are_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    short_of_states(monkeypatch, 2)
    run, _ = training(tmp_path)
    with pytest.raises(TrainingError, match=r"the optimiser's states .*\(no room for states\).*adamw-8bit"):
        run.run()


def test_it_goes_down_to_single_utterances_and_a_resumed_run_starts_there(tmp_path, whole, caplog):
    def fails(calls, rows):
        if rows > 1:
            raise MemoryError("no room")

    evaluations = []

    def killed_at_the_end(*_):
        evaluations.append(1)
        if len(evaluations) == 3:
            raise Stopped
        return [ErrorCounts(hits=1, substitutions=1)]

    first, _ = training(tmp_path, fails=fails, measure=killed_at_the_end, eval_steps=2)
    with caplog.at_level(logging.WARNING), pytest.raises(Stopped):
        first.run()
    assert [r.getMessage()[:44] for r in caplog.records if "at once" in r.getMessage()] == [
        "memory does not hold 4 utterances at once (n", "memory does not hold 2 utterances at once (n",
    ]  # fmt: skip
    second, calls = training(tmp_path, fails=fails, eval_steps=2)
    second.run()
    assert set(calls) == {1}  # it did not try the larger ones again
    assert_close(whole[0], weights(tmp_path))


def test_a_single_utterance_that_does_not_fit_is_an_error_that_says_what_to_do(tmp_path):
    def fails(calls, rows):
        raise MemoryError("no room")

    run, calls = training(tmp_path, fails=fails)
    with pytest.raises(TrainingError, match=r"a single utterance \(no room\); .*gradient_checkpointing"):
        run.run()
    assert len(calls) == 3  # of 4, 2 and 1 at most


def test_another_failure_is_no_matter_of_memory(tmp_path):
    def fails(calls, rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    run, calls = training(tmp_path, fails=fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run.run()
    assert len(calls) == 1


def test_the_dev_loss_is_summed_in_halves_where_memory_asks_for_it(tmp_path):
    run, _ = training(tmp_path)
    expected = run._evaluation.dev_loss(2)
    loss, rows = run.model.loss, []

    def small(batch):
        rows.append(batch.num_utterances)
        if batch.num_utterances > 1:
            raise MemoryError
        return loss(batch)

    run.model.loss = small
    assert run._evaluation.dev_loss(2) == pytest.approx(expected, rel=1e-5)
    assert rows == [2, 1, 1]
