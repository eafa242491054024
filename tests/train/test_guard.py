"""The guard's rule on counts made by hand, and that it measures, remembers and runs out of time as it says."""

from __future__ import annotations

import numpy as np
import pytest

from asr_headroom.data.manifest import Utterance
from asr_headroom.data.nonspeech import nonspeech_utterances
from asr_headroom.errors import ConfigError, TrainingError
from asr_headroom.metrics.error_rate import ErrorCounts
from asr_headroom.text.normalize import normalizer_for_language
from asr_headroom.train.config import GuardConfig
from asr_headroom.train.guard import (
    EvaluationSet,
    GuardRecord,
    MeasuredSet,
    choose_point,
    describe_base,
    next_point,
    run_guard,
)

ENGLISH = normalizer_for_language("en")
POINTS = (0.25, 0.5, 0.75, 1.0)
WORDS = 10


def eval_set(role="target", count=60, name=None):
    if role == "nonspeech":
        utterances = nonspeech_utterances(16_000, language="en", count=count)
    else:
        utterances = [
            Utterance(id=f"u{i}", audio="none.wav", text=f"sentence {i}", language="en", duration=1.0)
            for i in range(count)
        ]
    return EvaluationSet(name=name or role, role=role, utterances=utterances, normalizer=ENGLISH)


def counts(rate, count=60, seed=0):
    """Counts of ten words each; expected error rate ``rate``, in the same utterances for the same seed."""
    hardness = np.random.default_rng(seed).random((count, WORDS))
    wrong = (hardness < rate).sum(axis=1)
    return [ErrorCounts(hits=int(WORDS - w), substitutions=int(w)) for w in wrong]


def measured(rates, role="target", count=60, seed=0):
    """A set whose error rate is ``rates[point]``."""
    return MeasuredSet(eval_set(role, count), {p: counts(r, count, seed) for p, r in rates.items()})


def line(start, end):
    """Rates that go straight from one to the other."""
    return {p: start + p * (end - start) for p in (0.0, *POINTS)}


def test_a_gain_without_damage_is_delivered_whole():
    alpha, reason = choose_point(POINTS, [measured(line(0.5, 0.1)), measured(line(0.2, 0.2), "guard")])
    assert alpha == 1.0
    assert "beats the base on dev" in reason
    assert "harms none of 1 guard sets" in reason


def test_noise_is_no_gain():
    """Points as unlike as can be: each draws its errors anew. Over 40 such runs one or two may slip through."""
    delivered = []
    for run in range(40):
        drawn = {p: counts(0.3, seed=100 * run + i) for i, p in enumerate((0.0, *POINTS))}
        alpha, reason = choose_point(POINTS, [MeasuredSet(eval_set(), drawn)])
        delivered.append(alpha)
        assert alpha > 0 or reason.startswith("no point beats the base on dev beyond noise")
    assert sum(alpha > 0 for alpha in delivered) <= 3


def test_damage_beyond_noise_rules_a_point_out():
    rates = {0.0: 0.1, 0.25: 0.1, 0.5: 0.1, 0.75: 0.3, 1.0: 0.5}
    alpha, reason = choose_point(POINTS, [measured(line(0.5, 0.1)), measured(rates, "guard")])
    assert alpha == 0.5
    assert "at 1 guard gets worse by" in reason


def test_the_base_is_delivered_where_every_gain_is_paid_for():
    harm = {0.0: 0.1} | dict.fromkeys(POINTS, 0.4)
    alpha, reason = choose_point(POINTS, [measured(line(0.5, 0.1)), measured(harm, "guard")])
    assert alpha == 0.0
    assert "is paid for elsewhere: guard gets worse by" in reason


def test_the_margin_tolerates_damage_up_to_a_tenth_of_the_gain():
    harm = {0.0: 0.1} | dict.fromkeys(POINTS, 0.13)
    sets = [measured(line(0.7, 0.1)), measured(harm, "guard")]
    assert choose_point(POINTS, sets)[0] == 0.0
    assert choose_point(POINTS, sets, margin=0.5)[0] == 0.0
    alpha, reason = choose_point(POINTS, sets, margin=100.0)
    assert alpha == 1.0
    assert "within the margin: guard gets worse by 2." in reason
    smaller_gain = [measured({0.0: 0.2} | dict.fromkeys(POINTS, 0.1)), measured(harm, "guard")]
    assert choose_point(POINTS, smaller_gain, margin=100.0)[0] == 0.0


def test_of_the_points_that_keep_the_gain_the_mildest_is_delivered():
    target = {0.0: 0.5, 0.25: 0.3, 0.5: 0.2, 0.75: 0.11, 1.0: 0.1}
    alpha, reason = choose_point(POINTS, [measured(target), measured(line(0.1, 0.1), "guard")])
    assert alpha == 0.75
    assert reason.endswith("% of the gain of 1")


def test_a_point_that_loses_more_than_a_fifth_of_the_gain_needs_a_reason():
    target = {0.0: 0.5, 0.25: 0.4, 0.5: 0.3, 0.75: 0.2, 1.0: 0.1}
    assert choose_point(POINTS, [measured(target)])[0] == 1.0
    harm = {0.0: 0.1, 0.25: 0.1, 0.5: 0.1, 0.75: 0.1, 1.0: 0.4}
    assert choose_point(POINTS, [measured(target), measured(harm, "guard")])[0] == 0.75


@pytest.mark.parametrize(
    ("points", "harmful_from", "expected"),
    [
        ((1.0,), 2.0, 0.75),  # the first stop on the way to the base
        ((1.0,), 0.9, 0.75),
        ((1.0, 0.75), 0.9, 0.875),
        ((1.0, 0.75, 0.875), 0.9, 0.9375),
        ((1.0, 0.75, 0.875, 0.9375), 0.95, None),
        ((1.0, 0.75), 0.5, 0.375),
        ((1.0, 0.75, 0.375), 0.4, 0.5625),
        ((1.0, 0.75, 0.375), 0.1, 0.1875),
        ((1.0, 0.75, 0.375, 0.1875), 0.1, 0.09375),
        ((1.0, 0.75, 0.375, 0.1875, 0.09375), 0.05, 0.046875),
        ((1.0, 0.75, 0.375, 0.1875, 0.09375, 0.046875), 0.01, None),
    ],
)
def test_the_next_point_is_where_the_choice_could_still_change(points, harmful_from, expected):
    """A gain that grows faster and faster, and harm from one point on."""
    every = {0.0, *points}
    target = {p: 0.8 - 0.7 * p**1.5 for p in every}
    harm = {p: 0.4 if p > harmful_from else 0.1 for p in every}
    assert next_point(points, [measured(target), measured(harm, "guard")]) == expected


def test_three_quarters_that_keep_the_gain_end_the_search():
    target = {0.0: 0.8, 0.75: 0.12, 1.0: 0.1}
    sets = [measured(target), measured(line(0.1, 0.1), "guard")]
    assert choose_point((0.75, 1.0), sets)[0] == 0.75
    assert next_point((1.0, 0.75), sets) is None


def test_below_three_quarters_only_where_none_from_there_on_is_fit():
    """Half-way dev promises all of the gain; it is taken only where three quarters and the end do harm."""
    target = {0.0: 0.8, 0.5: 0.1, 0.75: 0.1, 1.0: 0.1}
    harmless = measured(dict.fromkeys(target, 0.1), "guard")
    assert choose_point((0.5, 0.75, 1.0), [measured(target), harmless])[0] == 0.75
    harm = measured({0.0: 0.1, 0.5: 0.1, 0.75: 0.5, 1.0: 0.5}, "guard")
    assert choose_point((0.5, 0.75, 1.0), [measured(target), harm])[0] == 0.5


def test_words_in_silence_rule_a_point_out():
    made_up = {p: [ErrorCounts(insertions=5 if p > 0.5 else 0)] * 16 for p in (0.0, *POINTS)}
    silence = MeasuredSet(eval_set("nonspeech", 16, "silence and noise"), made_up)
    alpha, reason = choose_point(POINTS, [measured(line(0.5, 0.1)), silence])
    assert alpha == 0.5
    assert "words per minute" in reason
    minutes = sum(u.measured_duration() for u in silence.eval_set.utterances) / 60
    assert silence.rate(1.0) == pytest.approx(80 / minutes)


def test_too_few_clusters_give_no_verdict_and_so_no_point():
    few = {p: counts(r, 5) for p, r in line(0.9, 0.1).items()}
    assert choose_point(POINTS, [MeasuredSet(eval_set(count=5), few)])[0] == 0.0


@pytest.mark.parametrize(("clusters", "points", "tells"), [(6, 1, True), (6, 2, False), (7, 4, False), (8, 4, True)])
def test_a_dev_set_too_small_to_tell_says_so_and_not_that_there_is_no_gain(clusters, points, tells):
    """From wrong to right in every utterance."""
    wrong, right = [ErrorCounts(substitutions=10)] * clusters, [ErrorCounts(hits=10)] * clusters
    tried = POINTS[-points:]
    dev = MeasuredSet(eval_set(count=clusters), {0.0: wrong} | dict.fromkeys(tried, right))
    alpha, reason = choose_point(tried, [dev])
    assert (alpha > 0) == tells
    if not tells:
        assert reason.startswith(f"dev is too small to tell ({clusters} clusters, by utterance")
        assert "the best: -100.00 points" in reason


def test_it_looks_between_a_harmless_point_without_a_gain_and_a_harmful_one_with_one():
    target = {0.0: 0.5, 0.5: 0.49, 1.0: 0.1}
    harm = {0.0: 0.1, 0.5: 0.1, 1.0: 0.5}
    assert next_point((1.0, 0.5), [measured(target), measured(harm, "guard")]) == 0.75


def test_what_a_milder_point_keeps_must_be_more_than_luck():
    """Three quarters are as good as the end, in other utterances: twelve of them cannot tell, six hundred can."""
    delivered = []
    for count in (12, 600):
        drawn = {
            0.0: counts(0.5, count),
            0.75: [ErrorCounts(6, 4) if i % 2 else ErrorCounts(10) for i in range(count)],
            1.0: [ErrorCounts(6 + (i == 2), 4 - (i == 2)) if i // 2 % 2 else ErrorCounts(10) for i in range(count)],
        }
        delivered.append(choose_point((0.75, 1.0), [MeasuredSet(eval_set(count=count), drawn)])[0])
    assert delivered == [1.0, 0.75]


def test_a_half_way_that_gains_more_but_harms_is_no_dead_end():
    target = {0.0: 0.5, 0.5: 0.1, 1.0: 0.3}
    harm = {0.0: 0.1, 0.5: 0.5, 1.0: 0.1}
    assert next_point((1.0, 0.5), [measured(target), measured(harm, "guard")]) == 0.75


class Model:
    """Its errors follow the point it stands at; it notes what it was asked."""

    def __init__(self):
        self.alpha = 1.0
        self.asked = []

    def move(self, alpha):
        self.alpha = alpha

    def measure(self, _, eval_set):
        self.asked.append((self.alpha, eval_set.name))
        rate = 0.5 - 0.4 * self.alpha if eval_set.role == "target" else 0.1
        return counts(rate, len(eval_set.utterances))


SETS = [eval_set(), eval_set("guard")]


def test_base_and_end_first_then_three_quarters_then_halves(tmp_path):
    model = Model()
    outcome = run_guard(model, model, SETS, 4, model.measure, GuardRecord(tmp_path / "g.json", base="b"))
    assert [point for point, name in model.asked if name == "target"] == [0.0, 1.0, 0.75, 0.875, 0.8125]
    assert outcome.alpha == model.alpha == 0.875  # the gain is even, so no milder point keeps four fifths of it
    assert outcome.facts["points"] == [0.0, 0.75, 0.8125, 0.875, 1.0]
    target, guard = outcome.facts["sets"]
    assert target["role"] == "target"
    assert guard["name"] == "guard"
    assert target["rates"][0] == pytest.approx(0.5, abs=0.05)
    assert target["differences"][0] == 0.0
    assert target["ci_high"][-1] < 0


def test_points_that_do_not_fit_are_left_out_but_never_the_ends(tmp_path):
    model = Model()
    record = GuardRecord(None, base="b")
    outcome = run_guard(model, model, SETS, 4, model.measure, record, fits=lambda seconds: False)
    assert outcome.facts["points"] == [0.0, 1.0]


@pytest.mark.parametrize("survived", range(10))
def test_killed_at_any_measurement_it_goes_on_there(tmp_path, survived):
    whole = Model()
    expected = run_guard(whole, whole, SETS, 4, whole.measure, GuardRecord(None, base="b", tuned="step 3"))
    model = Model()

    class Killed(Exception):
        pass

    def dying(_, eval_set):
        if len(model.asked) == survived:
            raise Killed
        return model.measure(_, eval_set)

    path = tmp_path / "guard.json"
    with pytest.raises(Killed):
        run_guard(model, model, SETS, 4, dying, GuardRecord(path, base="b", tuned="step 3"))
    outcome = run_guard(model, model, SETS, 4, model.measure, GuardRecord(path, base="b", tuned="step 3"))
    assert outcome == expected
    assert len(model.asked) == 2 * 5


def test_counts_of_another_base_or_another_step_are_not_used(tmp_path):
    model = Model()
    path = tmp_path / "guard.json"
    run_guard(model, model, SETS, 1, model.measure, GuardRecord(path, base="b", tuned="step 3"))
    later = GuardRecord(path, base="b", tuned="step 9")
    assert later.holds(0.0, SETS)
    assert not later.holds(1.0, SETS)
    assert not GuardRecord(path, base="another", tuned="step 3").holds(0.0, SETS)
    assert not GuardRecord(path, base="b", tuned="step 3").holds(0.0, [SETS[0].first(5)])


def test_a_damaged_record_is_refused(tmp_path):
    (tmp_path / "guard.json").write_text('{"identity": ')
    with pytest.raises(TrainingError, match=r"guard\.json: cannot be read"):
        GuardRecord(tmp_path / "guard.json", base="b")


def test_when_nothing_was_trained_the_base_is_described():
    record, model = GuardRecord(None, base="b"), Model()
    model.move(0.0)
    record.measure(model, 0.0, SETS[0], model.measure)
    outcome = describe_base("no step beat it", SETS, record)
    assert outcome.alpha == 0.0
    assert [s["name"] for s in outcome.facts["sets"]] == ["target"]


@pytest.mark.parametrize("wrong", [{"points": 0}, {"utterances": 0}, {"margin": -1.0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GuardConfig(**wrong)
