"""The race over made-up learning curves: what it finds, whom it drops, what it costs, where it stops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr_headroom.errors import ConfigError
from asr_headroom.stages.race import Leg, Rules, judge_rung, race_cost, run_race

UTTERANCES, STEPS = 200, 80
HARDNESS = np.random.default_rng(0).integers(0, 10, UTTERANCES)

BY_RANK = Rules(rungs=(0.125, 0.25, 0.5, 1.0), keep=0.5, level=1 - 1e-12)
"""So sure of itself that nobody is ever held to be behind beyond noise."""


def alone(count):
    """Every utterance is its own cluster."""
    return np.arange(count)


class Curves:
    """Settings whose errors fall along known curves; counts the steps they are asked for."""

    def __init__(self, finals, *, speeds=None, **extra):
        self.finals, self.speeds, self.extra = finals, speeds or {}, extra
        self.steps = dict.fromkeys(finals, 0)
        self.calls = []

    def __call__(self, setting, share):
        step = math.ceil(share * STEPS)
        self.calls.append((setting, share))
        self.steps[setting] = max(self.steps[setting], step)
        left = math.exp(-self.speeds.get(setting, 3.0) * share)
        errors = np.minimum(10, np.round(HARDNESS * (self.finals[setting] + (1 - self.finals[setting]) * left)))
        errors = errors.astype(int).tolist()
        loss = self.finals[setting] + left
        return Leg(
            step=step, total_steps=STEPS, error_rate=sum(errors) / (10 * UTTERANCES), loss=loss,
            errors=errors, lengths=[10] * UTTERANCES, is_over=share == 1.0, **self.extra,
        )  # fmt: skip


def race(curves, rules, **options):
    return list(run_race(list(curves.finals), curves, rules, clusters=alone, **options))


@pytest.mark.parametrize("best", range(16))
def test_the_known_best_is_found_at_no_more_than_the_cost_foretold(best):
    finals = {f"{i:02d}": 0.9 - 0.03 * ((i * 7) % 16) for i in range(16)}
    finals[f"{best:02d}"] = 0.2
    curves = Curves(finals)
    rungs = race(curves, Rules())
    assert rungs[-1].going_on[0] == f"{best:02d}"
    assert sum(curves.steps.values()) <= race_cost(16, Rules()) * STEPS == 6.25 * STEPS


def test_each_setting_is_asked_for_each_rung_once_and_only_while_it_runs():
    curves = Curves({name: i / 100 for i, name in enumerate("abcdefgh")})
    rungs = race(curves, BY_RANK)
    assert len(set(curves.calls)) == len(curves.calls)
    shares = {name: [share for n, share in curves.calls if n == name] for name in "abcdefgh"}
    assert shares["a"] == [0.125, 0.25, 0.5, 1.0]
    assert shares["h"] == [0.125]
    assert [len(rung.standings) for rung in rungs] == [8, 4, 2, 1]


def test_before_the_end_loss_counts_as_much_as_errors_and_at_the_end_only_breaks_ties():
    """Places in errors 0 1 2 3 4 5; in loss 5 4 2 0 1 3; d is fourth by errors alone, and first by both."""
    rates = {"a": 0.20, "b": 0.21, "c": 0.22, "d": 0.23, "e": 0.24, "f": 0.25}
    losses = {"a": 0.45, "b": 0.44, "c": 0.42, "d": 0.24, "e": 0.41, "f": 0.43}
    legs = {n: Leg(error_rate=rates[n], loss=losses[n], errors=[0, 1], lengths=[1, 1]) for n in losses}
    rules = Rules(rungs=(0.2, 1.0), keep=1 / 2)
    early = judge_rung(0.2, legs, rules, alone)
    assert [s.setting for s in early.standings] == ["d", "c", "a", "b", "e", "f"]  # where sums are equal, errors decide
    assert early.going_on == ["d", "c", "a"]
    assert [s.setting for s in judge_rung(1.0, legs, rules, alone).standings] == list("abcdef")


def test_losses_over_other_targets_are_not_compared():
    """Few nats per token are no merit where a token is a letter, and a word in the others; errors are errors."""
    rates, losses = {"a": 0.20, "b": 0.21, "c": 0.22}, {"a": 0.9, "b": 0.1, "c": 0.8}

    def order(loss_over_of_b):
        over = {"b": loss_over_of_b}
        legs = {
            n: Leg(error_rate=rates[n], loss=losses[n], loss_over=over.get(n, ""), errors=[0, 1], lengths=[1, 1])
            for n in losses
        }
        return [s.setting for s in judge_rung(0.2, legs, Rules(rungs=(0.2, 1.0)), alone).standings]

    assert order("") == ["b", "a", "c"]
    assert order("model=letters") == ["a", "b", "c"]


def test_settings_that_are_equal_stay_together():
    """Four alike at the cut: dropping two of them would be a matter of their order."""
    curves = Curves({"a": 0.49, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.5, "f": 0.51})
    first = race(curves, BY_RANK)[0]
    decisions = {s.setting: s.decision for s in first.standings}
    assert [decisions[name] for name in "bcde"] == ["goes on"] * 4
    assert decisions["f"] == "rank"


def test_a_setting_behind_beyond_noise_goes_whatever_its_rank_and_the_unproven_are_known():
    errors = {"a": [1] * 100, "b": [1] * 99 + [2], "c": [3, 1] * 50, "d": [3, 1, 3, 1, 4] * 20}
    legs = {
        name: Leg(error_rate=sum(row) / 1000, loss=1.0, errors=row, lengths=[10] * 100) for name, row in errors.items()
    }
    rung = judge_rung(0.5, legs, Rules(rungs=(0.5, 1.0), keep=0.75), alone)
    found = {s.setting: s for s in rung.standings}
    assert [found[name].decision for name in "abcd"] == ["goes on", "goes on", "behind", "behind"]
    assert found["c"].behind == "a"
    assert found["b"].behind is None
    assert found["b"].ci_low < 0 < found["b"].ci_high
    assert found["b"].difference == pytest.approx(0.001)
    assert 0 < found["c"].ci_low <= found["c"].difference == pytest.approx(0.1)
    assert found["d"].ci_low <= found["d"].difference <= found["d"].ci_high


def test_rows_of_a_cluster_are_one_row():
    """Ten voices say ten sentences each: a hundred utterances prove no more than ten, too few to drop anybody."""
    legs = {
        name: Leg(error_rate=rate, loss=1.0, errors=[int(10 * rate)] * 100, lengths=[10] * 100)
        for name, rate in (("a", 0.1), ("b", 0.6))
    }
    rules = Rules(rungs=(0.5, 1.0), keep=0.9)
    by_voice = judge_rung(0.5, legs, rules, lambda count: np.arange(count) // 10)
    assert [(s.behind, s.ci_low) for s in by_voice.standings] == [(None, None), (None, None)]
    assert judge_rung(0.5, legs, rules, alone).standings[1].behind == "a"


def test_a_setting_without_any_effect_is_rarely_held_to_be_behind():
    """Eight settings that differ by noise alone, two hundred races: none is ever dropped as behind in 95 % of them."""
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        rung = {}
        for name in "abcdefgh":
            errors = random.poisson(1.5, 150).tolist()
            rung[name] = Leg(error_rate=sum(errors) / 1500, loss=1.0, errors=errors, lengths=[10] * 150)
        found = judge_rung(1.0, rung, Rules(rungs=(1.0,)), alone)
        wrong += any(s.behind for s in found.standings)
    assert wrong <= 10


def test_a_diverged_setting_is_out_and_the_others_go_on():
    curves = Curves({"a": 0.5, "b": 0.2, "c": 0.21})

    def run(setting, share):
        return Leg(failure="the loss is nan") if setting == "a" else curves(setting, share)

    rungs = list(run_race("abc", run, Rules(rungs=(0.5, 1.0), keep=0.5, level=BY_RANK.level), clusters=alone))
    assert [(s.setting, s.decision) for s in rungs[0].standings][-1] == ("a", "diverged")
    assert rungs[-1].going_on == ["b", "c"]


def test_where_all_diverge_nobody_goes_on():
    rungs = list(run_race("ab", lambda *_: Leg(failure="nan"), Rules(), clusters=alone))
    assert len(rungs) == 1
    assert rungs[0].going_on == []


def test_a_training_that_is_over_early_is_not_asked_again():
    curves = Curves({"a": 0.1, "b": 0.5})

    def run(setting, share):
        leg = curves(setting, share)
        return Leg(**{**vars(leg), "is_over": setting == "a" or share == 1.0})

    rungs = list(run_race("ab", run, Rules(rungs=(0.25, 0.5, 1.0), keep=0.99), clusters=alone))
    assert rungs[-1].going_on[0] == "a"
    assert [share for name, share in curves.calls if name == "a"] == [0.25]


class Purse:
    """Seconds that go down by what each leg really takes."""

    def __init__(self, curves, budget, *, entry=2.0, step=1.0):
        self.curves, self.left, self.entry, self.step = curves, budget, entry, step

    def __call__(self, setting, share):
        before = self.curves.steps[setting]
        leg = self.curves(setting, share)
        self.left -= self.entry + self.step * (leg.step - before)
        return leg

    def seconds_left(self):
        return self.left


@pytest.mark.parametrize("budget", [80, 100, 130, 200, 300, 450])
def test_no_budget_is_overdrawn_and_something_is_always_finished(budget):
    """A whole training takes 82 s; whatever is left decides how many are tried and go on."""
    curves = Curves({f"{i}": 0.2 + 0.05 * i for i in range(8)}, entry_seconds=2.0, work_seconds=1.0 * STEPS)
    purse = Purse(curves, budget)
    rungs = list(run_race(list(curves.finals), purse, BY_RANK, clusters=alone, seconds_left=purse.seconds_left))
    finished = rungs[-1].going_on
    assert finished
    assert curves.steps[finished[0]] == STEPS
    # The first setting is always run to its end, which its own training's budget would cut; four entries of 2 s.
    assert purse.left >= min(0, budget - (STEPS + 4 * 2.0))
    # A first leg takes 12 s, and 72 s must be left to finish one.
    assert sum(steps > 0 for steps in curves.steps.values()) == min(8, max(1, (budget - 72) // 12))
    untried = [s.setting for s in rungs[0].standings if s.decision == "budget"]
    assert untried == [name for name, steps in curves.steps.items() if not steps]


def test_decisions_of_an_earlier_session_stand_and_nothing_is_asked_twice():
    rules, finals = Rules(), {name: i / 10 for i, name in enumerate("abcdefgh")}
    whole = race(Curves(finals), rules)
    for cut in range(len(whole) + 1):
        curves = Curves(finals)
        memory = {}
        for rung in whole[:cut]:
            memory |= {(name, rung.share): Curves(finals)(name, rung.share) for name in rung.going_on}

        def run(setting, share, memory=memory, curves=curves):
            return memory[setting, share] if (setting, share) in memory else curves(setting, share)

        rest = list(run_race(list(finals), run, rules, clusters=alone, decided=whole[:cut]))
        assert rest == whole[cut:]
        assert {share for _, share in curves.calls} == {rung.share for rung in whole[cut:]}


@pytest.mark.parametrize(
    ("settings", "rules", "cost"),
    [(16, Rules(), 6.25), (12, Rules(), 4.5), (9, Rules(rungs=(1 / 9, 1 / 3, 1.0), keep=1 / 3), 1 + 2 / 3 + 2 / 3)],
)
def test_cost(settings, rules, cost):
    assert race_cost(settings, rules) == pytest.approx(cost)


@pytest.mark.parametrize(
    "wrong", [{"rungs": (0.5, 0.25, 1.0)}, {"rungs": (0.0, 1.0)}, {"rungs": (0.5, 0.5)}, {"keep": 1.0}, {"keep": 0.0}]
)
def test_rules_that_make_no_race(wrong):
    with pytest.raises(ConfigError, match=r"rungs is|keep is"):
        Rules(**wrong)


def test_intervals_agree_with_a_plain_confidence_sequence():
    """The same number by the formula of Waudby-Smith et al., written out: two settings, one rung."""
    random = np.random.default_rng(2)
    rows = {name: random.poisson(rate, 90) for name, rate in (("a", 1.0), ("b", 1.6))}
    legs = {n: Leg(error_rate=r.sum() / 720, loss=1.0, errors=r.tolist(), lengths=[8] * 90) for n, r in rows.items()}
    (leader, other) = judge_rung(1.0, legs, Rules(rungs=(1.0,)), alone).standings
    difference = rows[other.setting] - rows[leader.setting]
    alpha, n = 0.05, 90
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / n
    radius = difference.std(ddof=1) * math.sqrt(
        2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha)
    )
    assert other.ci_low == pytest.approx((difference.mean() - radius) / 8)
    assert other.ci_high == pytest.approx((difference.mean() + radius) / 8)
    assert leader.ci_low is None
