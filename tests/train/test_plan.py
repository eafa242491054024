"""The plan: what a config and a budget allow."""

from __future__ import annotations

import pytest

from asr_headroom.errors import ConfigError, TrainingError
from asr_headroom.train.config import GuardConfig, TrainConfig
from asr_headroom.train.plan import evaluation_sizes, make_plan


def test_epochs_without_a_budget():
    plan = make_plan(TrainConfig(num_train_epochs=2.5), batch_size=16, steps_per_epoch=40)
    assert (plan.total_steps, plan.eval_steps) == (100, 10)


def test_max_steps_wins_over_epochs():
    assert make_plan(TrainConfig(max_steps=7), batch_size=16, steps_per_epoch=40).total_steps == 7


@pytest.mark.parametrize("seconds", [100, 600, 3600, 86_400])
def test_a_budget_is_kept_and_evaluations_take_at_most_a_quarter(seconds):
    config = TrainConfig(num_train_epochs=1e6)
    plan = make_plan(
        config, batch_size=16, steps_per_epoch=40, seconds_left=seconds, step_seconds=2.0, eval_seconds=9.0
    )
    evaluations = -(-plan.total_steps // plan.eval_steps)
    # A seventh bolder than the forecast: the clock ends what does not fit.
    assert plan.total_steps * 2.0 / 1.15 + evaluations * 9.0 <= seconds
    assert plan.total_steps * 2.0 / 1.15 + evaluations * 9.0 >= 0.8 * seconds
    assert evaluations * 9.0 <= 0.25 * seconds or evaluations == 1


def test_a_generous_budget_changes_nothing():
    config = TrainConfig(num_train_epochs=1)
    plan = make_plan(config, batch_size=16, steps_per_epoch=40, seconds_left=1e6, step_seconds=1.0, eval_seconds=1.0)
    assert plan.total_steps == 40


def test_too_small_a_budget_says_what_it_would_take():
    with pytest.raises(TrainingError, match=r"5 s of the budget are left, but one step takes 4\.0 s"):
        make_plan(TrainConfig(), batch_size=1, steps_per_epoch=9, seconds_left=5, step_seconds=4.0, eval_seconds=3.0)


def test_all_problems_of_a_config_are_listed():
    with pytest.raises(ConfigError) as caught:
        TrainConfig(learning_rate=-1, max_steps=0, warmup_ratio=2, budget="soon", per_device_train_batch_size=0)
    message = str(caught.value)
    for word in ("learning_rate", "max_steps", "warmup_ratio", "budget 'soon'", "per_device_train_batch_size"):
        assert word in message


def test_an_interval_that_was_asked_for_is_paid_for():
    config = TrainConfig(num_train_epochs=1e6, eval_steps=10)
    plan = make_plan(config, batch_size=1, steps_per_epoch=40, seconds_left=3600, budget_seconds=3600,
                     step_seconds=1.0, eval_seconds=20.0)  # fmt: skip
    assert plan.eval_steps == 10
    assert 0.95 * 3600 <= plan.total_steps * 1.0 + plan.total_steps / 10 * 20.0 <= 1.16 * 3600


def test_the_guard_gives_up_utterances_before_points():
    config = TrainConfig()
    wanted = evaluation_sizes(config, guard_sets=2, nonspeech=[48])
    assert (wanted.eval_utterances, wanted.guard_utterances, wanted.guard_points) == (100, 200, 5)
    shares = {"guard_sets": 2, "nonspeech": [48], "seconds_per_utterance": 0.1}
    fewer = evaluation_sizes(config, budget_seconds=600, **shares)
    assert fewer.guard_points == 2
    assert (fewer.guard_utterances * 2 + 16) * 3 * 0.1 <= 0.15 * 600
    assert fewer.eval_utterances * 3 * 0.1 <= 0.1 * 600
    tight = evaluation_sizes(config, budget_seconds=60, **shares)
    assert (tight.guard_utterances, tight.guard_points) == (14, 1)
    least = evaluation_sizes(config, budget_seconds=1, **shares)
    assert (least.eval_utterances, least.guard_utterances, least.guard_points) == (10, 10, 1)


def test_long_recordings_are_paid_for_or_left_out():
    config = TrainConfig(num_train_epochs=1)
    shares = {"guard_sets": 2, "nonspeech": [48], "seconds_per_utterance": 0.5}
    assert evaluation_sizes(config, **shares, long_form=1e6).long_form, "without a budget there is time"
    # 15 % of 3,600 s are 1,080 utterances: 360 at the base and each of two points.
    held = evaluation_sizes(config, **shares, long_form=80, budget_seconds=3600)
    assert held.long_form
    assert held.guard_utterances == (360 - 48 - 80) // 2
    left_out = evaluation_sizes(config, **shares, long_form=95, budget_seconds=3600)
    assert not left_out.long_form
    assert left_out.guard_utterances == (360 - 48) // 2
    assert evaluation_sizes(config, **shares, budget_seconds=3600).long_form, "nothing to leave out is not said"


def test_clips_of_silence_and_noise_take_a_quarter_of_the_guard_and_are_never_fewer_than_sixteen():
    config = TrainConfig()
    shares = {"guard_sets": 2, "seconds_per_utterance": 0.1}
    # 15 % of 600 s are 900 utterances: 300 at the base and each of two points, of which clips may be 75.
    assert evaluation_sizes(config, nonspeech=[48], budget_seconds=600, **shares).nonspeech == 75
    assert evaluation_sizes(config, nonspeech=[48, 900], budget_seconds=600, **shares).nonspeech == 37
    assert evaluation_sizes(config, nonspeech=[48], budget_seconds=60, **shares).nonspeech == 16
    assert evaluation_sizes(config, nonspeech=[48], **shares).nonspeech == 200, "without a budget all, as of other sets"
    few = TrainConfig(guard=GuardConfig(utterances=8))
    for budget in (None, 600):
        assert evaluation_sizes(few, nonspeech=[48], budget_seconds=budget, **shares).nonspeech == 16
