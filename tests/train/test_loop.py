"""The training loop: it learns, its gradient is the batch's however it is cut, it resumes, it keeps the best."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from asr_headroom.errors import ModelError, TrainingError
from asr_headroom.evaluate.transcribe import count_utterances
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.models.decoding import DecodingOptions
from asr_headroom.models.registry import load_model
from asr_headroom.testing.synthetic import tone_utterance
from asr_headroom.testing.tiny import tiny_whisper
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import TrainConfig
from asr_headroom.train.guard import EvaluationSet
from asr_headroom.train.loop import Training
from asr_headroom.train.methods import apply_method, trainable_parameters
from asr_headroom.train.objectives import TokenLoss

SPEECH = [tone_utterance(text) for text in ("abc", "cab", "bad", "cabbage", "dada", "face", "ab", "fade")]


class Stopped(Exception):
    """Stands in for a kill."""


ENGLISH = normalizer_for_language("en")


def dev_set(speech, name="dev", role="target"):
    return EvaluationSet(name=name, role=role, utterances=speech, normalizer=ENGLISH)


def transcribed(model, eval_set):
    options = DecodingOptions(max_new_tokens=8)
    return count_utterances(model, eval_set.utterances, options, normalizer=eval_set.normalizer, batch_size=2)


def start(directory, config, *, speech=SPEECH, measure=transcribed, model=None, **options):
    model = apply_method(model or tiny_whisper(window="fit", dropout=0.1), config)
    return Training(model, speech, dev_set(speech[:2]), config, directory, measure=measure, **options)


def short(**changes):
    return TrainConfig(**{"method": "full", "learning_rate": 1e-3, "max_steps": 6, "eval_steps": 2,
                          "per_device_train_batch_size": 4, "logging_steps": 2} | changes)  # fmt: skip


def weights(directory, name="model"):
    file = next((directory / name).glob("*model.safetensors"))
    return load_file(file)


def assert_equal_weights(a, b):
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert torch.equal(tensor, b[name]), name


def test_overfits_two_utterances(tmp_path):
    speech = SPEECH[:2]
    config = short(max_steps=120, eval_steps=40, learning_rate=3e-3, per_device_train_batch_size=2, logging_steps=60)
    outcome = start(tmp_path, config, speech=speech, model=tiny_whisper(window="fit")).run()
    assert outcome.best_step > 0
    model = load_model(str(outcome.model_directory), window="fit")
    assert [h.text for h in model.transcribe(speech)] == ["abc", "cab"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_resume_equals_never_stopping(tmp_path, method):
    config = short(method=method)
    start(tmp_path / "whole", config).run()
    calls = []

    def killed_at_third(model, eval_set):
        calls.append(1)
        if len(calls) == 3:  # steps 0 and 2 are on disk, step 4 is not
            raise Stopped
        return transcribed(model, eval_set)

    with pytest.raises(Stopped):
        start(tmp_path / "cut", config, measure=killed_at_third).run()
    start(tmp_path / "cut", config).run()
    last = "checkpoints/step-00000006"
    assert_equal_weights(weights(tmp_path / "whole", last), weights(tmp_path / "cut", last))
    assert_equal_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "cut/history.jsonl").read_text()


def test_running_a_finished_run_again_changes_nothing(tmp_path):
    first = start(tmp_path, short()).run()
    before = weights(tmp_path)
    second = start(tmp_path, short()).run()
    assert_equal_weights(before, weights(tmp_path))
    assert first == second


def gradients(directory, rows, accumulation, window="fit"):
    """Gradients of one optimiser step, before clipping, and its loss."""
    config = short(per_device_train_batch_size=rows, gradient_accumulation_steps=accumulation, max_steps=1)
    model = tiny_whisper(window=window)
    training = start(directory, config, model=model)
    totals = TokenLoss(training.model, training._accelerator).accumulate(training._feed.step(0))
    return {n: p.grad.clone() for n, p in model.module.named_parameters() if p.grad is not None}, totals


@pytest.mark.parametrize("window", ["full", "fit"])
def test_batch_of_1_times_8_equals_8_times_1(tmp_path, window):
    one, loss_one = gradients(tmp_path / "a", 1, 8, window)
    eight, loss_eight = gradients(tmp_path / "b", 8, 1, window)
    assert loss_one.loss == pytest.approx(loss_eight.loss, rel=1e-5)
    assert loss_one.count == loss_eight.count
    assert one.keys() == eight.keys()
    for name in one:
        torch.testing.assert_close(one[name], eight[name], atol=1e-5, rtol=1e-5)


def test_gradient_is_that_of_the_mean_over_all_tokens(tmp_path):
    ours, totals = gradients(tmp_path, 2, 4)
    model = tiny_whisper(window="fit")
    model.module.train()
    losses = [model.loss(model.collate([utterance])) for utterance in SPEECH]
    mean = sum(loss.nats for loss in losses) / sum(loss.num_targets for loss in losses)
    mean.backward()
    for name, parameter in model.module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name], parameter.grad, atol=1e-6, rtol=1e-4)
    assert totals.loss / totals.count == pytest.approx(mean.item(), rel=1e-5)


def test_the_best_step_on_dev_is_kept_not_the_last(tmp_path):
    rates = iter([9, 5, 1, 7])  # errors of 10 at steps 0, 2, 4, 6

    def measure(model, eval_set):
        errors = next(rates)
        return [ErrorCounts(hits=10 - errors, substitutions=errors)]

    outcome = start(tmp_path, short(), measure=measure).run()
    assert outcome.best_step == 4
    assert_equal_weights(weights(tmp_path), weights(tmp_path, "checkpoints/step-00000004"))
    steps = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert steps == ["step-00000004", "step-00000006"]


def test_the_base_is_kept_when_training_only_hurts(tmp_path):
    rates = iter([1, 5, 5, 5])

    def measure(model, eval_set):
        errors = next(rates)
        return [ErrorCounts(hits=10 - errors, substitutions=errors)]

    base = tiny_whisper(window="fit")
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    outcome = start(tmp_path, short(), measure=measure, model=base).run()
    assert outcome.best_step == 0
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, before[name])
    assert json.loads((tmp_path / "model/headroom.json").read_text())["best_step"] == 0


def test_early_stop_counts_evaluations_without_a_new_best(tmp_path):
    rates = iter([9, 7, 8, 5, 6, 5, 1])  # errors of 10 at steps 0, 2, 4 …; one miss at 4, then misses at 8 and 10

    def measure(model, eval_set):
        errors = next(rates)
        return [ErrorCounts(hits=10 - errors, substitutions=errors)]

    training = start(tmp_path, short(max_steps=40, eval_steps=2, early_stopping_patience=2), measure=measure)
    training._evaluation.dev_loss = lambda count: 1.0  # the tie at step 10 is no new best
    outcome = training.run()
    assert (outcome.reason, outcome.best_step, outcome.stopped_at) == ("early stop", 6, 10)
    assert_equal_weights(weights(tmp_path), weights(tmp_path, "checkpoints/step-00000006"))


def test_another_config_or_other_data_in_the_same_directory_is_refused(tmp_path):
    start(tmp_path, short(), facts={"train_data": "a"}).run()
    with pytest.raises(TrainingError, match=r"holds another run \(it differs in learning_rate\)"):
        start(tmp_path, short(learning_rate=2e-3), facts={"train_data": "a"}).run()
    with pytest.raises(TrainingError, match="differs in train_data"):
        start(tmp_path, short(), facts={"train_data": "b"}).run()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = tiny_whisper(window="fit")
    with torch.no_grad():
        model.module.model.encoder.conv1.weight.fill_(torch.nan)
    measure = lambda *_: [ErrorCounts(hits=1)]  # noqa: E731
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan; lower learning_rate"):
        start(tmp_path, short(), model=model, measure=measure).run()


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(TrainingError, match="nothing to train on"):
        Training(tiny_whisper(), [], dev_set(SPEECH), short(), tmp_path, measure=transcribed)


def test_record_says_what_was_run(tmp_path):
    start(tmp_path, short(method="lora"), facts={"base": "tiny", "family": "whisper"}).run()
    record = json.loads((tmp_path / "train.json").read_text())
    assert record["status"] == "complete"
    assert record["config"]["lora"]["rank"] == 32
    assert record["facts"] == {"base": "tiny", "family": "whisper"}
    assert record["plan"]["total_steps"] == 6
    assert {"setup", "evaluate", "save", "train"} <= record["minutes"].keys()
    assert record["provenance"]["packages"]["torch"]
    facts = json.loads((tmp_path / "model/headroom.json").read_text())
    assert facts["method"] == "lora"
    assert facts["trainable_parameters"] == record["trainable_parameters"]


class CountedSeconds:
    """A clock that stands still but for what the test charges: a second per loss, three per validation."""

    def __init__(self, model):
        self.now = 0.0
        loss = model.loss

        def charged(batch):
            self.now += 1.0
            return loss(batch)

        model.loss = charged

    def __call__(self):
        return self.now

    def measure(self, model, eval_set):
        self.now += 3.0
        return [ErrorCounts(hits=1, substitutions=1)]


def on_budget(directory, seconds):
    model = tiny_whisper(window="full")
    clock = CountedSeconds(model)
    config = short(max_steps=None, num_train_epochs=1000.0, eval_steps=None)
    return start(directory, config, budget_seconds=seconds, clock=clock, measure=clock.measure, model=model)


def test_a_budget_shortens_the_plan_and_is_used_but_not_overdrawn(tmp_path):
    outcome = on_budget(tmp_path, 120.0).run()
    # The plan is a seventh bolder than the forecast, so on a machine as fast as that the clock ends it.
    assert outcome.reason == "budget"
    assert 0.8 * outcome.plan.total_steps <= outcome.stopped_at < outcome.plan.total_steps
    minutes = json.loads((tmp_path / "train.json").read_text())["minutes"]
    assert 100 <= sum(minutes.values()) * 60 <= 120.1  # minutes are stored to four digits
    assert minutes["evaluate"] <= 0.3 * sum(minutes.values())
    history = [json.loads(line)["step"] for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert history[0] == 0
    assert history[-1] == outcome.stopped_at


def slower_than_forecast(training):
    """The training, with steps that take a second longer than the probe saw."""

    class Slower(TokenLoss):
        def accumulate(self, batches):
            training._clock.now += 1.0 if training._record.values.get("plan") else 0.0
            return super().accumulate(batches)

    training._make_objective = Slower
    return training


def test_a_forecast_that_was_too_bold_is_caught_by_the_clock(tmp_path):
    training = slower_than_forecast(on_budget(tmp_path, 120.0))
    outcome = training.run()
    assert outcome.reason == "budget"
    minutes = json.loads((tmp_path / "train.json").read_text())["minutes"]
    assert sum(minutes.values()) * 60 <= 120.1
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])["step"] == outcome.stopped_at


def test_a_budget_too_small_for_one_step_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="raise the budget"):
        on_budget(tmp_path, 8.0).run()


def test_one_process_trains_in_one_precision_after_the_other(tmp_path):
    for index, precision in enumerate(["no", "bf16", "no"]):
        outcome = start(tmp_path / str(index), short(max_steps=1, mixed_precision=precision)).run()
        assert outcome.stopped_at == 1
    same = weights(tmp_path / "0", "checkpoints/step-00000001"), weights(tmp_path / "2", "checkpoints/step-00000001")
    assert_equal_weights(*same)
    other = weights(tmp_path / "1", "checkpoints/step-00000001")
    assert all(tensor.dtype == torch.float32 for tensor in other.values())
    assert any(not torch.equal(other[name], tensor) for name, tensor in same[0].items())


def test_half_precision_weights_are_refused_for_full_training():
    model = tiny_whisper()
    model.module.to(torch.bfloat16)
    with pytest.raises(ModelError, match="rounds away"):
        apply_method(model, TrainConfig(method="full"))


def test_gradient_checkpointing_gives_the_same_gradients_and_stays_on(tmp_path):
    plain, _ = gradients(tmp_path / "a", 4, 2)
    model = apply_method(tiny_whisper(window="fit"), short(gradient_checkpointing=True))
    for _ in range(2):  # a second time: it stays on (trap 17)
        model.module.zero_grad()
        model.module.train()
        losses = [model.loss(model.collate([u])) for u in SPEECH]
        (sum(loss.nats for loss in losses) / sum(loss.num_targets for loss in losses)).backward()
        assert all(layer.gradient_checkpointing for layer in model.module.model.encoder.layers)
        model.transcribe(SPEECH[:1], DecodingOptions(max_new_tokens=2))
    for name, parameter in model.module.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(plain[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_trainable_parameters_by_method():
    tiny = tiny_whisper()
    positions = tiny.module.model.encoder.embed_positions.weight.numel()
    assert trainable_parameters(apply_method(tiny_whisper(), short())) == tiny.card.parameters - positions
    # 3 attentions of 4 square projections, rank 32 on both sides of each
    assert trainable_parameters(apply_method(tiny_whisper(), short(method="lora"))) == 3 * 4 * 2 * 32 * 32


def test_running_a_run_again_that_stopped_early_changes_nothing(tmp_path):
    measure = lambda *_: [ErrorCounts(hits=1, substitutions=1)]  # noqa: E731
    config = short(max_steps=40, learning_rate=0.5, early_stopping_patience=1)
    first = start(tmp_path, config, measure=measure).run()
    assert first.reason == "early stop"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert start(tmp_path, config, measure=measure).run() == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_running_a_run_again_that_spent_its_budget_takes_no_further_step(tmp_path):
    training = slower_than_forecast(on_budget(tmp_path, 120.0))
    first = training.run()
    assert first.reason == "budget"
    assert on_budget(tmp_path, 120.0).run() == first


def test_a_raised_budget_goes_on_with_the_frozen_plan(tmp_path):
    """And only a raised one: the same run with the same budget is done."""
    configs = [short(max_steps=None, num_train_epochs=1000.0, eval_steps=None, budget=b) for b in ("120s", "300s")]

    def resumed(config, seconds):
        model = tiny_whisper(window="full")
        clock = CountedSeconds(model)
        return start(tmp_path, config, budget_seconds=seconds, clock=clock, measure=clock.measure, model=model)

    first = slower_than_forecast(resumed(configs[0], 120.0)).run()
    assert first.reason == "budget"
    assert resumed(configs[0], 120.0).run() == first
    lowered = short(max_steps=None, num_train_epochs=1000.0, eval_steps=None, budget="100s")
    assert resumed(lowered, 100.0).run().stopped_at == first.stopped_at
    second = resumed(configs[1], 300.0).run()
    assert second.plan == first.plan
    assert second.reason == "done"
    assert second.stopped_at == second.plan.total_steps > first.stopped_at


@pytest.mark.parametrize("moment", ["history", "checkpoint"])
def test_killed_while_it_saves_the_history_stays_whole(tmp_path, moment):
    start(tmp_path / "whole", short()).run()
    cut = start(tmp_path / "cut", short())
    write_history, save = cut._history.write, cut._checkpoints.save

    def killed_after_history():
        write_history()
        if moment == "history" and len(cut._history.rows) == 3:
            raise Stopped

    def killed_after_checkpoint(step, *arguments):
        save(step, *arguments)
        if moment == "checkpoint" and step == 4:
            raise Stopped

    cut._history.write, cut._checkpoints.save = killed_after_history, killed_after_checkpoint
    with pytest.raises(Stopped):
        cut.run()
    start(tmp_path / "cut", short()).run()
    assert (tmp_path / "whole/history.jsonl").read_text() == (tmp_path / "cut/history.jsonl").read_text()
    assert_equal_weights(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_waiting_for_audio_counts_as_training(tmp_path):
    training = on_budget(tmp_path, None)
    training.config = short(max_steps=4, eval_steps=4)
    steps = training._feed.steps

    def slow_steps(first, last):
        for step in steps(first, last):
            training._clock.now += 10.0
            yield step

    training._feed.steps = slow_steps
    training.run()
    assert json.loads((tmp_path / "train.json").read_text())["minutes"]["train"] * 60 == pytest.approx(44.0, abs=0.1)


def test_seconds_lost_to_a_kill_count_against_the_budget(tmp_path):
    training = on_budget(tmp_path, 1000.0)

    class KilledAtSixth(TokenLoss):
        def accumulate(self, batches):
            if training._record.values.get("plan") and batches.number == 5:  # lines of the log after steps 2 and 4
                raise Stopped
            return super().accumulate(batches)

    training._make_objective = KilledAtSixth
    with pytest.raises(Stopped):
        training.run()
    minutes = json.loads((tmp_path / "train.json").read_text())["minutes"]
    assert minutes["train"] * 60 == pytest.approx(4.0, abs=0.1)


def test_resuming_with_another_number_of_processes_is_refused(tmp_path):
    config = short()
    start(tmp_path, config).run()
    record = json.loads((tmp_path / "train.json").read_text())
    record["plan"]["batch_size"] = 8  # as two processes of four would have planned
    (tmp_path / "train.json").write_text(json.dumps(record | {"status": "running"}))
    with pytest.raises(TrainingError, match="steps of 8 utterances, this one takes 4"):
        start(tmp_path, config).run()


def test_a_damaged_history_is_refused(tmp_path):
    start(tmp_path, short()).run()
    record = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps(record | {"status": "running"}))
    (tmp_path / "history.jsonl").write_text('{"step": 0, \n')
    with pytest.raises(TrainingError, match=r"history\.jsonl: cannot be read"):
        start(tmp_path, short()).run()
